"""A message written in the file, for `tests:`: what it says becomes a real message (RFC 5322), its bytes.

So a test judges what production judges. Header values stand in the message as they are written, in UTF-8
(RFC 6532); what no byte of a message tells (flags, arrival, a size) is set as a fact.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from mailrules.core.conditions.correspondence import senders
from mailrules.core.message import (
    ANSWER,
    FLAGS,
    GMAIL_LABELS,
    HISTORY,
    SIGHTINGS,
    SIZE,
    WRITTEN_TO,
    Answer,
    Earlier,
    Fact,
    Message,
    ScriptAnswer,
    Sightings,
    gmail_fact,
    search_fact,
)
from mailrules.core.offline import message_from_bytes

ADDRESS_HEADERS: Mapping[str, str] = {
    "from": "From", "sender": "Sender", "reply_to": "Reply-To", "to": "To", "cc": "Cc", "bcc": "Bcc",
    "delivered_to": "Delivered-To",
}  # fmt: skip
"""Keys of the form -> the header that each becomes."""
TEXT_HEADERS: Mapping[str, str] = {
    "subject": "Subject", "message_id": "Message-ID", "in_reply_to": "In-Reply-To",
    "references": "References", "list_id": "List-Id",
}  # fmt: skip
_BOUNDARY = "=_mailrules_"


@dataclass(frozen=True, slots=True)
class Attached:
    """An attachment of the form. `size`: octets of the file."""

    name: str = ""
    type: str = ""
    size: int | None = None
    text: str = ""
    inline: bool = False

    @property
    def content_type(self) -> tuple[str, str]:
        kind = self.type or mimetypes.guess_type(self.name)[0] or "application/octet-stream"
        main, _, sub = kind.partition("/")
        return main, sub or "octet-stream"

    def content(self) -> bytes:
        data = self.text.encode("utf-8", "replace")
        if self.size is None:
            return data or b"mailrules\n"
        return data[: self.size].ljust(self.size, b"m")


@dataclass(frozen=True, slots=True)
class Fixture:
    """The form. `headers` are (name, value), in the order in which they stand in the message.

    `without`: headers that are not made either, lower case.
    `raw`: the message itself, as a file has it; then only what a file can't tell is set beside it.
    `date`: a time; a text, taken as it is; or None for no Date. "" stands for `received`.
    `search`, `gmail`: the expressions that select the message; None: nobody was asked. So with
    `replied_to` (we wrote to the sender), `duplicate` (how long before it another of its Message-ID came;
    zero: none did), `unanswered` (no mail of ours names it), and `script` (the exit status of each script).
    """

    headers: tuple[tuple[str, str], ...] = ()
    date: datetime | str | None = ""
    body: str | None = None
    html: str | None = None
    attachments: tuple[Attached, ...] = ()
    without: frozenset[str] = frozenset()
    raw: bytes | None = None
    account: str | None = None
    mailbox: str = "INBOX"
    flags: frozenset[str] = frozenset()
    received: datetime | None = None
    size: int | None = None
    auth: tuple[tuple[str, str], ...] = ()
    search: frozenset[str] | None = None
    gmail: frozenset[str] | None = None
    gmail_labels: frozenset[str] | None = None
    returned: bool = False
    replied_to: bool | None = None
    duplicate: timedelta | None = None
    unanswered: bool | None = None
    script: int | None = None

    def content(self, now: datetime, *, authserv: str = "") -> bytes:
        """The message's bytes. `authserv`: who says what `auth` holds."""
        if self.raw is not None:
            return self.raw
        said = {name.lower() for name, _ in self.headers} | self.without
        # The form may say what kind of multipart it is; where its parts begin is ours to say.
        multipart = any(
            name.lower() == "content-type" and value.lower().startswith("multipart/") and "=" not in value
            for name, value in self.headers
        )
        lines = []
        if self.auth:
            results = "; ".join(f"{method}={result}" for method, result in self.auth)
            lines.append(f"Authentication-Results: {authserv or 'mx.invalid'}; {results}")
        for name, value in self.headers:
            end = f'; boundary="{_BOUNDARY}0"' if multipart and name.lower() == "content-type" else ""
            lines.append(f"{name}: {value}{end}")
        moment = self.date if self.date != "" else self.received or now
        if moment is not None and "date" not in said:
            lines.append(f"Date: {moment if isinstance(moment, str) else format_datetime(moment)}")
        if "message-id" not in said:
            lines.append("Message-ID: <test@mailrules.invalid>")
        mime_head, _, mime_body = self._mime(multipart=multipart).partition(b"\r\n\r\n")
        own = [
            line
            for line in _unfolded(mime_head)
            if line.partition(b":")[0].lower().decode("latin-1") not in said
        ]
        head = b"".join(line.encode("utf-8", "replace") + b"\r\n" for line in lines)
        return head + b"".join(line + b"\r\n" for line in own) + b"\r\n" + mime_body

    def _mime(self, *, multipart: bool) -> bytes:
        """The parts, with the headers that say what they are; with `multipart` also of one part."""
        message = EmailMessage(policy=policy.SMTP)
        for text, subtype in ((self.body, "plain"), (self.html, "html")):
            if text is None:
                continue
            clean = text.encode("utf-8", "replace").decode("utf-8")
            if message.get_content_maintype() == "text" and "content-type" in message:
                message.add_alternative(clean, subtype=subtype)
            else:
                message.set_content(clean, subtype=subtype)
        for place, file in enumerate(self.attachments):
            main, sub = file.content_type
            how = {
                "disposition": "inline" if file.inline else "attachment",
                "cid": f"<{place}@mailrules.invalid>" if file.inline else None,
                "filename": file.name or None,
            }
            if main == "message":
                inner = EmailMessage(policy=policy.SMTP)
                inner["Subject"] = file.text.splitlines()[0] if file.text else "attached"
                message.add_attachment(inner, **how)  # type: ignore[arg-type]
            else:
                message.add_attachment(file.content(), maintype=main, subtype=sub, **how)  # type: ignore[arg-type]
        if multipart and not message.is_multipart():
            message.make_mixed()
        for number, part in enumerate(message.walk()):
            if part.get_content_maintype() == "multipart":
                part.set_boundary(f"{_BOUNDARY}{number}")  # always the same bytes
        if "mime-version" not in message:
            message["MIME-Version"] = "1.0"
        return message.as_bytes()

    def message(
        self,
        *,
        account: str,
        now: datetime,
        body_limit: int,
        trusted_authserv: tuple[str, ...],
        asked: Iterable[Fact] = (),
    ) -> Message:
        """The message as an account sees it at `now`. `asked`: facts that the rules may read."""
        message = message_from_bytes(
            self.content(now, authserv=next(iter(trusted_authserv), "")),
            account=account,
            mailbox=self.mailbox,
            uid=1,
            flags=self.flags,
            received=self.received,
            now=now,
            body_limit=body_limit,
            trusted_authserv=trusted_authserv,
        )
        facts = message.facts
        facts[FLAGS] = self.flags
        if self.size is not None:
            facts[SIZE] = self.size
        if self.returned:
            facts[HISTORY] = "returned"
        if self.gmail_labels is not None:
            facts[GMAIL_LABELS] = self.gmail_labels
        for kind, selected, make in (("search", self.search, search_fact), ("gmail", self.gmail, gmail_fact)):
            if selected is not None:
                facts.update({make(expression): True for expression in selected})
                facts.update({f: f.argument in selected for f in asked if f.kind == kind})
        facts.update(self._learned(message, now, asked))
        return message

    def _learned(self, message: Message, now: datetime, asked: Iterable[Fact]) -> dict[Fact, Any]:
        """What the journal, the Sent mailbox and scripts would say."""
        found: dict[Fact, Any] = {}
        if self.replied_to is not None:
            found[WRITTEN_TO] = dict.fromkeys(senders(message), now) if self.replied_to else {}
        if self.duplicate is not None:
            earlier = Earlier(now - self.duplicate, self.mailbox, 1) if self.duplicate else None
            found[SIGHTINGS] = Sightings(now, earlier)
        if self.unanswered is not None:
            found[ANSWER] = None if self.unanswered else Answer(now, "")
        if self.script is not None:
            found.update({fact: ScriptAnswer(self.script) for fact in asked if fact.kind == "script"})
        return found

    def with_raw(self, raw: bytes) -> Fixture:
        """The same facts beside the bytes of a message."""
        return replace(self, raw=raw, headers=(), date="", body=None, html=None, attachments=(), auth=(),
                       without=frozenset())  # fmt: skip


def _unfolded(head: bytes) -> list[bytes]:
    """Header lines with their continuations."""
    lines: list[bytes] = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and lines:
            lines[-1] += b"\r\n" + line
        elif line:
            lines.append(line)
    return lines
