"""The base class of errors for people, and the one place where an error becomes text."""

from __future__ import annotations

from infra.core import exits


class KitError(ValueError):
    """An error that a person can act on.

    `what` is wrong, `where` it is wrong (a file, a key, a host), the `cure` is the next step, and
    `detail` is the output of another program. `str()` gives all but the detail.
    """

    exit_status: int = exits.WRONG
    before_cure = "; "

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        cure: str = "",
        detail: str = "",
        exit_status: int | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.cure = cure
        self.detail = detail
        if exit_status is not None:
            self.exit_status = exit_status

    @property
    def reason(self) -> str:
        """What is wrong and the next step, for a reader who knows the place."""
        if not self.cure:
            return self.what
        return f"{self.what}{self.before_cure}{self.cure}"

    def __str__(self) -> str:
        if not self.where:
            return self.reason
        return f"{self.where}: {self.reason}"


def status_of(problem: BaseException) -> int:
    """The exit status of an error; WRONG where its class does not define one."""
    if isinstance(problem, KitError):
        return problem.exit_status
    return exits.WRONG


def describe(problem: BaseException) -> str:
    """The text of an error for the terminal; any error that is not a KitError is a bug."""
    if not isinstance(problem, KitError):
        kind = type(problem).__name__
        return f"{kind}: {problem} (a bug in the kit: please report it)"
    if not problem.detail:
        return str(problem)
    return f"{problem}\n{problem.detail}"
