"""`password:` — where a password is kept. Nothing is read here; a password in the file is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, cast

from mailrules.adapters.secret import SOURCES, Secret
from mailrules.config.reader import Section, one_line, suggest
from mailrules.config.yaml_nodes import Document
from mailrules.core.errors import Path, Report

FORMS = "{env: NAME}, {file: PATH}, {command: [program, argument]}, {keyring: SERVICE} or {credential: NAME}"


class Secrets:
    """Reads the `password` keys of one document."""

    def __init__(self, document: Document, report: Report, environ: Mapping[str, str]) -> None:
        self._document = document
        self._report = report
        self._environ = environ

    def read(self, section: Section, username: str, *, key: str = "password") -> Secret | None:
        """The Secret under `key`; None if there is none or it is wrong (then it is reported)."""
        value = section.data.get(key)
        if value is None:
            return None
        path = (*section.path, key)
        if not isinstance(value, dict):
            # Never the value itself: this line is printed and logged.
            what = "a password does not stand in the file" if isinstance(value, str) else "not a list"
            section.error(key, f"{key}: {what}. Say where it is kept: {FORMS}.")
            return None
        sources = [key for key in value if key in SOURCES]
        for source in value:
            if source not in SOURCES:
                hint = suggest(source, SOURCES)
                message = f"unknown source of a password '{source}'. {hint}"
                self._report.error((*path, source), message, at="key")
        if len(sources) != 1:
            if sources or not value:
                section.error(key, f"{key}: exactly one of {', '.join(SOURCES)}. Keep one.")
            return None
        source = sources[0]
        argument = self._argument(source, value[source], (*path, source))
        if argument is None:
            return None
        return Secret(cast(Any, source), argument, username=username, environ=self._environ)

    def _argument(self, source: str, value: Any, path: Path) -> tuple[str, ...] | None:
        try:
            if source == "command":
                if not isinstance(value, list) or not value:
                    raise ValueError("expected a list. Write [program, argument].")
                return tuple(one_line(item) for item in value)
            text = one_line(value)
            if source == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
                raise ValueError("this is no environment variable's name. Write the name alone, without '$'.")
            if source == "credential" and ("/" in text or text in (".", "..")):
                raise ValueError("a credential is a name, not a path. Write the name from LoadCredential=.")
            if source == "file":
                node = self._document.node(path)
                directory = node.source.directory if node else FilePath()
                return (str(directory / FilePath(text).expanduser()),)
        except (ValueError, RuntimeError) as error:
            self._report.error(path, f"password {source}: {error}")
            return None
        return (text,)
