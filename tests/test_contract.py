"""The outputs that both sides share."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Application, Contract, ContractError, Cors, Host, Preview, Role
from infra.core.https import Https, conflicts
from infra.core.keys import KEYS
from infra.core.settings import Settings
from infra.core.topology import contract as make
from infra.core.topology import instances, origin
from tests.support.kit import FAB, ROOT
from tests.test_settings import GOOD


def host(name: str, address: str) -> Host:
    return Host(
        name,
        address,
        22,
        "deploy",
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKEuSMBaet2WqKLQAGmX5AIBdotxpQcDqIVBB7a99c3",),
    )


LOGIN_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKEuSMBaet2WqKLQAGmX5AIBdotxpQcDqIVBB7a99c3 ada@laptop"
)
HOSTS = {"frontend": [host("frontend-1", "10.0.0.2")], "backend": [host("backend-1", "10.0.0.3")]}


def example(**config: str) -> Contract:
    return make(Settings.read(GOOD | config, "x"), "kit", HOSTS)


def test_it_survives_json() -> None:
    """What one side writes the other reads back equal."""
    whole = example(env='{"A": "b"}')
    assert Contract.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_it_holds_parsed_values() -> None:
    """Origins and patterns are parsed where the contract is read; its JSON holds their text."""
    config = {
        "extra_origins": '["http://localhost:8080"]',
        "allowed_patterns": '["http://{branch}.preview.example.com"]',
    }
    contract = example(**config)
    cors = contract.cors
    backend = contract.backend.parsed_origin
    assert (backend.scheme, backend.host, backend.port_number) == ("http", "10.0.0.3", 80)
    assert backend.authority == "10.0.0.3"
    assert [str(origin) for origin in cors.origins] == list(cors.allowed_origins)
    assert [pattern.text for pattern in cors.patterns] == list(cors.allowed_shapes)
    assert cors.allows("http://localhost:8080")
    assert cors.allows("http://x.preview.example.com")
    assert not cors.allows("http://evil.example")
    assert Contract.from_json(contract.to_json()) == contract
    assert set(contract.to_json()["cors"]) == {f.name for f in dataclasses.fields(Cors)}


def test_every_origin_is_allowed_without_a_pattern() -> None:
    """`*` is no pattern: nothing is parsed, and every page may read answers."""
    cors = example(allow_all_origins="true").cors
    assert cors.allows_every_origin and cors.patterns == ()
    assert cors.allows("http://evil.example") and not cors.lists("http://evil.example")


def test_pulumi_s_doubles_are_read_as_whole_numbers() -> None:
    """Pulumi keeps every number as a double; a port comes back as an int."""
    data = example().to_json()
    data["frontend"]["hosts"][0]["port"] = 22.0
    assert Contract.from_json(data).frontend.hosts[0].port == 22


def test_it_has_every_field_of_version_1() -> None:
    """The design's fields are all there, under the design's names."""
    data = example().to_json()
    assert list(data)[:2] == ["contract", "project"]
    assert set(data) >= {
        "environment",
        "production",
        "kind",
        "branch",
        "attached_to",
        "tls",
        "application",
        "frontend",
        "backend",
        "cors",
    }
    assert set(data["application"]) >= {"name", "wsgi", "settings", "env"}
    assert set(data["backend"]["hosts"][0]) == {"name", "address", "port", "user", "host_keys"}
    assert set(data["cors"]) == {f.name for f in dataclasses.fields(Cors)}
    assert (data["contract"], data["kind"], data["branch"], data["tls"]) == (
        1,
        "environment",
        None,
        "off",
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contract": 2}, "contract version 2, this kit reads 1"),
        ({"extra": 1}, "contract: extra unknown to this kit"),
        ({"tls": 3}, "contract.tls: 3 is not a str"),
        ({"cors": []}, r"contract.cors: \[\] is not an object"),
        ({"frontend": {"origin": "x"}}, "contract.frontend: hosts missing"),
        (
            {"frontend": {"origin": "x", "hosts": [{}]}},
            r"contract.frontend.hosts\[0\]: address, host_keys, name",
        ),
    ],
)
def test_a_strange_contract_is_refused_by_place(change: dict[str, Any], said: str) -> None:
    """A contract of another kit names what is wrong, where, and the next step."""
    with pytest.raises(ContractError, match=said):
        Contract.from_json(example().to_json() | change)


def test_outputs_without_a_contract_say_what_to_run() -> None:
    """An empty stack is not a traceback."""
    with pytest.raises(ContractError, match="run `fab up` or `pulumi up`"):
        Contract.from_json({})


def test_the_frontend_s_origin_is_always_allowed_and_first() -> None:
    """Extra origins join it; the same one twice is one."""
    cors = example(extra_origins='["http://localhost:8080", "http://10.0.0.2"]').cors
    assert cors.allowed_origins == ("http://10.0.0.2", "http://localhost:8080")


def test_a_domain_names_both_origins() -> None:
    """With a domain the names are the origins, whatever the addresses."""
    whole = example(domain="shop.test")
    assert (whole.frontend.origin, whole.backend.origin) == (
        "http://app.shop.test",
        "http://api.shop.test",
    )


@pytest.mark.parametrize(
    ("frontend", "redirect", "origin_", "aliases"),
    [
        ("@", "false", "http://shop.test", ()),
        ("@", "true", "http://shop.test", ("www.shop.test",)),
        ("www", "true", "http://www.shop.test", ("shop.test",)),
        ("www", "false", "http://www.shop.test", ()),
    ],
)
def test_the_page_has_one_origin(
    frontend: str, redirect: str, origin_: str, aliases: tuple[str, ...]
) -> None:
    """The domain itself or www: one is the origin and in the list, the other only leads there."""
    whole = example(domain="shop.test", frontend_name=frontend, www_redirect=redirect)
    assert (whole.frontend.origin, whole.frontend.aliases) == (origin_, aliases)
    assert whole.cors.allowed_origins == (origin_,)
    assert Contract.from_json(json.loads(json.dumps(whole.to_json()))) == whole


@pytest.mark.parametrize(
    ("role", "alias", "said"),
    [
        ("frontend", "app.shop.test", "'app.shop.test' is the frontend's own name"),
        ("frontend", "api.shop.test", "'api.shop.test' is the backend's own name"),
        ("backend", "app.shop.test", "'app.shop.test' is the frontend's own name"),
        ("backend", "x; evil", "invalid value 'x; evil'"),
    ],
)
def test_an_alias_that_is_none_is_refused(role: str, alias: str, said: str) -> None:
    """A page that redirects to itself would have no end."""
    data = example(domain="shop.test").to_json()
    data[role]["aliases"] = [alias]
    with pytest.raises(ContractError, match=re.escape(f"contract.{role}.aliases[0]: {said}")):
        Contract.from_json(data)


def test_a_contract_of_before_has_no_further_names() -> None:
    """Fields that it lacks have their defaults."""
    data = json.loads(json.dumps(example().to_json()))
    del data["behind"], data["frontend"]["aliases"], data["backend"]["aliases"]
    assert Contract.from_json(data) == example()


def test_an_ipv6_address_is_bracketed() -> None:
    """An origin on an IPv6 address is spelled as a browser spells it."""
    assert origin(Settings.read(GOOD, "x"), "backend", "FD00:0::7") == "http://[fd00::7]"


@pytest.mark.usefixtures("many_hosts")
def test_instances_keep_their_numbers_while_counts_grow() -> None:
    """A second frontend does not renumber the backends, so nothing that exists is replaced."""
    before = {i.name: i.number for i in instances(Settings.read(GOOD, "x"))}
    after = {
        i.name: i.number for i in instances(Settings.read(GOOD | {"frontend_count": "3"}, "x"))
    }
    assert before.items() <= after.items()
    assert len(set(after.values())) == 4


def test_backends_come_before_frontends() -> None:
    """A backend learns a new origin before the page that has it."""
    assert [role for role, _ in example().hosts] == ["backend", "frontend"]


def test_allow_all_is_one_pattern() -> None:
    """`allow_all_origins` is the pattern `*`, so that no other field has to know of it."""
    assert example(allow_all_origins="true").cors.allowed_shapes == ("*",)
    assert isinstance(example().application, Application)
    assert isinstance(example().backend, Role)


# ----------------------------------------------------------------------------------- hostile values

HOSTILE = {
    "path": "../../etc",
    "newline": "shop\nUser=root",
    "NUL": "shop\0",
    "quotes": "a\"; b'",
    "option": "-oProxyCommand=touch x",
    "long": "a" * 140_000,
    "unicode": "\u0455hop\u202e",
    "escape": "\x1b]0;owned\x07",
    "half a character": "\ud800",
    "negative": -1,
    "huge": 1e99,
    "a list": [],
    "nothing": "",
}
# What a value of the application's environment may hold: the kit quotes it, and nothing but the
# project reads it.
MAY_BE_EMPTY = {tuple(key.contract.split(".")) for key in KEYS.values() if key.may_be_empty}
HARMLESS_IN_A_NAME = {"path", "quotes", "option"}
HARMLESS_IN_ENV = {"path", "newline", "quotes", "option", "unicode", "escape", "nothing"}


PREVIEW = "preview-feature-x-0123abcd"
OF_A_PREVIEW = {"branch", "attached_to", "preview"}


def whole() -> dict[str, Any]:
    """A contract of an environment in which every field holds something."""
    origin = "http://10.0.0.9"
    data = example(
        attachable="true",
        extra_origins=json.dumps([origin]),
        env='{"A": "b"}',
        allowed_patterns='["http://{branch}.shop.test"]',
        expose_headers='["X-Total"]',
        connect_src='["https://api.stripe.com"]',
        csp="img-src 'self'",
    ).to_json()
    more = {"attached": {PREVIEW: origin}, "ssh_keys": [LOGIN_KEY]}
    return json.loads(json.dumps(data | more))  # type: ignore[no-any-return]


def of_a_preview() -> dict[str, Any]:
    """A contract of a preview that is attached to an environment, every field of its own filled."""
    config = {
        "branch": "feature/x",
        "preview_mode": "frontend",
        "attach_to": "staging",
        "attached_backend": "http://10.0.0.3",
        "preview_owner": "ada",
        "preview_commit": "0123abc",
        "preview_updated": "2026-11-30T18:00:00Z",
        "preview_keep": "true",
        "preview_from": '["203.0.113.0/24"]',
    }
    hosts = {"frontend": HOSTS["frontend"], "backend": []}
    made = make(Settings.read(GOOD | config, PREVIEW), "kit", hosts)
    return json.loads(json.dumps(made.to_json()))  # type: ignore[no-any-return]


def leaves(data: Any, *way: Any) -> Iterator[tuple[Any, ...]]:
    """The way to every single value."""
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(value, *way, key)
    else:
        yield way


def put(data: Any, way: tuple[Any, ...], value: Any) -> None:
    for key in way[:-1]:
        data = data[key]
    data[way[-1]] = value


LEAVES = [way for way in leaves(whole()) if way[0] not in {"contract", *OF_A_PREVIEW}]
LEAVES += [way for way in leaves(of_a_preview()) if way[0] in OF_A_PREVIEW]


def test_what_the_hostile_values_are_put_into_is_right_itself() -> None:
    """So that a refusal is a refusal of the hostile value; and no field is left out."""
    assert Contract.from_json(whole()) and Contract.from_json(of_a_preview())
    assert {"attached", "attachable"} <= set(whole())
    assert {field.name for field in dataclasses.fields(Preview)} <= set(of_a_preview()["preview"])
    assert len(LEAVES) > 40


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("way", LEAVES, ids=lambda way: ".".join(map(str, way)))
def test_every_field_refuses_hostile_values(way: tuple[Any, ...], what: str) -> None:
    """Whatever stands in a contract's file: it is refused by its place, in lines that hold nothing
    of it unescaped."""
    data = of_a_preview() if way[0] in OF_A_PREVIEW else whole()
    put(data, way, HOSTILE[what])
    if way[:3] == ("application", "env", "A") and what in HARMLESS_IN_ENV:
        assert Contract.from_json(data).application.env["A"] == HOSTILE[what]
        return
    if way in MAY_BE_EMPTY and what == "nothing":
        assert getattr(getattr(Contract.from_json(data), way[0]), way[1]) == ""
        return
    if way == ("preview", "owner") and what in HARMLESS_IN_A_NAME:
        assert Contract.from_json(data).preview.owner == HOSTILE[what]  # type: ignore[union-attr]
        return
    with pytest.raises(ContractError) as caught:
        Contract.from_json(data)
    message = str(caught.value)
    assert "contract" in message and str(way[0]) in message
    assert all(line.isprintable() and len(line) < 400 for line in message.splitlines()), message


@pytest.mark.parametrize("name", ["A B", "-x", "LD PRELOAD=", "a\nb", "\u202e", "x" * 300])
def test_a_variable_s_name_is_checked(name: str) -> None:
    data = whole()
    data["application"]["env"] = {name: "x"}
    with pytest.raises(ContractError, match="is not a variable's name"):
        Contract.from_json(data)


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        (("application", "name"), "lock", "'lock' is a folder in /run"),
        (("application", "name"), "www-data", "'www-data' is a user or group of Debian's"),
        (("application", "name"), "origin-kit-x", "names of the system's own"),
        (("application", "static_url"), "/../", "expected a path"),
        (("environment",), "..", "expected the name of a stack"),
        (("backend", "hosts", 0, "address"), "10.0.0", "expected an IP address"),
        (("backend", "hosts", 0, "address"), "fe80::1%eth0", "expected an IP address"),
        (("backend", "hosts", 0, "port"), 0, "not a whole number from 1 to 65535"),
        (("backend", "hosts", 0, "name"), "frontend-1", "two hosts have the name 'frontend-1'"),
        (
            ("backend", "hosts", 0, "address"),
            "10.0.0.2",
            "two hosts have the address and port '10.0.0.2 port 22'",
        ),
        (("backend", "hosts", 0, "host_keys", 0), "ssh-ed25519 AAAA", "invalid SSH host key"),
        (
            ("backend", "hosts", 0, "host_keys", 0),
            "ssh-dss AAAAB3NzaC1kc3M=",
            "invalid SSH host key",
        ),
        (("backend", "hosts", 0, "host_keys"), [], "none; a host without a known key"),
        (("backend", "hosts"), [], "0 hosts; expected 1 to 64"),
        (("backend", "origin"), "http://10.0.0.3:80", "write http://10.0.0.3"),
        (("cors", "allow_headers", 0), "$http_cookie", "is not a header name"),
        (("cors", "allow_headers", 0), "*", "taken literally"),
        (("cors", "allow_methods", 0), "put", "methods are upper case"),
        (("page", "csp"), "upgrade-insecure-requests", "no host speaks while tls is off"),
        (("page", "frame_ancestors"), ["'none'", "https://a.test"], "'none' contradicts"),
        (("page", "referrer_policy"), "NO-REFERRER", "expected no-referrer or"),
        (("production",), True, "a private address"),
        (("ssh_keys", 0), f"command=x {LOGIN_KEY}", "contract.ssh_keys[0]: invalid SSH public key"),
        (("application", "media_url"), "/static/", "the same as static_url"),
    ],
)
def test_what_a_rule_says(way: tuple[Any, ...], value: Any, said: str) -> None:
    """The rules beyond the form of a text."""
    data = whole()
    put(data, way, value)
    with pytest.raises(ContractError, match=re.escape(said)):
        Contract.from_json(data)


def in_production(scheme: str, **cors: Any) -> dict[str, Any]:
    """A production contract of public names."""
    tls = {"http": "off", "https": "acme"}[scheme]
    data = whole() | {"production": True, "tls": tls, "attached": {}}
    for role, name in (("frontend", "app"), ("backend", "api")):
        data[role]["origin"] = f"{scheme}://{name}.example.com"
    data["cors"] |= {"allowed_origins": [data["frontend"]["origin"]], "allowed_shapes": [], **cors}
    return data


@pytest.mark.parametrize(
    ("scheme", "cors", "said"),
    [
        ("https", {"allow_credentials": True}, ""),
        ("http", {"allow_credentials": False}, "contract.tls: whoever is on the way reads and"),
        ("http", {"allow_credentials": True}, "contract.cors.allow_credentials: http://app.exa"),
        ("https", {"allowed_shapes": ["*"]}, "contract.cors.allowed_shapes: every website could"),
    ],
)
def test_a_contract_file_is_as_strict_in_production(
    scheme: str, cors: dict[str, Any], said: str
) -> None:
    """What the config denies in production is denied in an edited contract as well."""
    data = in_production(scheme, **cors)
    if not said:
        assert Contract.from_json(data).production
        return
    with pytest.raises(ContractError, match=re.escape(said)):
        Contract.from_json(data)


def over_https(**config: str) -> Contract:
    """An environment of names with certificates of the user's own."""
    named = {"domain": "shop.test", "tls": "files"}
    return example(**{**named, **config})


def test_the_scheme_follows_tls() -> None:
    """Every origin that the kit itself makes, and what follows from it."""
    contract = over_https()
    assert contract.speaks_https and not example().speaks_https
    assert contract.frontend.origin == "https://app.shop.test"
    assert contract.cors.allowed_origins == ("https://app.shop.test",)
    for hosts, expected in ((HOSTS, "https://10.0.0.3"), (SIXES, "https://[2001:db8::3]")):
        settings = Settings.read(GOOD | {"tls": "local-ca"}, "x")
        assert make(settings, "kit", hosts).backend.origin == expected


SIXES = {
    "frontend": [host("frontend-1", "2001:db8::2")],
    "backend": [host("backend-1", "2001:db8::3")],
}


def test_a_certificate_covers_every_name_that_is_answered_over_https() -> None:
    """The origin's host first, then the aliases, then former https origins; each once, an IPv6
    address without brackets."""
    contract = over_https(
        frontend_name="@", www_redirect="true", backend_aliases='["api2.example.com"]'
    )
    former = ("http://10.0.0.3", "https://[2001:db8::3]", "https://api.shop.test:8443")
    moving = dataclasses.replace(
        contract, backend=dataclasses.replace(contract.backend, former=former)
    )
    assert contract.certificate_names("frontend") == ("shop.test", "www.shop.test")
    assert contract.certificate_names("backend") == ("api.shop.test", "api2.example.com")
    assert moving.certificate_names("backend") == (
        "api.shop.test",
        "api2.example.com",
        "2001:db8::3",
    )
    assert example().certificate_names("backend") == ()


def test_a_lineage_is_of_a_source_and_a_set_of_names() -> None:
    """Another CA or another name is another folder; an order is not."""

    def lineage(role: str = "frontend", **config: str) -> str:
        return over_https(**config).lineage(role)

    own = {"tls": "acme", "acme_directory": "https://ca.test/directory"}
    found = [
        lineage(),
        lineage("backend"),
        lineage(tls="local-ca"),
        lineage(**own),
        lineage(**own | {"acme_directory": "https://ca.test/other"}),
        lineage(frontend_name="www"),
    ]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"(acme|files|local-ca)-[0-9a-f]{16}", name) for name in found)
    assert lineage(**own) == lineage(**own, acme_email="ops@example.com")
    turned = {"www_redirect": "true"}
    assert lineage(frontend_name="@", **turned) == lineage(frontend_name="www", **turned)


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        (("tls",), "off", "contract.frontend.origin: tls is off, so write http://…"),
        (("tls",), "acme", "Let's Encrypt issues no certificate for app.shop.test, which the int"),
        (("https", "hsts"), "max-age=0x1", "contract.https.hsts: invalid value 'max-age=0x1'"),
        (("https", "hsts"), "Max-Age=300", "contract.https.hsts: write 'max-age=300'"),
        (("https", "email"), "a@example.com", "contract.https.email: tls is files, so nobody is"),
        (("backend", "former"), ["http://a.test/"], "contract.backend.former[0]: 'http://a.test/'"),
    ],
)
def test_what_a_rule_says_of_https(way: tuple[Any, ...], value: Any, said: str) -> None:
    """The rules that an edited contract breaks as soon as TLS is on."""
    data = over_https().to_json()
    assert Contract.from_json(data) == over_https()
    put(data, way, value)
    with pytest.raises(ContractError, match=re.escape(said)):
        Contract.from_json(data)


@pytest.mark.parametrize(
    ("tls", "https", "production", "by_name", "said"),
    [
        ("local-ca", Https(), True, True, "no visitor's browser trusts a CA of your own"),
        ("acme", Https(eab_kid="kid-1"), False, True, "Let's Encrypt has no such keys"),
        ("acme", Https(directory="https://ca.test/d", eab_kid="kid-1"), True, False, ""),
        ("acme", Https(staging=True, hsts="max-age=300"), True, True, ""),
        ("files", Https(hsts="max-age=300"), True, False, "browsers ignore it for an IP"),
    ],
)
def test_what_fits_together(
    tls: str, https: Https, production: bool, by_name: bool, said: str
) -> None:
    """One rule for the stack's config and for a contract that is read."""
    found = [text for _, text in conflicts(tls, https, production, by_name)]
    assert len(found) == bool(said)
    assert said in "".join(found)


def test_what_there_is_may_still_be_production_on_http() -> None:
    """An environment of before, whose config says https by now: its outputs are read all the
    same."""
    data = in_production("http")
    assert Contract.from_json(data, recorded=True).production
    with pytest.raises(ContractError, match=r"contract\.tls: "):
        Contract.from_json(data)


def test_a_former_origin_may_be_on_http_while_production_moves() -> None:
    """Its pages are allowed, cookies included, until they are closed."""
    data = in_production("https", allow_credentials=True)
    former = "http://app.example.com"
    data["cors"]["allowed_origins"].append(former)
    with pytest.raises(ContractError, match="is plain http: whoever is on the way can act"):
        Contract.from_json(data)
    data["frontend"]["former"] = [former]
    assert Contract.from_json(data).moves_from_http


def test_all_mistakes_come_at_once() -> None:
    """One line each, with its place, and the next step at the end."""
    data = whole()
    for way, value in (
        (("application", "name"), "../x"),
        (("tls",), "no"),
        (("frontend", "hosts", 0, "port"), 99999),
    ):
        put(data, way, value)
    with pytest.raises(ContractError) as caught:
        Contract.from_json(data)
    lines = str(caught.value).splitlines()
    places = [line.split(": ")[0] for line in lines[:-1]]
    assert places == [
        "contract.tls",
        "contract.application.name",
        "contract.frontend.hosts[0].port",
    ]
    assert "fab outputs" in lines[-1]


VERBS = ("plan", "deploy", "ship", "status", "doctor", "logs", "history", "rollback", "outputs")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_a_hostile_file_before_it_connects(verb: str, tmp_path: Path) -> None:
    """All of it is named, on one line each, and nobody has knocked at the host's port."""
    data = whole()
    with socket.create_server(("127.0.0.1", 0)) as server:
        for role, name in (("frontend", "127.0.0.1"), ("backend", "localhost")):
            data[role]["hosts"][0] |= {"address": name, "port": server.getsockname()[1]}
        put(data, ("application", "name"), "../../etc")
        put(data, ("backend", "hosts", 0, "user"), "-oProxyCommand=x")
        put(data, ("application", "wsgi"), "\x1b[2Jshop")
        file = tmp_path / "outputs.json"
        file.write_text(json.dumps(data))
        words = [FAB, verb, "--outputs", str(file)]
        done = subprocess.run(
            words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert done.returncode != 0
    assert "Traceback" not in done.stderr and "\x1b" not in done.stderr
    for place in ("application.name", "application.wsgi", "backend.hosts[0].user"):
        assert f"contract.{place}: invalid value" in done.stderr
    assert done.stderr.startswith(f"{file}: ")
