"""What the syntax of settings says by itself. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rollout.adopt.values import AdoptError, Computed, NotPython

# Methods that change a list or a dict in place.
CHANGES = ("append", "extend", "insert", "remove", "update", "setdefault")
_LONGEST_SOURCE = 50


def parse(file: Path) -> ast.Module:
    """The syntax tree of a file.

    Raises NotPython where it is not valid for this Python, AdoptError where it is nested too deep.
    """
    try:
        return ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as problem:
        line = getattr(problem, "lineno", None) or 1
        raise NotPython(file, line, getattr(problem, "msg", problem)) from None
    except (RecursionError, MemoryError):
        raise AdoptError(
            f"{file} is nested too deep to be read", cure="correct it, then run this again"
        ) from None


def source_text(node: ast.AST, longest: int = _LONGEST_SOURCE) -> str:
    """Source on one line, shortened."""
    text = ast.unparse(node).replace("\n", " ")
    return text if len(text) <= longest else text[: longest - 3] + "..."


def condition_text(test: ast.expr, condition: Any) -> str:
    """A condition for a person: that a variable is set, or the test itself."""
    if isinstance(condition, Computed) and len(condition.names) == 1 and not condition.unset:
        return f"{condition.names[0]} is set"
    return f"`{source_text(test)}`"


def names_in(node: ast.AST) -> set[str]:
    """Every name in an expression or statement."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def stored(node: ast.AST) -> tuple[str, ...]:
    """The names that a statement may set, in their order."""
    return tuple(dict.fromkeys(_targets(node)))


def _targets(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store()):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)):
                if attr in CHANGES:
                    yield name


def only_grows(node: ast.AST, name: str) -> bool:
    """Whether a loop only adds to a list of this name, and assigns it nowhere."""
    targets: list[ast.expr] = []
    for part in ast.walk(node):
        if isinstance(part, ast.Assign):
            targets += part.targets
        elif isinstance(part, (ast.For, ast.AnnAssign)):
            targets.append(part.target)
    assigned = [target.id for target in targets if isinstance(target, ast.Name)]
    return name not in assigned


def included_nodes(node: ast.Call) -> list[ast.expr]:
    """The arguments of django-split-settings' `include`, those of `*(…)` one by one."""
    nodes: list[ast.expr] = []
    for argument in node.args:
        match argument:
            case ast.Starred(value=ast.Tuple(elts=elts) | ast.List(elts=elts)):
                nodes += elts
            case _:
                nodes.append(argument)
    return nodes
