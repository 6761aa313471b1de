"""From what was asked and answered to causes and cures. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from infra.contract import Contract, Json
from infra.origins import OriginError, parse_origin, parse_shape
from rollout.doctor.ask import Answer, Page, Unanswered
from rollout.doctor.questions import STRANGER, Question
from rollout.verdict import Reason, Response, Verdict, same_site

GUIDE = "docs/cors-errors.md"


@dataclass(frozen=True)
class Finding:
    """What is wrong and what mends it; `anchor` is a heading of the guide. A `warning` leaves the status at 0."""

    text: str
    cure: str
    anchor: str = ""
    warning: bool = False

    @property
    def link(self) -> str:
        return f"{GUIDE}#{self.anchor}" if self.anchor else ""


@dataclass(frozen=True)
class Cell:
    """One question, who answered it (`public` or a host's name), and what a browser makes of the answers."""

    question: Question
    view: str
    answers: tuple[Answer, ...]
    verdict: Verdict | None  # None: nothing came back

    @property
    def key(self) -> tuple[str, str]:
        return self.question.row.origin, self.question.endpoint.title

    @property
    def good(self) -> bool:
        return self.verdict is not None and self.verdict.allowed == self.question.row.allowed


@dataclass(frozen=True)
class Direct:
    """Django's own decision, asked past nginx: the Access-Control-Allow-Origin lines of its answer."""

    host: str
    origin: str
    allowed: bool
    kind: str  # `page`, or `bad host`: a refusal by a middleware
    lines: tuple[str, ...] | None  # None: nothing came back


@dataclass(frozen=True)
class HostReport:
    """What a host said of itself, or why it could not be asked."""

    name: str
    address: str
    state: Json | None
    problem: str = ""


@dataclass(frozen=True)
class Seen:
    """All that was asked."""

    contract: Contract
    cells: tuple[Cell, ...]
    direct: tuple[Direct, ...]
    hosts: tuple[HostReport, ...]
    page: Page
    addresses: dict[str, tuple[str, ...]]  # role → what its name resolves to from here


def findings(seen: Seen) -> tuple[Finding, ...]:
    """Every cause, the ones nearest to the hosts first; one line each however many cells it spoils."""
    everything = [
        *_hosts(seen),
        *_names(seen),
        *_page(seen),
        *(_told_where_files_are_right(seen, finding) for finding in (*_cells(seen), *_django(seen))),
        *_contract(seen.contract),
    ]
    return tuple(dict.fromkeys(everything))


def _told_where_files_are_right(seen: Seen, finding: Finding) -> Finding:
    """Where files and processes say that all is as it should be, a plain deploy would find nothing to do."""
    states = [host.state for host in seen.hosts]
    if all(s and not (s["diff"] or s["differs"] or s["restarts"] or s["unfinished"]) for s in states):
        return replace(finding, cure=finding.cure.replace("run `fab deploy`", "run `fab deploy --restart`"))
    return finding


# ------------------------------------------------------------------------------------------------- hosts


def _hosts(seen: Seen) -> Iterator[Finding]:
    for host in seen.hosts:
        if host.state is None:
            yield Finding(f"{host.name} can't be asked: {host.problem}", "see docs/operating.md")
            continue
        state = host.state
        if state["release"] is None:
            yield Finding(f"{host.name} has no release of the application", "run `fab ship`, then `fab deploy`")
        if state["unfinished"]:
            yield Finding(f"a deploy was cut short on {host.name}", "run `fab deploy`, which undoes it first")
        for unit, what in state["units"].items():
            if what != "active":
                yield Finding(f"{unit} on {host.name} is {what}", "see `fab logs`, then run `fab deploy`", "no-answer")
        if paths := state.get("release_changed"):
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            yield Finding(f"the release on {host.name} was changed on the host: {paths[0]}{more}", "run `fab ship`")
        yield from _drift(host.name, state)


def _drift(name: str, state: Json) -> Iterator[Finding]:
    """Files first: what runs on other configuration than its files is told only where the files are right."""
    by_origins: dict[str, list[str]] = {}
    for path, text in state["diff"].items():
        if origins := _origins_changed(text):
            by_origins.setdefault(origins, []).append(path)
        elif said := _lines_changed(text):
            yield Finding(f"{path} on {name} is not what the contract says: {said}", "run `fab deploy`")
    for origins, paths in by_origins.items():
        services = " and ".join(sorted({_SERVICES.get(path.split("/")[0], path) for path in paths}))
        yield Finding(f"{services} on {name} still answers for {origins}", "run `fab deploy`", "alloworiginmismatch")
    if any(path.startswith(_OTHERS) for path in state["differs"]):
        yield Finding(f"{name} still keeps secrets that were replaced", "run `fab deploy`", warning=True)
    for path in [] if _other_generation(state) else state["differs"]:
        if path not in state["diff"] and path != "current" and not path.startswith(_OTHERS):
            yield Finding(f"{path} on {name} has another owner, mode or target than it should", "run `fab deploy`")
    for service, why in state["restarts"].items():
        if why != "it does not run" and not state["diff"]:
            yield Finding(f"{service} on {name} runs on other configuration than its files hold", "run `fab deploy`")


def _other_generation(state: Json) -> bool:
    """Whether the host holds another generation: every file differs then in place, and the diff says what matters."""
    return bool("current" in state["differs"] and state["diff"])


_OTHERS = "generations/"  # files of other generations than the one that is compared
_SERVICES = {"nginx": "nginx", "django": "Django"}
_LITERAL = re.compile(r'"(https?://[^"\\^$]+)"|\'(https?://[^\'\\^$]+)\'')


def _origins_changed(diff: str) -> str:
    """`X; the contract says Y`, where origins came or went."""
    now, wanted = (
        {a or b for line in diff.splitlines() if line.startswith(sign) and line[:3] != sign * 3
         for a, b in _LITERAL.findall(line)}
        for sign in "-+"
    )  # fmt: skip
    old, new = sorted(now - wanted), sorted(wanted - now)
    if not old and not new:
        return ""
    said = ", ".join(old) or "fewer origins"
    return f"{said}; the contract says {', '.join(new)}" if new else f"{said}; the contract does not name it"


def _lines_changed(diff: str) -> str:
    """The first lines that differ, as a person would quote them."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("---", "+++")]
    lines = [line for line in lines if line[1:].strip() and "fingerprint" not in line.lower()]
    there = [line[1:].strip() for line in lines if line[0] == "-"]
    wanted = [line[1:].strip() for line in lines if line[0] == "+"]
    parts = [f"there is `{there[0]}`"] if there else []
    parts += [f"it lacks `{wanted[0]}`"] if wanted else []
    return ", ".join(parts)


# ------------------------------------------------------------------------------------------------- names


def _names(seen: Seen) -> Iterator[Finding]:
    roles = {"frontend": seen.contract.frontend, "backend": seen.contract.backend}
    for name, role in roles.items():
        known, found = [host.address for host in role.hosts], seen.addresses[name]
        host = urlsplit(role.origin).hostname
        if not found:
            yield Finding(
                f"the {name}'s name {host} resolves to nothing from here; its hosts were asked by address",
                f"point {host} at {known[0]}; see `fab outputs`", "no-answer", warning=True,
            )  # fmt: skip
        elif not set(found) & set(known):
            yield Finding(
                f"{host} resolves to {', '.join(found)}; the contract says {', '.join(known)}: the address changed "
                "since the last `pulumi up`, or the DNS record did not follow",
                "run `fab up`, and wait for the record's TTL", "no-answer",
            )  # fmt: skip


# ------------------------------------------------------------------------------------------------- the page


def _page(seen: Seen) -> Iterator[Finding]:
    page, contract = seen.page, seen.contract
    if page.status is None:
        yield Finding(
            f"the page {contract.frontend.origin} does not answer: {page.problem}", "see `fab status`", "no-answer"
        )
    elif page.status != 200:
        yield Finding(f"the page {contract.frontend.origin} answers {page.status}", "run `fab ship`, then `fab deploy`")
    elif page.backend is None:
        yield Finding("the page's config.json does not say where the backend is", "run `fab deploy`")
    elif page.backend != contract.backend.origin:
        yield Finding(
            f"the page's config.json sends it to {page.backend}; the contract says {contract.backend.origin}",
            "run `fab deploy`",
        )


# ------------------------------------------------------------------------------------------------- answers


def _cells(seen: Seen) -> Iterator[Finding]:
    for view in dict.fromkeys(cell.view for cell in seen.cells):
        cells = [cell for cell in seen.cells if cell.view == view]
        yield from _wrong(seen, view, [cell for cell in cells if not cell.good])
        if len(cells) > 1 and all(_open(cell) for cell in cells if cell.question.row.origin == STRANGER):
            yield Finding(
                "every website may read the answers: allow_all_origins is on",
                "before others depend on it, list extra_origins or allowed_shapes instead", warning=True,
            )  # fmt: skip


def _open(cell: Cell) -> bool:
    return cell.question.row.allowed and cell.verdict is not None and cell.verdict.allowed


def _wrong(seen: Seen, view: str, cells: Sequence[Cell]) -> Iterator[Finding]:
    where = "the public address" if view == "public" else f"nginx on {view}"
    for origin in dict.fromkeys(cell.question.row.origin for cell in cells if not cell.question.row.allowed):
        yield Finding(
            f"{where} lets in {origin}, which the contract does not: a pattern without its end, or with a bare dot?",
            "run `fab deploy`, which writes every pattern anchored and escaped", "alloworiginmismatch",
        )  # fmt: skip
    kept = [cell for cell in cells if cell.question.row.allowed]
    for reason in dict.fromkeys(cell.verdict.reason if cell.verdict else None for cell in kept):
        same = [cell for cell in kept if (cell.verdict.reason if cell.verdict else None) == reason]
        yield _refused(seen, where, view, reason, same)


def _refused(seen: Seen, where: str, view: str, reason: Reason | None, cells: Sequence[Cell]) -> Finding:
    """One cause for all cells that fail alike."""
    first = cells[0]
    titles = ", ".join(dict.fromkeys(cell.question.endpoint.title for cell in cells))
    who = ", ".join(dict.fromkeys(cell.question.row.origin for cell in cells))
    if first.verdict is None:
        problem = next((a.problem for a in first.answers if isinstance(a, Unanswered)), "nothing came back")
        return Finding(f"{where} does not answer ({problem})", "see `fab status` and `fab logs`", "no-answer")
    if (beyond := _beyond_headers(first.answers[-1])) and str(reason).endswith("MissingAllowOriginHeader"):
        return Finding(f"{where}, {titles}: {beyond[0]}; no header can reach it", beyond[1], "what-no-header-can-reach")
    cause, cure = _cause(seen, view, reason, cells)
    text = f"{where}, {titles}, for {who}: {first.verdict.sentence}{'; ' + cause if cause else ''}"
    return Finding(text, cure, first.verdict.anchor)


def _only_errors(seen: Seen, view: str, cells: Sequence[Cell]) -> bool:
    """Whether the same origins are let in wherever the status is one that a plain add_header reaches."""
    bare = {a.status for cell in cells for a in cell.answers[-1:] if isinstance(a, Response)}
    origins = {cell.question.row.origin for cell in cells}
    let_in = any(
        isinstance(answer, Response) and answer.get("Access-Control-Allow-Origin")
        for cell in seen.cells
        if cell.view == view and cell.question.row.origin in origins
        for answer in cell.answers
    )
    return let_in and not bare & _PLAIN


# https://nginx.org/en/docs/http/ngx_http_headers_module.html#add_header
_PLAIN = {200, 201, 204, 206, 301, 302, 303, 304, 307, 308}


def _beyond_headers(answer: Answer) -> tuple[str, str] | None:
    """The answers that nginx gives before it knows which site is asked, and what to do about them."""
    if not isinstance(answer, Response):
        return None
    if answer.status == 414:
        return "414, the URL is too long for nginx to have read the Origin", "shorten it, or send it as a POST's body"
    server = (answer.get("Server") or "").startswith("nginx")
    if answer.status == 400 and server and not answer.get("Vary"):
        return (
            "400 of another server block, so this name is not this site's",
            "call the API by the name in the contract",
        )
    return None


_COOKIES = "set allow_credentials: true, then run `fab deploy`; or send no cookies"


def _cause(seen: Seen, view: str, reason: Reason | None, cells: Sequence[Cell]) -> tuple[str, str]:
    plain = str(reason or "").removeprefix("Preflight")
    if plain == "MultipleAllowOriginValues":
        if view == "public" and all(c.good for c in seen.cells if c.view != "public"):
            return "the hosts themselves send one: a proxy or CDN in front adds another", "let only one of them add it"
        return "Django's line is not hidden (proxy_hide_header), so nginx's is the second", "run `fab deploy`"
    if plain == "MissingAllowOriginHeader" and _only_errors(seen, view, cells):
        return "headers are missing on errors: `add_header` without `always`, or overridden there", "run `fab deploy`"
    if plain == "MissingAllowOriginHeader":
        return "it is not in the list that runs there", "run `fab deploy`; others go in extra_origins"
    cures: dict[str, str] = {
        Reason.mixed_content: "serve the API by https, or the page by http",
        Reason.InsecureLocalNetwork: "give the backend a public address, or serve the page from the same network",
        Reason.LocalNetworkAccessPermissionDenied: "give the backend a public address",
        Reason.csp: "run `fab deploy`, which writes connect-src from the contract",
        Reason.HeaderDisallowedByPreflightResponse: "add it to allow_headers, then run `fab deploy`",
        Reason.MethodDisallowedByPreflightResponse: "add it to allow_methods, then run `fab deploy`",
        Reason.InvalidAllowCredentials: _COOKIES,
        Reason.PreflightInvalidAllowCredentials: _COOKIES,
    }
    return "", cures.get(str(reason), "run `fab deploy`")


# ------------------------------------------------------------------------------------------------- Django itself


def _django(seen: Seen) -> Iterator[Finding]:
    for one in seen.direct:
        if one.lines is None:
            continue  # the units and the cells say so already
        if one.allowed and one.kind == "bad host" and not one.lines:
            yield Finding(
                f"Django on {one.host} refuses a wrong Host without CORS headers: CorsMiddleware is missing, or stands "
                "below the middleware that refuses", "put it first; the kit does: run `fab deploy`",
                "missingalloworiginheader",
            )  # fmt: skip
        elif one.allowed and one.kind == "page" and not one.lines:
            yield Finding(
                f"Django on {one.host} does not let in {one.origin}: CORS_ALLOWED_ORIGINS or CorsMiddleware is not as "
                "the contract says", "run `fab deploy`", "missingalloworiginheader",
            )  # fmt: skip
        elif not one.allowed and one.lines:
            yield Finding(
                f"Django on {one.host} lets in {one.origin} (nginx hides it): is CORS_ALLOWED_ORIGIN_REGEXES text "
                "instead of a list, or one of its patterns without an end?", "run `fab deploy`", "alloworiginmismatch",
            )  # fmt: skip


# ------------------------------------------------------------------------------------------------- the contract


def _contract(contract: Contract) -> Iterator[Finding]:
    front, back = contract.frontend.origin, contract.backend.origin
    if contract.cors.allow_credentials and not same_site(front, back):
        both_ip = all(parse_origin(origin, production=False).is_ip for origin in (front, back))
        where = "two IPs" if both_ip else "two sites"
        yield Finding(
            f"cookies can't travel between {where} ({front} and {back}) over plain http",
            "use a domain with both names under it, or tokens instead of cookies", "cookies-between-two-sites",
        )  # fmt: skip
    if not contract.production:
        return
    for origin in contract.cors.allowed_origins:
        if parse_origin(origin, production=False).is_ip:
            yield Finding(
                f"{origin} is an address: when it is released, whoever gets it next is let in",
                "use a reserved address or a name; run `fab deploy` after every change", warning=True,
            )  # fmt: skip


# ------------------------------------------------------------------------------------------------- near misses


def near_miss(text: str, contract: Contract) -> Finding | None:
    """Why an origin that somebody expected to work does not: the one in the list that it resembles, if there is one."""
    try:
        origin = parse_origin(text, production=False)
    except OriginError as problem:
        return Finding(str(problem), "write it as a browser sends it", "invalidalloworiginvalue")
    listed = contract.cors.allowed_origins
    if str(origin) in listed or contract.cors.allowed_shapes == ("*",):
        return None
    if any(
        parse_shape(text, production=contract.production).matches(str(origin)) for text in contract.cors.allowed_shapes
    ):
        return None
    for other in (parse_origin(one, production=False) for one in listed):
        if why := _difference(origin, other):
            return Finding(
                f"{origin} and {other} are different origins: {why}",
                f"open the page as {other}, or add {origin} to extra_origins and run `fab deploy`",
                "alloworiginmismatch",
            )
    if str(origin) == contract.backend.origin:
        return Finding(f"{origin} is the backend; the list holds the pages that call it", "ask with the page's origin")
    return Finding(
        f"{origin} is not in the contract: its pages may not read the backend",
        "add it to extra_origins and run `fab deploy`, if it is yours", "missingalloworiginheader",
    )  # fmt: skip


def _difference(one: Any, other: Any) -> str:
    same_host, same_port = one.host == other.host, one.port == other.port
    loopback = {"localhost", "127.0.0.1", "[::1]"}
    if one.scheme != other.scheme and same_host:
        return f"one is {one.scheme}, the other {other.scheme}"
    if same_host and one.scheme == other.scheme and not same_port:
        return f"the port counts ({one.port or 'none written'} and {other.port or 'none written'})"
    if {one.host, other.host} <= loopback:
        return f"`{one.host}` and `{other.host}` are two names to a browser"
    if one.host.removeprefix("www.") == other.host.removeprefix("www."):
        return "www. counts"
    return ""
