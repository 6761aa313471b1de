"""Previews: names, what their config may say, their contract, and the attached origins."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import example
from hypothesis import given as any_of
from hypothesis import settings as limits
from hypothesis import strategies as st

from infra.core import names, previews, topology, wanted
from infra.core.contract import Contract, ContractError
from infra.core.keys import KEYS
from infra.core.previews import attach, check_branch, name_of
from infra.core.rules import LABEL, branch_name, environment_name
from infra.core.settings import Settings, SettingsError
from infra.core.stackfile import StackFileError, as_text, read_config
from on_host import protocol
from rollout import check, deploy, manage
from rollout.certificates import given
from rollout.doctor.findings import findings
from rollout.doctor.questions import endpoints, questions
from rollout.doctor.rows import rows
from rollout.outputs import Outputs
from rollout.render import render
from rollout.stacks import UnknownStackError, chosen_stack, stack_names
from tests.support.kit import ROOT
from tests.test_contract import HOSTS, PREVIEW, of_a_preview, whole
from tests.test_doctor import observed, reporting
from tests.test_settings import GOOD

BRANCHES = [
    "feature/x",
    "feature-x",
    "Feature/X",
    "FEATURE_X",
    "ünï/日本語",
    "日本語",
    "9-lives",
    "x/-y-",
    "a" * 200,
    "a" * 199 + "b",
    "dependabot/npm_and_yarn/lodash-4.17.21",
    "slot-3",
    "user@host/fix#12",
    "é",
    "e\u0301",
    "x;rm",
    '$(id)"',
]


NO_BRANCHES = [
    "-x",
    "/x",
    "x/",
    "x//y",
    "x..y",
    "x.",
    ".x",
    "x/.y",
    "x.lock",
    "x.lock/y",
    "x~1",
    "x^",
    "x:y",
    "x?",
    "x*",
    "x[",
    "x\\y",
    "@",
    "x@{1",
    "HEAD",
    "",
    "x y",
    "x\n",
    "\u202ex",
    "\ud800",
    "x" * 256,
]
ENVIRONMENTS = [
    "main",
    "Main",
    "master",
    "trunk",
    "live",
    "prod",
    "PROD",
    "prod-eu",
    "prod/eu",
    "production",
    "production.2",
    "prod2",
    "staging",
    "staging-2",
    "stage",
]


def a_branch(text: str) -> bool:
    try:
        check_branch(text)
    except ValueError:
        return False
    return True


branches = st.one_of(
    st.text(min_size=1, max_size=255),
    st.from_regex(r"[A-Za-z0-9._/-]{1,255}", fullmatch=True),
    st.sampled_from(BRANCHES),
).filter(a_branch)


# -------------------------------------------------------------------------------------------- names


@limits(max_examples=50)
@any_of(branches, branches)
@example("feature/x", "feature-x")
@example("é", "e\u0301")
@example("a" * 200, "a" * 199 + "b")
def test_two_branches_never_share_a_name(one: str, other: str) -> None:
    """Upper and lower case, slashes and dashes, cut ends, two spellings of an é."""
    assert (name_of(one) == name_of(other)) == (one == other)


@limits(max_examples=50)
@any_of(branches)
def test_a_name_is_valid_wherever_it_goes(branch: str) -> None:
    """DNS, Pulumi, AWS, Google, a file, a machine's folder."""
    stack = name_of(branch)
    assert previews.is_preview(stack) and previews.slot_of(stack) == 0
    assert environment_name(stack) == stack and len(stack) <= 57
    page, api = previews.frontend_label(stack), previews.backend_label(stack)
    for label in (page, api):
        assert LABEL.fullmatch(label) and len(label) <= 63 and "--" not in label
        assert label[2:4] != "--"  # no A-label (RFC 5891)
    assert page != api and page == previews.label_of(branch)
    assert names.label(stack) == stack  # a label at Google as it stands
    for role in topology.ROLES:
        account = names.dashed(role, "shop", stack, longest=names.LONGEST_ACCOUNT)
        assert re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", account)  # IAM's rule for ids
        network = names.dashed("a" * 30, stack, f"{role}-operators-ipv6")
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", network)  # RFC 1035, as Google
        group = f"{role} of {'a' * 30} {stack}"
        assert re.fullmatch(r"[a-zA-Z0-9 ._:/()#,@\[\]+=&;{}!$*-]{1,255}", group)  # EC2's rule


@limits(max_examples=30)
@any_of(branches)
def test_a_branch_is_found_again(branch: str) -> None:
    """From the contract, and from the tags and labels of any resource of it."""
    stack = name_of(branch)
    settings = Settings.read(GOOD | {"branch": branch}, stack)
    contract = Contract.from_json(topology.contract(settings, "kit", HOSTS).to_json())
    assert (contract.kind, contract.branch, contract.environment) == ("preview", branch, stack)
    tags = previews.aws_tags(settings)
    assert tags == {"origin-kit:preview": stack, "origin-kit:branch": branch}
    assert all(len(value) <= 256 for value in tags.values())
    labels = previews.google_labels(settings)
    assert labels["origin-kit-preview"] == stack
    assert all(re.fullmatch(r"[a-z0-9_-]{1,63}", value) for value in labels.values())
    assert re.fullmatch(r"[\x20-\x7e]{1,255}", previews.google_description(settings) or "")


@pytest.mark.parametrize(
    ("branch", "slug"),
    [
        ("feature/x", "feature-x-"),
        ("Feature_X", "feature-x-"),
        ("Ünï--cøde/", None),
        ("Ünï--cøde", "uni-c-de-"),
        ("日本語", ""),
        ("9-lives", "9-lives-"),
        ("x/-y-", "x-y-"),
        ("a" * 200, "a" * 40 + "-"),
    ],
)
def test_a_name_is_readable(branch: str, slug: str | None) -> None:
    """What can be kept of the branch is."""
    if slug is None:
        with pytest.raises(ValueError, match="expected the name of a branch"):
            name_of(branch)
    else:
        assert re.fullmatch(f"preview-{slug}[0-9a-f]{{8}}", name_of(branch))


@pytest.mark.parametrize(
    "branch",
    ENVIRONMENTS,
)
def test_an_environment_s_name_never_becomes_a_preview(branch: str) -> None:
    with pytest.raises(ValueError, match="looks like an environment"):
        name_of(branch)


def test_a_branch_called_like_a_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="'AWS-dev' has the name of a stack here"):
        check_branch("AWS-dev", ["aws-dev"])
    for branch in ("product-page", "mainline", "staging-banner", "feature/prod"):
        assert check_branch(branch, ["aws-dev"]) == branch


@pytest.mark.parametrize(
    "branch",
    NO_BRANCHES,
)
def test_what_git_calls_no_branch_is_refused(branch: str) -> None:
    """git-check-ref-format(1); and what can't be shown."""
    with pytest.raises(ValueError, match=r"branch|longer than 255"):
        branch_name(branch)


def test_slots_are_counted_from_one() -> None:
    assert [previews.slot_name(number) for number in (1, 50)] == [
        "preview-slot-1",
        "preview-slot-50",
    ]
    for number in (0, 51):
        with pytest.raises(ValueError, match="whole number from 1 to 50"):
            previews.slot_name(number)
    assert [previews.slot_of(f"preview-slot-{n}") for n in ("7", "50", "51", "07", "7-x")] == [
        7,
        50,
        0,
        0,
        0,
    ]


# --------------------------------------------------------------------------------------- the config

FRONTEND = {
    "preview_mode": "frontend",
    "attach_to": "staging",
    "attached_backend": "http://10.0.0.3",
}


def settings(stack: str = PREVIEW, **config: str) -> Settings:
    return Settings.read(GOOD | {"branch": "feature/x"} | config, stack)


def problems(stack: str = PREVIEW, **config: str) -> list[str]:
    try:
        settings(stack, **config)
    except SettingsError as error:
        return error.problems
    return []


def test_a_preview_has_the_names_of_its_branch() -> None:
    """Whatever else the template says; of a slot the slot's."""
    found = settings(domain="shop.test")
    assert topology.name_of(found, "frontend") == "feature-x-0123abcd.shop.test"
    assert topology.name_of(found, "backend") == "feature-x-0123abcd-api.shop.test"
    slot = settings("preview-slot-3", domain="shop.test")
    assert topology.name_of(slot, "frontend") == "slot-3.shop.test"
    assert topology.name_of(slot, "backend") == "slot-3-api.shop.test"


def test_an_attached_preview_has_no_backend() -> None:
    """No host, no instance; the origin is the environment's."""
    found = settings(**FRONTEND)
    assert found.backend_count == 0
    assert [instance.name for instance in topology.instances(found)] == ["frontend-1"]
    contract = Contract.from_json(of_a_preview())
    assert contract.backend.hosts == () and contract.backend.origin == "http://10.0.0.3"
    assert [role for role, _ in contract.hosts] == ["frontend"]


@pytest.mark.parametrize(
    ("stack", "config", "said"),
    [
        ("preview", {}, "branch: this file is the template of previews"),
        (PREVIEW, {"branch": ""}, "branch: missing; a stack called preview-… is a preview"),
        ("staging", {}, "branch: only a preview has one"),
        (PREVIEW, {"branch": "x..y"}, "branch: invalid value 'x..y'"),
        (PREVIEW, {"attachable": "true"}, "attachable: previews attach to environments"),
        (PREVIEW, {"production": "true"}, "production: a preview runs a branch's code"),
        (PREVIEW, {"frontend_name": "www"}, "frontend_name: the names of a preview"),
        (PREVIEW, {"backend_name": "django"}, "backend_name: the names of a preview"),
        (PREVIEW, {"www_redirect": "true", "domain": "x.test"}, "www_redirect: the names of"),
        (PREVIEW, {"tls": "files"}, "tls: your certificate's key would lie on a machine"),
        (PREVIEW, {"attach_to": "staging"}, "attach_to: preview_mode is full"),
        (PREVIEW, {"attached_backend": "http://10.0.0.3"}, "attached_backend: preview_mode is"),
        (PREVIEW, FRONTEND | {"attach_to": ""}, "attach_to: missing"),
        (PREVIEW, FRONTEND | {"attach_to": "preview-x-1"}, "attach_to: 'preview-x-1' is a preview"),
        (PREVIEW, FRONTEND | {"attach_to": "preview"}, "attach_to: 'preview' is a preview"),
        (PREVIEW, FRONTEND | {"attached_backend": ""}, "attached_backend: missing"),
        (PREVIEW, FRONTEND | {"attached_backend": "10.0.0.3"}, "attached_backend: "),
        (PREVIEW, FRONTEND | {"tls": "local-ca"}, "attached_backend: http://10.0.0.3 is plain"),
        (PREVIEW, {"preview_mode": "half"}, "preview_mode: invalid value 'half'"),
        (PREVIEW, {"preview_slots": "51"}, "preview_slots: '51' is not a whole number from 0 to"),
        (PREVIEW, {"preview_max": "0"}, "preview_max: '0' is not a whole number from 1 to 200"),
        (PREVIEW, {"preview_ttl_h": "8761"}, "preview_ttl_h: '8761' is not a whole number"),
        (PREVIEW, {"preview_seed": "../x"}, "preview_seed: invalid value '../x'"),
        (PREVIEW, {"preview_seed": "a 'b"}, "preview_seed: \"a 'b\" can't be split into words"),
        (PREVIEW, {"preview_from": '["x"]'}, "preview_from: 'x' is no CIDR"),
        (PREVIEW, {"preview_commit": "HEAD"}, "preview_commit: invalid value 'HEAD'"),
        (PREVIEW, {"preview_updated": "2026-02-30T00:00:00Z"}, "preview_updated: invalid value"),
        (PREVIEW, {"preview_updated": "2026-11-30T18:00:00"}, "preview_updated: invalid value"),
        (PREVIEW, {"preview_owner": "a\nb"}, "preview_owner: invalid value"),
        (PREVIEW, {"preview_password": "x"}, "preview_password: a secret"),
    ],
)
def test_what_a_preview_may_not_say(stack: str, config: dict[str, str], said: str) -> None:
    """One line, with the file, the key, what is wrong and what to do."""
    found = problems(stack, **config)
    lines = [line for line in found if line.startswith(f"stacks/Pulumi.{stack}.yaml: {said}")]
    assert len(lines) == 1, found


@pytest.mark.parametrize(
    "config",
    [
        {"preview_mode": "frontend"},
        {"attach_to": "staging"},
        {"attached_backend": "http://10.0.0.3"},
        {"preview_seed": "seed"},
        {"preview_from": '["203.0.113.0/24"]'},
        {"preview_owner": "ada"},
        {"preview_commit": "0123abc"},
        {"preview_updated": "2026-11-30T18:00:00Z"},
        {"preview_keep": "true"},
        {"preview_vacant": "true"},
    ],
    ids=lambda config: next(iter(config)),
)
def test_an_environment_is_no_preview(config: dict[str, str]) -> None:
    (key,) = config
    assert problems("staging", branch="", **config) == [
        f"stacks/Pulumi.staging.yaml: {key}: it means something for a preview alone; take it out"
    ]


def test_a_good_template_s_keys_are_read() -> None:
    found = settings(
        preview_from='["203.0.113.7", "2001:DB8::/32"]',
        preview_seed="loaddata 'two words.json'",
        preview_updated="2026-11-30T18:00:00Z",
        preview_slots="5",
    )
    assert found.preview_from == ("203.0.113.7/32", "2001:db8::/32")
    assert (found.preview_slots, found.preview_max, found.preview_ttl_h) == (5, 10, 72)
    assert not problems(**FRONTEND) and not problems(tls="local-ca")


# ------------------------------------------------------------------------------------ the contract


def test_environments_have_nothing_of_it_in_their_contract() -> None:
    """An older kit still reads them."""
    data = topology.contract(Settings.read(GOOD, "x"), "kit", HOSTS).to_json()
    assert not {"attached", "attachable", "preview"} & data.keys()


@pytest.mark.parametrize(
    ("production", "attachable", "takes"),
    [(False, False, True), (True, False, False), (True, True, True)],
)
def test_production_takes_previews_only_when_it_says_so(
    production: bool, attachable: bool, takes: bool
) -> None:
    contract = topology.contract(Settings.read(GOOD, "x"), "kit", HOSTS)
    assert replace(contract, production=production, attachable=attachable).takes_previews == takes
    assert not replace(Contract.from_json(of_a_preview()), attachable=True).takes_previews


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "environment"}, "contract.environment: 'preview-feature-x-0123abcd', and its"),
        ({"environment": "staging"}, "contract.environment: 'staging', and its kind is preview"),
        ({"environment": "preview"}, "contract.environment: 'preview', and its kind is preview"),
        ({"branch": None}, "contract.branch: null; every preview has one"),
        ({"preview": None}, "contract.preview: missing"),
        ({"attached_to": None}, "contract.backend.hosts: 0 hosts; expected 1 to 64"),
        ({"attached_to": "preview-x-1"}, "contract.attached_to: 'preview-x-1' is a preview"),
        ({"attached": {"preview-y-2": "http://10.0.0.2"}}, "contract.attached: previews attach to"),
    ],
)
def test_a_preview_s_contract_holds_together(change: dict[str, object], said: str) -> None:
    with pytest.raises(ContractError) as caught:
        Contract.from_json(of_a_preview() | change)
    assert said in str(caught.value)


def test_an_attached_preview_has_no_host_of_its_own() -> None:
    data = of_a_preview()
    data["backend"]["hosts"] = whole()["backend"]["hosts"]
    with pytest.raises(ContractError, match="1 hosts; expected none, since attached_to is set"):
        Contract.from_json(data)


@pytest.mark.parametrize(
    ("attached", "said"),
    [
        ({"staging": "http://10.0.0.9"}, "'staging' is not the name of a preview"),
        ({PREVIEW: "http://10.0.0.8"}, "'http://10.0.0.8' is not among cors.allowed_origins"),
        ({PREVIEW: "HTTP://10.0.0.9"}, "is not written as a browser sends it"),
    ],
)
def test_attached_origins_hold_together(attached: dict[str, str], said: str) -> None:
    with pytest.raises(ContractError, match=re.escape(said)):
        Contract.from_json(whole() | {"attached": attached})


# --------------------------------------------------------------------------------- attached origins

A, B = "preview-a-00000001", "preview-b-00000002"


def environment(**config: str) -> Contract:
    return topology.contract(Settings.read(GOOD | config, "staging"), "kit", HOSTS)


def test_the_origins_of_attached_previews_are_allowed() -> None:
    contract = attach(environment(), {B: "http://10.0.0.9", A: "http://10.0.0.8"})
    assert contract.attached == {A: "http://10.0.0.8", B: "http://10.0.0.9"}
    assert contract.cors.allowed_origins == (
        "http://10.0.0.2",
        "http://10.0.0.8",
        "http://10.0.0.9",
    )
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_a_preview_that_is_gone_leaves_nothing() -> None:
    before = environment()
    both = attach(before, {A: "http://10.0.0.8", B: "http://10.0.0.9"})
    assert attach(both, {B: "http://10.0.0.9"}).cors.allowed_origins[1:] == ("http://10.0.0.9",)
    assert attach(both, {}) == before


def test_an_origin_of_the_config_s_own_stays() -> None:
    """Though a preview has it, and comes and goes."""
    before = environment(extra_origins='["http://10.0.0.8"]')
    attached = attach(before, {A: "http://10.0.0.8"})
    assert attached == before
    assert attach(attached, {}) == before


@limits(max_examples=30)
@any_of(
    st.lists(
        st.dictionaries(
            st.sampled_from([A, B]), st.sampled_from(["http://10.0.0.8", "http://10.0.0.9"])
        )
    )
)
def test_only_the_last_list_counts(history: list[dict[str, str]]) -> None:
    """Whatever was attached in between, and in which order."""
    contract = environment()
    for found in history:
        contract = attach(contract, found)
    assert contract == attach(environment(), history[-1] if history else {})


# -------------------------------------------------------------------------- what waits for `fab up`


def test_a_preview_keeps_its_backend_until_fab_up() -> None:
    """A change of the mode needs other infrastructure; until then the one counts that there is."""
    full, attached = settings(), settings(**FRONTEND)
    hosts = {"frontend": HOSTS["frontend"], "backend": []}
    for there, asked, own in ((full, attached, HOSTS), (attached, full, hosts)):
        recorded = topology.contract(there, "kit", own)
        applied = wanted.applied(recorded, wanted.infrastructure(there))
        waits = wanted.pending(asked, applied)
        assert {one.key for one in waits} == {"preview_mode", "backend_count"}
        assert wanted.contract(asked, recorded, applied, waits) == recorded


def test_the_output_says_what_a_list_has_to_know() -> None:
    slot = settings(
        "preview-slot-3", preview_owner="ada", preview_keep="true", preview_vacant="true"
    )
    found = previews.output(slot)
    assert found == {
        "branch": "feature/x",
        "owner": "ada",
        "commit": "",
        "updated": "",
        "ttl_h": KEYS["preview_ttl_h"].default,
        "keep": True,
        "vacant": True,
        "slot": 3,
        "mode": "full",
        "attach_to": "",
    }


# ------------------------------------------------------------------------------------ the template


@pytest.mark.parametrize("mode", [{}, FRONTEND], ids=["full", "frontend"])
def test_a_preview_of_the_template_is_valid(mode: dict[str, str]) -> None:
    """With the branch alone, or attached to an environment."""
    values = read_config(ROOT, previews.TEMPLATE)
    stack = name_of("feature/x")
    found = Settings.read(values | {"branch": "feature/x"} | mode, stack)
    assert (found.cloud, found.preview_max, found.warnings) == ("local", 10, ())


def test_every_comment_of_the_template_is_a_config_of_its_own() -> None:
    """What stands there for a cloud is read, with an image pinned."""
    text = (ROOT / "stacks" / "Pulumi.preview.yaml").read_text()
    uncommented = re.sub(r"(?m)^  # (origin-kit:[a-z_]+: )", r"  \1", text)
    written = yaml.safe_load(uncommented)["config"]
    values = {key.removeprefix("origin-kit:"): as_text(value) for key, value in written.items()}
    values |= {"machine_image": "ami-0123456789abcdef0", "branch": "feature/x"}
    values |= {"attached_backend": "https://api.staging.example.com"}
    found = Settings.read(values, name_of("feature/x"))
    assert (found.cloud, found.attach_to, found.preview_slots) == ("aws", "aws-staging", 5)


def test_the_template_is_no_stack() -> None:
    """No verb takes it, no list has it, and no preview's own file is committed."""
    assert previews.TEMPLATE not in stack_names()
    with pytest.raises(UnknownStackError, match="there is no stack 'preview'") as caught:
        chosen_stack(previews.TEMPLATE)
    assert "preview" not in str(caught.value).partition("stacks/ has")[2].replace("preview-", "")
    with pytest.raises(StackFileError) as missing:
        read_config(ROOT, "nothing")
    assert " preview," not in str(missing.value)
    own = ["stacks/Pulumi.preview-x-0123abcd.yaml", "stacks/preview.secrets"]
    ignored = subprocess.run(
        ["git", "check-ignore", *own, "stacks/Pulumi.preview.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout.split() == own


def test_a_moment_needs_no_quotes_in_a_stack_s_file(tmp_path: Path) -> None:
    """YAML has a type for it; the key is text, as every key is."""
    (tmp_path / "Pulumi.yaml").write_text("name: origin-kit\n")
    file = "config: {origin-kit:preview_updated: 2026-11-30T18:00:00Z, origin-kit:day: 2026-11-30}"
    (tmp_path / "Pulumi.x.yaml").write_text(file)
    assert read_config(tmp_path, "x") == {
        "preview_updated": "2026-11-30T18:00:00Z",
        "day": "2026-11-30",
    }


# --------------------------------------------------------------- who asks an attached one's hosts


def attached() -> Contract:
    return Contract.from_json(of_a_preview())


def test_an_attached_preview_s_backend_is_asked_where_its_origin_says() -> None:
    """The doctor's questions go there, as a browser's do; no address in this contract is meant."""
    contract = attached()
    assert contract.backend.address == "10.0.0.3"
    own = [
        question.request.address
        for question in questions(contract, rows(contract), endpoints(contract), None, False)
        if question.row.origin == contract.frontend.origin
    ]
    assert set(own) == {"10.0.0.3"}


def test_no_finding_is_about_hosts_that_an_attached_preview_has_not() -> None:
    """All as intended is no finding; a name that leads nowhere from here is its environment's."""
    contract = replace(attached(), backend=replace(attached().backend, origin="http://api.x.test"))
    whole = observed(contract, hosts=(reporting("frontend-1", "10.0.0.2"),))
    assert findings(whole) == ()
    assert findings(replace(whole, addresses={"frontend": ("10.0.0.2",), "backend": ()})) == ()


def test_nothing_asks_for_its_backend_s_code_or_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    page = replace(attached().frontend, origin="https://10.0.0.2")
    contract = replace(attached(), tls="local-ca", frontend=page)
    assert list(given.orders(contract, {}, make=True)) == ["frontend"]
    with pytest.raises(manage.NoBackendError, match="attached to staging") as caught:
        manage.run(contract, ["migrate"])
    assert "`fab manage --stack staging -- migrate`" in str(caught.value)
    with pytest.raises(deploy.UsageError, match="has no backend of its own"):
        deploy.run_on_all_hosts(Outputs(contract), protocol.LOGS, only="backend")
    assert "api   http://10.0.0.3/" in check.where_to_look(contract)


def test_the_page_of_an_attached_preview_calls_that_backend() -> None:
    contract = attached()
    generation = render(contract, "frontend", contract.frontend.hosts[0], {})
    texts = {file.path: file.text for file in generation.files}
    assert json.loads(texts["frontend/config.json"])["backend"] == "http://10.0.0.3"
    assert "connect-src 'self' http://10.0.0.3" in texts["nginx/origin-kit-page.conf"]
