"""Where an environment is on its way to other origins, and the contract of each stage. Pure.

BEFORE    the hosts answer at other origins than the config asks for
BOTH      they answer at both. Who opens the page at a former origin gets it there, and it calls the
          API at the API's former origin: the new names may not be known everywhere yet.
SWITCHED  who opens the page at a former origin is led to the new one. Pages that are open at the
          former one go on: they are answered as before.
DONE      the new origins alone

The first deploy makes BOTH. Only when the new origins answer from outside, the page switches, and
only when no page at a former origin calls any more, the last deploy leaves the new ones alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from infra.core.contract import Contract, Role
from infra.core.origins import OriginError, parse_origin
from on_host.answers import MovingAnswer, Origins, RoleOrigins
from on_host.moving import can_move
from rollout.deploy import Outcome

Looks = Sequence[Outcome[MovingAnswer]]
Held = tuple[str, Origins | None]  # a host's role, and at which origins it answers


class Stage(IntEnum):
    """How far a move has come."""

    BEFORE = 0
    BOTH = 1
    SWITCHED = 2
    DONE = 3


@dataclass(frozen=True)
class Move:
    """A move from what the hosts answer at to what `wanted` asks for.

    `page` and `api` are the former origins of either role, as far as the wanted ones are others.
    """

    wanted: Contract
    stage: Stage
    page: tuple[str, ...]
    api: tuple[str, ...]

    @property
    def former(self) -> tuple[str, ...]:
        """Every former origin, each once: the page's first."""
        return tuple(dict.fromkeys([*self.page, *self.api]))

    @property
    def leaves_http(self) -> bool:
        """Whether it goes from http to https."""
        return self.wanted.speaks_https and any(text.startswith("http:") for text in self.former)

    @property
    def leaves_https(self) -> bool:
        """Whether it goes from https to http, where both can't be answered: without `tls` there is
        no certificate."""
        wanted = (self.wanted.frontend.origin, self.wanted.backend.origin)
        return not can_move(self.former, wanted)

    @property
    def both(self) -> Contract:
        """The contract of the first deploy."""
        return self._contract(redirects=False)

    @property
    def switched(self) -> Contract:
        """The contract of the second one."""
        return self._contract(redirects=True)

    def contract_of(self, stage: Stage) -> Contract:
        """What the hosts hold in a stage that a move makes."""
        return {
            Stage.BOTH: self.both,
            Stage.SWITCHED: self.switched,
            Stage.DONE: self.wanted,
        }[stage]

    def _contract(self, redirects: bool) -> Contract:
        cors = self.wanted.cors
        https = self.wanted.https
        allowed = tuple(dict.fromkeys([*cors.allowed_origins, *self.page]))
        if self.leaves_http:
            # A browser that has seen it opens the names over https alone: nobody could go back.
            https = replace(https, hsts="")
        return replace(
            self.wanted,
            https=https,
            frontend=replace(
                self.wanted.frontend,
                former=self.page,
                redirects_former=redirects,
            ),
            backend=replace(self.wanted.backend, former=self.api),
            cors=replace(cors, allowed_origins=allowed),
        )


def held(looks: Looks) -> list[Held]:
    """What each host holds now."""
    return [(look.role, current_origins(look.result)) for look in looks]


def move_of(wanted: Contract, found: Sequence[Held]) -> Move | None:
    """The move that leads from what the hosts hold to `wanted`; None where a host does not say what
    it holds, or holds nothing.

    What a backend host says counts for the former origins: its API allows these pages already. A
    frontend's word alone would let it add origins to the API's list.
    """
    held = []
    pages = []
    apis = []
    for role, origins in found:
        if origins is None:
            return None
        if not origins:
            continue
        held.append(origins)
        if role == "backend":
            pages.append(origins["frontend"])
            apis.append(origins["backend"])
    page = _former_pages(wanted.frontend, pages)
    api = _former_apis(wanted.backend, apis)
    stage = min(_stage(wanted, origins, page, api) for origins in held)
    return Move(wanted, stage, page, api)


def current_origins(answer: MovingAnswer) -> Origins | None:
    """At which origins a host answers now."""
    return answer["origins"].get(str(answer["current"]))


def _former_pages(wanted: Role, found: Iterable[RoleOrigins]) -> tuple[str, ...]:
    """Where pages may be open. A name that led to the page, and will again, is left to that."""
    origins: list[str] = []
    for role in found:
        left = [alias for alias in role.get("aliases", ()) if alias not in wanted.aliases]
        origins.append(role["origin"])
        origins += _origins_of(role["origin"], left)
        origins += role.get("former", ())
    return _others(origins, [wanted.origin])


def _former_apis(wanted: Role, found: Iterable[RoleOrigins]) -> tuple[str, ...]:
    origins: list[str] = []
    for role in found:
        origins.append(role["origin"])
        origins += _origins_of(role["origin"], role.get("aliases", ()))
        origins += role.get("former", ())
    return _others(origins, [wanted.origin, *wanted.alias_origins])


def _origins_of(origin: str, names: Iterable[str]) -> Iterator[str]:
    """What browsers call other names of a role by (`Role.alias_origins`)."""
    scheme = origin.partition("://")[0]
    for name in names:
        yield f"{scheme}://{name}"


def _others(origins: Iterable[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Each origin once, as a browser writes it, without those that are wanted."""
    others = []
    for text in dict.fromkeys(origins):
        if text not in wanted and _is_origin(text):
            others.append(text)
    return tuple(others)


def _is_origin(text: str) -> bool:
    try:
        return str(parse_origin(text, production=False)) == text
    except OriginError:
        return False


def _stage(
    wanted: Contract,
    now: Origins,
    page: Sequence[str],
    api: Sequence[str],
) -> Stage:
    """How far one host has come."""
    frontend = now["frontend"]
    backend = now["backend"]
    if frontend["origin"] != wanted.frontend.origin:
        return Stage.BEFORE
    if backend["origin"] != wanted.backend.origin:
        return Stage.BEFORE
    answered = {*frontend.get("former", ()), *backend.get("former", ())}
    if not answered:
        return Stage.DONE
    if not answered.issuperset([*page, *api]):
        return Stage.BEFORE
    return Stage.SWITCHED if frontend.get("redirects_former") else Stage.BOTH
