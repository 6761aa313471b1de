"""What an expression of settings is. Pure."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rollout.adopt import environment
from rollout.adopt.calls import MOST_ITEMS, Calls
from rollout.adopt.environment import ENVIRON, Lookup
from rollout.adopt.operations import (
    all_of,
    joined,
    joined_text,
    operated,
    result,
)
from rollout.adopt.syntax import condition_text, names_in, source_text, stored
from rollout.adopt.values import (
    NOTHING,
    Computed,
    External,
    Function,
    Scope,
    Setting,
    bounded,
    known,
    opposite,
    truth,
    unknown,
    unset,
)

_MOST_EXPRESSIONS = 60_000


@dataclass(frozen=True)
class Switch:
    """A branch on DEBUG: the value of DEBUG there, and the settings that depend on it."""

    debug: Any
    test: str
    names: tuple[str, ...]
    where: str


@dataclass
class Expressions(Calls):
    """A reader of expressions; `switches` are the branches on DEBUG."""

    switches: list[Switch] = field(default_factory=list)
    _count: int = 0

    def value(self, node: ast.expr, scope: Scope) -> Any:
        """The value of an expression.

        After as many expressions as no settings have, every value is computed at run time.
        """
        self._count += 1
        if self.is_exhausted():
            self.note_limit(f"{_MOST_EXPRESSIONS} expressions", node, scope)
            return Computed()
        read = _EXPRESSIONS.get(type(node))
        if read is None:
            return self._unfollowed(node, scope)
        return bounded(read(self, node, scope))

    def is_exhausted(self) -> bool:
        """Whether more was read than any settings have."""
        return self._count > _MOST_EXPRESSIONS

    # ------------------------------------------------------------------------------ plain values

    def _constant(self, node: ast.Constant, scope: Scope) -> Any:
        return node.value

    def _name(self, node: ast.Name, scope: Scope) -> Any:
        if node.id == "__file__":
            return str(scope.file)
        if node.id in scope.names:
            return scope.names[node.id].value
        return External(node.id)

    def _list(self, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> Any:
        return self.all_items(node.elts, scope)

    def _dict(self, node: ast.Dict, scope: Scope) -> Any:
        values = [self.value(value, scope) for value in node.values]
        items: dict[Any, Any] = {}
        for key, value in zip(node.keys, values, strict=True):
            name = self.value(key, scope) if key else None
            if isinstance(name, (str, int)):
                items[name] = value
            elif key is None and isinstance(value, dict):
                items |= value
            else:
                return unknown(items, *values)
        return items

    def _joined_text(self, node: ast.JoinedStr, scope: Scope) -> Any:
        return result(joined_text, [self.value(part, scope) for part in node.values])

    def _formatted(self, node: ast.FormattedValue, scope: Scope) -> Any:
        return self.value(node.value, scope)

    def _lambda(self, node: ast.Lambda, scope: Scope) -> Any:
        return Function(node, scope)

    def _named(self, node: ast.NamedExpr, scope: Scope) -> Any:
        value = self.value(node.value, scope)
        where = self.where(scope.file, node)
        scope.names[node.target.id] = Setting(value, where)
        return value

    def _attribute_of(self, node: ast.Attribute, scope: Scope) -> Any:
        return self.attribute(self.value(node.value, scope), node.attr)

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        inner = self.value(node.value, scope)
        key = self.value(node.slice, scope)
        if inner != External(ENVIRON):
            return result(operator.getitem, [inner, key])
        value = self.call_lookup(f"{ENVIRON}.__getitem__", [key], {}, node, scope)
        if value is NOTHING:
            return unknown(key)
        return value

    def _unfollowed(self, node: ast.expr, scope: Scope) -> Any:
        """Any other expression: it depends on the same variables as its parts."""
        parts = []
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                parts.append(self.value(part, scope))
        return unknown(*parts)

    # --------------------------------------------------------------------------------- operators

    def _binary(self, node: ast.BinOp, scope: Scope) -> Any:
        left = self.value(node.left, scope)
        return operated(node.op, left, self.value(node.right, scope))

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> Any:
        if isinstance(node.op, ast.Not):
            return result(operator.not_, [self.value(node.operand, scope)])
        if isinstance(node.op, ast.USub):
            return result(operator.neg, [self.value(node.operand, scope)])
        return self._unfollowed(node, scope)

    def _compared(self, node: ast.Compare, scope: Scope) -> Any:
        left = self.value(node.left, scope)
        parts = []
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.value(right_node, scope)
            if right == External(ENVIRON) and environment.is_name(left):
                parts.append(self._is_set(op, left, right_node, scope))
            else:
                parts.append(operated(op, left, right))
            left = right
        if len(parts) == 1:
            return parts[0]
        return result(all_of, parts)

    def _is_set(
        self,
        op: ast.cmpop,
        name: str,
        node: ast.expr,
        scope: Scope,
    ) -> Any:
        """`name in os.environ`, or `not in`."""
        if not isinstance(op, (ast.In, ast.NotIn)):
            return operated(op, name, External(ENVIRON))
        is_set = self.look_up(Lookup(name, False, "there"), node, scope)
        if isinstance(op, ast.NotIn):
            return result(operator.not_, [is_set])
        return is_set

    def _either(self, node: ast.BoolOp, scope: Scope) -> Any:
        """`and` and `or`: a later part is read only where the parts before leave it open."""
        is_and = isinstance(node.op, ast.And)
        value = self.value(node.values[0], scope)
        for part in node.values[1:]:
            if not known(value):
                value = self._either_of_two(value, part, is_and, scope)
            elif bool(value) is is_and:
                value = self.value(part, scope)
            else:
                return value
        return value

    def _either_of_two(
        self,
        first: Any,
        node: ast.expr,
        is_and: bool,
        scope: Scope,
    ) -> Any:
        """`first and NODE`, or `or`, where only a run shows `first`."""
        holds = truth(first)
        goes_on = holds if is_and else opposite(holds)
        unless = "" if is_and else condition_text(node, first)
        with self.under(goes_on, unless):
            second = self.value(node, scope)
        plain = NOTHING
        if goes_on is not None:
            plain = unset(second if goes_on else first)
        return bounded(replace(unknown(first, second), unset=plain))

    # -------------------------------------------------------------------------------- conditions

    def _choice(self, node: ast.IfExp, scope: Scope) -> Any:
        condition = self.value(node.test, scope)
        self.note_switch(node.test, node.test, scope)
        if known(condition):
            branch = node.body if condition else node.orelse
            return self.value(branch, scope)
        holds = truth(condition)
        with self.under(holds):
            yes = self.value(node.body, scope)
        with self.under(opposite(holds), condition_text(node.test, condition)):
            no = self.value(node.orelse, scope)
        value = joined(yes, no, source_text(node.test), condition)
        if isinstance(value, Computed):
            return replace(value, maybe=None, when="")
        return value

    def note_switch(
        self,
        test: ast.expr,
        node: ast.AST,
        scope: Scope,
    ) -> None:
        """Note a branch on DEBUG."""
        if "DEBUG" not in names_in(test):
            return
        debug = scope.names.get("DEBUG", Setting()).value
        where = self.where(scope.file, test)
        self.switches.append(Switch(debug, source_text(test), stored(node), where))

    # ---------------------------------------------------------------------------- comprehensions

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp, scope: Scope) -> Any:
        """A comprehension over a list that is known, one item after the other."""
        if len(node.generators) > 1:
            return self._unfollowed(node, scope)
        loop = node.generators[0]
        items = self.value(loop.iter, scope)
        is_list = isinstance(items, list)
        is_long = is_list and len(items) > MOST_ITEMS
        if is_long:
            self.note_limit(f"{MOST_ITEMS} items of a list", loop.iter, scope)
        if is_long or not is_list or not isinstance(loop.target, ast.Name):
            with self.under(None):
                inner = replace(scope, names=dict(scope.names))
                element = self.value(node.elt, inner)
                return unknown(items, element)
        values = []
        for item in items:
            names = {**scope.names, loop.target.id: Setting(item)}
            inner = replace(scope, names=names)
            tests = [self.value(test, inner) for test in loop.ifs]
            if not all(map(known, tests)):
                if not isinstance(node.elt, ast.Name):
                    return unknown(items, *tests)
                values.append(item)  # the filter is not known: it is still one of these
            elif all(tests):
                values.append(self.value(node.elt, inner))
        return values


_EXPRESSIONS: dict[type[ast.expr], Callable[[Expressions, Any, Scope], Any]] = {
    ast.Constant: Expressions._constant,
    ast.Name: Expressions._name,
    ast.List: Expressions._list,
    ast.Tuple: Expressions._list,
    ast.Set: Expressions._list,
    ast.Dict: Expressions._dict,
    ast.JoinedStr: Expressions._joined_text,
    ast.FormattedValue: Expressions._formatted,
    ast.Lambda: Expressions._lambda,
    ast.NamedExpr: Expressions._named,
    ast.Attribute: Expressions._attribute_of,
    ast.Subscript: Expressions._subscript,
    ast.BinOp: Expressions._binary,
    ast.UnaryOp: Expressions._unary,
    ast.Compare: Expressions._compared,
    ast.BoolOp: Expressions._either,
    ast.IfExp: Expressions._choice,
    ast.Call: Expressions.call,
    ast.ListComp: Expressions._comprehension,
    ast.GeneratorExp: Expressions._comprehension,
}
