"""What was read from YAML: values with the place of each, and how to write them out again."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal, NamedTuple

import yaml

from mailrules.core.errors import Path
from mailrules.core.values import Plain

NULLS = ("", "~", "null", "Null", "NULL")
CORE = "tag:yaml.org,2002:"


class Place(NamedTuple):
    """A place in a file; line and column count from 1, the column in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file's text, by the name that errors give it, and the directory its relative paths start from."""

    name: str
    text: str
    directory: FilePath


@dataclass(slots=True, eq=False)
class Node:
    """One value and where it stands. A mapping's value is dict[str, (key node, value node)]."""

    kind: Literal["scalar", "mapping", "list"]
    source: Source
    line: int
    column: int
    start: int
    end: int
    value: Any
    written: str = ""  # of a scalar: its text, also where the value is None
    size: int = 1
    depth: int = 1  # levels of collections below and with it; 0 of a scalar
    has_alias: bool = False

    @property
    def place(self) -> Place:
        return Place(self.source.name, self.line, self.column)

    @property
    def text(self) -> str:
        """Its YAML as it stands in the file, without the indentation of where it stands."""
        return textwrap.dedent(" " * (self.column - 1) + self.source.text[self.start : self.end]).rstrip()

    def data(self) -> Any:
        """As plain data. Aliased parts come as copies: nobody can change one by way of another."""
        if self.kind == "mapping":
            return {key: child.data() for key, (_, child) in self.value.items()}
        if self.kind == "list":
            return [child.data() for child in self.value]
        return self.value


@dataclass(frozen=True, slots=True)
class Document:
    """What one file (or several, merged by `include`) says, and where.

    `root` is None where the text could not be read to its end; `problems` then says why. Other problems
    (duplicate keys, tags) leave the rest readable, so that all of a file's errors can be told at once.
    """

    root: Node | None
    source: Source
    problems: tuple[tuple[Place, str], ...] = ()

    @property
    def data(self) -> Any:
        return None if self.root is None else self.root.data()

    def node(self, path: Path) -> Node | None:
        """The node at a path, or None."""
        found = self._walk(path)
        return found[1] if found[2] == len(path) else None

    def position(self, path: Path, at: Literal["key", "value"] = "value") -> Place:
        """Where the key or the value at a path stands; of a path that is not there, its nearest parent."""
        key, node, depth = self._walk(path)
        if node is None:
            return Place(self.source.name, 1, 1)
        inside = depth < len(path) and node.kind != "scalar"
        if key is not None and (at == "key" or inside):
            return key.place
        return node.place

    def text_of(self, path: Path) -> str:
        """The YAML of the value at a path. Where it uses aliases it is written out, to stand on its own."""
        node = self.node(path)
        if node is None:
            return ""
        return dump(node.data()) if node.has_alias else node.text

    def _walk(self, path: Path) -> tuple[Node | None, Node | None, int]:
        key: Node | None = None
        node = self.root
        for depth, step in enumerate(path):
            if node is not None and node.kind == "mapping" and step in node.value:
                key, node = node.value[step]
            elif (
                node is not None
                and node.kind == "list"
                and isinstance(step, int)
                and 0 <= step < len(node.value)
            ):
                key, node = None, node.value[step]
            else:
                return key, node, depth
        return key, node, len(path)


class _Dumper(yaml.SafeDumper):
    """Writes Plain as plain and other text as it needs; no type is ever guessed from text."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    quoted = not isinstance(text, Plain) and (text in NULLS or text.lower() in ("true", "false"))
    style = '"' if quoted else "|" if "\n" in text else None
    return dumper.represent_scalar(CORE + "str", str(text), style=style)


_Dumper.add_multi_representer(str, _represent_text)
_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(CORE + "str", "~"))


def dump(data: Any) -> str:
    """Plain data as YAML that `parse` reads as the same data."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text.removesuffix("...\n").rstrip(" \n")


def without_comments(text: str) -> tuple[str, ...]:
    """The lines of YAML that say something, without comments."""
    kept: list[str] = []
    end = 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            start = token.start_mark.index
            kept += _COMMENT.sub("", text[end:start]), text[start : token.end_mark.index]
            end = token.end_mark.index
        kept.append(_COMMENT.sub("", text[end:]))
    except yaml.YAMLError:
        kept = [text]
    return tuple(line.rstrip() for line in "".join(kept).splitlines() if line.strip())


_COMMENT = re.compile("#.*")  # between two tokens, where nothing else begins with it
