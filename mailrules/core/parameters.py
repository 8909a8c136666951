"""Parameters of structured header fields: RFC 2045, RFC 2231, and what mailers write instead."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailrules.core.charset import decode_bytes, nfc
from mailrules.core.decoding import decode, unfold

Parameters = Sequence[tuple[bytes, bytes]]
"""Names and values as they came, unquoted, in order (Content-Type's, Content-Disposition's)."""

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
