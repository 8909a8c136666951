"""`init`'s first look at an account, and the files that come of it. Nothing is changed on the server."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mailrules import config
from mailrules.adapters.imap.connection import Connection, Login
from mailrules.adapters.oauth import access_token
from mailrules.adapters.secret import Secret
from mailrules.config.schema import file_schema
from mailrules.core.errors import NotPermitted, PermanentError
from mailrules.core.uidset import UidSet
from mailrules.setup.starter import NEWEST, PATTERNS, Start, rules_file

SCHEMA = "rules.schema.json"
"""The file beside the rules that editors look into."""


def connect(start: Start, secret: Secret, typed: str | None) -> Connection:
    """A connection, not yet open. `typed`: the password, where it is not kept in `secret` yet."""
    return Connection(
        Login(
            account=start.account,
            host=start.imap.host,
            port=start.imap.port,
            security=start.imap.security,
            username=start.username,
            password=functools.partial(_read, start, secret, typed),
            oauth=start.oauth,
        )
    )


def _read(start: Start, secret: Secret, typed: str | None) -> str:
    if typed is not None:
        return typed
    return access_token(secret, account=start.account) if start.oauth else secret.read()


def look(connection: Connection, start: Start) -> tuple[Start, list[dict[str, Any]], int]:
    """What is there: `start` with how much of the newest mail each of the first rules would concern; the
    mailboxes; how many messages are in INBOX."""
    listed = [info for info in connection.mailboxes() if info.selectable]
    special_use = dict(connection.special_use())
    inbox = connection.select("INBOX", read_only=True)
    newest = UidSet.of_ranges((uid, uid) for uid in inbox.uids()[-NEWEST:])
    found = {}
    for pattern in PATTERNS:
        try:
            found[pattern.name] = len(inbox.search_raw(pattern.search, newest))
        except PermanentError:
            continue  # it can't search: the order of the table decides
    mailboxes = [{"name": info.name, "special_use": next(iter(info.special_use), None)} for info in listed]
    start = replace(start, special_use=special_use, found=found, looked_at=min(inbox.exists, NEWEST))
    return start, mailboxes, inbox.exists


def as_written(secret: Secret, place: Path) -> tuple[str, str | tuple[str, ...]]:
    """What stands under `password:` in a file at `place`; a file beside it is named relative to it."""
    if secret.source == "command":
        return "command", secret.argument
    argument = secret.argument[0]
    if secret.source == "file":
        path = Path(argument)
        if path.is_relative_to(place.absolute().parent):
            argument = str(path.relative_to(place.absolute().parent))
    return secret.source, argument


def write_schema(place: Path) -> str:
    """The schema beside the file: its name, or "" if something else of that name is there. Raises OSError."""
    path = place.with_name(SCHEMA)
    if path.exists():
        try:
            title = json.loads(path.read_text()).get("title")
        except (ValueError, AttributeError):
            return ""
        if title != "mailrules":
            return ""
    path.write_text(json.dumps(file_schema(), indent=2) + "\n")
    return SCHEMA


def write(place: Path, start: Start) -> None:
    """The rules; what was there before goes aside as FILE.old. Raises NotPermitted."""
    text = rules_file(start)
    config.parse(text, str(place))  # it is right, or this should not happen
    try:
        if place.exists():
            place.replace(place.with_name(place.name + ".old"))
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise NotPermitted(
            f"{place} can't be written: {error.strerror or error}. Say --output FILE for another place."
        ) from None
