"""Where a project writes next to its code. A release is read-only on the hosts, so each of these
fails there. Only reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rollout.adopt.evaluate import Reader
from rollout.adopt.modules import module_name
from rollout.adopt.syntax import source_text
from rollout.adopt.values import Computed, Scope, Setting, unset

_CODE = re.compile(
    r"\b(BASE_DIR|ROOT_DIR|PROJECT_DIR|PROJECT_ROOT|PROJECT_PATH|BASE_PATH|APPS_DIR|__file__)\b"
)
_WORTH_A_LOOK = re.compile(
    r"open\(|write_text|write_bytes|mkdir|makedirs|touch\(|copyfile|move\(|FileHandler"
    r"|FileSystemStorage"
)
_PATH_METHODS = ("write_text", "write_bytes", "mkdir", "touch")
_MAKERS = ("os.makedirs", "os.mkdir")
_STORAGES = ("FileSystemStorage", "FileHandler", "RotatingFileHandler", "TimedRotatingFileHandler")
_WRITING = re.compile(r"[wax+]")

# Settings whose folder or file is written to, by their name; MEDIA_ROOT and the like have rows of
# their own.
_NAMED = re.compile(
    r"\w*(LOG|LOGS|INDEX|INDICES|UPLOAD|UPLOADS|CACHE|TMP|TEMP|EXPORT|EXPORTS|BACKUP|BACKUPS"
    r"|OUTPUT|STORAGE|ARCHIVE|MAIL|EMAIL|SESSION|DATA|FILE_UPLOAD_TEMP|SENDFILE|PROTECTED"
    r"|PRIVATE\w*)_?(DIR|DIRECTORY|ROOT|PATH|FILE|FILENAME|FOLDER|FILE_PATH)"
)
# Other settings that name a file or folder: where nothing of the project is there, it is made at
# run time.
_PLACE = re.compile(r"\w+_(DIR|DIRECTORY|ROOT|PATH|FILE|FILENAME|FOLDER|TMP|TEMP)")
_BUILT = re.compile(
    r"(^|_)(STATIC|TEMPLATES?|FRONTEND|DIST|BUILD|ASSETS|WEBPACK|VITE|MANIFEST|BUNDLE|SRC|NODE"
    r"|TESTS?)_"
)
_OWN_ROWS = ("MEDIA_ROOT", "STATIC_ROOT", "STATICFILES_DIRS", "LOCALE_PATHS", "FIXTURE_DIRS")


def places(
    reader: Reader,
    file: Path,
    is_settings: bool,
) -> Iterator[Setting]:
    """Calls of a file that write to a path next to the code."""
    if not _WORTH_A_LOOK.search(file.read_text(errors="replace")):
        return
    tree = reader.tree(file)
    if tree is None:
        return
    name = module_name(reader.root, file)
    scope = Scope(name, file, dict(reader.module(name)))
    subject = "the settings write" if is_settings else "the code writes"
    for node in ast.walk(tree):
        target = _written(node)
        if target is not None and _is_next_to_code(target, reader, scope):
            text = f"{subject} next to the code: `{source_text(node, longest=60)}`"
            yield Setting(text, reader.where(file, node))


def _written(node: ast.AST) -> ast.expr | None:
    """The path that a call writes to; None where it writes to none."""
    match node:
        case ast.Call(
            func=ast.Name(id="open"), args=[target, ast.Constant(value=str() as mode), *_]
        ) if _WRITING.search(mode):
            return target
        case ast.Call(
            func=ast.Attribute(value=target, attr="open"),
            args=[ast.Constant(value=str() as mode), *_],
        ) if len(mode) <= 3 and _WRITING.search(mode):
            return target
        case ast.Call(func=ast.Attribute(value=target, attr=attr)) if attr in _PATH_METHODS:
            return target
        case ast.Call(func=function, args=[target, *_]) if ast.unparse(function) in _MAKERS:
            return target
        case ast.Call(func=function) if ast.unparse(function).rpartition(".")[2] in _STORAGES:
            return _location(node)
    return None


def _location(call: ast.Call) -> ast.expr | None:
    """The folder or file of a storage or of a handler of logs."""
    by_name = {word.arg: word.value for word in call.keywords}
    for name in ("location", "filename"):
        if name in by_name:
            return by_name[name]
    return call.args[0] if call.args else None


def _is_next_to_code(
    target: ast.expr,
    reader: Reader,
    scope: Scope,
) -> bool:
    value = reader.value(target, scope)
    if isinstance(value, (str, Path)) and str(value):
        return _inside(value, reader.root)
    return _CODE.search(ast.unparse(target)) is not None


def _inside(path: str | Path, root: Path) -> bool:
    return not Path(path).is_absolute() or Path(path).is_relative_to(root)


# ---------------------------------------------------------------------------------- by settings


def of_settings(
    names: Mapping[str, Setting],
    root: Path,
    shipped: Collection[Path],
) -> Iterator[Setting]:
    """Settings that have Django, a package or the project write next to the code."""
    for name, setting in names.items():
        place = unset(setting.value)
        if name in _OWN_ROWS or name.startswith("TEST_") or not _is_path(place, root):
            continue
        if not _NAMED.fullmatch(name) and not _is_made(name, place, root, shipped):
            continue
        text = f"{name} is {_relative(place, root)}"
        if isinstance(setting.value, Computed) and setting.value.names:
            text += f" where {' or '.join(setting.value.names)} is not set"
        yield Setting(text, setting.where)
    for name, key, value in _inner(names):
        if _is_path(value, root):
            text = f"{name}[{key!r}] is {_relative(value, root)}"
            yield Setting(text, names[name].where)


def _inner(names: Mapping[str, Setting]) -> Iterator[tuple[str, str, Any]]:
    """Files that settings of several levels name: log files, file caches, search indexes.

    Each is the setting, the key in it, and the path.
    """
    handlers = _table(names, "LOGGING", "handlers")
    for handler, facts in handlers.items():
        yield "LOGGING", handler, _item(facts, "filename")
    caches = _table(names, "CACHES")
    for alias, facts in caches.items():
        backend = str(_item(facts, "BACKEND"))
        if "filebased" in backend:
            yield "CACHES", alias, _item(facts, "LOCATION")
    searches = _table(names, "HAYSTACK_CONNECTIONS")
    for alias, facts in searches.items():
        yield "HAYSTACK_CONNECTIONS", alias, _item(facts, "PATH")
    queue = _table(names, "HUEY")
    yield "HUEY", "filename", queue.get("filename")


def _item(facts: Any, key: str) -> Any:
    return facts.get(key) if isinstance(facts, dict) else None


def _table(
    names: Mapping[str, Setting],
    name: str,
    key: str = "",
) -> dict[str, Any]:
    """A setting that is a dict, or a dict in it; an empty one where it is none."""
    value = names.get(name, Setting()).value
    if key:
        value = _item(value, key)
    return value if isinstance(value, dict) else {}


def _is_made(
    name: str,
    value: str | Path,
    root: Path,
    shipped: Collection[Path],
) -> bool:
    """Whether a setting names a place below the project's folder that holds nothing of it."""
    if not _PLACE.fullmatch(name) or _BUILT.search(name):
        return False
    place = Path(value)
    if not place.is_absolute() or place == root:
        return False
    return not any(file.is_relative_to(place) for file in shipped)


def _is_path(value: Any, root: Path) -> bool:
    if isinstance(value, str) and ("://" in value or not value):
        return False
    return isinstance(value, (str, Path)) and _inside(value, root)


def _relative(value: str | Path, root: Path) -> str:
    path = Path(value)
    if not path.is_absolute():
        return str(path)
    return str(path.relative_to(root))
