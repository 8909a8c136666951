"""YAML text -> plain data, and the line and column of every key and value.

The data is dict, list, str (quoted and block scalars), Plain (plain scalars, as they were written) and
None (an empty value, `null` or `~`). Nothing is resolved to a type: `NO`, `on` and `1.10` stay text, also as
keys. Anchors, aliases and merge keys (`<<`) work. What is refused: duplicate keys, tags, recursion, several
documents, a file over 1 MB, over 30 levels deep, or that expands past 100,000 nodes.

The parser's events are walked with a stack of our own: PyYAML's composer recurses, and 5,000 nested lists
would end in a RecursionError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path as FilePath
from typing import Any, Literal, NoReturn

import yaml

from mailrules.config.yaml_nodes import CORE, NULLS, Document, Node, Place, Source
from mailrules.config.yaml_syntax import refused_text, syntax_trouble
from mailrules.core.errors import ConfigError
from mailrules.core.values import Plain

MAX_BYTES = 1_000_000
MAX_DEPTH = 30
MAX_NODES = 100_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ALLOWED_TAGS = {CORE + "str": "scalar", CORE + "map": "mapping", CORE + "seq": "list"}


class _Fatal(Exception):
    """Reading can't go on."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def read(path: FilePath, name: str | None = None) -> Document:
    """One file. Never raises for what is in it or for a file that can't be read: see `problems`."""
    name = str(path) if name is None else name
    directory = path.parent
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        message = f"cannot be read: {why}. Check the path and the permissions."
        return Document(None, Source(name, "", directory), ((Place(name, 1, 1), message),))
    return compose(raw, name, directory=directory)


def load(path: FilePath) -> Document:
    """One file; raises ConfigError if anything is wrong with it as YAML."""
    return _sound(read(path))


def parse(text: str | bytes, name: str = "rules.yaml") -> Document:
    """The same from text."""
    return _sound(compose(text, name))


def _sound(document: Document) -> Document:
    if document.problems:
        raise ConfigError(f"{place}: {message}" for place, message in document.problems)
    return document


def compose(text: str | bytes, name: str, *, directory: FilePath | None = None) -> Document:
    """Text to a Document; what is wrong with it is in `problems`, in the order of the text."""
    directory = FilePath() if directory is None else directory
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    trouble = refused_text(raw, limit=MAX_BYTES)
    if trouble is not None:
        place = Place(name, trouble.line, trouble.column)
        return Document(None, Source(name, "", directory), ((place, trouble.message),))
    source = Source(name, raw.decode("utf-8").removeprefix("\ufeff"), directory)
    builder = _Builder(source)
    root = None
    try:
        root = builder.build()
    except _Fatal as fatal:
        builder.problems.append((fatal.place, fatal.message))
    except yaml.YAMLError as error:
        trouble = syntax_trouble(error, source.text)
        # What else was found on that line is the same mistake seen twice.
        builder.problems = [known for known in builder.problems if known[0].line != trouble.line]
        builder.problems.append((Place(name, trouble.line, trouble.column), trouble.message))
    builder.problems.sort(key=lambda problem: problem[0][1:])
    return Document(root, source, tuple(builder.problems))


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet. `key` is a mapping's key that waits for its value."""

    node: Node
    anchor: str | None
    key: Node | None = None
    merge: tuple[Node, Node] | None = None  # `<<` and what it names


class _Builder:
    """Nodes from the parser's events, with a stack instead of recursion."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[tuple[Place, str]] = []
        self._anchors: dict[str, Node | None] = {}  # None: not closed yet
        self._stack: list[_Open] = []
        self._nodes = 0

    def build(self) -> Node:
        root = Node("scalar", self.source, 1, 1, 0, 0, None)
        documents = 0
        for event in self._events():
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop(event, "a second document begins here. One file holds one: remove the '---'.")
            elif isinstance(event, yaml.AliasEvent):
                node = self._target(event)
                self._count(event, node.size)
                self._add(event, node, alias=True)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                node = self._close(event)
                if not self._stack:
                    root = node
                else:
                    self._add(event, node, alias=False)
            elif isinstance(event, yaml.ScalarEvent):
                node = self._scalar(event)
                if not self._stack:
                    root = node
                else:
                    self._add(event, node, alias=False)
        return root

    def _events(self) -> Iterator[Any]:
        given = 0
        try:
            for event in yaml.parse(self.source.text, Loader=_LOADER):
                yield event
                given += 1
        except yaml.MarkedYAMLError as error:
            if "nesting depth" not in (error.problem or ""):
                raise
            # libyaml looks far ahead and has a bound of its own; ours comes first, and says where.
            yield from islice(yaml.parse(self.source.text, Loader=yaml.SafeLoader), given, None)

    def _place(self, event: Any) -> Place:
        return Place(self.source.name, event.start_mark.line + 1, event.start_mark.column + 1)

    def _stop(self, event: Any, message: str) -> NoReturn:
        raise _Fatal(self._place(event), message)

    def _count(self, event: Any, more: int) -> None:
        self._nodes += more
        if self._nodes > MAX_NODES:
            self._stop(
                event,
                f"the file expands past {MAX_NODES:,} nodes here. "
                "Use fewer aliases; long lists belong into files of their own (lists: {file: …}).",
            )

    def _node(self, event: Any, kind: Literal["scalar", "mapping", "list"], value: Any) -> Node:
        self._count(event, 1)
        start, end = event.start_mark, event.end_mark
        node = Node(kind, self.source, start.line + 1, start.column + 1, start.index, end.index, value)
        tag = event.tag
        if tag is not None and not (tag in _ALLOWED_TAGS and _ALLOWED_TAGS[tag] == kind):
            shown = f"!!{tag.removeprefix(CORE)}" if tag.startswith(CORE) else tag
            message = f"tags have no meaning here: remove '{shown}', or put the whole text into quotes."
            self.problems.append((node.place, message))
        if event.anchor is not None:
            if event.anchor in self._anchors:
                self._stop(event, f"the anchor '&{event.anchor}' stands a second time. Rename one of them.")
            self._anchors[event.anchor] = node if kind == "scalar" else None
        return node

    def _scalar(self, event: Any) -> Node:
        plain = not event.style and event.tag is None
        value: str | None = Plain(event.value) if plain else event.value
        if plain and event.value in NULLS:
            value = None
        node = self._node(event, "scalar", value)
        node.written, node.depth = event.value, 0
        return node

    def _open(self, event: Any) -> None:
        if isinstance(event, yaml.MappingStartEvent):
            node = self._node(event, "mapping", {})
        else:
            node = self._node(event, "list", [])
        self._stack.append(_Open(node, event.anchor))
        if len(self._stack) > MAX_DEPTH:
            self._stop(
                event, f"nested more than {MAX_DEPTH} levels deep. Make it flatter; check the brackets."
            )

    def _close(self, event: Any) -> Node:
        closed = self._stack.pop()
        node = closed.node
        if self.source.text[event.end_mark.index - 1 : event.end_mark.index] in ("]", "}"):
            # A block collection "ends" where the next thing begins, after comments that are not its own.
            node.end = max(node.end, event.end_mark.index)
        if closed.anchor is not None:
            self._anchors[closed.anchor] = node
        if closed.merge is not None:
            self._merge(node, *closed.merge)
        return node

    def _target(self, event: Any) -> Node:
        name = event.anchor
        if name not in self._anchors:
            self._stop(
                event,
                f"'*{name}' names an anchor that is not above it. "
                f"Write '&{name}' before the value it means, or, if text is meant, quote it: \"*{name}\".",
            )
        node = self._anchors[name]
        if node is None:
            self._stop(event, f"'*{name}' stands inside of what it names. Write that part out.")
        return node

    def _add(self, event: Any, node: Node, *, alias: bool) -> None:
        parent = self._stack[-1]
        into = parent.node
        if alias and len(self._stack) + node.depth > MAX_DEPTH:
            self._stop(event, f"nested more than {MAX_DEPTH} levels deep by this alias. Make it flatter.")
        into.size += node.size
        into.depth = max(into.depth, node.depth + 1)
        into.has_alias = into.has_alias or alias or node.has_alias
        into.end = max(into.end, event.end_mark.index if alias else node.end)
        if into.kind == "list":
            into.value.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            key, parent.key = parent.key, None
            self._entry(parent, key, node)

    def _entry(self, parent: _Open, key: Node, value: Node) -> None:
        entries = parent.node.value
        if key.kind != "scalar":
            template = self.source.text[key.start - 1 : key.start + 1] == "{{"
            hint = 'Put a template into quotes: "{{ … }}".' if template else "If text is meant, quote it."
            self.problems.append((key.place, f"a key is text, not a {key.kind}. {hint}"))
        elif not key.written:
            self.problems.append(
                (key.place, "a key is missing before the ':'. Write one, or remove the line.")
            )
        elif key.written in entries or (key.written == "<<" and parent.merge is not None):
            first = parent.merge[0] if key.written == "<<" and parent.merge else entries[key.written][0]
            self.problems.append(
                (
                    key.place,
                    f"the key '{key.written}' stands a second time, first at line {first.line}, "
                    f"column {first.column}. Keep one of them.",
                )
            )
        elif key.written == "<<" and isinstance(key.value, Plain):
            parent.merge = (key, value)
        else:
            entries[key.written] = (key, value)

    def _merge(self, node: Node, key: Node, value: Node) -> None:
        """YAML's merge key: own keys win, then the earlier mapping; what is merged comes first."""
        merged: dict[str, tuple[Node, Node]] = {}
        for part in value.value if value.kind == "list" else [value]:
            if part.kind != "mapping":
                message = "'<<' merges a mapping or a list of mappings: write '<<: *name'."
                self.problems.append((key.place, message))
                return
            for name, entry in part.value.items():
                merged.setdefault(name, entry)
        own = dict(node.value)
        node.value.clear()
        node.value.update({name: entry for name, entry in merged.items() if name not in own})
        node.value.update(own)
