"""How a message is sent on: as a new mail (forward) or as itself (redirect). Pure; `adapters/smtp.py` sends.

Decided here (RFC 5228 section 4.2, RFC 5322 section 3.6.6, RFC 2046 section 5.2.1):

* A redirect keeps every header and every byte, save that Return-Path goes (RFC 5321 section 4.4) and line
  ends become CRLF. What can't travel so (NUL, lines over 998, raw 8-bit headers that are not UTF-8) is
  refused with a reason; `forward` can carry it.
* A forward attaches the original as message/rfc822, which may not be encoded. Where it can't travel as it
  is, it is attached as an `.eml` file in base64 instead, every byte kept.
* A bounce stays a bounce: where Return-Path is `<>`, the envelope sender is empty, also for a forward,
  so that what fails to arrive does not come back to be forwarded again.
* Loops end: our own mark in the header, a recipient the message has already been delivered to, or too many
  Received lines refuse it.
"""

from __future__ import annotations

import binascii
import re
from base64 import encodebytes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.header import Header
from email.utils import format_datetime
from typing import Any

from mailrules.core import mime
from mailrules.core.errors import PermanentError
from mailrules.core.headers import Headers, addresses, decode, normal_lines, split_message
from mailrules.core.recipient import ascii_domain, recipient_problem, wire_form
from mailrules.core.variables import clean

LOOP_HEADER = "X-Mailrules-Loop"
MOST_RECEIVED = 30
LONGEST_LINE = 998
LONGEST_QUOTE = 256 * 1024
MOST_REFERENCES = 20

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LONG_LINE = re.compile(rb"[^\n]{1000}")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
_RETURN_PATH = re.compile(rb"^return-path[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}>")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message as SMTP sends it: CRLF line ends, and who it is for.

    `utf8`: it needs SMTPUTF8. `seven_bit`: another form of it for a server without 8BITMIME, if there is one.
    `mail_from` is "" for the null sender.
    """

    data: bytes
    mail_from: str
    recipients: tuple[str, ...]
    message_id: str
    utf8: bool = False
    seven_bit: Callable[[], bytes] | None = None
    notes: tuple[str, ...] = ()


def forward_message(
    raw: bytes, *, arguments: Mapping[str, Any], address: str, effect_key: str, now: datetime
) -> Outgoing:
    """A new mail from `address` with the original attached or quoted. Raises PermanentError where a loop
    or an unusable address forbids it. The same arguments give the same bytes.
    """
    raw = _whole(raw)
    headers, _ = split_message(normal_lines(raw))
    to = tuple(arguments["to"])
    refuse(headers, address=address, recipients=to)
    text = str(arguments.get("text") or "")
    message_id = own_id(effect_key, address)
    top = [
        *_field("From", wire_form(address)),
        *_field("To", ", ".join(wire_form(a) for a in to)),
        *_field("Subject", _encoded("Subject", str(arguments.get("subject") or ""))),
        *_field("Date", format_datetime(now)),
        *_field("Message-ID", message_id),
        *_reply_to(headers),
        *_thread(headers),
        *_field("Auto-Submitted", "auto-generated"),
        *(line for mark in _marks(headers, address) for line in _field(LOOP_HEADER, mark)),
        *_field("MIME-Version", "1.0"),
    ]
    seven_bit: Callable[[], bytes] | None = None
    notes: tuple[str, ...] = ()
    if arguments.get("mode") == "inline":
        data = b"".join((*top, _text_part(_quoted(raw, headers, text))))
    else:
        introduction = text or "The forwarded message is attached."
        original = _BARE_LF.sub(b"\r\n", raw)
        as_it_is = not (b"\0" in raw or _BARE_CR.search(original) or _LONG_LINE.search(original))

        def as_file() -> bytes:
            return _attached(top, introduction, raw, effect_key=effect_key, encoded=True)

        if as_it_is:
            data = _attached(top, introduction, original, effect_key=effect_key, encoded=False)
            seven_bit = as_file if _EIGHT_BIT.search(data) else None
        else:
            data = as_file()
            notes = ("the original is attached as a file: its lines can't travel as they are",)
    return Outgoing(
        data, _envelope_sender(headers, address), to, message_id, _needs_utf8(address, *to), seven_bit, notes
    )


def redirect_message(
    raw: bytes, *, arguments: Mapping[str, Any], address: str, effect_key: str, now: datetime
) -> Outgoing:
    """The message itself with one block of new headers on top (RFC 5322 section 3.6.6). Raises PermanentError
    where a loop forbids it or the message can't travel unchanged.
    """
    original = normal_lines(_whole(raw))
    headers, body = split_message(original)
    to = tuple(arguments["to"])
    refuse(headers, address=address, recipients=to)
    _refuse_spam(headers)
    if b"\0" in original:
        raise PermanentError("the message has a NUL byte and can't be redirected unchanged. Use forward.")
    # A bare CR must become no line end: behind it, a header would begin that was none.
    head, rest = (_crlf(part) for part in (original[:body], original[body:]))
    head = _RETURN_PATH.sub(b"", head)
    if _LONG_LINE.search(head) or _LONG_LINE.search(rest):
        raise PermanentError(
            f"the message has a line longer than {LONGEST_LINE} bytes and can't be redirected unchanged."
            " Use forward."
        )
    utf8 = _needs_utf8(address, *to)
    if _EIGHT_BIT.search(head):
        utf8 = True
        try:
            head.decode("utf-8")
        except UnicodeDecodeError:
            raise PermanentError(
                "the message has raw 8-bit headers and can't be redirected unchanged. Use forward."
            ) from None
    message_id = own_id(effect_key, address)
    date = format_datetime(now)
    block = [
        *_field("Received", f"by {_domain(address)} (mailrules)\r\n\tid {_token(effect_key)}; {date}"),
        *_field(LOOP_HEADER, loop_mark(address)),
        *_field("Resent-Date", date),
        *_field("Resent-From", wire_form(address)),
        *_field("Resent-To", ", ".join(wire_form(a) for a in to)),
        *_field("Resent-Message-ID", message_id),
    ]
    changed = _BARE.search(original) is not None and b"\r\n" in original
    notes = ("line ends were made CRLF; a signature may not hold",) if changed else ()
    data = b"".join((*block, head, rest))
    return Outgoing(data, _envelope_sender(headers, address), to, message_id, utf8, None, notes)


def reply_message(
    raw: bytes, *, arguments: Mapping[str, Any], address: str, effect_key: str, now: datetime
) -> Outgoing:
    """An automatic answer from `address` (RFC 3834 section 3.1), with a null return path: what becomes of it
    comes back to nobody. The same arguments give the same bytes.
    """
    headers, _ = split_message(normal_lines(_whole(raw)))
    (to,) = arguments["to"]
    for each in (to, address):
        problem = recipient_problem(each)
        if problem:
            raise PermanentError(problem)
    message_id = own_id(effect_key, address)
    data = b"".join(
        (
            *_field("From", wire_form(address)),
            *_field("To", wire_form(to)),
            *_field("Subject", _encoded("Subject", str(arguments.get("subject") or ""))),
            *_field("Date", format_datetime(now)),
            *_field("Message-ID", message_id),
            *_thread(headers),
            *_field("Auto-Submitted", "auto-replied"),
            *_field("X-Auto-Response-Suppress", "All"),
            *(line for mark in _marks(headers, address) for line in _field(LOOP_HEADER, mark)),
            *_field("MIME-Version", "1.0"),
            _text_part("\n".join(clean_lines(str(arguments["text"])))),
        )
    )
    return Outgoing(data, "", (to,), message_id, _needs_utf8(address, to))


def refuse(headers: Headers, *, address: str, recipients: Sequence[str]) -> None:
    """Raise PermanentError if sending this message on would feed a loop (FORWARDING: A to B to A)."""
    for recipient in (*recipients, address):
        problem = recipient_problem(recipient)
        if problem:
            raise PermanentError(problem)
    marks = set(_marks_of(headers))
    targets = {loop_mark(recipient): recipient for recipient in recipients}
    if loop_mark(address) in targets:
        raise PermanentError(f"{address} is the account itself: sending it there would go round in a loop.")
    if loop_mark(address) in marks:
        raise PermanentError(f"the message was sent on by {address} before: it goes round in a loop.")
    for mark in marks & set(targets):
        raise PermanentError(f"the message was sent on by {targets[mark]}: sending it back would be a loop.")
    for name in ("delivered-to", "x-original-to"):
        for raw in headers.get(name):
            mark = loop_mark(clean(decode(raw)).strip().strip("<>"))
            if mark in targets:
                raise PermanentError(f"the message was delivered to {targets[mark]} already.")
    hops = len(headers.get("received"))
    if hops > MOST_RECEIVED:
        raise PermanentError(f"the message has {hops} Received lines, more than {MOST_RECEIVED}: a loop.")


def _refuse_spam(headers: Headers) -> None:
    """What is marked as spam or infected is not redirected: the forwarder's reputation pays for it."""
    for name, bad in (("x-spam-flag", "yes"), ("x-virus-status", "infected"), ("x-virus-infected", "")):
        values = headers.get(name)
        if values and clean(decode(values[0])).strip().casefold().startswith(bad):
            raise PermanentError(
                f"the message is marked by {name.title()} and is not redirected."
                " Use forward if it must be sent."
            )


def loop_mark(address: str) -> str:
    """An address as it stands in our loop header: ASCII, without differences of letter case."""
    local, _, domain = address.casefold().rpartition("@")
    ascii_local = local.encode("ascii", "backslashreplace").decode("ascii")
    return f"{ascii_local}@{ascii_domain(domain)}"


def own_id(effect_key: str, address: str) -> str:
    """The Message-ID that this effect has on every try (RELIABILITY R3)."""
    return f"<{_token(effect_key)}@{_domain(address)}>"


# -- parts of the header --------------------------------------------------------------------------------
def _field(name: str, value: str) -> list[bytes]:
    """One header field; none if it has no value."""
    return [f"{name}: {value}\r\n".encode()] if value else []


def _encoded(name: str, text: str) -> str:
    """Unstructured text for a header: no control characters, folded, encoded words where needed."""
    text = " ".join(clean(text)[:500].split())
    charset = "us-ascii" if text.isascii() and "=?" not in text else "utf-8"
    try:
        return Header(text, charset, maxlinelen=76, header_name=name).encode(linesep="\r\n")
    except (MessageError, ValueError):
        return ""


def _domain(address: str) -> str:
    return ascii_domain(address.rpartition("@")[2]) or "localhost"


def _token(effect_key: str) -> str:
    return _UNSAFE.sub("", effect_key)[:100] or "mailrules"


def _needs_utf8(*given: str) -> bool:
    return not all(wire_form(address).isascii() for address in given)


def _reply_to(headers: Headers) -> list[bytes]:
    """The author of the original, if the address can be written in ASCII."""
    for author in addresses(headers.get("from")):
        if recipient_problem(author.address) is None and author.local.isascii():
            return _field("Reply-To", wire_form(author.address))
    return []


def _thread(headers: Headers) -> list[bytes]:
    ids = [i for raw in headers.get("references")[:1] for i in _MESSAGE_ID.findall(decode(raw))]
    own = [i for raw in headers.get("message-id")[:1] for i in _MESSAGE_ID.findall(decode(raw))][:1]
    ids = list(dict.fromkeys([*ids, *own]))[-MOST_REFERENCES:]
    return [*_field("In-Reply-To", "".join(own)), *_field("References", "\r\n ".join(ids))]


def _marks_of(headers: Headers) -> list[str]:
    return [clean(decode(raw)).strip().casefold() for raw in headers.get(LOOP_HEADER)]


def _marks(headers: Headers, address: str) -> list[str]:
    """The marks of a new mail: our own, and those of everybody who sent the original on before."""
    known = [m for m in _marks_of(headers) if m.isascii() and recipient_problem(m) is None]
    return list(dict.fromkeys([loop_mark(address), *known]))[:MOST_RECEIVED]


def _envelope_sender(headers: Headers, address: str) -> str:
    """The account's own address; null for what came with a null sender (RFC 5228 section 4.2)."""
    paths = headers.get("return-path")
    return "" if paths and paths[0].replace(b" ", b"") == b"<>" else wire_form(address)


# -- bodies ---------------------------------------------------------------------------------------------
def _whole(raw: bytes) -> bytes:
    """The message without the From_ line of an mbox."""
    return raw[raw.find(b"\n") + 1 :] if raw.startswith((b"From ", b">From ")) else raw


def _crlf(raw: bytes) -> bytes:
    if not _BARE.search(raw):
        return raw
    return _BARE_CR.sub(b" ", _BARE_LF.sub(b"\r\n", raw))


def _text_part(text: str) -> bytes:
    """A text/plain part with its headers."""
    encoded = binascii.b2a_qp(text.replace("\r", "").encode("utf-8", "replace"), istext=True)
    return (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        + encoded.replace(b"\n", b"\r\n")
        + b"\r\n"
    )


def _attached(top: list[bytes], text: str, original: bytes, *, effect_key: str, encoded: bool) -> bytes:
    if encoded:
        kind = b"application/octet-stream"
        transfer = b"base64"
        original = encodebytes(original).replace(b"\n", b"\r\n")
    else:
        kind = b"message/rfc822"
        transfer = b"8bit" if _EIGHT_BIT.search(original) else b"7bit"
    boundary = _boundary(effect_key, original)
    return b"".join(
        (
            *top,
            b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n',
            b"Content-Transfer-Encoding: " + (b"8bit" if transfer == b"8bit" else b"7bit") + b"\r\n\r\n",
            b"--" + boundary + b"\r\n",
            _text_part(text),
            b"\r\n--" + boundary + b"\r\n",
            b"Content-Type: " + kind + b'; name="message.eml"\r\n',
            b'Content-Disposition: attachment; filename="message.eml"\r\n',
            b"Content-Transfer-Encoding: " + transfer + b"\r\n\r\n",
            original,
            b"\r\n--" + boundary + b"--\r\n",
        )
    )


def _boundary(effect_key: str, original: bytes) -> bytes:
    """A boundary that the original does not hold, whoever wrote it and whatever they knew."""
    number = 0
    while True:
        boundary = f"=_{_token(effect_key)[:40]}_{number}".encode()
        if boundary not in original:
            return boundary
        number += 1


def _quoted(raw: bytes, headers: Headers, text: str) -> str:
    """The text of an inline forward: what the rule says, who wrote the original, and its text quoted."""
    lines = [*text.splitlines(), ""] if text else []
    lines.append("-------- Forwarded message --------")
    for name in ("From", "Date", "Subject", "To", "Cc"):
        values = headers.get(name)
        if values:
            lines.append(f"{name}: {clean(decode(values[0])).strip()[:1000]}")
    lines.append("")
    parts = mime.parse_structure(raw)
    read = [(part, mime.part_bytes(raw, part.section)) for part in mime.text_parts(parts)]
    body = mime.body_text(read, LONGEST_QUOTE)
    lines += [f"> {line}".rstrip() for line in clean_lines(body.text)]
    if body.cut:
        lines.append("[the rest is left out]")
    names = [part.filename or part.content_type for part in mime.attachments(parts)]
    if names:
        lines += ["", "[not quoted: " + ", ".join(clean(name) for name in names[:50]) + "]"]
    return "\n".join(lines) + "\n"


def clean_lines(text: str) -> list[str]:
    """The lines of a text, without control characters."""
    return [clean(line, keep="\n\t") for line in text.replace("\r\n", "\n").split("\n")]
