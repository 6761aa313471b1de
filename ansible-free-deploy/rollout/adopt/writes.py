"""Where a project writes next to its code. A release is read-only on the hosts, so each of these
fails there."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rollout.adopt.evaluate import Reader
from rollout.adopt.modules import module_name
from rollout.adopt.values import Computed, Scope, Setting, unset

_CODE = re.compile(
    r"\b(BASE_DIR|ROOT_DIR|PROJECT_DIR|PROJECT_ROOT|PROJECT_PATH|BASE_PATH|APPS_DIR|__file__)\b"
)
_WORTH_A_LOOK = re.compile(
    r"open\(|write_text|write_bytes|mkdir|makedirs|touch\(|copyfile|move\(|FileHandler|FileSystemStorage"
)
_PATH_METHODS = ("write_text", "write_bytes", "mkdir", "touch")
_MAKERS = ("os.makedirs", "os.mkdir")
_STORAGES = ("FileSystemStorage", "FileHandler", "RotatingFileHandler", "TimedRotatingFileHandler")
_WRITING = re.compile(r"[wax+]")

# Settings whose folder or file is written to, by their name; MEDIA_ROOT and the like have rows of
# their own.
_NAMED = re.compile(
    r"\w*(LOG|LOGS|INDEX|INDICES|UPLOAD|UPLOADS|CACHE|TMP|TEMP|EXPORT|EXPORTS|BACKUP|BACKUPS|OUTPUT|STORAGE|ARCHIVE|MAIL|EMAIL|SESSION|DATA|"
    r"FILE_UPLOAD_TEMP|SENDFILE|PROTECTED|PRIVATE\w*)_?(DIR|DIRECTORY|ROOT|PATH|FILE|FILENAME|FOLDER|FILE_PATH)"
)
# Other settings that name a file or folder: where nothing of the project is there, it is made at
# run time.
_PLACE = re.compile(r"\w+_(DIR|DIRECTORY|ROOT|PATH|FILE|FILENAME|FOLDER|TMP|TEMP)")
_BUILT = re.compile(
    r"(^|_)(STATIC|TEMPLATES?|FRONTEND|DIST|BUILD|ASSETS|WEBPACK|VITE|MANIFEST|BUNDLE|SRC|NODE|TESTS?)_"
)
_OWN_ROWS = ("MEDIA_ROOT", "STATIC_ROOT", "STATICFILES_DIRS", "LOCALE_PATHS", "FIXTURE_DIRS")


def places(reader: Reader, file: Path, is_settings: bool) -> Iterator[Setting]:
    """Calls of a file that write to a path next to the code."""
    if not _WORTH_A_LOOK.search(file.read_text(errors="replace")):
        return
    tree = reader.tree(file)
    if tree is None:
        return
    name = module_name(reader.root, file)
    scope = Scope(name, file, dict(reader.module(name)))
    for node in ast.walk(tree):
        target = _written(node)
        if target is not None and _is_beside(target, reader, scope):
            yield Setting(
                f"{'the settings write' if is_settings else 'the code writes'} next to the code: "
                f"`{_short(node)}`",
                reader.where(file, node),
            )


def _written(node: ast.AST) -> ast.expr | None:
    """The path that a call writes to, if it does."""
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
            words = {word.arg: word.value for word in node.keywords}
            return words.get("location", words.get("filename", node.args[0] if node.args else None))
    return None


def _is_beside(target: ast.expr, reader: Reader, scope: Scope) -> bool:
    value = reader.value(target, scope)
    if isinstance(value, (str, Path)) and str(value):
        return _inside(value, reader.root)
    return bool(_CODE.search(ast.unparse(target)))


def _inside(path: str | Path, root: Path) -> bool:
    return not Path(path).is_absolute() or Path(path).is_relative_to(root)


def _short(node: ast.AST) -> str:
    text = ast.unparse(node).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


def of_settings(
    names: Mapping[str, Setting], root: Path, shipped: Collection[Path]
) -> Iterator[Setting]:
    """Settings that have Django, a package or the project write next to the code."""
    for name, one in names.items():
        place = unset(one.value)
        if name in _OWN_ROWS or name.startswith("TEST_") or not _is_path(place, root):
            continue
        if _NAMED.fullmatch(name) or _is_made(name, place, root, shipped):
            variables = one.value.names if isinstance(one.value, Computed) else ()
            where_not_set = f" where {' or '.join(variables)} is not set" if variables else ""
            yield Setting(f"{name} is {_relative(place, root)}{where_not_set}", one.where)
    for path, value in _inner(names):
        if _is_path(value, root):
            yield Setting(f"{path} is {_relative(value, root)}", names[path.split("[")[0]].where)


def _inner(names: Mapping[str, Setting]) -> Iterator[tuple[str, Any]]:
    """Files that settings of several levels name: log files, file caches, search indexes."""
    for name, groups, key in (
        ("LOGGING", _of(names, "LOGGING", "handlers"), "filename"),
        ("CACHES", _of(names, "CACHES"), "LOCATION"),
        ("HAYSTACK_CONNECTIONS", _of(names, "HAYSTACK_CONNECTIONS"), "PATH"),
        ("HUEY", {"filename": _of(names, "HUEY")}, "filename"),
    ):
        for alias, group in groups.items():
            if not isinstance(group, dict) or (
                name == "CACHES" and "filebased" not in str(group.get("BACKEND"))
            ):
                continue
            yield f"{name}[{alias!r}]", group.get(key)


def _is_made(name: str, value: str | Path, root: Path, shipped: Collection[Path]) -> bool:
    """Whether a setting names a place below the project's folder that holds nothing of it."""
    place = Path(value)
    if (
        not _PLACE.fullmatch(name)
        or _BUILT.search(name)
        or not place.is_absolute()
        or place == root
    ):
        return False
    return not any(file.is_relative_to(place) for file in shipped)


def _of(names: Mapping[str, Setting], name: str, key: str | None = None) -> dict[str, Any]:
    value = names.get(name, Setting()).value
    inner = value.get(key) if isinstance(value, dict) and key else value
    return inner if isinstance(inner, dict) else {}


def _is_path(value: Any, root: Path) -> bool:
    if isinstance(value, str) and ("://" in value or not value):
        return False
    return isinstance(value, (str, Path)) and _inside(value, root)


def _relative(value: str | Path, root: Path) -> str:
    path = Path(value)
    return str(path.relative_to(root)) if path.is_absolute() else str(path)
