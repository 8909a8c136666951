"""The parts of a message: what is text to be read, what is attached, and the bytes of each.

`parse_structure` reads raw bytes and agrees with what an IMAP server says in BODYSTRUCTURE: the same
section numbers (RFC 9051 section 6.4.5), the same sizes (octets as encoded, with CRLF line ends).
`part` makes a Part from the fields of either, so that both roads give the same answers.

Bounded against MIME bombs: 500 parts, 50 levels; what is beyond belongs to the last part. An attached
message is a leaf: its own parts are neither body nor attachments of this message.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailrules.core.charset import decode_bytes, known, nfc
from mailrules.core.decoding import base64, decode, unfold
from mailrules.core.headers import Headers, normal_lines, parse_block, split_message
from mailrules.core.html_text import visible_text

MOST_PARTS = 500
MOST_LEVELS = 50
_MOST_DASHED_LINES = 500_000
_NO_HEADERS = parse_block(b"")

Parameters = Sequence[tuple[bytes, bytes]]
"""Names and values as they came, unquoted, in order (Content-Type's, Content-Disposition's)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf of a message's structure.

    `content_type` is lower case (`text/plain`); `charset` and `encoding` are lower case, "" if unsaid.
    `filename` is decoded (RFC 2231, RFC 2047). `disposition` is lower case, without parameters.
    `size` counts octets as they are encoded for transfer, line ends as CRLF.
    """

    section: str
    content_type: str = "text/plain"
    charset: str = ""
    encoding: str = ""
    filename: str | None = None
    disposition: str | None = None
    content_id: str | None = None
    size: int = 0

    @property
    def decoded_size(self) -> int:
        """About how many octets it has once decoded: the size that conditions compare.

        An estimate (lines of 76 characters for base64), because a server does not tell the real one.
        """
        if self.encoding == "base64":
            return self.size * 57 // 78
        if self.encoding in ("x-uuencode", "uuencode", "x-uue"):
            return self.size * 45 // 63
        return self.size


@dataclass(frozen=True, slots=True)
class Body:
    """The decoded text parts, one after the other. `cut`: there was more than the limit."""

    text: str
    cut: bool = False


def part(
    *,
    section: str,
    content_type: str,
    parameters: Parameters = (),
    encoding: str = "",
    disposition: str | None = None,
    disposition_parameters: Parameters = (),
    content_id: str | None = None,
    size: int = 0,
) -> Part:
    """A Part from the fields of BODYSTRUCTURE or of a part's own headers."""
    name = parameter(disposition_parameters, "filename") or parameter(parameters, "name")
    return Part(
        section=section,
        content_type=content_type.lower(),
        charset=(parameter(parameters, "charset") or "").lower()[:60],
        encoding=encoding.strip().lower()[:60],
        filename=name or None,
        disposition=disposition.strip().lower()[:60] or None if disposition else None,
        content_id=content_id or None,
        size=size,
    )


def is_attachment(part: Part) -> bool:
    """A file name or `attachment` disposition, or a whole message; not an image shown within the text."""
    if part.disposition == "attachment":
        return True
    if part.content_type.startswith("image/") and (part.disposition == "inline" or part.content_id):
        return False
    return part.filename is not None or part.content_type in ("message/rfc822", "message/global")


def attachments(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(p for p in parts if is_attachment(p))


def text_parts(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts that `body` reads, in order: text/plain and text/html that are not attached."""
    return tuple(p for p in parts if p.content_type in ("text/plain", "text/html") and not is_attachment(p))


def body_text(parts: Iterable[tuple[Part, bytes]], limit: int) -> Body:
    """The text of these parts (as encoded for transfer), up to `limit` characters."""
    texts: list[str] = []
    left = limit
    cut = False
    for part, data in parts:
        if left <= 0:
            cut = cut or bool(data.strip())
            continue
        text, short = _text(part, data, left)
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


# -- parameters ---------------------------------------------------------------------------------
_PARAMETER = re.compile(rb"""[\s;]++([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|"?+([^;]*+))""", re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_MOST_PARAMETERS = 500
_LONGEST_NAME = 1000


def parse_field(raw: bytes) -> tuple[str, list[tuple[bytes, bytes]]]:
    """`value; name=value; …` of Content-Type and Content-Disposition: the value, and the parameters."""
    raw = raw[:65536].replace(b"\r", b"").replace(b"\n", b"")
    main = re.match(rb"\s*+([^\s;]*+(?:\s*+/\s*+[^\s;]++)?)", raw)
    assert main is not None  # it matches the empty string
    found: list[tuple[bytes, bytes]] = []
    for match in _PARAMETER.finditer(raw, main.end()):
        quoted = match[2]
        value = _ESCAPE.sub(rb"\1", quoted) if quoted is not None else match[3].strip()
        found.append((match[1], value))
        if len(found) == _MOST_PARAMETERS:
            break
    return re.sub(r"\s", "", decode_bytes(main[1])).lower(), found


def parameter(parameters: Parameters, name: str) -> str | None:
    """One parameter decoded: RFC 2231 continuations and charsets, else RFC 2047 as many mailers write."""
    wanted = name.encode()
    plain: bytes | None = None
    whole: bytes | None = None
    pieces: dict[int, tuple[bool, bytes]] = {}
    for key, value in parameters[:_MOST_PARAMETERS]:
        key = key.lower()
        if key == wanted:
            plain = value if plain is None else plain
        elif key == wanted + b"*":
            whole = value if whole is None else whole
        elif key.startswith(wanted + b"*"):
            number = key[len(wanted) + 1 :].removesuffix(b"*")
            if number.isdigit() and len(number) <= 3:
                pieces.setdefault(int(number), (key.endswith(b"*"), value))
    if whole is not None:
        charset, encoded = _charset_of(whole)
        text = decode_bytes(_unpercent(encoded), charset)
    elif 0 in pieces:
        charset = ""
        octets = bytearray()
        for place in range(len(pieces)):
            if place not in pieces:
                break
            extended, value = pieces[place]
            if extended and place == 0:
                charset, value = _charset_of(value)
            octets += _unpercent(value) if extended else value
        text = decode_bytes(bytes(octets), charset)
    elif plain is not None:
        return decode(plain)[:_LONGEST_NAME]
    else:
        return None
    return nfc(unfold(text[:_LONGEST_NAME])).strip()


def _charset_of(value: bytes) -> tuple[str, bytes]:
    pieces = value.split(b"'", 2)
    return (pieces[0].decode("latin-1"), pieces[2]) if len(pieces) == 3 else ("", value)


def _unpercent(value: bytes) -> bytes:
    return _PERCENT.sub(lambda match: bytes([int(match[1], 16)]), value)


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
