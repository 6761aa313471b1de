"""The folder of a Django project, and which of its files are code that a host may import. Only
reads."""

from __future__ import annotations

import re
from pathlib import Path

from rollout.adopt.values import AdoptError
from rollout.release.folders import walk

_TEMPLATES = {
    "cookiecutter.json": "cookiecutter",
    "copier.yml": "copier copy",
    "copier.yaml": "copier copy",
}
_NOT_SERVED = re.compile(
    r"(^|/)((tests?(_\w+)?|\w+_tests?|e2e|migrations)/|(test[^/]*|conftest)\.py$)"
)


def project_folder(path: Path) -> Path:
    """The folder with manage.py, resolved.

    Raises AdoptError where `path` is none, or a template for projects.
    """
    if not path.is_dir():
        raise AdoptError(f"there is no folder {path}", cure="name the one with manage.py")
    folder = path.resolve()
    _refuse_template(folder)
    if not (path / "manage.py").is_file():
        raise AdoptError(f"{path} has no manage.py, so it is no Django project", cure=_hint(path))
    if "{{" in (path / "manage.py").read_text(errors="replace"):
        raise AdoptError(
            f"{path} is a template for projects (manage.py has {{{{ … }}}}), not a project",
            cure="make one from it (`django-admin startproject --template`), then adopt that",
        )
    return folder


def _hint(path: Path) -> str:
    scripts = sorted([*path.glob("*/manage.py"), *path.glob("*/*/manage.py")])
    if scripts:
        return f"did you mean {scripts[0].parent}?"
    return "name the folder that holds it"


def _refuse_template(folder: Path) -> None:
    for above in (folder, *folder.parents[:2]):
        is_in_template = above == folder or "{{" in str(folder.relative_to(above))
        for name, tool in _TEMPLATES.items():
            if is_in_template and (above / name).is_file():
                raise AdoptError(
                    f"{above} is a template for projects ({name}), not a project",
                    cure=f"make one from it (`{tool} {above}`), then adopt that",
                )


def own_files(folder: Path) -> list[Path]:
    """The project's Python files, the ones nearest to manage.py first; no tests, no migrations."""
    paths = [path for path in walk(folder) if is_served(Path(path))]
    paths.sort(key=lambda path: (path.count("/"), path))
    return [folder / path for path in paths]


def is_served(path: Path) -> bool:
    """Whether a file of the project is code that a host may import; tests and migrations are
    not."""
    is_module = path.suffix == ".py" and path.stem.isidentifier()
    return is_module and not _NOT_SERVED.search(path.as_posix())
