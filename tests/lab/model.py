"""A small mailbox model for the scripted IMAP server: messages, search keys, FETCH items."""

from __future__ import annotations

import email
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message as Parsed

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@dataclass
class Mail:
    uid: int
    raw: bytes
    flags: set[str] = field(default_factory=set)
    received: datetime = field(default_factory=lambda: datetime(2026, 3, 2, 10, 0, tzinfo=UTC))

    @property
    def header(self) -> bytes:
        return self.raw.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n"

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8", "replace")

    def fields(self, name: str) -> str:
        return "\n".join(str(v) for v in email.message_from_bytes(self.raw).get_all(name, []))


@dataclass
class Box:
    """A mailbox. `permanent` are the flags it keeps; without `\\*` keywords are forgotten, silently."""

    name: str
    uidvalidity: int = 1
    uidnext: int = 1
    mails: list[Mail] = field(default_factory=list)
    permanent: tuple[str, ...] = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft", "\\*")
    attributes: tuple[str, ...] = ()

    def add(self, raw: bytes, flags: set[str] | None = None, uid: int | None = None) -> Mail:
        mail = Mail(uid or self.uidnext, raw, set(flags or ()))
        self.uidnext = max(self.uidnext, mail.uid + 1)
        self.mails.append(mail)
        return mail

    def keeps(self, flag: str) -> bool:
        kept = {known.lower() for known in self.permanent}
        return flag.lower() in kept or (not flag.startswith("\\") and "\\*" in kept)

    def chosen(self, text: str) -> list[Mail]:
        """The messages of a UID set."""
        wanted = list(ranges(text, max((m.uid for m in self.mails), default=0)))
        return [mail for mail in self.mails if any(low <= mail.uid <= high for low, high in wanted)]


def ranges(text: str, highest: int) -> Iterator[tuple[int, int]]:
    for part in text.split(","):
        ends = [highest if end == "*" else int(end) for end in part.split(":")]
        yield min(ends), max(ends)


# -- SEARCH ---------------------------------------------------------------------------------------

Words = Callable[[str, str], bool]
"""How text is searched: (what was asked for, what the message has), both lower case."""


def substring(needle: str, text: str) -> bool:
    return needle in text


def whole_words(needle: str, text: str) -> bool:
    """As Gmail does."""
    return re.search(rf"\b{re.escape(needle)}\b", text) is not None


def everything(needle: str, text: str) -> bool:
    """As QQ does."""
    return True


class BadSearch(Exception):
    pass


class Search:
    """Evaluates the words of a SEARCH command."""

    def __init__(self, words: list[str], box: Box, text: Words) -> None:
        self._words = words
        self._box = box
        self._text = text

    def run(self) -> list[int]:
        keys = []
        while self._words:
            keys.append(self._key())
        return [mail.uid for mail in self._box.mails if all(key(mail) for key in keys)]

    def _key(self) -> Callable[[Mail], bool]:
        word = self._words.pop(0).upper()
        if word == "(":
            keys = []
            while self._words[0] != ")":
                keys.append(self._key())
            self._words.pop(0)
            return lambda mail: all(key(mail) for key in keys)
        if word == "ALL":
            return lambda mail: True
        if word == "NOT":
            key = self._key()
            return lambda mail: not key(mail)
        if word == "OR":
            one, other = self._key(), self._key()
            return lambda mail: one(mail) or other(mail)
        if word == "UID" or re.fullmatch(r"[\d:,*]+", word):
            chosen = {m.uid for m in self._box.chosen(self._words.pop(0) if word == "UID" else word)}
            return lambda mail: mail.uid in chosen
        if word.removeprefix("UN") in ("SEEN", "FLAGGED", "ANSWERED", "DELETED", "DRAFT"):
            flag, wanted = "\\" + word.removeprefix("UN").capitalize(), not word.startswith("UN")
            return lambda mail: (flag in mail.flags) == wanted
        argument = self._words.pop(0) if self._words else ""
        if word in ("KEYWORD", "UNKEYWORD"):
            return lambda mail: (argument.lower() in {f.lower() for f in mail.flags}) == (word == "KEYWORD")
        if word in ("LARGER", "SMALLER"):
            size = int(argument)
            return lambda mail: len(mail.raw) > size if word == "LARGER" else len(mail.raw) < size
        if word in ("SINCE", "BEFORE"):
            day, month, year = argument.split("-")
            moment = datetime(int(year), MONTHS.index(month) + 1, int(day), tzinfo=UTC)
            return lambda mail: mail.received >= moment if word == "SINCE" else mail.received < moment
        needle = argument.lower()
        if word in ("SUBJECT", "FROM", "TO", "CC", "BCC"):
            return lambda mail: self._text(needle, mail.fields(word).lower())
        if word == "HEADER":
            value = self._words.pop(0).lower()
            return lambda mail: self._text(value, mail.fields(argument).lower())
        if word in ("BODY", "TEXT"):
            return lambda mail: self._text(needle, mail.text.lower())
        raise BadSearch(word)


# -- FETCH ----------------------------------------------------------------------------------------


def fetch_item(mail: Mail, name: str) -> bytes:
    """One item's name and value as they stand in a FETCH response. `name` as it was asked for."""
    upper = name.upper()
    if upper == "UID":
        return b"UID %d" % mail.uid
    if upper == "FLAGS":
        return f"FLAGS ({' '.join(sorted(mail.flags))})".encode()
    if upper == "RFC822.SIZE":
        return b"RFC822.SIZE %d" % len(mail.raw)
    if upper == "EMAILID":
        return b"EMAILID (M%d)" % mail.uid
    if upper == "INTERNALDATE":
        when = mail.received
        text = f"{when.day:2}-{MONTHS[when.month - 1]}-{when:%Y %H:%M:%S %z}"
        return f'INTERNALDATE "{text}"'.encode()
    if upper == "BODYSTRUCTURE":
        return b"BODYSTRUCTURE " + structure(email.message_from_bytes(mail.raw))
    match = re.fullmatch(r"BODY(?:\.PEEK)?\[([^\]]*)\](?:<(\d+)\.(\d+)>)?", name, re.IGNORECASE)
    if match is None:
        raise KeyError(name)
    data = _section(mail, match[1])
    label = f"BODY[{match[1]}]"
    if match[2] is not None:
        start = int(match[2])
        data = data[start : start + int(match[3])]
        label += f"<{start}>"
    return label.encode() + b" {%d}\r\n" % len(data) + data


def _section(mail: Mail, section: str) -> bytes:
    upper = section.upper()
    if not section:
        return mail.raw
    if upper == "HEADER":
        return mail.header
    if upper.startswith("HEADER.FIELDS"):
        names = {name.strip('"') for name in upper[upper.index("(") + 1 : upper.rindex(")")].split()}
        fields = re.findall(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*", mail.header)
        kept = [f for f in fields if f.split(b":")[0].decode("latin-1").strip().upper() in names]
        return b"".join(kept) + b"\r\n"
    part = email.message_from_bytes(mail.raw)
    for place in section.split("."):
        if part.is_multipart():
            part = part.get_payload()[int(place) - 1]
    payload = part.get_payload()
    return str(payload).replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "surrogateescape")


def structure(part: Parsed) -> bytes:
    """BODYSTRUCTURE with its extensions."""
    if part.is_multipart() and part.get_content_maintype() == "multipart":
        inner = b"".join(structure(child) for child in part.get_payload())
        return b'(%s "%s" ("BOUNDARY" "%s") NIL NIL)' % (
            inner, part.get_content_subtype().upper().encode(), (part.get_boundary() or "").encode(),
        )  # fmt: skip
    payload = str(part.get_payload()).replace("\r\n", "\n").replace("\n", "\r\n")
    encoding = str(part.get("content-transfer-encoding", "7bit"))
    lines = b" %d" % payload.count("\n") if part.get_content_maintype() == "text" else b""
    disposition = b"NIL"
    if part.get_content_disposition():
        name = part.get_filename()
        parameters = f'("FILENAME" "{name}")' if name else "NIL"
        disposition = f'("{part.get_content_disposition().upper()}" {parameters})'.encode()
    charset = part.get_content_charset()
    return b'("%s" "%s" %s NIL NIL "%s" %d%s NIL %s NIL NIL)' % (
        part.get_content_maintype().upper().encode(),
        part.get_content_subtype().upper().encode(),
        f'("CHARSET" "{charset}")'.encode() if charset else b"NIL",
        encoding.encode(),
        len(payload.encode("utf-8", "surrogateescape")),
        lines,
        disposition,
    )
