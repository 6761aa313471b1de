"""From what was asked and answered to causes and cures. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from infra.core.contract import Contract, Json
from infra.core.origins import OriginError, parse_origin, parse_pattern
from rollout.doctor.ask import Answer, Unanswered
from rollout.doctor.causes import by_cause
from rollout.doctor.failures import (
    application_of,
    failing_of,
    failures,
    last_words,
    lost_cookies,
    only_failures,
)
from rollout.doctor.questions import STRANGER
from rollout.doctor.seen import PAGE, PUBLIC, Cell, Direct, HostReport, Seen, where
from rollout.finding import Finding, Kind
from rollout.verdict import Reason, Response, same_site


def findings(seen: Seen) -> tuple[Finding, ...]:
    """Every root cause, the ones nearest to the hosts first, and under each what follows from it;
    one line each however many cells it spoils. A question without an answer is no verdict."""
    everything = [
        *_nothing(seen),
        *_hosts(seen),
        *_names(seen),
        *_page(seen),
        *failures(seen),
        *lost_cookies(seen),
        *(
            _told_where_files_are_right(seen, finding)
            for finding in (*_cells(seen), *_django(seen))
        ),
        *_contract(seen.contract),
    ]
    return by_cause(everything)


def _told_where_files_are_right(seen: Seen, finding: Finding) -> Finding:
    """Where files and processes say that all is as it should be, a plain deploy would find nothing
    to do."""
    states = [host.state for host in seen.hosts]
    if all(
        s and not (s["diff"] or s["differs"] or s["restarts"] or s["unfinished"]) for s in states
    ):
        return replace(
            finding, cure=finding.cure.replace("run `fab deploy`", "run `fab deploy --restart`")
        )
    return finding


# -------------------------------------------------------------------------------------------- hosts


def _hosts(seen: Seen) -> Iterator[Finding]:
    for host in seen.hosts:
        served = _served(seen, host)
        if host.state is None:
            yield Finding(
                f"{host.name} can't be asked: {host.problem}",
                cure="see docs/operating.md",
                kind=Kind.HOST,
                reach=served,
            )
            continue
        state = host.state
        if state.get("generation", "") is None:  # so nothing runs there, and no file is there yet
            shipped = state["release"] is not None
            text = (
                "no configuration was deployed to {} yet"
                if shipped
                else "nothing was shipped or deployed to {} yet"
            )
            yield Finding(
                text.format(host.name),
                cure="run `fab deploy`" if shipped else "run `fab up`",
                kind=Kind.NO_RELEASE,
                reach=served | _application(served),
            )
            continue
        if state["release"] is None:
            yield Finding(
                f"{host.name} has no release of the application",
                cure="run `fab ship`, then `fab deploy`",
                kind=Kind.NO_RELEASE,
                reach=_application(served),
            )
        if state["unfinished"]:
            yield Finding(
                f"a deploy was cut short on {host.name}",
                cure="run `fab deploy`, which undoes it first",
                kind=Kind.DRIFT,
                reach=served,
            )
        for unit, what in state["units"].items():
            if what != "active":
                reach = served if unit.startswith("nginx.") else _application(served)
                yield Finding(
                    f"{unit} on {host.name} is {what}",
                    cure="see `fab logs`, then run `fab deploy`",
                    anchor="no-answer",
                    kind=Kind.STOPPED,
                    places=reach,
                    reach=reach,
                )
        if killed := state.get("workers_killed"):
            text = (
                f"the kernel has killed {killed} of gunicorn's workers on {host.name} in the last 5"
                " minutes, for want of memory"
            )
            cure = (
                "give the host more (memory_mb or machine_type, then `fab up`), or have fewer"
                " `workers`"
            )
            yield Finding(
                text, cure=cure, anchor="5xx", kind=Kind.STOPPED, reach=_application(served)
            )
        if paths := state.get("release_changed"):
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            yield Finding(
                f"the release on {host.name} was changed on the host: {paths[0]}{more}",
                cure="run `fab ship`",
                kind=Kind.DRIFT,
            )
        yield from (replace(one, kind=Kind.DRIFT, reach=served) for one in _drift(host.name, state))


def _nothing(seen: Seen) -> Iterator[Finding]:
    if seen.unanswered:
        yield Finding(
            "nothing answers: neither a host nor the page nor the API could be asked, so nothing"
            " was judged",
            cure="see that this machine has a network and that the hosts run, then ask again",
            anchor="no-answer",
            kind=Kind.NOTHING,
        )


def _served(seen: Seen, host: HostReport) -> frozenset[str]:
    """Who answers by this host: its own view, and what is asked at its address."""
    roles = {"frontend": (seen.contract.frontend, PAGE), "backend": (seen.contract.backend, PUBLIC)}
    return frozenset([host.name]) | {
        view
        for name, (role, view) in roles.items()
        if host.address == (seen.addresses[name] or (role.hosts[0].address,))[0]
        and host.name in [one.name for one in role.hosts]
    }


def _application(served: frozenset[str]) -> frozenset[str]:
    """The places of what the application fails to answer there; of a frontend it is the page."""
    return frozenset(
        place
        for view in served
        for place in ([PAGE] if view == PAGE else [application_of(view), failing_of(view)])
    )


def _drift(name: str, state: Json) -> Iterator[Finding]:
    """Files first: what runs on other configuration than its files is told only where the files are
    right."""
    by_origins: dict[str, list[str]] = {}
    for path, text in state["diff"].items():
        if origins := _origins_changed(text):
            by_origins.setdefault(origins, []).append(path)
        elif said := _lines_changed(text):
            yield Finding(
                f"{path} on {name} is not what the contract says: {said}", cure="run `fab deploy`"
            )
    for origins, paths in by_origins.items():
        services = " and ".join(sorted({_SERVICES.get(path.split("/")[0], path) for path in paths}))
        yield Finding(
            f"{services} on {name} still answers for {origins}",
            cure="run `fab deploy`",
            anchor="alloworiginmismatch",
        )
    if any(path.startswith(_OTHERS) for path in state["differs"]):
        yield Finding(
            f"{name} still keeps secrets that were replaced", cure="run `fab deploy`", warning=True
        )
    for path in [] if _other_generation(state) else state["differs"]:
        if path not in state["diff"] and path != "current" and not path.startswith(_OTHERS):
            yield Finding(
                f"{path} on {name} has another owner, mode or target than it should",
                cure="run `fab deploy`",
            )
    for service, why in state["restarts"].items():
        if why != "not running" and not state["diff"]:
            yield Finding(
                f"{service} on {name} runs on other configuration than its files hold",
                cure="run `fab deploy`",
            )


def _other_generation(state: Json) -> bool:
    """Whether the host holds another generation: every file differs then in place, and the diff
    says what matters."""
    return bool("current" in state["differs"] and state["diff"])


_OTHERS = "generations/"  # files of other generations than the one that is compared
_SERVICES = {"nginx": "nginx", "django": "Django"}
_LITERAL = re.compile(r'"(https?://[^"\\^$]+)"|\'(https?://[^\'\\^$]+)\'')


def _origins_changed(diff: str) -> str:
    """`X; the contract says Y`, where origins came or went."""
    now, wanted = (
        {
            a or b
            for line in diff.splitlines()
            if line.startswith(sign) and line[:3] != sign * 3
            for a, b in _LITERAL.findall(line)
        }
        for sign in "-+"
    )
    old, new = sorted(now - wanted), sorted(wanted - now)
    if not old and not new:
        return ""
    said = ", ".join(old) or "fewer origins"
    return (
        f"{said}; the contract says {', '.join(new)}"
        if new
        else f"{said}; the contract does not name it"
    )


def _lines_changed(diff: str) -> str:
    """The first lines that differ, as a person would quote them."""
    lines = [
        line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("---", "+++")
    ]
    lines = [line for line in lines if line[1:].strip() and "fingerprint" not in line.lower()]
    there = [line[1:].strip() for line in lines if line[0] == "-"]
    wanted = [line[1:].strip() for line in lines if line[0] == "+"]
    parts = [f"there is `{there[0]}`"] if there else []
    parts += [f"it lacks `{wanted[0]}`"] if wanted else []
    return ", ".join(parts)


# -------------------------------------------------------------------------------------------- names


def _names(seen: Seen) -> Iterator[Finding]:
    roles = {"frontend": seen.contract.frontend, "backend": seen.contract.backend}
    for name, role in roles.items():
        known, found = [host.address for host in role.hosts], seen.addresses[name]
        host = urlsplit(role.origin).hostname
        if not found:
            yield Finding(
                f"the {name}'s name {host} resolves to nothing from here; its hosts were asked by"
                " address",
                cure=f"point {host} at {known[0]}; see `fab outputs`",
                anchor="no-answer",
                warning=True,
                kind=Kind.NAME,
            )
        elif not set(found) & set(known):
            yield Finding(
                f"{host} resolves to {', '.join(found)}; the contract says {', '.join(known)}: the"
                " address changed since the last `pulumi up`, or the DNS record did not follow",
                cure="run `fab up`, and wait for the record's TTL",
                anchor="no-answer",
                kind=Kind.NAME,
                reach=frozenset([PAGE if name == "frontend" else PUBLIC]),
            )


# ----------------------------------------------------------------------------------------- the page


def _page(seen: Seen) -> Iterator[Finding]:
    page, contract = seen.page, seen.contract
    url, places = contract.frontend.origin, frozenset([PAGE])
    if page.status is None:
        yield Finding(
            f"the page {url} does not answer: {page.problem}",
            cure="see `fab status`",
            anchor="no-answer",
            kind=Kind.SILENT,
            places=places,
        )
    elif page.status != 200:
        cure = "see `fab logs`" if page.status >= 500 else "run `fab ship`, then `fab deploy`"
        yield Finding(
            f"the page {url} answers {page.status}", cure=cure, kind=Kind.FAILS, places=places
        )
    elif page.config_problem:
        yield Finding(
            f"the page's config.json could not be read ({page.config_problem}): where it sends the"
            " page is not known",
            cure="see `fab status` and `fab logs`",
            kind=Kind.SILENT,
            places=places,
        )
    elif page.backend is None:
        yield Finding(
            "the page's config.json does not say where the backend is", cure="run `fab deploy`"
        )
    elif page.backend != contract.backend.origin:
        yield Finding(
            f"the page's config.json sends it to {page.backend}; the contract says"
            f" {contract.backend.origin}",
            cure="run `fab deploy`",
        )


# ------------------------------------------------------------------------------------------ answers


def _cells(seen: Seen) -> Iterator[Finding]:
    for view in dict.fromkeys(cell.view for cell in seen.cells):
        cells = [cell for cell in seen.cells if cell.view == view]
        yield from _silent(view, [cell for cell in cells if cell.verdict is None])
        yield from _wrong(
            seen, view, [cell for cell in cells if cell.verdict and not cell.judged_right]
        )
        if len(cells) > 1 and all(
            _open(cell) for cell in cells if cell.question.row.origin == STRANGER
        ):
            yield Finding(
                "every website may read the answers: allow_all_origins is on",
                cure="before others depend on it, list extra_origins or allowed_shapes instead",
                warning=True,
            )


def _open(cell: Cell) -> bool:
    return cell.question.row.allowed and cell.verdict is not None and cell.verdict.allowed


def _silent(view: str, cells: Sequence[Cell]) -> Iterator[Finding]:
    """What could not be asked: no verdict."""
    problems = [
        answer.problem
        for cell in cells
        for answer in cell.answers
        if isinstance(answer, Unanswered)
    ]
    for problem in list(dict.fromkeys(problems))[:1]:
        yield Finding(
            f"{where(view)} does not answer ({problem})",
            cure="see `fab status` and `fab logs`",
            anchor="no-answer",
            kind=Kind.SILENT,
            places=frozenset([view]),
        )


def _wrong(seen: Seen, view: str, cells: Sequence[Cell]) -> Iterator[Finding]:
    for origin in dict.fromkeys(
        cell.question.row.origin for cell in cells if not cell.question.row.allowed
    ):
        yield Finding(
            f"{where(view)} lets in {origin}, which the contract does not: a pattern without its"
            " end, or with a bare dot?",
            cure="run `fab deploy`, which writes every pattern anchored and escaped",
            anchor="alloworiginmismatch",
            kind=Kind.CORS,
            places=frozenset([view]),
        )
    kept = [cell for cell in cells if cell.question.row.allowed]
    for reason in dict.fromkeys(cell.verdict.reason for cell in kept if cell.verdict):
        yield _refused(
            seen,
            view,
            reason,
            [cell for cell in kept if cell.verdict and cell.verdict.reason == reason],
        )


def _refused(seen: Seen, view: str, reason: Reason | None, cells: Sequence[Cell]) -> Finding:
    """One cause for all cells that fail alike."""
    first = cells[0].verdict
    assert first
    titles = ", ".join(dict.fromkeys(cell.question.endpoint.title for cell in cells))
    who = ", ".join(dict.fromkeys(cell.question.row.origin for cell in cells))
    asked = f"{where(view)}, {titles}"
    missing = str(reason).endswith("MissingAllowOriginHeader")
    if missing and (beyond := _beyond_headers(cells[0].answers[-1])):
        return Finding(
            f"{asked}: {beyond[0]}; no header can reach it",
            cure=beyond[1],
            anchor="what-no-header-can-reach",
        )
    if missing and only_failures(cells):
        return Finding(
            f"{asked}, for {who}: {first.sentence}",
            cure="mend what answers 5xx first",
            anchor=first.anchor,
            kind=Kind.CORS,
            places=frozenset([failing_of(view)]),
        )
    cause, cure = _cause(seen, view, reason, cells)
    text = f"{asked}, for {who}: {first.sentence}{'; ' + cause if cause else ''}"
    kind = Kind.CORS if cure.startswith("run `fab deploy`") else Kind.OTHER
    return Finding(text, cure=cure, anchor=first.anchor, kind=kind, places=frozenset([view]))


def _only_errors(seen: Seen, view: str, cells: Sequence[Cell]) -> bool:
    """Whether the same origins are let in wherever the status is one that a plain add_header
    reaches."""
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
    """The answers that nginx gives before it knows which site is asked, and what to do about
    them."""
    if not isinstance(answer, Response):
        return None
    if answer.status == 414:
        return (
            "414, the URL is too long for nginx to have read the Origin",
            "shorten it, or send it as a POST's body",
        )
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
        hosts = [cell for cell in seen.cells if cell.view != PUBLIC and cell.verdict]
        if view == PUBLIC and not hosts:
            return (
                "Django's line is not hidden, or a proxy in front adds another",
                "let only one of them add it",
            )
        if view == PUBLIC and all(cell.judged_right for cell in hosts):
            return (
                "the hosts themselves send one: a proxy or CDN in front adds another",
                "let only one of them add it",
            )
        return (
            "Django's line is not hidden (proxy_hide_header), so nginx's is the second",
            "run `fab deploy`",
        )
    if plain == "MissingAllowOriginHeader" and _only_errors(seen, view, cells):
        return (
            "headers are missing on errors: `add_header` without `always`, or overridden there",
            "run `fab deploy`",
        )
    if plain == "MissingAllowOriginHeader":
        return (
            "it is not in the list that runs there",
            "run `fab deploy`; others go in extra_origins",
        )
    cures: dict[str, str] = {
        Reason.mixed_content: "serve the API by https, or the page by http",
        Reason.InsecureLocalNetwork: (
            "give the backend a public address, or serve the page from the same network"
        ),
        Reason.LocalNetworkAccessPermissionDenied: "give the backend a public address",
        Reason.csp: "run `fab deploy`, which writes connect-src from the contract",
        Reason.HeaderDisallowedByPreflightResponse: (
            "add it to allow_headers, then run `fab deploy`"
        ),
        Reason.MethodDisallowedByPreflightResponse: (
            "add it to allow_methods, then run `fab deploy`"
        ),
        Reason.InvalidAllowCredentials: _COOKIES,
        Reason.PreflightInvalidAllowCredentials: _COOKIES,
    }
    return "", cures.get(str(reason), "run `fab deploy`")


# ------------------------------------------------------------------------------------ Django itself


def _django(seen: Seen) -> Iterator[Finding]:
    """What Django decides where nginx is not in front. Without an answer of Django's there is no
    verdict on it."""
    missing = {
        (one.host, one.origin) for one in seen.direct if one.kind == "page" and not one.lines
    }
    for one in seen.direct:
        places = frozenset([one.host])
        if one.lines is None:
            yield Finding(
                f"gunicorn on {one.host} does not answer ({one.problem or 'nothing came back'})",
                cure="see `fab status` and `fab logs`",
                anchor="no-answer",
                kind=Kind.SILENT,
                places=frozenset([application_of(one.host)]),
            )
        elif one.allowed and not one.lines and one.status >= 500:
            yield _no_verdict(seen, one)
        elif (
            one.allowed
            and one.kind == "bad host"
            and not one.lines
            and (one.host, one.origin) not in missing
        ):
            yield Finding(
                f"Django on {one.host} answers {one.status} to a preflight with a wrong Host,"
                " without CORS headers: CorsMiddleware is missing, or stands below the middleware"
                " that refuses",
                cure="put it first; the kit does: run `fab deploy`",
                anchor="missingalloworiginheader",
                kind=Kind.CORS,
                places=places,
            )
        elif one.allowed and one.kind == "page" and not one.lines:
            yield Finding(
                f"Django on {one.host} does not let in {one.origin}: CORS_ALLOWED_ORIGINS or"
                " CorsMiddleware is not as the contract says",
                cure="run `fab deploy`",
                anchor="missingalloworiginheader",
                kind=Kind.CORS,
                places=places,
            )
        elif not one.allowed and one.lines:
            yield Finding(
                f"Django on {one.host} lets in {one.origin} (nginx hides it): is"
                " CORS_ALLOWED_ORIGIN_REGEXES text instead of a list, or one of its patterns"
                " without an end?",
                cure="run `fab deploy`",
                anchor="alloworiginmismatch",
                kind=Kind.CORS,
                places=places,
            )


def _no_verdict(seen: Seen, one: Direct) -> Finding:
    words = (
        "" if any(cell.failing for cell in seen.cells) else last_words(seen, [one.host])
    )  # told there already
    what = "a preflight" if one.kind == "page" else "a preflight with a wrong Host"
    whose = (
        "gunicorn's own error page, so the project's failed too"
        if one.bare
        else "the application itself fails"
    )
    return Finding(
        f"gunicorn on {one.host} answers {one.status} to {what}: {whose}; whether CorsMiddleware is"
        f" in place could not be asked{words}",
        cure="see `fab logs`",
        kind=Kind.SILENT,
        places=frozenset([failing_of(one.host)]),
    )


# ------------------------------------------------------------------------------------- the contract


def _contract(contract: Contract) -> Iterator[Finding]:
    front, back = contract.frontend.origin, contract.backend.origin
    if contract.cors.allow_credentials and not same_site(front, back):
        both_ip = all(parse_origin(origin, production=False).is_ip for origin in (front, back))
        where = "two IPs" if both_ip else "two sites"
        yield Finding(
            f"cookies can't travel between {where} ({front} and {back}) over plain http",
            cure="use a domain with both names under it, or tokens instead of cookies",
            anchor="cookies-between-two-sites",
        )
    if not contract.production:
        return
    for origin in contract.cors.allowed_origins:
        if parse_origin(origin, production=False).is_ip:
            yield Finding(
                f"{origin} is an address: when it is released, whoever gets it next is let in",
                cure="use a reserved address or a name; run `fab deploy` after every change",
                warning=True,
            )


# -------------------------------------------------------------------------------------- near misses


def near_miss(text: str, contract: Contract) -> Finding | None:
    """Why an origin that somebody expected to work does not: the one in the list that it resembles,
    if there is one."""
    try:
        origin = parse_origin(text, production=False)
    except OriginError as problem:
        return Finding(
            str(problem), cure="write it as a browser sends it", anchor="invalidalloworiginvalue"
        )
    listed = contract.cors.allowed_origins
    if str(origin) in listed or contract.cors.allowed_shapes == ("*",):
        return None
    if any(
        parse_pattern(text, production=contract.production).matches(str(origin))
        for text in contract.cors.allowed_shapes
    ):
        return None
    for other in (parse_origin(one, production=False) for one in listed):
        if why := _difference(origin, other):
            return Finding(
                f"{origin} and {other} are different origins: {why}",
                cure=f"open the page as {other}, or add {origin} to extra_origins and run"
                " `fab deploy`",
                anchor="alloworiginmismatch",
            )
    if str(origin) == contract.backend.origin:
        return Finding(
            f"{origin} is the backend; the list holds the pages that call it",
            cure="ask with the page's origin",
        )
    return Finding(
        f"{origin} is not in the contract: its pages may not read the backend",
        cure="add it to extra_origins and run `fab deploy`, if it is yours",
        anchor="missingalloworiginheader",
    )


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
