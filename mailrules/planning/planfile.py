"""A plan that is kept: JSON lines, a head, one line for each message, an end with a checksum.

`docs/json/planfile.schema.json` has every field. What is not whole, or was changed, or could have been
changed by somebody else, is refused: what stands in it will be done.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from mailrules import __version__
from mailrules.adapters.imap.identity import Identity
from mailrules.config import Config
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.decision import Decision, RuleOutcome
from mailrules.core.errors import NotPermitted, PermanentError
from mailrules.core.uidset import UidSet
from mailrules.planning.planned import Planned, Selection, Summary

FORMAT = 1
"""Of the file. A program reads what it wrote itself, and older formats it knows."""
_LONGEST_LINE = 16 * 1024 * 1024
_START = b'{"plan": {"format": '
_EFFECT = tuple(each.name for each in fields(PlannedEffect))


class PlanWriter:
    """Writes a plan as it is made; nothing of it is kept in memory."""

    def __init__(self, file: BinaryIO, *, config: Config, selection: Selection, made: datetime) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._messages = 0
        self._write(
            {
                "plan": {
                    "format": FORMAT,
                    "id": secrets.token_hex(8),
                    "made": _moment(made),
                    "version": __version__,
                    "config": str(config.path),
                    "rules_hash": config.text_hash,
                    "rules": list(selection.rules),
                    "accounts": list(selection.accounts),
                    "mailboxes": list(selection.mailboxes),
                    "since": _moment(selection.since),
                    "scheduled": selection.scheduled,
                    "again": selection.again,
                }
            }
        )

    def add(self, planned: Planned) -> None:
        """One message more."""
        told = planned.identity
        self._messages += 1
        self._write(
            {
                "account": planned.account,
                "mailbox": planned.mailbox,
                "uidvalidity": planned.uidvalidity,
                "uid": planned.uid,
                "identity": told.identity,
                "message_id": told.message_id,
                "subject": told.subject,
                "sender": told.sender,
                "internaldate": _moment(told.internaldate),
                "size": told.size,
                "flags": sorted(told.flags),
                "rules": [
                    {"name": o.rule, "matched": o.matched, "reason": o.reason}
                    for o in planned.decision.outcomes
                ],
                "effects": [
                    {name: getattr(effect, name) for name in _EFFECT} for effect in planned.decision.effects
                ],
            }
        )

    def end(self, summary: Summary) -> None:
        """It is whole: from here on it can be applied."""
        self._write(
            {
                "end": {
                    "messages": self._messages,
                    "summary": summary.as_json(),
                    "errors": list(summary.errors),
                    "sha256": self._digest.hexdigest(),
                }
            }
        )
        self._file.flush()

    def _write(self, value: Mapping[str, Any]) -> None:
        line = json.dumps(value).encode() + b"\n"
        self._digest.update(line)
        self._file.write(line)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is there as a whole or not at all, 0600. A plan that is there is replaced; anything
    else is not. Raises NotPermitted."""
    if path.exists() and not _is_plan(path):
        raise NotPermitted(f"{path} is there already and is no plan. Name another file.")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NotPermitted(f"cannot write {path}: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise NotPermitted(f"cannot write {path}: {error.strerror}.") from error
    finally:
        beside.unlink(missing_ok=True)


def _is_plan(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_START)) == _START
    except OSError:
        return False


@dataclass(slots=True)
class Section:
    """The messages of one mailbox, as they follow each other in the file."""

    account: str
    mailbox: str
    uidvalidity: int
    offset: int
    messages: int = 0
    leaving: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def leaves(self) -> UidSet:
        """The messages that would leave the mailbox."""
        return UidSet(self.leaving)


class SavedPlan:
    """A plan that was read to its end and found whole. Its messages are read again as they are asked for."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Raises PermanentError for what is no whole plan, NotPermitted for what others may have changed."""
        self._file = file
        self.name = name
        self.sections: list[Section] = []
        self.revisions: dict[str, str] = {}  # of the rules that act in it, by name
        self._check_owner()
        try:
            self._read()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PermanentError(
                f"{name}: this is not a plan of `mailrules plan --save`, or it was changed."
            ) from error

    def _check_owner(self) -> None:
        about = os.fstat(self._file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise PermanentError(f"{self.name}: a plan is a file.")
        if about.st_uid not in (0, os.geteuid()) or about.st_mode & 0o022:
            raise NotPermitted(
                f"{self.name}: somebody else may have changed it, so nothing of it is done. "
                "Make a new plan, or: chmod 600, and give it to your own user."
            )

    def _read(self) -> None:
        self._file.seek(0)
        digest = hashlib.sha256()
        head = self._line()
        digest.update(head)
        told = json.loads(head)["plan"]
        if told["format"] != FORMAT:
            raise PermanentError(
                f"{self.name}: written by another version ({told.get('version')}). Make a new plan."
            )
        self.id = str(told["id"])
        self.made = _time(told["made"])
        self.rules_hash = str(told["rules_hash"])
        self.selection = Selection(
            rules=tuple(told["rules"]), accounts=tuple(told["accounts"]),
            mailboxes=tuple(told["mailboxes"]), scheduled=bool(told["scheduled"]),
            since=_time(told["since"]) if told["since"] else None, again=bool(told["again"]),
        )  # fmt: skip
        self.messages = 0
        while True:
            offset = self._file.tell()
            line = self._line()
            value = json.loads(line)
            if "end" in value:
                break
            digest.update(line)
            self._count(_planned(value), offset)
        end = value["end"]
        if end["sha256"] != digest.hexdigest() or end["messages"] != self.messages or self._file.read(1):
            raise PermanentError(
                f"{self.name}: it was changed after it was written: nothing of it is done. Make a new plan."
            )

    def _count(self, planned: Planned, offset: int) -> None:
        place = (planned.account, planned.mailbox, planned.uidvalidity)
        last = self.sections[-1] if self.sections else None
        if last is None or (last.account, last.mailbox, last.uidvalidity) != place:
            last = Section(*place, offset)
            self.sections.append(last)
        last.messages += 1
        self.revisions |= {effect.rule: effect.revision for effect in planned.decision.effects}
        if planned.leaves:
            last.leaving.append(planned.uid)
        self.messages += 1

    def _line(self) -> bytes:
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise PermanentError(f"{self.name}: it is not whole; was it cut off? Make a new plan.")
        return line

    def read(self, section: Section) -> Iterator[Planned]:
        """The messages of one mailbox."""
        at = section.offset
        for _ in range(section.messages):
            self._file.seek(at)
            line = self._line()
            at = self._file.tell()
            yield _planned(json.loads(line))


def _planned(value: Mapping[str, Any]) -> Planned:
    """One line. Raises LookupError, TypeError, ValueError."""
    identity = Identity(
        identity=str(value["identity"]),
        message_id=str(value["message_id"]),
        subject=str(value["subject"]),
        sender=str(value["sender"]),
        internaldate=_time(value["internaldate"]) if value["internaldate"] else None,
        size=value["size"],
        flags=frozenset(map(str, value["flags"])),
    )
    outcomes = tuple(RuleOutcome(o["name"], o["matched"], o["reason"]) for o in value["rules"])
    effects = tuple(PlannedEffect(**effect) for effect in value["effects"])
    return Planned(
        str(value["account"]), str(value["mailbox"]), int(value["uidvalidity"]), int(value["uid"]),
        identity, Decision(outcomes, effects),
    )  # fmt: skip


def _moment(when: datetime | None) -> str | None:
    return None if when is None else when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment
