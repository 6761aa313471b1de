"""Stack config → Settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from infra.core.keys import KEYS
from infra.core.settings import Settings, SettingsError
from infra.core.stackfile import StackFileError, read_config
from rollout.stacks import stack_names

ROOT = Path(__file__).parents[1]
REQUIRED = [key.name for key in KEYS.values() if key.is_required]
GOOD = {
    "cloud": "local",
    "application": "shop",
    "backend_path": "examples/backend",
    "wsgi": "shop.wsgi:application",
    "settings": "shop.settings",
    "frontend_path": "examples/frontend",
}


REMOTE = {
    "aws": {"cloud": "aws", "region": "eu-central-1", "machine_image": "ami-0123456789abcdef0"},
    "gcp": {
        "cloud": "gcp",
        "region": "europe-west3",
        "gcp_project": "my-project",
        "machine_image": "projects/debian-cloud/global/images/debian-12-bookworm-v20260101",
    },
}
KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKEuSMBaet2WqKLQAGmX5AIBdotxpQcDqIVBB7a99c3 ada@laptop\n"
)


@pytest.fixture(autouse=True)
def an_operator(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody with an SSH key in the usual place."""
    home = tmp_path_factory.mktemp("operator")
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519.pub").write_text(KEY)
    monkeypatch.setenv("HOME", str(home))
    return home


def problems(**config: str) -> list[str]:
    """What is said about a good config with these keys on top."""
    try:
        Settings.read(GOOD | config, "x")
    except SettingsError as error:
        return error.problems
    return []


def schema() -> dict[str, dict[str, object]]:
    return dict(yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"])


def test_a_good_config_is_read() -> None:
    """Values arrive in their types, and what is not said has the schema's default."""
    read = Settings.read(
        GOOD | {"workers": "3", "extra_origins": '["HTTP://Localhost:8080/"]'}, "x"
    )
    assert (read.workers, read.max_age_s, read.production) == (3, 600, False)
    assert [str(origin) for origin in read.extra_origins] == ["http://localhost:8080"]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("connect_src", '["HTTPS://API.Stripe.com:443/"]', ("https://api.stripe.com",)),
        ("connect_src", '["WSS://Live.example.com:443"]', ("wss://live.example.com",)),
        ("connect_src", '["wss://bücher.example:80"]', ("wss://xn--bcher-kva.example:80",)),
        ("connect_src", '["https://*.Sentry.io","https://*.sentry.io"]', ("https://*.sentry.io",)),
        ("connect_src", '["http://localhost:*", "WSS:", "blob:"]', None),
        ("frame_ancestors", '["self", "https://CMS.example.com/"]', None),
        ("frame_ancestors", '["NONE"]', ("'none'",)),
        (
            "csp",
            " Default-Src  'self' ;\n img-src * data:; ",
            "default-src 'self'; img-src * data:",
        ),
        ("csp", "", ""),
    ],
)
def test_what_a_policy_is_made_from_has_one_spelling(key: str, text: str, value: object) -> None:
    """That of browsers, whatever the config's is; None: what is expected stands here."""
    expected = {
        "connect_src": ("http://localhost:*", "wss:", "blob:"),
        "frame_ancestors": ("'self'", "https://cms.example.com"),
    }
    read = getattr(Settings.read(GOOD | {key: text}, "x"), key)
    assert read == (expected[key] if value is None else value)
    assert KEYS[key].normal(read) == read


@pytest.mark.parametrize("key", ["frontend_count", "backend_count"])
def test_a_count_above_one_is_refused_with_the_reason(key: str) -> None:
    """Two hosts of a role would be two sites: two databases, two secret keys, and all requests to
    the first."""
    with pytest.raises(SettingsError, match=f"{key}: 2: without a load balancer.*; set it to 1"):
        Settings.read(GOOD | {key: "2"}, "x")
    assert Settings.read(GOOD | {key: "1"}, "x").backend_count == 1


def test_what_is_not_set_has_the_schema_s_default() -> None:
    """A stack's file holds only what differs."""
    read = Settings.read(GOOD, "x")
    for name, entry in schema().items():
        if name in GOOD:
            continue
        default = entry["default"]
        expected = tuple(default) if isinstance(default, list) else default
        assert getattr(read, name) == expected, name


@pytest.mark.parametrize("stack", stack_names())
def test_every_shipped_stack_is_valid(stack: str) -> None:
    """Each file in stacks/ is read without a problem."""
    values = read_config(ROOT, stack)
    if values["cloud"] != "local":  # what only its owner has: a pinned image
        assert (
            "machine_image"
            not in (ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text().split("config:")[1]
        )
        values["machine_image"] = REMOTE[values["cloud"]]["machine_image"]
    assert Settings.read(values, stack).stack == stack


PAGE_MISTAKES: list[tuple[dict[str, str], str]] = [
    ({key: json.dumps(value) if isinstance(value, list) else str(value)}, f"{key}: {said}")
    for key, value, said in (
        ("connect_src", ["api.stripe.com"], "invalid value 'api.stripe.com': expected an origin"),
        ("connect_src", ["ftp://a.test"], "invalid value 'ftp://a.test': expected an origin"),
        ("connect_src", ["*"], "'*' says nothing about which servers; list them, or write https:"),
        ("connect_src", ["self"], "'self' and the backend are always allowed; take it out"),
        ("connect_src", ["'none'"], "\"'none'\" says nothing about which servers"),
        (
            "connect_src",
            ["wss://live.example.com/chat"],
            "'wss://live.example.com/chat' has a path ('/chat'), which no origin has;"
            " write wss://live.example.com",
        ),
        ("connect_src", ["https://[2001:db8::1]"], "'https://[2001:db8::1]': a policy can't name"),
        ("connect_src", ["https://*.10.0.0.1"], "'https://*.10.0.0.1': nothing is below an"),
        ("connect_src", ["https://a.test:8443:*"], "'https://a.test:8443:*' has two ports"),
        ("connect_src", ['https://a.test"; x'], "'https://a.test\"; x' holds a quotation mark"),
        ("connect_src", ["https://$host"], "'https://$host' holds a template or an unset"),
        ("connect_src", ["https://a.test\nx"], "'https://a.test\\nx' holds a line break"),
        (
            "connect_src",
            [f"https://a{number}.example.com" for number in range(60)],
            "1429 characters together, nginx takes 1200; list fewer",
        ),
        ("frame_ancestors", [], "empty; write [\"'none'\"]"),
        ("frame_ancestors", ["none", "self"], "'none' contradicts the others"),
        ("frame_ancestors", ["*", "self"], "* contradicts the others"),
        ("frame_ancestors", ["wss://a.test"], "invalid value 'wss://a.test': expected an origin"),
        ("referrer_policy", "never", "invalid value 'never': expected no-referrer or"),
        ("csp", "connect-src *", "connect-src has a key of its own, which keeps the backend"),
        ("csp", "Frame-Ancestors *", "frame-ancestors has a key of its own"),
        ("csp", "scrpt-src *", "'scrpt-src' is no directive that browsers know; did you mean"),
        ("csp", "img-src *; img-src a.test", "img-src is there twice, and browsers read the first"),
        ("csp", 'img-src "self"', "img-src: invalid value '\"self\"': a policy can't hold"),
        ("csp", "img-src $a", "img-src: invalid value '$a': a policy can't hold '$'"),
        ("csp", "img-src a.test, b.test", "img-src: invalid value 'a.test,': a policy"),
        ("csp", "img-src ü.test", "img-src: invalid value 'ü.test': a policy"),
        ("csp", "img-src a\x00b", "img-src: invalid value"),
        ("csp", "script-src self", "script-src: self without quotes is a host's name"),
        ("csp", "script-src 'self", 'script-src: "\'self" has one quote too many'),
        ("csp", "sandbox allow-scripts", "sandbox takes the page's origin away"),
        ("csp", "upgrade-insecure-requests", "upgrade-insecure-requests has browsers ask for"),
        ("csp", "img-src " + "a" * 1500, "1508 characters, nginx takes 1500; shorten it"),
    )
]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"cloud": "azure"}, "cloud: invalid value 'azure': expected local or aws or gcp"),
        ({"tls": "on"}, "tls: invalid value 'on': expected off or acme or files or local-ca"),
        (
            {"tls": "acme"},
            "tls: Let's Encrypt reaches no machine of this host; set local-ca, or name your own",
        ),
        (
            {"acme_email": "a@example.com"},
            "acme_email: tls is off, so nobody is asked; take it out, or set tls: acme",
        ),
        (
            {"tls": "files", "acme_profile": "tlsserver"},
            "acme_profile: tls is files, so nobody is asked; take it out, or set tls: acme",
        ),
        (
            {"tls": "acme", "acme_directory": "https://ca.test/d", "acme_staging": "true"},
            "acme_staging: Let's Encrypt's staging is another server than acme_directory",
        ),
        (
            {"acme_directory": "http://ca.test/d"},
            "acme_directory: invalid value 'http://ca.test/d': expected the https URL of an ACME",
        ),
        ({"acme_email": "ops"}, "acme_email: invalid value 'ops': expected an address"),
        ({"hsts": "max-age=300"}, "hsts: browsers take it over https alone, and tls is off"),
        (
            {"hsts": "max-age=300", "tls": "local-ca"},
            "hsts: there is no domain, and browsers ignore it for an IP (RFC 6797, section 8.1.1)",
        ),
        ({"hsts": "300"}, "hsts: invalid value '300': expected max-age=<seconds>, and perhaps"),
        (
            {"hsts": "max-age=300; preload"},
            "hsts: preload needs max-age=31536000 or more and includeSubDomains; take it out",
        ),
        (
            {"frontend_key": "-----BEGIN PRIVATE KEY-----"},
            "frontend_key: a secret; on the local cloud it goes to stacks/x.secrets (mode 0600)",
        ),
        ({"production": "maybe"}, "production: 'maybe' is neither true nor false"),
        ({"production": "true"}, "production: the local cloud is for development; set it to false"),
        (
            {"domain": "Shop.test"},
            "domain: 'Shop.test' is not a domain; write it like shop.example.com",
        ),
        ({"domain": "shop"}, "domain: 'shop' is a single label; write it like shop.example.com"),
        (
            {"frontend_name": "a.b"},
            "frontend_name: invalid value 'a.b': expected one label of a host name, e.g. app",
        ),
        (
            {"frontend_name": "api"},
            "frontend_name: the same as backend_name; the two need names of their own",
        ),
        (
            {"backend_name": "@"},
            "backend_name: invalid value '@': expected one label of a host name, e.g. app",
        ),
        ({"www_redirect": "true"}, "www_redirect: there is no domain whose www it could be"),
        (
            {"www_redirect": "true", "domain": "shop.test"},
            'www_redirect: frontend_name is app; the redirect is between "@" and www',
        ),
        (
            {
                "www_redirect": "true",
                "domain": "shop.test",
                "frontend_name": "@",
                "backend_name": "www",
            },
            "www_redirect: backend_name is www, so that name is the backend's",
        ),
        (
            {"backend_aliases": '["http://api2.shop.test"]'},
            "backend_aliases: invalid value 'http://api2.shop.test': expected a host name without",
        ),
        (
            {"backend_aliases": '["10.0.0.1"]'},
            "backend_aliases: invalid value '10.0.0.1': expected a host name without scheme",
        ),
        (
            {"backend_aliases": '["*.shop.test"]'},
            "backend_aliases: invalid value '*.shop.test': expected a host name without scheme",
        ),
        (
            {"backend_aliases": '["api.shop.test"]', "domain": "shop.test"},
            "backend_aliases: api.shop.test is a name of this stack already; take it out",
        ),
        (
            {"backend_aliases": '["shop.test"]', "domain": "shop.test", "frontend_name": "@"},
            "backend_aliases: shop.test is a name of this stack already; take it out",
        ),
        (
            {
                "backend_aliases": '["www.shop.test"]',
                "domain": "shop.test",
                "frontend_name": "@",
                "www_redirect": "true",
            },
            "backend_aliases: www.shop.test is a name of this stack already; take it out",
        ),
        (
            {"behind": '["203.0.113.7/24"]'},
            "behind: '203.0.113.7/24' is no CIDR (203.0.113.7/24 has host bits set)",
        ),
        (
            {"behind": '["::/0"]'},
            "behind: ::/0 is the whole internet: everybody could claim any address",
        ),
        ({"backend_count": "0"}, "backend_count: '0' is not a whole number from 1 to 64"),
        ({"backend_count": "²"}, "backend_count: '²' is not a whole number from 1 to 64"),
        (
            {"application": "Shop!"},
            "application: invalid value 'Shop!': expected a short lower-case name, e.g. shop",
        ),
        (
            {"application": "apt"},
            (
                "application: 'apt' is a folder in /var/lib: its user, folders and units would be"
                " mixed"
            ),
        ),
        ({"application": "lock"}, "application: 'lock' is a folder in /run"),
        ({"application": "mail"}, "application: 'mail' is a user or group of Debian's"),
        (
            {"application": "systemd-x"},
            "application: 'systemd-x' is the start of names of the system's own",
        ),
        ({"static_url": "/../"}, "static_url: invalid value '/../': expected a path"),
        (
            {"wsgi": "shop.wsgi"},
            "wsgi: invalid value 'shop.wsgi': expected module:name, e.g. shop.wsgi:application",
        ),
        (
            {"settings": "shop/settings.py"},
            "settings: invalid value 'shop/settings.py': expected a module, e.g. shop.settings",
        ),
        (
            {"backend_path": ""},
            "backend_path: missing, and so is backend_git; name the folder with manage.py",
        ),
        ({"backend_ref": "main"}, "backend_ref: there is no backend_git that it belongs to"),
        (
            {"static_url": "static"},
            "static_url: invalid value 'static': expected a path that starts and ends",
        ),
        (
            {"media_url": "/static/"},
            "media_url: the same as static_url; the two need paths of their own",
        ),
        ({"timers": "[1]"}, "timers: '[1]' is not a map of NAME: {run: COMMAND, at: TIME}"),
        ({"env": "[1]"}, "env: '[1]' is not a map of NAME: value"),
        ({"env": '{"A B": "x"}'}, "env: 'A B' is not a variable's name"),
        ({"env": '{"A": 1}'}, "env: A is 1, not text; put it in quotes"),
        ({"env": json.dumps({"A": "x\0"})}, "env: the value of A holds a NUL"),
        (
            {"env": json.dumps({"A": "x\ufffe"})},
            "env: the value of A holds U+FFFE, which is no character",
        ),
        (
            {"extra_origins": "http://localhost:1"},
            "extra_origins: 'http://localhost:1' is not a list",
        ),
        ({"extra_origins": '["localhost:8080"]'}, "extra_origins: "),
        ({"allow_headers": '["X Y"]'}, "allow_headers: 'X Y' is not a header name"),
        ({"allow_headers": '["*"]'}, "allow_headers: '*' is taken literally"),
        (
            {"allow_methods": '["put"]'},
            "allow_methods: 'put' is not a method; methods are upper case, e.g. PUT",
        ),
        (
            {"allowed_patterns": '["https://{x}.com"]'},
            "allowed_patterns: 'https://{x}.com' has {x} right below com",
        ),
        (
            {"allowed_patterns": '["http://localhost:*"]', "allow_all_origins": "true"},
            "allowed_patterns: allow_all_origins allows every origin already",
        ),
        (
            {"allow_credentials": "true"},
            "allow_credentials: browsers never send cookies between two http IPs",
        ),
        ({"max_age_s": "-1"}, "max_age_s: '-1' is not a whole number from 0 to 86400"),
        *PAGE_MISTAKES,
        (
            {"image": "Bookworm"},
            "image: invalid value 'Bookworm': expected a Debian release's code name",
        ),
        ({"subnet": "10.0.0.0/8"}, "subnet: 10.0.0.0/8 is not a private /24"),
        ({"subnet": "8.8.8.0/24"}, "subnet: 8.8.8.0/24 is not a private /24"),
        ({"extra_orgins": "[]"}, "extra_orgins: unknown key; did you mean extra_origins?"),
        ({"env.TOKEN": "x"}, "env.TOKEN: a secret; on the local cloud it goes to stacks/x.secrets"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_cure(config: dict[str, str], said: str) -> None:
    """One mistake is one line: file, key, what is wrong, what is asked."""
    found = problems(**config)
    assert len(found) == 1
    assert found[0].startswith(f"stacks/Pulumi.x.yaml: {said}")


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(key: str) -> None:
    """A required key that is not there is a problem of its own."""
    with pytest.raises(SettingsError) as caught:
        Settings.read({name: value for name, value in GOOD.items() if name != key}, "x")
    assert caught.value.problems == [
        f"stacks/Pulumi.x.yaml: {key}: missing; the schema in Pulumi.yaml says what it is"
    ]


def test_all_mistakes_come_at_once() -> None:
    """Nobody has to run it twice to see the second mistake."""
    assert len(problems(cloud="x", wsgi="x", workers="x", extra_origins='["a", "b"]')) == 5


def test_allow_all_origins_is_refused_in_production() -> None:
    """In production a list is asked for."""
    assert any(
        "allow_all_origins: every website" in line
        for line in problems(production="true", allow_all_origins="true")
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config:\n  a: [1\n", "stacks/Pulumi.x.yaml: line 3: not YAML"),
        ("config:\n\ta: 1\n", "stacks/Pulumi.x.yaml: line 2: not YAML"),
        ("- a\n", "stacks/Pulumi.x.yaml: must be a map"),
        ("config: 3\n", "stacks/Pulumi.x.yaml: config: must be a map"),
        ("config:\n  kit:a: {secure: AAA}\n", "stacks/Pulumi.x.yaml: a: is encrypted"),
    ],
)
def test_a_broken_stack_file_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """Broken YAML is one message with file and line, never a traceback."""
    (tmp_path / "Pulumi.yaml").write_text("name: kit\nstackConfigDir: stacks\n")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "Pulumi.x.yaml").write_text(text)
    with pytest.raises(StackFileError) as caught:
        read_config(tmp_path, "x")
    assert str(caught.value).startswith(said)


def test_an_unknown_stack_lists_the_known_ones(tmp_path: Path) -> None:
    """A typo in a stack's name is answered with the names that exist."""
    with pytest.raises(
        StackFileError, match=r"no stack 'lokal'.*there is aws-dev, .*local, local-https, "
    ):
        read_config(ROOT, "lokal")


def test_values_become_text_as_pulumi_does_it(tmp_path: Path) -> None:
    """Lists and maps are JSON, booleans lower case, defaults come from the schema, other namespaces
    stay out."""
    (tmp_path / "Pulumi.yaml").write_text(
        "name: kit\nconfig:\n  a: {type: string, default: q}\n  b: {type: integer}\n"
    )
    (tmp_path / "Pulumi.x.yaml").write_text(
        "config:\n  kit:l: [a, b]\n  kit:t: true\n  aws:region: r\n  plain: {k: v}\n"
    )
    assert read_config(tmp_path, "x") == {
        "a": "q",
        "l": json.dumps(["a", "b"], separators=(",", ":")),
        "t": "true",
        "plain": '{"k":"v"}',
    }


def remote_problems(cloud: str, **config: str) -> list[str]:
    base = {**GOOD, **REMOTE[cloud], "ssh_from": '["203.0.113.7/32"]', "ssh_from_anywhere": "false"}
    full = {
        **base,
        "ssh_key_file": "~/.ssh/id_ed25519.pub",
        "architecture": "x86_64",
        "dns_zone": "",
        **config,
    }
    try:
        read = Settings.read({key: value for key, value in full.items() if value != "(none)"}, "x")
        read.check_key_file()
    except SettingsError as error:
        return error.problems
    return []


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_good_config_of_a_cloud_is_read(cloud: str) -> None:
    assert remote_problems(cloud) == []


@pytest.mark.parametrize(
    ("cloud", "config", "said"),
    [
        ("aws", {"region": "(none)"}, "region: missing; write it like eu-central-1"),
        ("aws", {"region": "europe-west3"}, "region: 'europe-west3' is not how AWS writes it"),
        (
            "gcp",
            {"region": "eu-central-1"},
            "region: 'eu-central-1' is not how Google Cloud writes it",
        ),
        (
            "aws",
            {"zones": '["eu-west-1a", "eu-central-1b"]'},
            "zones: 'eu-west-1a' is no zone of region eu-central-1",
        ),
        ("aws", {"zones": '["eu-central-1a"]'}, "zones: AWS uses 2 here"),
        (
            "gcp",
            {"zones": '["europe-west3-b", "europe-west3-c"]'},
            "zones: Google Cloud uses 1 here",
        ),
        (
            "aws",
            {"machine_type": "t4g.small"},
            "machine_type: t4g.small is arm64, architecture says x86_64",
        ),
        (
            "aws",
            {"architecture": "arm64"},
            "machine_type: t3.small is x86_64, architecture says arm64",
        ),
        ("gcp", {"machine_type": "t2a-standard-1"}, "machine_type: t2a-standard-1 is arm64"),
        (
            "gcp",
            {"machine_type": "t3.small"},
            "machine_type: 't3.small' is not how Google Cloud writes it",
        ),
        ("aws", {"machine_image": "(none)"}, "machine_image: missing; run `fab images --pin`"),
        (
            "aws",
            {"machine_image": "debian-12"},
            "machine_image: 'debian-12' is not how AWS writes it",
        ),
        (
            "gcp",
            {"image": "buster"},
            "image: 'buster' is no Debian that the kit supports; it is trixie or bookworm",
        ),
        (
            "gcp",
            {"machine_image": "ami-0123456789abcdef0"},
            "machine_image: 'ami-0123456789abcdef0' is not how Google",
        ),
        ("gcp", {"gcp_project": "(none)"}, "gcp_project: missing"),
        ("aws", {"gcp_project": "my-project"}, "gcp_project: for AWS it means nothing"),
        ("aws", {"subnet": "10.213.7.0/24"}, "subnet: for AWS it means nothing"),
        ("aws", {"ssh_from": "(none)"}, "ssh_from: missing; list the networks that may use SSH"),
        ("aws", {"ssh_from": "[]"}, "ssh_from: missing"),
        ("aws", {"ssh_from": '["203.0.113.7/24"]'}, "ssh_from: '203.0.113.7/24' is no CIDR"),
        ("aws", {"ssh_from": '["home"]'}, "ssh_from: 'home' is no CIDR"),
        ("aws", {"ssh_from": '["0.0.0.0/0"]'}, "ssh_from: 0.0.0.0/0 is the whole internet"),
        ("gcp", {"ssh_from": '["203.0.113.7/32", "::/0"]'}, "ssh_from: ::/0 is the whole internet"),
        ("aws", {"domain": "shop.example.com"}, "dns_zone: missing; a domain needs the zone"),
        ("aws", {"dns_zone": "Z1"}, "domain: missing; dns_zone alone names nothing"),
        (
            "aws",
            {
                "existing_network": "vpc-0123456789abcdef0",
                "network_cidr": "10.1.0.0/16",
                "existing_subnets": '["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]',
            },
            "network_cidr: existing_network has its own",
        ),
        (
            "aws",
            {"existing_network": "vpc-0123456789abcdef0"},
            "existing_subnets: 0 given; existing_network on AWS",
        ),
        (
            "aws",
            {"existing_subnets": '["subnet-0123456789abcdef0"]'},
            "existing_subnets: they belong to an existing",
        ),
        (
            "aws",
            {
                "existing_network": "my-vpc",
                "existing_subnets": '["subnet-01234567", "subnet-01234568"]',
            },
            "existing_network: 'my-vpc' is not how AWS writes it",
        ),
        ("aws", {"network_cidr": "8.8.0.0/16"}, "network_cidr: 8.8.0.0/16 is no private network"),
        (
            "aws",
            {"ssh_key_file": "~/nowhere.pub"},
            "ssh_key_file: ~/nowhere.pub is not there; list who may log",
        ),
        ("aws", {"env.2X": "y"}, "env.2X: '2X' is not a variable's name"),
    ],
)
def test_a_mistake_in_a_cloud_s_config_is_one_line(
    cloud: str, config: dict[str, str], said: str
) -> None:
    found = remote_problems(cloud, **config)
    assert len(found) == 1, found
    assert found[0].startswith(f"stacks/Pulumi.x.yaml: {said}")


def test_the_whole_internet_may_be_allowed_by_saying_so() -> None:
    assert remote_problems("aws", ssh_from='["0.0.0.0/0"]', ssh_from_anywhere="true") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", "is a private key; name the public one"),
        ("hello\n", "invalid SSH public key 'hello'"),
        ("", "holds no public key"),
        (KEY + "ssh-ed25519 !!!\n", "invalid SSH public key 'ssh-ed25519 !!!'"),
        (KEY * 99, "bytes of SSH keys, a first boot takes 8000; list fewer"),
    ],
)
def test_a_key_file_that_is_not_one_is_reported(an_operator: Path, text: str, said: str) -> None:
    (an_operator / ".ssh" / "id_ed25519.pub").write_text(text)
    found = remote_problems("aws")
    assert len(found) == 1
    assert said in found[0]


def test_a_list_of_keys_needs_no_file(an_operator: Path) -> None:
    """Who may log in is in the config then; a colleague's own file means nothing."""
    (an_operator / ".ssh" / "id_ed25519.pub").unlink()
    assert remote_problems("aws", ssh_keys=json.dumps([KEY.strip()])) == []
    assert len(remote_problems("aws")) == 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["hello"], "ssh_keys: invalid SSH public key 'hello': expected a line like"),
        ([f"command=x {KEY.strip()}"], "ssh_keys: invalid SSH public key"),
        ([KEY], "ssh_keys: invalid SSH public key"),
        ([KEY.strip()] * 99, "bytes of SSH keys, a first boot takes 8000"),
    ],
)
def test_a_key_in_the_list_that_is_none_is_reported(keys: list[str], said: str) -> None:
    found = remote_problems("aws", ssh_keys=json.dumps(keys))
    assert len(found) == 1
    assert said in found[0]


def test_all_mistakes_of_a_cloud_come_at_once() -> None:
    found = remote_problems(
        "aws",
        region="x",
        ssh_from='["0.0.0.0/0"]',
        domain="shop.example.com",
        gcp_project="my-project",
    )
    assert len(found) == 4


def test_secrets_of_a_cloud_are_no_unknown_keys(tmp_path: Path) -> None:
    """Encrypted, they are the program's business; the rollout reads the config without them."""
    assert remote_problems("aws", **{"env.DATABASE_URL": "postgres://…"}) == []
    (tmp_path / "Pulumi.yaml").write_text("name: origin-kit\nstackConfigDir: stacks\n")
    (tmp_path / "stacks").mkdir()
    path = tmp_path / "stacks" / "Pulumi.x.yaml"
    path.write_text(
        "config:\n  origin-kit:cloud: aws\n  origin-kit:env.TOKEN:\n    secure: v1:abc\n"
    )
    assert read_config(tmp_path, "x") == {"cloud": "aws"}
    path.write_text("config:\n  origin-kit:cloud: aws\n  origin-kit:region:\n    secure: v1:abc\n")
    with pytest.raises(StackFileError, match="region: is encrypted"):
        read_config(tmp_path, "x")
    path.write_text(
        "config:\n  origin-kit:cloud: local\n  origin-kit:env.TOKEN:\n    secure: v1:abc\n"
    )
    with pytest.raises(StackFileError, match=r"stacks/x\.secrets"):
        read_config(tmp_path, "x")


def test_production_refuses_cookies_over_plain_http() -> None:
    """Whoever is on the way could act as the visitor."""
    config = GOOD | {
        "cloud": "aws",
        "production": "true",
        "domain": "shop.de",
        "allow_credentials": "true",
    }
    with pytest.raises(SettingsError) as caught:
        Settings.read(config, "x")
    assert any(
        "allow_credentials: the frontend's own origin is plain http" in one
        for one in caught.value.problems
    )


def test_production_refuses_plain_http() -> None:
    """Passwords and answers would be anybody's; nothing but https is left."""
    config = GOOD | {"cloud": "aws", "production": "true", "domain": "shop.de"}
    with pytest.raises(SettingsError, match="tls: whoever is on the way reads and changes"):
        Settings.read(config, "x")
    with pytest.raises(SettingsError, match="tls: no visitor's browser trusts a CA of your own"):
        Settings.read(config | {"tls": "local-ca"}, "x")


def test_serials_are_of_hosts_that_are_there_and_one_at_a_time() -> None:
    """What `fab replace` writes; a host with its first machine is left out."""
    good = Settings.read(GOOD | {"serials": '{"backend-1": 2, "frontend-1": "1"}'}, "x")
    assert good.serials == {"backend-1": "2"}
    assert problems(serials='{"backend-2": "2"}') == [
        "stacks/Pulumi.x.yaml: serials: there is no host 'backend-2'; take it out"
    ]
    assert (
        "more than one host is being replaced"
        in problems(serials='{"backend-1": "1+2", "frontend-1": "2+1"}')[0]
    )
    assert "fab replace" in problems(serials='{"backend-1": "1+3"}')[0]


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_settings_are_read_without_the_key_file(cloud: str, an_operator: Path) -> None:
    """Only who makes instances needs the file; `fab ship` and `fab down` do not."""
    (an_operator / ".ssh" / "id_ed25519.pub").unlink()
    config = {**GOOD, **REMOTE[cloud], "ssh_from": '["203.0.113.7/32"]'}
    read = Settings.read(config, "x")
    assert read.ssh_key_file == "~/.ssh/id_ed25519.pub"
    with pytest.raises(SettingsError, match=r"x\.yaml: ssh_key_file: .* is not there"):
        read.check_key_file()


def test_the_former_name_of_a_key_is_read_with_a_warning() -> None:
    """One line names the file, the old key and the new one; the value counts."""
    patterns = '["http://{branch}.preview.example.com"]'
    read = Settings.read(GOOD | {"allowed_shapes": patterns, "allowed_patterns": "[]"}, "x")
    assert [pattern.text for pattern in read.allowed_patterns] == [
        "http://{branch}.preview.example.com"
    ]
    assert read.warnings == (
        "stacks/Pulumi.x.yaml: allowed_shapes: this key is now called allowed_patterns; rename it,"
        " the next version does not read the old name",
    )
    assert Settings.read(GOOD | {"allowed_patterns": patterns}, "x").warnings == ()


def test_both_names_of_a_key_are_a_mistake() -> None:
    """Nobody could say which one counts."""
    patterns = '["http://{branch}.preview.example.com"]'
    found = problems(allowed_shapes=patterns, allowed_patterns=patterns)
    assert found == [
        "stacks/Pulumi.x.yaml: allowed_shapes: the former name of allowed_patterns; keep"
        " allowed_patterns only"
    ]
