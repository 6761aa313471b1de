"""Load the project as gunicorn will, and look at what its settings make of DEBUG while they are
read.

The kit's settings module sets DEBUG to False after the project's own have run. Where that found it
true, all that they derive from it is development's: `if DEBUG:`, `SECURE = not DEBUG`, `"debug":
DEBUG`.

    python -c TEXT WSGI SETTINGS        in the project's folder, under the kit's settings

prints {"debug": {"uses": [...], "set": text}} as its last line, see `debug`; an ImportError says
why gunicorn could not serve it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import sys
from typing import Iterator  # noqa: UP035 - Python 3.9 on hosts


def uses(tree: ast.AST) -> list[int]:
    """The lines where code that runs at import reads the name DEBUG, but for lines that only set it
    anew."""
    return sorted(
        {node.lineno for node in _at_import(tree) if isinstance(node, ast.Name) and _reads(node)}
    )


def assignment(tree: ast.AST) -> ast.stmt | None:
    """The last statement of the module that sets DEBUG."""
    found = [
        node
        for node in _at_import(tree)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and _sets(node)
    ]
    return found[-1] if found else None


def _at_import(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue  # it runs later, when DEBUG is what the kit has set
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and _sets(node):
            yield node
            continue
        yield node
        yield from _at_import(node)


def _reads(node: ast.Name) -> bool:
    return node.id == "DEBUG" and isinstance(node.ctx, ast.Load)


def _sets(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == "DEBUG" for target in targets)


def debug(module: str, folder: str) -> dict[str, object]:
    """{"uses": ["shop/settings.py, line 40", ...], "set": "DEBUG = True (shop/settings.py, line
    26)"}; no uses where DEBUG was false while the settings were read."""
    if not getattr(importlib.import_module(module), "DEBUG", False):
        return {"uses": [], "set": ""}
    told, where = [], ""
    for path in _settings_files(folder):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        tree, name = ast.parse(text), os.path.relpath(path, folder)
        told += [f"{name}, line {line}" for line in uses(tree)]
        if node := assignment(tree):
            words = " ".join((ast.get_source_segment(text, node) or "").split())
            where = f"{words} ({name}, line {node.lineno})"
    return {"uses": told, "set": where}


def _settings_files(folder: str) -> list[str]:
    """The files in the project that hold DEBUG among their names: its settings, in the order of
    their import."""
    modules = [module for module in list(sys.modules.values()) if "DEBUG" in vars(module)]
    paths = [os.path.realpath(getattr(module, "__file__", None) or "") for module in modules]
    return [
        path for path in dict.fromkeys(paths) if path.startswith(os.path.realpath(folder) + os.sep)
    ]


CLASSES = (
    "the settings are classes: name one by DJANGO_CONFIGURATION in `env` of the stack's config"
)


def refuse_unnamed_class() -> None:
    """Raise ImportError where django-configurations has set a class's values over the kit's.
    manage.py and wsgi.py may have a default for the class, but only of one that the stack names
    does the kit's module take the values first.
    """
    kit = vars(importlib.import_module("origin_kit_settings"))
    if "CONFIGURATION" in kit and "_by_importer" not in kit:
        raise ImportError(CLASSES)


def load(wsgi: str) -> None:
    """Import what gunicorn serves. Raises ImportError where it can't serve it under the kit's
    settings."""
    module, _, name = wsgi.partition(":")
    name = name or "application"
    called = getattr(importlib.import_module(module), name, None)
    method = getattr(called, "__call__", None)  # noqa: B004 - of the object, not of its class
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(method):
        cure = "name the module with get_wsgi_application() (wsgi.py)"
        raise ImportError(
            f"{module} holds an ASGI application, and gunicorn serves WSGI here; {cure}"
        )
    if not callable(called):
        raise ImportError(f"{module} has nothing callable by the name of {name!r}")
    if os.environ.get("DJANGO_SETTINGS_MODULE") != "origin_kit_settings":
        raise ImportError(
            f"{module} sets DJANGO_SETTINGS_MODULE itself; write os.environ.setdefault(...) there"
        )


def main(wsgi: str, settings: str) -> None:
    load(wsgi)
    refuse_unnamed_class()
    print(json.dumps({"debug": debug(settings, os.path.realpath("."))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
