"""Pairs of a page and an API whose Django keeps its cookies in many ways, and what a page's script
gets there: the table that browsers are compared by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import IO, Any
from urllib.parse import urlsplit

from rollout.verdict.login import Api, Browser, Cookie, Csrf, Handing, Login, Page, log_in
from tests.support.exchanges import self_signed
from tests.support.kit import ROOT
from tests.support.login_server import TOKEN_HEADER

SETS_AT, WRITES_AT = "/api/token/", "/api/write/"

# What a page's script does: its token first, then a login without it, then a write with both.
SCRIPT = """async ({api, credentials, handing, header, cookie}) => {
  const ask = async (path, options = {}) => {
    try {
      const answer = await fetch(api + path, {credentials, cache: "no-store", ...options});
      return {status: answer.status, body: await answer.json(), header: answer.headers.get(header)};
    } catch (problem) { return {status: 0, body: {}, header: null}; }
  };
  const own = () => document.cookie.split("; ").map((pair) => pair.split("="))
    .filter(([name]) => name === cookie).map(([, value]) => value)[0] ?? null;
  const token = async () => {
    const answer = await ask("/api/token/");
    if (handing === "body") return answer.body.token ?? null;
    return handing === "header" ? answer.header : own();
  };
  await token();
  await ask("/api/enter/", {method: "POST"});
  const who = await ask("/api/who/");
  const found = await token();
  const headers = found ? {"X-CSRFToken": found} : {};
  const written = await ask("/api/write/", {method: "POST", headers});
  return {
    session: who.body.user === "ada", token: Boolean(found), write: written.status === 200,
    status: written.status, reason: written.body.reason ?? "",
  };
}"""


@dataclass(frozen=True)
class Pair:
    """Two origins, and how they are related."""

    kind: str
    page: str
    api: str


def pairs(number: int) -> list[Pair]:
    """Every relation of a page and an API, under names that no other number has."""
    domain, other = f"shop{number}.example", f"else{number}.example"
    ip = f"{number // 200}.{number % 200 + 1}"
    hosts = [
        ("subdomain", domain, f"api.{domain}"),
        ("siblings", f"app.{domain}", f"api.{domain}"),
        ("two sites", f"app.{domain}", f"api.{other}"),
        ("public suffix", f"a{number}.github.io", f"b{number}.github.io"),
        ("two addresses", f"203.0.{ip}", f"198.51.{ip}"),
    ]
    found = []
    for schemes in (("https", "https"), ("http", "http"), ("http", "https"), ("https", "http")):
        for kind, page, api in hosts:
            found.append(Pair(kind, f"{schemes[0]}://{page}", f"{schemes[1]}://{api}"))
    for scheme, port in (("https", 8443), ("http", 8080)):
        for kind, host in (("ports of a name", domain), ("ports of an address", f"192.0.{ip}")):
            found.append(Pair(kind, f"{scheme}://{host}", f"{scheme}://{host}:{port}"))
    return found


@dataclass(frozen=True)
class Settings:
    """How a project keeps its cookies: `both` stands for SESSION_COOKIE_* and CSRF_COOKIE_*."""

    name: str
    both: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    shared: bool = False  # the two cookies get the page's registrable domain

    def django(self, pair: Pair, domain: str) -> dict[str, Any]:
        found: dict[str, Any] = dict(self.own)
        both = {**self.both, **({"DOMAIN": domain} if self.shared else {})}
        for key, value in both.items():
            for kind, plain in (("SESSION", "sessionid"), ("CSRF", "csrftoken")):
                found[f"{kind}_COOKIE_{key}"] = f"{value}{plain}" if key == "NAME" else value
        return found


NONE = {"SAMESITE": "None", "SECURE": True}
SETTINGS = (
    Settings("Django's defaults"),
    Settings("Secure", {"SECURE": True}),
    Settings("None and Secure", NONE),
    Settings("None alone", {"SAMESITE": "None"}),
    Settings("Strict", {"SAMESITE": "Strict", "SECURE": True}),
    Settings("no SameSite", {"SAMESITE": False}),
    Settings("no SameSite, Secure", {"SAMESITE": False, "SECURE": True}),
    Settings("shared domain", {"SECURE": True}, shared=True),
    Settings("shared domain, plain", shared=True),
    Settings("shared domain, None", NONE, shared=True),
    Settings("__Host-", {"NAME": "__Host-", "SECURE": True}),
    Settings("__Host- and None", {"NAME": "__Host-", **NONE}),
    Settings("__Host- with a domain", {"NAME": "__Host-", "SECURE": True}, shared=True),
    Settings("__Secure- and None", {"NAME": "__Secure-", **NONE}),
    Settings("__secure- without Secure", {"NAME": "__secure-"}),
    Settings("Partitioned", NONE, {"PARTITIONED": True}),
    Settings("Partitioned and Lax", {"SECURE": True}, {"PARTITIONED": True}),
    Settings("Partitioned alone", {"SAMESITE": "None"}, {"PARTITIONED": True}),
    Settings("HttpOnly token", {"SECURE": True}, {"CSRF_COOKIE_HTTPONLY": True}, shared=True),
    Settings("token in the session", NONE, {"CSRF_USE_SESSIONS": True}),
    Settings("other path", {**NONE, "PATH": "/other/"}),
    Settings("public suffix as domain", {**NONE, "DOMAIN": "example"}),
)


@dataclass(frozen=True)
class Case:
    """One row: a pair, the project's settings, what the kit allows, and how the page asks."""

    number: int
    pair: Pair
    settings: Settings
    handing: Handing
    trusted: str  # exact, wildcard, none
    credentials: str = "include"
    allow_credentials: bool = True
    exposes: bool = True
    allows_header: bool = True

    def __str__(self) -> str:
        return (
            f"#{self.number} {self.pair.kind}: {self.pair.page} → {self.pair.api},"
            f" {self.settings.name}, token from the {self.handing}, trusted {self.trusted},"
            f" {self.credentials}, credentials allowed {self.allow_credentials}, exposed"
            f" {self.exposes}, header allowed {self.allows_header}"
        )

    @property
    def host(self) -> str:
        return urlsplit(self.pair.api).hostname or ""

    @property
    def trusted_origins(self) -> list[str]:
        scheme, _, host = self.pair.page.partition("://")
        wildcard = f"{scheme}://*.{host.partition('.')[2]}"
        return {"exact": [self.pair.page], "wildcard": [wildcard], "none": []}[self.trusted]

    @property
    def allow_headers(self) -> tuple[str, ...]:
        return ("x-csrftoken",) if self.allows_header else ("x-other",)

    @property
    def expose_headers(self) -> tuple[str, ...]:
        return (TOKEN_HEADER,) if self.exposes else ()

    @property
    def django(self) -> dict[str, Any]:
        host = urlsplit(self.pair.page).hostname or ""
        labels = host.split(".")
        domain = host if labels[-1].isdigit() else ".".join(labels[-2:])
        return {
            **self.settings.django(self.pair, domain),
            "CORS_ALLOWED_ORIGINS": [self.pair.page],
            "CORS_ALLOW_CREDENTIALS": self.allow_credentials,
            "CORS_ALLOW_HEADERS": self.allow_headers,
            "CORS_EXPOSE_HEADERS": self.expose_headers,
            "CSRF_TRUSTED_ORIGINS": self.trusted_origins,
        }

    @property
    def script(self) -> dict[str, Any]:
        """The argument of SCRIPT."""
        name = self.django.get("CSRF_COOKIE_NAME", "csrftoken")
        return {
            "api": self.pair.api,
            "credentials": self.credentials,
            "handing": str(self.handing),
            "header": TOKEN_HEADER,
            "cookie": name,
        }

    def verdict(self, browser: Browser) -> Login:
        """The kit's verdict on it."""
        api = Api(
            origin=self.pair.api,
            session=self._cookie("SESSION", "sessionid"),
            token=self._cookie("CSRF", "csrftoken"),
            csrf=Csrf(tuple(self.trusted_origins)),
            allow_credentials=self.allow_credentials,
            allow_headers=self.allow_headers,
            expose_headers=self.expose_headers,
            sets_at=SETS_AT,
            path=WRITES_AT,
            handing=self.handing,
            token_header=TOKEN_HEADER,
        )
        if self.django.get("CSRF_USE_SESSIONS"):
            api = replace(api, token=None)
        return log_in(Page(self.pair.page, credentials=self.credentials), api, browser)

    def _cookie(self, kind: str, name: str) -> Cookie:
        given = self.django
        return Cookie(
            name=given.get(f"{kind}_COOKIE_NAME", name),
            domain=given.get(f"{kind}_COOKIE_DOMAIN", ""),
            path=given.get(f"{kind}_COOKIE_PATH", "/"),
            secure=given.get(f"{kind}_COOKIE_SECURE", False),
            http_only=given.get(f"{kind}_COOKIE_HTTPONLY", kind == "SESSION"),
            same_site=str(given.get(f"{kind}_COOKIE_SAMESITE", "Lax") or "").lower(),
            partitioned=given.get("PARTITIONED", False),
        )


def cases(rounds: int) -> list[Case]:
    """So many rounds over all pairs, each with another kind of settings; as many rounds as there
    are kinds have every pair with every kind. What else a row has is drawn, the same every
    time."""
    count = len(pairs(0))
    return [_case(number, count) for number in range(rounds * count)]


def _case(number: int, count: int) -> Case:
    draw = Random(number)
    return Case(
        number,
        pairs(number)[number % count],
        SETTINGS[(number % count * 5 + number // count) % len(SETTINGS)],
        handing=draw.choice(list(Handing)),
        trusted=draw.choice(("exact",) * 5 + ("wildcard", "none")),
        credentials=draw.choice(("include",) * 14 + ("same-origin", "omit")),
        allow_credentials=draw.random() < 0.93,
        exposes=draw.random() < 0.85,
        allows_header=draw.random() < 0.93,
    )


@dataclass(frozen=True)
class Servers:
    """Where the cases are answered, by http and by https."""

    http: int
    https: int

    def rules(self, host: str = "*") -> list[str]:
        """Chromium's rules: the host, or every name and address, leads here."""
        by_port = {80: self.http, 8080: self.http, 443: self.https, 8443: self.https}
        return [f"MAP {host}:{port} 127.0.0.1:{here}" for port, here in by_port.items()]


@contextmanager
def serving(rows: Sequence[Case], folder: Path) -> Iterator[Servers]:
    """A Django for these rows, up until the block ends."""
    with started("login_server", folder) as (given, servers):
        given.write(json.dumps({row.host: row.django for row in rows}) + "\n")
        given.flush()
        yield servers()


@contextmanager
def started(
    module: str, folder: Path, *words: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> Iterator[tuple[IO[str], Callable[[], Servers]]]:
    """A module of tests.support with `serve`: its standard input, and what waits for its ports. It
    ends with the block."""
    certificate, key = self_signed(folder)
    command = [sys.executable, "-m", f"tests.support.{module}", str(certificate), str(key), *words]
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=None if env is None else {**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        answers = process.stdout
        yield process.stdin, lambda: Servers(**json.loads(answers.readline()))


def differences(row: Case, login: Login, got: dict[str, Any]) -> list[str]:
    """One line for each of the three answers that is not the browser's, and where Django refuses
    for another reason."""
    lines = []
    for question in ("session", "token", "write"):
        hurdle = getattr(login, question)
        if (hurdle is None) != got[question]:
            why = hurdle.sentence if hurdle else "works"
            lines.append(f"{row}: {question}: the browser {got[question]}, the verdict {why}")
    untrusted = "Origin checking failed" in got["reason"]
    if untrusted and (row.trusted != "none" and login.write is None):
        lines.append(f"{row}: Django says {got['reason']}")
    return lines
