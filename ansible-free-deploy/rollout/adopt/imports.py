"""Imports: the modules of the project, each read once, and what settings import from outside."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from on_host.release.modules import files_of
from rollout.adopt.branches import Branches, imported_module
from rollout.adopt.calls import outside_name
from rollout.adopt.syntax import parse, source_text
from rollout.adopt.values import (
    AdoptError,
    External,
    Names,
    Scope,
    Setting,
    bounded,
    known,
)

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass
class Imports(Branches):
    """A reader of the modules below `root`, each once.

    `unshipped` are files that are here and not in a release. `notes` are the places that may set
    more than is read, `files` what was read, `missing` the imports of unshipped files, `imports`
    the modules from outside that are imported in an empty environment.
    """

    unshipped: Collection[Path] = ()
    notes: list[Setting] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    missing: list[Setting] = field(default_factory=list)
    imports: list[Setting] = field(default_factory=list)
    # Files in another grammar; one set for all readers of the project.
    unread: set[Path] = field(default_factory=set)
    _modules: dict[str, Names] = field(default_factory=dict)

    def find(self, module: str) -> Path | None:
        """The file of a module of the project that is shipped."""
        for file in self._files(module):
            if file not in self.unshipped:
                return file
        return None

    def _files(self, module: str) -> list[Path]:
        if not _MODULE.fullmatch(module):
            return []
        paths = [self.root / name for name in files_of(module)]
        return [path for path in paths if path.is_file()]

    def module(self, name: str) -> Names:
        """The names that a module of the project has at its end; none for any other module."""
        file = self.find(name)
        if name not in self._modules and file is not None and not self.is_exhausted():
            self._modules[name] = {}  # first, since modules import each other
            tree = self.tree(file)
            if tree:
                self.files.append(file)
                self._run_module(tree.body, Scope(name, file, self._modules[name]))
        return self._modules.get(name, {})

    def tree(self, file: Path) -> ast.Module | None:
        """The syntax tree of a file; None, and a note, for another grammar than this Python's."""
        try:
            return parse(file)
        except AdoptError:
            self.unread.add(file)
            return None

    def _run_module(self, statements: Iterable[ast.stmt], scope: Scope) -> None:
        """Read another module to its end, even one that ends the process."""
        with self.under(self.is_reached() or None):
            for statement in statements:
                self.statement(statement, scope)

    def _import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            top = alias.name.split(".")[0]
            if alias.asname:
                self._bind(alias.asname, External(alias.name), node, scope)
            else:
                self._bind(top, External(top), node, scope)
            self._note_unshipped(alias.name, node, scope)
            self._note_import(alias.name, node, scope)

    def _import_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        source = imported_module(node, scope)
        is_unshipped = self._note_unshipped(source, node, scope)
        self._note_import(source, node, scope)
        names = self.module(source)
        if node.names[0].name != "*":
            self._import_names(node, source, names, scope)
        elif self.find(source):
            scope.names |= _exported(names)
        elif not is_unshipped:
            text = f"`{source_text(node)}` is not in the project"
            self._note(text, node, scope)

    def _import_names(
        self,
        node: ast.ImportFrom,
        source: str,
        names: Names,
        scope: Scope,
    ) -> None:
        for alias in node.names:
            full = f"{source}.{alias.name}"
            if alias.name in names:
                value = names[alias.name].value
            else:
                self._note_unshipped(full, node, scope)
                value = outside_name(full)
            self._bind(alias.asname or alias.name, value, node, scope)

    def _note_unshipped(
        self,
        module: str,
        node: ast.stmt,
        scope: Scope,
    ) -> bool:
        """Note a module that is here and not shipped: whether it is one."""
        where = self.where(scope.file, node)
        is_unshipped = False
        for file in self._files(module):
            if file in self.unshipped:
                self.missing.append(Setting(file, where))
                is_unshipped = True
        return is_unshipped

    def _note_import(
        self,
        module: str,
        node: ast.stmt,
        scope: Scope,
    ) -> None:
        """Note a module from outside of the project, unless its absence may be handled."""
        top = module.split(".")[0]
        is_own = (self.root / top).is_dir() or self._files(top)
        if top and not is_own and self.is_reached():
            where = self.where(scope.file, node)
            self.imports.append(Setting(module, where))

    def _note(self, text: str, node: ast.AST, scope: Scope) -> None:
        self.notes.append(Setting(text, self.where(scope.file, node)))

    def _bind(
        self,
        name: str,
        value: Any,
        node: ast.AST,
        scope: Scope,
    ) -> None:
        where = self.where(scope.file, node)
        scope.names[name] = Setting(bounded(value), where)


def _exported(names: Names) -> Names:
    """The names that `import *` takes from a module."""
    listed = names.get("__all__", Setting()).value
    if isinstance(listed, list) and known(listed):
        return {name: setting for name, setting in names.items() if name in listed}
    return {name: setting for name, setting in names.items() if not name.startswith("_")}
