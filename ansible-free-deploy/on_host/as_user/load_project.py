"""Load the project as gunicorn will, and find out how its settings use DEBUG while they are read.

The kit's settings module sets DEBUG to False after the project's own settings have run. If DEBUG
was true until then, everything that they derive from it is for development: `if DEBUG:`,
`SECURE = not DEBUG`, `"debug": DEBUG`.

    python -c TEXT WSGI SETTINGS        in the project's folder, under the kit's settings

prints {"debug": {"uses": [...], "set": text}} as its last line, see `debug`. An ImportError says
why gunicorn could not serve the project.
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
    """The lines where code that runs at import reads DEBUG, without lines that only set it."""
    lines = set()
    for node in _at_import(tree):
        if isinstance(node, ast.Name) and _reads(node):
            lines.add(node.lineno)
    return sorted(lines)


def assignment(tree: ast.AST) -> ast.stmt | None:
    """The last statement of the module that sets DEBUG."""
    last = None
    for node in _at_import(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and _sets(node):
            last = node
    return last


def _at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run at import. Functions are skipped: they run when DEBUG is the kit's."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        yield node
        only_sets_debug = isinstance(node, (ast.Assign, ast.AnnAssign)) and _sets(node)
        if not only_sets_debug:
            yield from _at_import(node)


def _reads(node: ast.Name) -> bool:
    return node.id == "DEBUG" and isinstance(node.ctx, ast.Load)


def _sets(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == "DEBUG" for target in targets)


def debug(module: str, folder: str) -> dict[str, object]:
    """Where the settings use DEBUG, and where they set it.

    {"uses": ["shop/settings.py, line 40", ...], "set": "DEBUG = True (shop/settings.py, line
    26)"}; no uses where DEBUG was false while the settings were read.
    """
    settings = importlib.import_module(module)
    if not getattr(settings, "DEBUG", False):
        return {"uses": [], "set": ""}
    places: list[str] = []
    set_at = ""
    for path in _settings_files(folder):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        tree = ast.parse(text)
        name = os.path.relpath(path, folder)
        places += [f"{name}, line {line}" for line in uses(tree)]
        node = assignment(tree)
        if node is not None:
            source = ast.get_source_segment(text, node) or ""
            on_one_line = " ".join(source.split())
            set_at = f"{on_one_line} ({name}, line {node.lineno})"
    return {"uses": places, "set": set_at}


def _settings_files(folder: str) -> list[str]:
    """The project's files that hold DEBUG among their names, in the order of their import."""
    project = os.path.realpath(folder) + os.sep
    paths: list[str] = []
    for module in list(sys.modules.values()):
        if "DEBUG" not in vars(module):
            continue
        path = os.path.realpath(getattr(module, "__file__", None) or "")
        if path.startswith(project) and path not in paths:
            paths.append(path)
    return paths


CLASSES = (
    "the settings are classes: name one by DJANGO_CONFIGURATION in `env` of the stack's config"
)


def refuse_unnamed_class() -> None:
    """Raise ImportError where django-configurations overrides the kit's settings.

    manage.py and wsgi.py may have a default for the class. But the kit's module reads the class's
    values first, as it must, only where the stack's config names the class.
    """
    kit = vars(importlib.import_module("origin_kit_settings"))
    if "CONFIGURATION" in kit and "_by_importer" not in kit:
        raise ImportError(CLASSES)


def load(wsgi: str) -> None:
    """Import what gunicorn serves.

    Raises ImportError where gunicorn can't serve it under the kit's settings.
    """
    module, _, name = wsgi.partition(":")
    name = name or "application"
    application = getattr(importlib.import_module(module), name, None)
    if _is_asgi(application):
        raise ImportError(
            f"{module} holds an ASGI application, and gunicorn serves WSGI here; name the module"
            " with get_wsgi_application() (wsgi.py)"
        )
    if not callable(application):
        raise ImportError(
            f"{module} has nothing callable named {name!r}; correct `wsgi` in the stack's config"
        )
    if os.environ.get("DJANGO_SETTINGS_MODULE") != "origin_kit_settings":
        raise ImportError(
            f"{module} sets DJANGO_SETTINGS_MODULE itself; write os.environ.setdefault(...) there"
        )


def _is_asgi(application: object) -> bool:
    method = getattr(application, "__call__", None)  # noqa: B004 - of the object, not of its class
    return inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(method)


def main(wsgi: str, settings: str) -> None:
    load(wsgi)
    refuse_unnamed_class()
    print(json.dumps({"debug": debug(settings, os.path.realpath("."))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
