"""The tables (RELIABILITY 1.3). The same SQL in SQLite and PostgreSQL.

Changing anything here means: a new entry in `migrations.py`, and a new dump beside its test.
Times are microseconds since 1970 in UTC. Messages that no rule matched have no row: they are ranges in
`judged`. Two numbers are handed out by `counter` in the transaction that uses them: `effect`, the id a
person types, never given twice; and `change`, which grows with every transaction that changes effects,
so that `log --follow` needs no clock.

A partial index says its condition to SQLite only. `postgresql_where` comes with PostgreSQL itself: SQLAlchemy
imports that dialect with all its drivers as soon as it is named, 2 MB in every process.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeDecorator

VERSION = 4
"""Of the schema; `migrations.py` brings older ones here."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970, UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Unsigned(TypeDecorator[int]):
    """64 bits without a sign, in a column that has one: UIDVALIDITY of some servers. For equality only."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else signed(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value) % 2**64


class HostileText(TypeDecorator[str]):
    """Text from mail or servers. No database takes lone surrogates, PostgreSQL takes no NUL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(value)


def signed(value: int) -> int:
    """The number as `Unsigned` stores it."""
    return value - 2**64 if value >= 2**63 else value


def clean(text: str) -> str:
    """The text as `HostileText` stores it."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


metadata = MetaData()

# Conditions of partial indexes. SQLite uses one only for a query that has its condition word for word,
# and does not allow the table's name in the index itself.
_TROUBLED = "state <> 'judged'"
_REPLY = "action = 'reply'"
_ASSIGN = "action = 'assign'"
_OPEN = "state NOT IN ('done', 'would', 'skipped', 'gone')"
TROUBLED = text(f"message.{_TROUBLED}")
"""Messages that could not be judged."""
OPEN = text(f"effect.{_OPEN}")
"""Effects somebody still has to do something about."""
REPLY = text(f"effect.{_REPLY}")
"""Automatic answers, of which a sender gets one in a while."""
ASSIGN = text(f"effect.{_ASSIGN}")
"""Assignments to people: whose turn it was."""
ONCE = text("once AND state <> 'would'")
"""Effects that happen once per message, rule and target, ever."""

counter = Table(
    "counter",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

mailbox = Table(
    "mailbox",
    metadata,
    Column("account", Text, primary_key=True),
    Column("name", HostileText, primary_key=True),
    Column("uidvalidity", Unsigned, nullable=False),
    Column("high_uid", BigInteger, nullable=False),  # the checkpoint
    Column("highest_modseq", BigInteger),
    Column("baseline_at", Moment, nullable=False),
    Column("last_sweep", Moment),
    Column("last_full_scan", Moment),
    Column("lease_epoch", BigInteger, nullable=False, server_default="0"),
)

seen_mailbox = Table(
    "seen_mailbox",
    metadata,
    Column("account", Text, primary_key=True),
    Column("name", HostileText, primary_key=True),
)

judged = Table(
    "judged",
    metadata,
    Column("account", Text, primary_key=True),
    Column("mailbox", HostileText, primary_key=True),
    Column("uidvalidity", Unsigned, primary_key=True),
    Column("low", BigInteger, primary_key=True),
    Column("high", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

message = Table(
    "message",
    metadata,
    Column("account", Text, primary_key=True),
    Column("mailbox", HostileText, primary_key=True),
    Column("uidvalidity", Unsigned, primary_key=True),
    Column("uid", BigInteger, primary_key=True),
    Column("identity", HostileText),  # null: it could not be judged, so nobody asked
    Column("message_id", HostileText),
    Column("subject", HostileText),
    Column("sender", HostileText),
    Column("internaldate", Moment),
    Column("size", BigInteger),
    Column("flags", JSON(none_as_null=True)),  # as they were when it was judged
    Column("state", Text, nullable=False),  # judged | waiting | quarantined
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("deaths", Integer, nullable=False, server_default="0"),
    Column("next_try", Moment),
    Column("error", HostileText),
    Column("recorded_at", Moment, nullable=False),
    Index("message_identity", "account", "identity"),
    Index(
        "message_troubled",
        "state",
        "account",
        "mailbox",
        sqlite_where=text(_TROUBLED),
    ),
    sqlite_with_rowid=False,
)

run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("mailbox", HostileText, nullable=False),
    Column("kind", Text, nullable=False),  # new | sweep | once | apply | schedule | undo
    Column("rules_hash", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("judged", BigInteger, nullable=False, server_default="0"),
    Column("matched", BigInteger, nullable=False, server_default="0"),
    Column("detail", JSON, nullable=False),
    sqlite_autoincrement=True,  # an id that was shown is never given again
)

rule_text = Table(
    "rule_text",
    metadata,
    Column("revision", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("text", Text, nullable=False),
)

rule_hits = Table(
    "rule_hits",
    metadata,
    Column("rule", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("hits", BigInteger, nullable=False),
    Column("last_at", Moment, nullable=False),
)

effect = Table(
    "effect",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("run", Integer, ForeignKey("run.id"), nullable=False),
    Column("account", Text, nullable=False),
    Column("mailbox", HostileText, nullable=False),
    Column("uidvalidity", Unsigned, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("identity", HostileText, nullable=False),
    Column("rule", Text, nullable=False),  # "": judging itself failed, whatever the rule
    Column("revision", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("place", Integer, nullable=False),  # order among the effects on its message
    Column("action", Text, nullable=False),
    Column("target", HostileText, nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("leaves", Boolean, nullable=False),
    Column("once", Boolean, nullable=False),
    Column("again", Integer, nullable=False, server_default="0"),  # asked for once more, the n-th time
    Column("rendered", Boolean, nullable=False),  # false: its template failed; there is nothing to perform
    Column("on_unknown", Text, nullable=False),
    Column("destination", HostileText),  # the mailbox it puts the message into
    Column("effect_key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_try", Moment),
    Column("created_at", Moment, nullable=False),
    Column("intent_at", Moment),
    Column("commit_at", Moment),
    Column("ended_at", Moment),
    Column("changed_at", Moment, nullable=False),
    Column("change", BigInteger, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("undoes", BigInteger),
    Column("undone", BigInteger),
    ForeignKeyConstraint(
        ["account", "mailbox", "uidvalidity", "uid"],
        ["message.account", "message.mailbox", "message.uidvalidity", "message.uid"],
    ),
    Index(
        "effect_once",
        "account", "identity", "rule", "action", "target", "again",
        unique=True, sqlite_where=ONCE,
    ),
    Index(
        "effect_open",
        "state", "account", "mailbox",
        sqlite_where=text(_OPEN),
    ),
    Index(
        "effect_reply",
        "account", "rule", "target", "created_at",
        sqlite_where=text(_REPLY),
    ),
    Index(
        "effect_assign",
        "rule", "target", "id",
        sqlite_where=text(_ASSIGN),
    ),
    Index("effect_message", "account", "mailbox", "uidvalidity", "uid"),
    Index("effect_identity", "account", "identity"),
    Index("effect_changed", "changed_at"),
    Index("effect_change", "change"),
    Index("effect_run", "run"),
)  # fmt: skip

pause = Table(
    "pause",
    metadata,
    Column("target", Text, primary_key=True),  # see `rows.PauseRow`
    Column("since", Moment, nullable=False),
    Column("reason", Text, nullable=False),
    Column("new_only", Boolean, nullable=False, server_default="0"),  # what was planned before goes on
)

brake_count = Table(
    "brake_count",
    metadata,
    Column("brake", Text, primary_key=True),  # "run:RULE", "hour:RULE", "minute:ACCOUNT", "day:ACCOUNT"
    Column("run", BigInteger, primary_key=True),  # 0 where it is not counted by runs
    Column("at", Moment, primary_key=True),
    Column("count", BigInteger, nullable=False),
)
"""What the brakes count (brakes.py): messages that limited rules acted on, and what was sent."""

resync = Table(
    "resync",
    metadata,
    Column("account", Text, primary_key=True),
    Column("mailbox", HostileText, primary_key=True),
    Column("since", Moment, nullable=False),
)
"""Mailboxes not looked at since the journal was put back: what came before `since` is not new (R9)."""

in_hand = Table(
    "in_hand",
    metadata,
    Column("account", Text, primary_key=True),
    Column("mailbox", HostileText, primary_key=True),
    Column("hand", Text, primary_key=True),  # who has them: "judge", "act", "effect ID"
    Column("uidvalidity", Unsigned, nullable=False),
    Column("uids", Text, nullable=False),  # as an IMAP set
)
"""Messages being worked on. Found at the start, they were in hand when the process died (R10)."""

unmatched = Table(
    "unmatched",
    metadata,
    Column("account", Text, primary_key=True),
    Column("mailbox", HostileText, primary_key=True),
    Column("fingerprint", Text, primary_key=True),  # of the rules, and of what they are judged by
    Column("uidvalidity", Unsigned, nullable=False),
    Column("uids", Text, nullable=False),  # as an IMAP set
    Column("kept_at", Moment, nullable=False),
)
"""Messages that `apply` looked at, and that none of the rules matched whose word lasts."""

scheduled = Table(
    "scheduled",
    metadata,
    Column("rule", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("mailbox", HostileText, primary_key=True),  # "": all that the rule has there
    Column("schedule", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("since", Moment, nullable=False),  # up to here nothing is missed
    Column("begun_at", Moment),  # of a run that has not ended
    Column("last_at", Moment),  # when the last one that did end began
    Column("trouble", HostileText, nullable=False),
)
"""Scheduled rules: what was due up to when is settled, and how far an interrupted run came."""
sighting = Table(
    "sighting",
    metadata,
    Column("id", Integer, primary_key=True),  # in the order in which they were seen
    Column("account", Text, nullable=False),
    Column("message_id", HostileText, nullable=False),
    Column("identity", HostileText, nullable=False),
    Column("mailbox", HostileText, nullable=False),  # where it was then
    Column("uid", BigInteger, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Index("sighting_message", "account", "message_id", "identity", unique=True),
    sqlite_autoincrement=True,
)
"""Message-IDs of judged messages, kept as long as a rule with `duplicate` asks for them."""

sent = Table(
    "sent",
    metadata,
    Column("account", Text, primary_key=True),
    Column("mailbox", HostileText, nullable=False),
    Column("uidvalidity", Unsigned, nullable=False),
    Column("high_uid", BigInteger, nullable=False),
)
"""How far each account's Sent mailbox has been read."""

written_to = Table(
    "written_to",
    metadata,
    Column("account", Text, primary_key=True),
    Column("address", HostileText, primary_key=True),
    Column("last_at", Moment, nullable=False),
    sqlite_with_rowid=False,
)

answered = Table(
    "answered",
    metadata,
    Column("account", Text, primary_key=True),
    Column("message_id", HostileText, primary_key=True),  # of what we answered
    Column("sent_at", Moment, nullable=False),  # the last time
    Column("answer", HostileText, nullable=False),  # Message-ID of that answer, or ""
    sqlite_with_rowid=False,
)
