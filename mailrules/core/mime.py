"""The parts of a message: what is text to be read, what is attached, and the bytes of each.

`parse_structure` reads raw bytes and agrees with what an IMAP server says in BODYSTRUCTURE: the same
section numbers (RFC 9051 section 6.4.5), the same sizes (octets as encoded, with CRLF line ends).

Bounded against MIME bombs: 500 parts, 50 levels; what is beyond belongs to the last part. An attached
message is a leaf: its own parts are neither body nor attachments of this message.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailrules.core.charset import decode_bytes, known, nfc
from mailrules.core.decoding import base64, decode
from mailrules.core.headers import Headers, normal_lines, parse_block, split_message
from mailrules.core.html_text import visible_text
from mailrules.core.parameters import Parameters, parse_field
from mailrules.core.parts import Part, attachments, is_attachment, part, text_parts

__all__ = [
    "MOST_PARTS",
    "Body",
    "Part",
    "attachments",
    "body_text",
    "decode_transfer",
    "is_attachment",
    "parse_structure",
    "part",
    "part_bytes",
    "parts_with_bytes",
    "text_parts",
    "wire_size",
]

MOST_PARTS = 500
MOST_LEVELS = 50
_MOST_DASHED_LINES = 500_000
_NO_HEADERS = parse_block(b"")


@dataclass(frozen=True, slots=True)
class Body:
    """The decoded text parts, one after the other. `cut`: there was more than the limit."""

    text: str
    cut: bool = False


def body_text(parts: Iterable[tuple[Part, bytes]], limit: int) -> Body:
    """The text of these parts (as encoded for transfer), up to `limit` characters."""
    texts: list[str] = []
    left = limit
    cut = False
    for one, data in parts:
        if left <= 0:
            cut = cut or bool(data.strip())
            continue
        text, short = _text(one, data, left)
        texts.append(text)
        left -= len(text) + 1
        cut = cut or short
    return Body("\n".join(texts), cut)


_META_CHARSET = re.compile(
    rb"""<meta[^<>]{0,200}?charset\s*=\s*["']?([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE
)


def _text(part: Part, data: bytes, limit: int) -> tuple[str, bool]:
    cut = wire_size(data) < part.size  # whoever fetched it fetched a piece
    most = limit * 12 + 65536  # a character takes at most 12 octets: four of UTF-8, quoted-printable
    if len(data) > most:
        data, cut = data[:most], True
    decoded = decode_transfer(data, part.encoding)
    charset = part.charset
    if part.content_type == "text/html":
        if charset in ("", "us-ascii") or not known(charset):
            meta = _META_CHARSET.search(decoded, 0, 4096)
            charset = meta[1].decode() if meta else charset
        source = decode_bytes(decoded, charset)
        if len(source) > 4 * limit + 65536:
            source, cut = source[: 4 * limit + 65536], True
        text = visible_text(source)
    else:
        text = decode_bytes(decoded, charset).replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > limit:
        text, cut = text[:limit], True
    return nfc(text), cut


def wire_size(data: bytes) -> int:
    """Octets as a server counts them: every line end is CRLF."""
    return len(data) + data.count(b"\n") - data.count(b"\r\n")


def decode_transfer(data: bytes, encoding: str) -> bytes:
    """The octets of a part behind its Content-Transfer-Encoding; what is broken is read as far as it goes."""
    if encoding == "base64":
        return base64(data)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(data)
    return data


# -- raw messages -------------------------------------------------------------------------------
@dataclass(slots=True)
class _Multipart:
    """A multipart whose delimiters are looked for."""

    boundary: bytes
    prefix: str
    digest: bool
    place: int
    count: int = 0


@dataclass(slots=True)
class _Leaf:
    section: str
    headers: Headers
    default: str
    start: int


def parse_structure(raw: bytes) -> tuple[Part, ...]:
    """The leaf parts of a whole message, as a server's BODYSTRUCTURE has them. Never raises."""
    return tuple(part for part, _ in parts_with_bytes(raw))


def part_bytes(raw: bytes, section: str) -> bytes:
    """The bytes of one part, still encoded for transfer; b"" if there is no such part."""
    return next((data for part, data in parts_with_bytes(raw) if part.section == section), b"")


def parts_with_bytes(raw: bytes) -> list[tuple[Part, bytes]]:
    """Every leaf part with its bytes, still encoded for transfer."""
    raw = normal_lines(raw)
    found = []
    for leaf, end in _leaves(raw):
        data = raw[leaf.start : end]
        found.append((_part_of(leaf, wire_size(data)), data))
    return found


def _part_of(leaf: _Leaf, size: int) -> Part:
    content_type, parameters = _content_type(leaf.headers, leaf.default)
    disposition, disposition_parameters = parse_field(_first(leaf.headers, "content-disposition"))
    encoding, _ = parse_field(_first(leaf.headers, "content-transfer-encoding"))
    return part(
        section=leaf.section,
        content_type=content_type,
        parameters=parameters,
        encoding=encoding,
        disposition=disposition,
        disposition_parameters=disposition_parameters,
        content_id=decode(_first(leaf.headers, "content-id")),
        size=size,
    )


def _first(headers: Headers, name: str) -> bytes:
    values = headers.get(name)
    return values[0] if values else b""


def _content_type(headers: Headers, default: str) -> tuple[str, Parameters]:
    raw = _first(headers, "content-type")
    if not raw:
        return default, ()
    content_type, parameters = parse_field(raw)
    # RFC 2045 section 5.2: what can't be read is plain text
    return (content_type if "/" in content_type else "text/plain"), parameters


def _leaves(raw: bytes) -> list[tuple[_Leaf, int]]:
    """Each leaf and where it ends: one pass over the lines that begin with two dashes."""
    found: list[tuple[_Leaf, int]] = []
    stack: list[_Multipart] = []
    boundaries: tuple[bytes, ...] = ()
    leaf: _Leaf | None = None

    def begin(headers: Headers, *, section: str, default: str, start: int) -> None:
        nonlocal leaf
        content_type, parameters = _content_type(headers, default)
        if not content_type.startswith("multipart/") or len(stack) == MOST_LEVELS:
            leaf = _Leaf(section or "1", headers, default, start)
            return
        boundary = next((v for k, v in parameters if k.lower() == b"boundary"), b"")
        prefix = section + "." if section else ""
        stack.append(_Multipart(boundary.rstrip(), prefix, content_type == "multipart/digest", start))

    def close(level: int, end: int) -> None:
        """Ends the open leaf, and every multipart from this level on."""
        nonlocal leaf
        if leaf is not None:
            found.append((leaf, max(leaf.start, end)))
            leaf = None
        for multipart in reversed(stack[level:]):
            if multipart.count == 0:  # servers show an empty text part in a multipart without parts
                empty = _Leaf(f"{multipart.prefix}1", _NO_HEADERS, "text/plain", multipart.place)
                found.append((empty, multipart.place))
        del stack[level:]

    headers, place = split_message(raw)
    begin(headers, section="", default="text/plain", start=place)
    dashed = 0
    while len(found) < MOST_PARTS:
        boundaries = tuple(multipart.boundary for multipart in stack if multipart.boundary)
        line, dashed = _next_delimiter(raw, place, boundaries, dashed)
        if line < 0:
            break
        boundary = _boundary_at(raw, line + 2, boundaries)
        level = max(i for i, multipart in enumerate(stack) if multipart.boundary == boundary)
        multipart = stack[level]
        after = line + 2 + len(boundary)
        stop = raw.find(b"\n", after)
        stop = len(raw) if stop < 0 else stop
        if raw.startswith(b"--", after):
            close(level, _before_line_end(raw, line))
            place = stop  # the next search wants the line end
            continue
        close(level + 1, _before_line_end(raw, line))
        multipart.count += 1
        boundaries = tuple(multipart.boundary for multipart in stack if multipart.boundary)
        headers, place = _part_headers(raw, min(stop + 1, len(raw)), boundaries)
        begin(
            headers,
            section=f"{multipart.prefix}{multipart.count}",
            default="message/rfc822" if multipart.digest else "text/plain",
            start=place,
        )
    close(0, len(raw))
    return found[:MOST_PARTS]


_BEHIND = (b"\n", b"\r", b" ", b"\t", b"--")


def _next_delimiter(raw: bytes, place: int, boundaries: tuple[bytes, ...], dashed: int) -> tuple[int, int]:
    """Where the next delimiter line begins (-1: nowhere), and how many lines looked like one so far."""
    if not boundaries:
        return -1, dashed
    if raw.startswith(b"--", place) and _begins_line(raw, place) and _boundary_at(raw, place + 2, boundaries):
        return place, dashed + 1
    while dashed < _MOST_DASHED_LINES:
        line = raw.find(b"\n--", place) + 1
        if line == 0:
            break
        dashed += 1
        if raw.startswith(boundaries, line + 2) and _boundary_at(raw, line + 2, boundaries):
            return line, dashed
        place = line
    return -1, dashed


def _boundary_at(raw: bytes, start: int, boundaries: tuple[bytes, ...]) -> bytes:
    """The innermost boundary that stands there whole, before a line end, a blank or two dashes; else b"".

    RFC 2046 section 5.1.1 would have any line that only begins with it. Boundaries that begin alike
    are common, and those of attached messages are not known here.
    """
    for boundary in reversed(boundaries):
        if raw.startswith(boundary, start):
            end = start + len(boundary)
            if end == len(raw) or raw.startswith(_BEHIND, end):
                return boundary
    return b""


_BLANK_LINE = re.compile(rb"^\r?\n", re.MULTILINE)


def _part_headers(raw: bytes, start: int, boundaries: tuple[bytes, ...]) -> tuple[Headers, int]:
    """The headers of a part and where its body begins; a delimiter ends headers that have no blank line."""
    blank = _BLANK_LINE.search(raw, start, start + 300_000)
    end = blank.start() if blank else min(len(raw), start + 300_000)
    body = blank.end() if blank else end
    line, _ = _next_delimiter(raw[start:end], 0, boundaries, 0)
    if line >= 0:
        end = body = start + line
    return parse_block(raw[start:end]), body


def _begins_line(raw: bytes, place: int) -> bool:
    return place == 0 or raw[place - 1] == 10


def _before_line_end(raw: bytes, line: int) -> int:
    """The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1)."""
    end = line - 1 if line > 0 and raw[line - 1] == 10 else line
    return end - 1 if end > 0 and raw[end - 1] == 13 and end < line else end
