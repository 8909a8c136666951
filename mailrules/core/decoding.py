"""Header values to text: unfolding and encoded words (RFC 5322 section 2.2.3, RFC 2047), as mail has them.

Written here because every rule reads every header: the standard library's way takes 30 times as
long, and raises on mail that people get.
"""

from __future__ import annotations

import binascii
import re

from mailrules.core.charset import decode_bytes, nfc

LONGEST = 256 * 1024
"""Octets of one header value that are read; the rest is dropped."""

# RFC 2047 section 2, loosely: blanks inside the text, any length, glued to other text.
_WORD = re.compile(rb"=\?([^?\s]{0,100})\?([bBqQ])\?(.*?)\?=", re.DOTALL)
_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_")
)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")


def decode(raw: bytes) -> str:
    """One header value as text: unfolded, encoded words decoded, NFC, without line ends and NUL.

    Blanks inside are kept as they are; those at the ends are trimmed. Never raises.
    """
    if raw.isascii() and b"=?" not in raw and b"\0" not in raw:
        text = raw[:LONGEST].decode("ascii")
        return (unfold(text) if "\n" in text or "\r" in text else text).strip()
    return nfc(_one_line(decode_words(raw))).strip()


def decode_line(raw: bytes) -> str:
    """A line in which there may be encoded words, as text without line ends."""
    return _one_line(decode_words(raw.rstrip(b"\r")))


def decode_words(raw: bytes) -> str:
    """Encoded words and everything around them, neither trimmed nor normalised."""
    raw = raw[:LONGEST]
    # Behind the last "?=" nothing can match; a search there would take quadratic time.
    end = raw.rfind(b"?=") + 2
    if end < 2 or b"=?" not in raw:
        return decode_bytes(raw)
    pieces: list[str] = []
    charset = ""
    pending = bytearray()  # decoded octets of words side by side: a character may be split over two
    last = 0
    for word in _WORD.finditer(raw, 0, end):
        gap = raw[last : word.start()]
        name = word[1].decode("latin-1").lower()
        beside = last > 0 and (not gap or gap.isspace())
        if not beside or name != charset:
            pieces.append(decode_bytes(bytes(pending), charset))
            pending, charset = bytearray(), name
        if not beside:
            pieces.append(decode_bytes(gap))
        pending += base64(word[3]) if word[2] in b"bB" else _q(word[3])
        last = word.end()
    pieces.append(decode_bytes(bytes(pending), charset))
    pieces.append(decode_bytes(raw[last:]))
    return "".join(pieces)


def unfold(text: str) -> str:
    """Takes out folds; a line end that is none becomes a blank."""
    return _BREAKS.sub(" ", _FOLD.sub("", text))


def _one_line(text: str) -> str:
    return unfold(text) if _BREAKS.search(text) else text


def _q(data: bytes) -> bytes:
    return binascii.a2b_qp(data.replace(b"\r", b"").replace(b"\n", b""), header=True)


_BETWEEN = re.compile(rb"[^=]+")


def base64(data: bytes) -> bytes:
    """Whatever can be read of base64: foreign characters skipped, padding added, pieces joined."""
    if data.rstrip().endswith(b"=") or b"=" not in data:
        try:
            decoded = binascii.a2b_base64(data)
            if data.find(b"=") >= len(data.rstrip()) - 2 or b"=" not in data:
                return decoded
        except binascii.Error:
            pass
    clean = data.translate(_URL_SAFE, _NOT_BASE64)
    pieces = []
    for match in _BETWEEN.finditer(clean):  # not split: three million `=` would be three million pieces
        piece = match[0]
        whole = piece[: len(piece) - 1] if len(piece) % 4 == 1 else piece
        pieces.append(binascii.a2b_base64(whole + b"=" * (-len(whole) % 4)))
    return b"".join(pieces)
