"""What a template may say: its syntax tree, walked once when the file is loaded.

Allowed is what is listed in `_Walk`; everything else of Jinja2 (macros, imports, assignments, powers, …)
is an error. The walk also finds out which names are read and which expressions mail can choose.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import nodes

from mailrules.core.errors import did_you_mean
from mailrules.core.sandbox import FILTERS, METHODS, TEST_NAMES
from mailrules.core.variables import ATTRIBUTES, FROM_MAIL, NAMES, Kind, Used

if TYPE_CHECKING:
    from mailrules.core.actions.base import ActionContext


@dataclass(frozen=True, slots=True)
class Found:
    """What the walk found out; see `Template`."""

    problems: tuple[str, ...]
    used: Used
    tainted: bool
    prefix: str


class Seen(NamedTuple):
    """What is known of one expression: its kind, and whether mail can choose its value."""

    kind: Kind | None
    tainted: bool


_NOTHING = Seen(None, False)
_ELEMENT = {Kind.ADDRESSES: Kind.ADDRESS, Kind.TEXTS: Kind.TEXT}
_WORDS = {
    nodes.Assign: "{% set %}", nodes.AssignBlock: "{% set %}", nodes.Macro: "{% macro %}",
    nodes.Include: "{% include %}", nodes.Import: "{% import %}", nodes.FromImport: "{% from %}",
    nodes.Extends: "{% extends %}", nodes.Block: "{% block %}", nodes.CallBlock: "{% call %}",
    nodes.FilterBlock: "{% filter %}", nodes.With: "{% with %}", nodes.Pow: "'**'", nodes.Dict: "'{…}'",
    nodes.ScopedEvalContextModifier: "{% autoescape %}",
}  # fmt: skip


def check(tree: nodes.Template, context: ActionContext) -> Found:
    """Walk a template. Rewrites it where the sandbox needs it (`~`, `received.strftime`)."""
    walk = _Walk(context)
    for node in tree.body:
        walk.statement(node)
    used = Used(frozenset(walk.names), frozenset(walk.parts), frozenset(walk.headers))
    return Found(tuple(dict.fromkeys(walk.problems)), used, walk.tainted, _prefix(tree))


def fill_through(tree: nodes.Template, safe: str) -> None:
    """Put every output that mail chooses through a filter of the sandbox that makes it safe."""
    for output in tree.find_all(nodes.Output):
        output.nodes = [
            _filter(n, safe, [], like=n) if getattr(n, "tainted", False) else n for n in output.nodes
        ]


def _filter(of: nodes.Expr, name: str, arguments: list[nodes.Expr], *, like: nodes.Node) -> nodes.Filter:
    return nodes.Filter(of, name, arguments, [], None, None, lineno=like.lineno, environment=like.environment)


def _prefix(tree: nodes.Template) -> str:
    text = ""
    for statement in tree.body:
        if not isinstance(statement, nodes.Output):
            break
        for node in statement.nodes:
            if not isinstance(node, nodes.TemplateData):
                return text
            text += node.data
    return text


class _Walk:
    def __init__(self, context: ActionContext) -> None:
        self.context = context
        self.problems: list[str] = []
        self.names: set[str] = set()
        self.parts: set[str] = set()
        self.headers: set[str] = set()
        self.tainted = False
        self.scope: dict[str, Seen] = {}
        self.optional = False  # directly under `default` or `is defined`

    def problem(self, text: str) -> Seen:
        self.problems.append(text)
        return _NOTHING

    # -- statements -------------------------------------------------------------------------------
    def statement(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Output):
            for place, part in enumerate(node.nodes):
                if isinstance(part, nodes.TemplateData) or not isinstance(part, nodes.Expr):
                    continue
                expression = node.nodes[place] = self.rewritten(part)
                seen = self.value(expression)
                expression.tainted = seen.tainted
                self.tainted |= seen.tainted
        elif isinstance(node, nodes.If):
            node.test = self.rewritten(node.test)
            self.expression(node.test)
            for inner in (*node.body, *node.elif_, *node.else_):
                self.statement(inner)
        elif isinstance(node, nodes.For):
            self.loop(node)
        else:
            self.problem(f"{_WORDS.get(type(node), type(node).__name__)} can't be used in a template here.")

    def loop(self, node: nodes.For) -> None:
        if self.scope or node.recursive or node.test is not None or not isinstance(node.target, nodes.Name):
            self.problem("{% for %} can't be nested, recursive, filtered, or unpack its items.")
            return
        seen = self.expression(node.iter)
        if seen.kind not in _ELEMENT:
            self.problem("{% for %} goes over a list of the message, such as message.to.")
            return
        self.scope = {
            node.target.name: Seen(_ELEMENT[seen.kind], seen.tainted),
            "loop": _NOTHING,
        }
        for inner in (*node.body, *node.else_):
            self.statement(inner)
        self.scope = {}

    # -- expressions ------------------------------------------------------------------------------
    def rewritten(self, node: Any) -> Any:
        """The node, with what the sandbox has to count put into filters."""
        for name in node.fields:
            value = getattr(node, name)
            if isinstance(value, nodes.Expr):
                setattr(node, name, self.rewritten(value))
            elif isinstance(value, list):
                setattr(node, name, [self.rewritten(v) if isinstance(v, nodes.Expr) else v for v in value])
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            self.problem(f"unknown filter '{node.name}'.{did_you_mean(node.name, FILTERS)}")
        if isinstance(node, nodes.Concat):
            return _filter(
                nodes.List(node.nodes, lineno=node.lineno, environment=node.environment),
                "_concat",
                [],
                like=node,
            )
        if (
            isinstance(node, nodes.Call)
            and isinstance(node.node, nodes.Getattr)
            and node.node.attr == "strftime"
        ):
            return _filter(node.node.node, "date", node.args, like=node)
        return node

    def value(self, node: nodes.Node) -> Seen:
        """An expression whose value is used, not only looked into."""
        seen = self.expression(node)
        words = {Kind.MESSAGE: "message.subject", Kind.VARS: "vars.NAME", Kind.MATCH: "match.NAME"}
        if seen.kind in words:
            return self.problem(f"say which part of {seen.kind.value} is meant: {words[seen.kind]}.")
        if seen.kind is Kind.HEADERS:
            return self.problem("say which header is meant: message.headers['X-Name'].")
        return seen

    def expression(self, node: nodes.Node) -> Seen:
        optional, self.optional = self.optional, False
        match node:
            case nodes.Const(value=str()):
                return Seen(Kind.TEXT, False)
            case nodes.Const(value=int(number) | float(number)) if abs(number) > 2**63:
                return self.problem("a number is too large.")
            case nodes.Const() | nodes.TemplateData():
                return _NOTHING
            case nodes.Name():
                return self.name(node)
            case nodes.Getattr():
                return self.part(self.expression(node.node), node.attr, optional)
            case nodes.Getitem():
                return self.item(node, optional)
            case nodes.Filter():
                return self.filter(node)
            case nodes.Test():
                if node.name not in TEST_NAMES:
                    return self.problem(
                        f"unknown test 'is {node.name}'.{did_you_mean(node.name, TEST_NAMES)}"
                    )
                self.optional = node.name in ("defined", "undefined")
                self.expression(node.node)
                self.all(node.args)
                return _NOTHING
            case nodes.Call():
                return self.call(node)
            case nodes.CondExpr():
                self.expression(node.test)
                branches = [self.value(node.expr1)]
                if node.expr2 is not None:
                    branches.append(self.value(node.expr2))
                return Seen(None, any(b.tainted for b in branches))
            case nodes.Compare():
                self.value(node.expr)
                self.all(operand.expr for operand in node.ops)
                return _NOTHING
            case nodes.Not():
                self.value(node.node)
                return _NOTHING
            case nodes.Neg() | nodes.Pos():
                return self.value(node.node)
            case nodes.Add() | nodes.Sub() | nodes.Mul() | nodes.Div() | nodes.FloorDiv() | nodes.Mod():
                return self.all((node.left, node.right))
            case nodes.And() | nodes.Or():
                return self.all((node.left, node.right))
            case nodes.List() | nodes.Tuple():
                return self.all(node.items)
            case nodes.Keyword():
                return self.value(node.value)
            case _:
                return self.problem(
                    f"{_WORDS.get(type(node), type(node).__name__)} can't be used in a template."
                )

    def all(self, parts: Iterable[nodes.Node]) -> Seen:
        seen = [self.value(part) for part in parts]
        return Seen(None, any(s.tainted for s in seen))

    def name(self, node: nodes.Name) -> Seen:
        if node.name in self.scope:
            return self.scope[node.name]
        if node.name not in NAMES:
            known = f" There are: {', '.join(NAMES)}."
            return self.problem(f"unknown name '{node.name}'.{did_you_mean(node.name, NAMES) or known}")
        self.names.add(node.name)
        return Seen(NAMES[node.name], node.name in FROM_MAIL)

    def item(self, node: nodes.Getitem, optional: bool) -> Seen:
        of = self.expression(node.node)
        if isinstance(node.arg, nodes.Slice):
            bounds = [b for b in (node.arg.start, node.arg.stop, node.arg.step) if b is not None]
            return Seen(of.kind, self.all(bounds).tainted | of.tainted)
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return self.part(of, node.arg.value, optional)
        self.value(node.arg)
        if of.kind in (Kind.MESSAGE, Kind.VARS, Kind.MATCH, Kind.HEADERS, *ATTRIBUTES):
            return self.problem("what stands in […] after this must be a name in quotes.")
        return Seen(_ELEMENT.get(of.kind) if of.kind else None, of.tainted)

    def part(self, of: Seen, name: str, optional: bool) -> Seen:
        """What `.name` of something is."""
        if of.kind is Kind.HEADERS:
            if not name.isascii() or not name.isprintable() or not name or set(name) & set(": "):
                return self.problem(f"'{name}' is not the name of a header.")
            self.headers.add(name)
            return Seen(Kind.TEXT, True)
        if of.kind is Kind.MATCH:
            return self.group(name, optional)
        if of.kind is Kind.VARS:
            if name not in self.context.vars and not optional:
                hint = did_you_mean(name, self.context.vars)
                return self.problem(
                    f"not every account of this rule has the var '{name}'.{hint}"
                    f" Add it to their `vars`, or write vars.{name} | default('…')."
                )
            return Seen(Kind.TEXT, False)
        if of.kind is None:
            return Seen(None, of.tainted)
        known = ATTRIBUTES.get(of.kind)
        if known is not None:
            if name not in known:
                hint = did_you_mean(name, known) or f" There are: {', '.join(known)}."
                return self.problem(f"{of.kind.value} has no '{name}'.{hint}")
            if of.kind is Kind.MESSAGE:
                self.parts.add(name)
            return Seen(known[name], of.tainted)
        if of.kind in (Kind.TEXT, Kind.NUMBER, *_ELEMENT):
            article = of.kind.value
            return self.problem(f"{article} has no '{name}'.{did_you_mean(name, METHODS)}")
        return Seen(None, of.tainted)

    def group(self, name: str, optional: bool) -> Seen:
        groups = self.context.group_names
        if name not in groups:
            return self.problem(
                f"no condition of this rule has a group named '{name}'.{did_you_mean(name, groups)}"
                f" Groups are named in a regex: (?P<{name}>…)."
            )
        if groups[name] and not optional:
            return self.problem(
                f"the group '{name}' may be missing from a message that matches."
                f" Write match.{name} | default('…')."
            )
        return Seen(Kind.TEXT, True)

    def filter(self, node: nodes.Filter) -> Seen:
        if node.node is None:
            return self.problem("{% filter %} can't be used in a template here.")
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            return self.problem("'*' can't be used in a filter.")
        self.optional = node.name in ("default", "d")
        of = self.value(node.node)
        arguments = self.all((*node.args, *(k.value for k in node.kwargs)))
        tainted = of.tainted or arguments.tainted
        if node.name in ("first", "last") and of.kind in _ELEMENT:
            return Seen(_ELEMENT[of.kind], tainted)
        if node.name in ("sort", "unique", "list"):
            return Seen(of.kind, tainted)
        return Seen(None, tainted)

    def call(self, node: nodes.Call) -> Seen:
        if not isinstance(node.node, nodes.Getattr) or node.node.attr not in METHODS:
            name = node.node.attr if isinstance(node.node, nodes.Getattr) else ""
            return self.problem(
                f"only these can be called: {', '.join(METHODS)}.{did_you_mean(name, METHODS)}"
            )
        if node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
            return self.problem(f"{node.node.attr}() takes plain arguments here.")
        of = self.value(node.node.node)
        return Seen(None, self.all(node.args).tainted or of.tainted)
