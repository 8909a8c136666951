"""Bytes of a mail to text: charset names as they are found in the wild, and what to do when they lie.

Nothing here raises. Codecs come from a table made once, so that a hostile name reaches neither a
codec that costs quadratic time (`punycode`) nor the interpreter's unbounded cache of unknown names.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from encodings.aliases import aliases

_TEXT_CODECS = re.compile(
    r"ascii|big5|big5hkscs|cp\d+|euc_\w+|gb\w+|hp_roman8|hz|iso2022_\w+|iso8859_\d+|johab|koi8_\w|kz1048"
    r"|latin_1|mac_\w+|ptcp154|shift_jis\w*|shift_jisx0213|tis_620|utf_7|utf_8|utf_8_sig|utf_16\w*|utf_32\w*"
)
_GUESS = "guess"

# What mail says, in lower case without punctuation -> the codec that reads it best. Subsets are read by
# their supersets (WHATWG Encoding Standard): what is labelled Latin-1 is mostly Windows-1252.
_WILD = {
    "usascii": _GUESS, "ascii": _GUESS, "ansix341968": _GUESS, "iso646us": _GUESS, "us": _GUESS,
    "utf8": _GUESS, "unicode11utf8": _GUESS, "utf": _GUESS, "utf8mb4": _GUESS, "xutf8": _GUESS,
    "latin1": "cp1252", "iso88591": "cp1252", "88591": "cp1252", "l1": "cp1252", "iso885911987": "cp1252",
    "windows": "cp1252", "ansi": "cp1252", "xansi": "cp1252", "cp1252": "cp1252", "win1252": "cp1252",
    "iso88598i": "iso8859_8", "iso88598e": "iso8859_8", "iso88596i": "iso8859_6", "iso88599": "cp1254",
    "iso885911": "cp874", "tis620": "cp874", "windows874": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "xgbk": "gb18030", "cp936": "gb18030", "ms936": "gb18030",
    "gb231280": "gb18030", "chinesesimplified": "gb18030", "euccn": "gb18030", "hzgb2312": "hz",
    "big5": "big5hkscs", "xbig5": "big5hkscs", "big5eten": "big5hkscs", "cnbig5": "big5hkscs",
    "ksc56011987": "cp949", "ksc5601": "cp949", "euckr": "cp949", "ks5601": "cp949", "windows949": "cp949",
    "shiftjis": "cp932", "sjis": "cp932", "xsjis": "cp932", "windows31j": "cp932", "csshiftjis": "cp932",
    "iso2022jp": "iso2022_jp_ext", "csiso2022jp": "iso2022_jp_ext", "cp50220": "iso2022_jp_ext",
    "xeucjp": "euc_jp", "macintosh": "mac_roman", "xmacroman": "mac_roman", "xmaccyrillic": "mac_cyrillic",
    "koi8": "koi8_r", "xkoi8r": "koi8_r", "unicode20utf8": _GUESS, "utf7imap": "utf_7",
}  # fmt: skip


def _table() -> dict[str, str]:
    table = {}
    for alias, codec in (*aliases.items(), *((c, c) for c in aliases.values())):
        if _TEXT_CODECS.fullmatch(codec):
            table[re.sub(r"[^a-z0-9]", "", alias.lower())] = codec
    for number in (874, *range(1250, 1259)):
        table[f"windows{number}"] = table[f"win{number}"] = table[f"xcp{number}"] = f"cp{number}"
    return table | _WILD


_CODECS = _table()
_SURROGATES = re.compile("[\ud800-\udfff]")


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    """Reads each byte that is not UTF-8 as Windows-1252, and its five holes as Latin-1."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    text = "".join(codecs.charmap_decode(bytes([b]), "ignore", _CP1252)[0] or chr(b) for b in bad)
    return text, error.end


_CP1252 = "".join(bytes([b]).decode("cp1252", "ignore") or "\ufffe" for b in range(256))
codecs.register_error("mailrules.windows-1252", _as_windows_1252)


def known(charset: str) -> bool:
    """Whether the name means something to us."""
    return _plain(charset) in _CODECS


def _plain(charset: str) -> str:
    # RFC 2231 section 5 allows a language after the charset: utf-8*en
    return re.sub(r"[^a-z0-9]", "", charset[:60].partition("*")[0].lower())


def decode_bytes(data: bytes, charset: str = "") -> str:
    """Text of bytes in a charset; without one, or with an unknown one: UTF-8, else Windows-1252.

    NUL and lone surrogates are gone from the result. Never raises.
    """
    if data.isascii() and b"\0" not in data and b"\x1b" not in data and charset == "":
        return data.decode("ascii")
    codec = _CODECS.get(_plain(charset), _GUESS)
    if codec == _GUESS:
        text = data.decode("utf-8", "mailrules.windows-1252")
    else:
        try:
            text = data.decode(codec, "replace")
        except (UnicodeError, ValueError):  # a BOM that is not there, a bug of a codec
            text = data.decode("utf-8", "mailrules.windows-1252")
        text = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)
    return text.replace("\0", "") if "\0" in text else text


_PIECE = 400


def nfc(text: str) -> str:
    """Unicode Normalization Form C, in linear time.

    The standard library sorts a run of combining characters in quadratic time: 200,000 of them in a
    body would take minutes. Long text is therefore normalised in pieces that begin at a blank or at
    another character that does not combine, where there is one.
    """
    if text.isascii():
        return text
    if len(text) <= 2 * _PIECE:
        return unicodedata.normalize("NFC", text)
    pieces = []
    start = 0
    while start < len(text):
        end = start + _PIECE
        for cut in range(end, min(end + _PIECE, len(text))):
            if text[cut] < "\x80" or (cut > end + 64 and not unicodedata.combining(text[cut])):
                end = cut
                break
        pieces.append(unicodedata.normalize("NFC", text[start:end]))
        start = end
    return "".join(pieces)
