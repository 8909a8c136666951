"""`include:` — several files read as one, each value still knowing the file and line it stands in.

Included accounts, lists, rules and tests stand where `include:` stands: an `include` above `rules` puts the
included rules first, one below it puts them last. Settings and defaults belong to the main file.
"""

from __future__ import annotations

import glob
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Literal

from mailrules.config.reader import suggest
from mailrules.config.yaml_nodes import Document, Node, Place
from mailrules.config.yaml_source import MAX_NODES, read

TOP_LEVEL = ("include", "accounts", "defaults", "lists", "rules", "tests", "settings")
_SHARED: dict[str, Literal["mapping", "list"]] = {
    "accounts": "mapping",
    "lists": "mapping",
    "rules": "list",
    "tests": "list",
}
_LOOKS = {
    "accounts": "a mapping: 'name:' lines, and the account's keys below each",
    "lists": "a mapping: 'name: [value, value]' lines",
    "rules": "a list: each rule begins with '- name: …'",
    "tests": "a list: each test begins with '- name: …'",
}
Found = tuple[Place, str, Literal["error", "warning"]]


class Assembly:
    """One document from a main file and all it includes."""

    def __init__(self, main: Document, path: FilePath | None = None) -> None:
        self.found: list[Found] = []
        self.documents: list[Document] = []
        self.paths: list[FilePath] = []
        self._open: list[FilePath] = []
        self._entries: dict[str, tuple[Node, Node]] = {}
        self._nodes = 0
        self._main = main
        self._add(main, path or FilePath(main.source.name))

    @property
    def document(self) -> Document:
        """The merged document. Its nodes keep their own files."""
        main = self._main
        if main.root is None:
            return main
        if main.root.kind != "mapping" and not self._entries:
            return main
        return Document(replace(main.root, kind="mapping", value=self._entries), main.source)

    def _error(self, place: Place, message: str) -> None:
        self.found.append((place, message, "error"))

    def _add(self, document: Document, path: FilePath) -> None:
        self.documents.append(document)
        self.paths.append(path)
        self._open.append(_real(path))
        self.found += [(place, message, "error") for place, message in document.problems]
        root = document.root
        if root is not None:
            self._nodes += root.size
            if self._nodes > MAX_NODES:
                self._error(
                    root.place, f"all files together expand past {MAX_NODES:,} nodes. Make them smaller."
                )
            elif root.kind == "mapping":
                for name, (key, value) in root.value.items():
                    self._entry(name, key, value, main=document is self._main)
            elif root.value is not None:
                self._error(
                    root.place, "the file must be a mapping. Begin with lines like 'accounts:' and 'rules:'."
                )
        self._open.pop()

    def _entry(self, name: str, key: Node, value: Node, *, main: bool) -> None:
        if name == "include":
            self._include(key, value)
        elif name not in TOP_LEVEL:
            hint = suggest(name, TOP_LEVEL, what="Known keys")
            self._error(key.place, f"unknown key '{name}'. {hint}")
        elif name not in _SHARED:
            if not main:
                message = f"'{name}' belongs in the main file, {self._main.source.name}. Move it there."
                self._error(key.place, message)
            elif value.value is not None:
                self._entries[name] = (key, value)
        elif value.kind == "scalar" and value.value is None:
            pass
        elif value.kind != _SHARED[name]:
            self._error(value.place, f"'{name}' must be {_LOOKS[name]}.")
        elif name not in self._entries:
            copied = dict(value.value) if value.kind == "mapping" else list(value.value)
            self._entries[name] = (key, replace(value, value=copied))
        elif value.kind == "list":
            self._entries[name][1].value.extend(value.value)
        else:
            self._merge(name, value)

    def _merge(self, section: str, value: Node) -> None:
        into = self._entries[section][1].value
        for name, (key, child) in value.value.items():
            if name in into:
                first = into[name][0].place
                message = (
                    f"'{name}' stands a second time in {section}, first at {first}. Rename or remove one."
                )
                self._error(key.place, message)
            else:
                into[name] = (key, child)

    def _include(self, key: Node, value: Node) -> None:
        for item in value.value if value.kind == "list" else [value]:
            if not isinstance(item.value, str) or not item.value.strip():
                self._error(
                    item.place, "'include' takes file names, relative to this file. Write one or a list."
                )
                continue
            pattern = str(item.value).strip()
            if glob.has_magic(pattern):
                self._include_glob(item, pattern)
            else:
                self._include_file(item, item.source.directory / pattern)

    def _include_glob(self, item: Node, pattern: str) -> None:
        # Path.glob refuses absolute patterns.
        found = sorted(glob.glob(pattern, root_dir=item.source.directory, recursive=True))  # noqa: PTH207
        paths = [path for name in found if (path := item.source.directory / name).is_file()]
        if not paths:
            message = f"no file matches '{pattern}'. Check the pattern: it is relative to this file."
            self.found.append((item.place, message, "warning"))
        known = {_real(path) for path in self.paths}
        for path in paths:
            if _real(path) not in known:  # the including file itself may match
                self._include_file(item, path)

    def _include_file(self, item: Node, path: FilePath) -> None:
        real = _real(path)
        if real in self._open:
            self._error(item.place, f"'{path}' includes itself in the end. Remove this include.")
        elif real in {_real(known) for known in self.paths}:
            self._error(item.place, f"'{path}' is included already. Remove one of the includes.")
        elif not path.exists():
            self._error(
                item.place, f"there is no file '{path}'. Check the name: it is relative to this file."
            )
        else:
            self._add(read(path), path)


def _real(path: FilePath) -> FilePath:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path
