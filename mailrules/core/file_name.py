"""Names of files that mail chooses, made safe (RELIABILITY A9), and what of a message becomes a file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from mailrules.core.headers import decode, split_message
from mailrules.core.mime import decode_transfer, parts_with_bytes
from mailrules.core.parts import Part, is_attachment
from mailrules.core.text import Text, text_test
from mailrules.core.variables import clean

LONGEST_NAME = 150
"""Bytes of UTF-8: room for a number, and file systems take 255."""
LONGEST_SUFFIX = 20
MOST_FILES = 500

_SIGNS = frozenset("._-+=@,()[]{}&#!'~ ")
_SUFFIXES = {
    "text/plain": ".txt", "text/html": ".html", "text/calendar": ".ics", "application/pdf": ".pdf",
    "image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "message/rfc822": ".eml",
    "application/zip": ".zip", "text/csv": ".csv", "text/vcard": ".vcf",
}  # fmt: skip


def safe_name(text: str) -> str:
    """The last level of what mail calls a file, as a name that is harmless in any directory; "" if nothing is
    left. Letters and digits of every script stay; what shells, terminals and file systems obey does not.
    """
    text = unicodedata.normalize("NFC", clean(text)).replace("\\", "/").rpartition("/")[2]
    kept = "".join(c if c in _SIGNS or unicodedata.category(c)[0] in "LNM" else "_" for c in text[:1000])
    name = " ".join(kept.split()).lstrip(" .-~#").rstrip(" .")
    if not any(unicodedata.category(c)[0] in "LN" for c in name):
        return ""
    stem, suffix = split_suffix(name)
    return _cut(stem, LONGEST_NAME - len(suffix.encode())).rstrip(" .") + suffix


def split_suffix(name: str) -> tuple[str, str]:
    """`a.tar.gz` is `a.tar` and `.gz`; a long or odd end is none."""
    stem, dot, end = name.rpartition(".")
    if not (stem and dot and end and len(end.encode()) < LONGEST_SUFFIX and " " not in end):
        return name, ""
    return stem, dot + end


def numbered(name: str) -> Iterator[str]:
    """The name, and then `name-2`, `name-3`, … before its suffix."""
    yield name
    stem, suffix = split_suffix(name)
    for number in range(2, 10_000):
        yield f"{stem}-{number}{suffix}"


def message_file(raw: bytes) -> tuple[str, bytes]:
    """The whole message, named by its subject."""
    subjects = split_message(raw)[0].get("subject")
    name = safe_name(decode(subjects[0]).replace("/", "-").replace("\\", "-")) if subjects else ""
    # The suffix is ours: what looks like one in a subject stays before it.
    return f"{_cut(name, LONGEST_NAME - 4).rstrip(' .') or 'message'}.eml", raw


def attachment_files(raw: bytes, globs: Sequence[str] = ()) -> list[tuple[str, bytes]]:
    """The attachments, decoded, with safe names. `globs`: of those, only names that one of these fits."""
    test = text_test({"glob": globs}) if globs else None
    found: list[tuple[str, bytes]] = []
    for part, data in parts_with_bytes(raw):
        if len(found) == MOST_FILES:
            break
        if is_attachment(part) and (test is None or test.any_holds([Text(part.filename or "")])):
            found.append((_name_of(part), decode_transfer(data, part.encoding)))
    return found


def _name_of(part: Part) -> str:
    name = safe_name(part.filename or "")
    return name or f"attachment{_SUFFIXES.get(part.content_type, '.bin')}"


def _cut(text: str, length: int) -> str:
    return text.encode()[:length].decode("utf-8", "ignore")
