"""`lists`: named values for `in:`, written in the file or kept one a line in files of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from mailrules.config.reader import Section, one_line
from mailrules.config.yaml_nodes import Document
from mailrules.core.errors import Path, Report

MAX_BYTES = 20_000_000


class Lists:
    """Reads the lists of one document. `files` are the list files that were read, and their hashes."""

    def __init__(self, document: Document, report: Report) -> None:
        self._document = document
        self._report = report
        self.files: dict[FilePath, str] = {}

    def read(self, data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        """Every list by name. What is wrong is reported, and the rest is kept."""
        return {name: self._values(value, ("lists", name)) for name, value in data.items()}

    def _values(self, value: Any, path: Path) -> tuple[str, ...]:
        if isinstance(value, dict):
            section = Section(value, path=path, report=self._report, known=("file",), what="a list")
            name = section.text("file")
            if name is None and "file" not in section:
                section.missing("this list is empty. Write {file: NAME} or [value, value].")
            return () if name is None else self._file(name, (*path, "file"))
        if value is None or value == []:
            self._report.warning(path, "this list is empty: nothing is in it.", at="key")
            return ()
        values = []
        items = value if isinstance(value, list) else [value]
        for index, item in enumerate(items):
            try:
                values.append(one_line(item))
            except ValueError as error:
                self._report.error((*path, index), f"a value of a list: {error}")
        return tuple(values)

    def _file(self, name: str, path: Path) -> tuple[str, ...]:
        node = self._document.node(path)
        try:
            full = (node.source.directory if node else FilePath()) / FilePath(name).expanduser()
            with full.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except (OSError, ValueError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or error
            self._report.error(path, f"the list's file '{name}' can't be read: {why}. Check the path.")
            return ()
        self.files[full] = hashlib.sha256(raw).hexdigest()
        if len(raw) > MAX_BYTES:
            self._report.error(path, f"the list's file '{name}' is larger than 20 MB. Split it.")
            return ()
        values = []
        for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
            try:
                text = _value(line.decode("utf-8"))
            except UnicodeDecodeError:
                self._report.error(path, f"line {number} of '{name}' is not UTF-8. Save the file as UTF-8.")
                return ()
            if "\0" in text:
                self._report.error(path, f"line {number} of '{name}' has a NUL byte. Check the file.")
                return ()
            if text:
                values.append(text)
        return tuple(values)


def _value(line: str) -> str:
    """The value of a line: a `#` at its start or after a blank begins a comment."""
    line = line.strip()
    if line.startswith("#"):
        return ""
    for blank in (" #", "\t#"):
        line = line.partition(blank)[0]
    return line.strip()
