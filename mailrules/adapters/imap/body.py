"""The text of messages: their structure first, then only the parts that are read.

Where a server's BODYSTRUCTURE is broken (Gmail's nested multiparts) the whole message is fetched and
read here, up to 25 MB.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mailrules.adapters.imap.facts import NOT_SENT
from mailrules.adapters.imap.fetch import MOST_AT_ONCE, fetch_items
from mailrules.adapters.imap.items import Items
from mailrules.adapters.imap.tokens import Unreadable, number, numeral
from mailrules.core import mime
from mailrules.core.message import Unavailable
from mailrules.core.uidset import UidSet

if TYPE_CHECKING:
    from mailrules.adapters.imap.mailbox import Mailbox

MOST_WHOLE = 25 << 20
"""Octets of a message that is fetched whole."""
MOST_PIECE = 24 << 20
"""Octets of one part that are fetched."""

Parts = tuple[mime.Part, ...]
_TYPE = re.compile(r"[^\s/]+/[^\s/]+")


def structure(items: Items | Unavailable) -> Parts | Unavailable:
    """The leaf parts that a BODYSTRUCTURE names; Unavailable (lasting) where it is broken."""
    if isinstance(items, Unavailable):
        return items
    if b"BODYSTRUCTURE" not in items:
        return Unavailable("the server's BODYSTRUCTURE can't be read")
    try:
        found: list[mime.Part] = []
        _walk(items[b"BODYSTRUCTURE"], "", 0, found)
        return tuple(found)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        return Unavailable(f"the server's BODYSTRUCTURE can't be read: {error}")


def _walk(value: Any, section: str, depth: int, found: list[mime.Part]) -> None:
    if not isinstance(value, list) or not value or depth > 100:
        raise Unreadable("no parts")
    if isinstance(value[0], list):
        for place, child in enumerate(value, 1):
            if not isinstance(child, list):
                break
            if len(found) < mime.MOST_PARTS:
                _walk(child, f"{section}.{place}" if section else str(place), depth + 1, found)
        return
    kind, sub, parameters, content_id, _, encoding, size = value[:7]
    content_type = f"{_text(kind)}/{_text(sub)}".lower()
    if not _TYPE.fullmatch(content_type) or content_type.startswith("multipart/"):
        raise Unreadable(f"{content_type!r} is not the type of a part")
    extension = 7 + (1 if content_type.startswith("text/") else 0)
    if content_type in ("message/rfc822", "message/global") and len(value) > 9:
        extension = 10  # envelope, structure and lines of the message inside
    disposition, disposition_parameters = None, []
    after = value[extension + 1 : extension + 2]  # behind the MD5
    if after and isinstance(after[0], list) and after[0]:
        disposition = _text(after[0][0])
        disposition_parameters = _parameters(after[0][1] if len(after[0]) > 1 else None)
    found.append(
        mime.part(
            section=section or "1",
            content_type=content_type,
            parameters=_parameters(parameters),
            encoding=_text(encoding) if encoding else "",
            disposition=disposition,
            disposition_parameters=disposition_parameters,
            content_id=_text(content_id) if content_id else None,
            size=number(size) if size is not None else 0,
        )
    )


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        raise Unreadable(f"{value!r} where a word must be")
    return value.decode("utf-8", "replace")


def _parameters(value: Any) -> list[tuple[bytes, bytes]]:
    if not isinstance(value, list):
        return []
    return [
        (name, text)
        for name, text in zip(value[::2], value[1::2], strict=False)
        if isinstance(name, bytes) and isinstance(text, bytes)
    ]


def bodies(
    mailbox: Mailbox, structures: Mapping[int, Parts | Unavailable], *, limit: int, texts: bool
) -> tuple[dict[int, Parts | Unavailable], dict[int, mime.Body | Unavailable]]:
    """Mended structures, and with `texts` the text of each message."""
    mended = dict(structures)
    found: dict[int, mime.Body | Unavailable] = {}
    shapes: dict[Parts, list[int]] = defaultdict(list)
    for uid, parts in structures.items():
        if isinstance(parts, Unavailable):
            if parts.passing:
                found[uid] = parts
            else:
                mended[uid], found[uid] = _whole(mailbox, uid, limit)
        elif texts:
            shapes[mime.text_parts(parts)].append(uid)
    if texts:
        wanted: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
        reading: dict[int, Parts] = {}
        most = min(limit * 12 + 65536, MOST_PIECE)  # as core.mime reads no more of a part
        for shape, uids in shapes.items():
            # A part that ends within the first octets needs no range: messages of all sizes share a FETCH.
            sections = tuple((part.section, most if part.size > most else 0) for part in shape)
            wanted[sections].extend(uids)
            reading.update(dict.fromkeys(uids, shape))
        for sections, uids in wanted.items():
            found.update(_read(mailbox, sections, sorted(uids), reading, limit))
    return mended, found


def _read(
    mailbox: Mailbox,
    sections: tuple[tuple[str, int], ...],
    uids: list[int],
    reading: Mapping[int, Parts],
    limit: int,
) -> dict[int, mime.Body | Unavailable]:
    """The texts of messages whose text stands in the same sections."""
    if not sections:
        return dict.fromkeys(uids, mime.Body("", cut=False))
    what = " ".join(f"BODY.PEEK[{name}]" + (f"<0.{most}>" if most else "") for name, most in sections)
    found: dict[int, mime.Body | Unavailable] = {}
    window: list[int] = []
    held = 0
    windows = [window]
    for uid in uids:
        size = sum(
            min(part.size, most or part.size) for part, (_, most) in zip(reading[uid], sections, strict=True)
        )
        if window and held + size > MOST_AT_ONCE:
            window, held = [], 0
            windows.append(window)
        window.append(uid)
        held += size
    for window in windows:
        answered = fetch_items(mailbox, UidSet(window), what.encode())
        for uid in window:
            items = answered.get(uid, NOT_SENT)
            found[uid] = items if isinstance(items, Unavailable) else _body(items, reading[uid], limit)
    return found


def _body(items: Items, parts: Parts, limit: int) -> mime.Body | Unavailable:
    pieces: list[tuple[mime.Part, bytes]] = []
    for part in parts:
        name = f"BODY[{part.section}]".encode()
        data = items.get(name, items.get(name + b"<0>"))
        if data is None:
            if part.size:
                return NOT_SENT
            data = b""
        if not isinstance(data, bytes):
            return Unavailable("the server's answer can't be read")
        pieces.append((part, data))
    return mime.body_text(pieces, limit)


def _whole(mailbox: Mailbox, uid: int, limit: int) -> tuple[Parts | Unavailable, mime.Body | Unavailable]:
    raw = whole(mailbox, uid, limit=MOST_WHOLE)
    if isinstance(raw, Unavailable):
        return raw, raw
    found = mime.parts_with_bytes(raw)
    data = {part.section: octets for part, octets in found}
    parts = tuple(part for part, _ in found)
    return parts, mime.body_text([(p, data[p.section]) for p in mime.text_parts(parts)], limit)


def whole(mailbox: Mailbox, uid: int, *, limit: int) -> bytes | Unavailable:
    """A message's octets; Unavailable if it is gone, too big, or was not sent."""
    sizes = fetch_items(mailbox, [uid], b"RFC822.SIZE").get(uid)
    if sizes is None:
        return Unavailable("the message is gone", passing=True)
    if isinstance(sizes, Unavailable):
        return sizes
    size = sizes.get(b"RFC822.SIZE")
    total = (numeral(size) if isinstance(size, bytes) else None) or 0
    if total > limit:
        return Unavailable(f"the message has {total} octets, more than {limit} are not fetched")
    if total <= MOST_PIECE:
        return _octets(mailbox, uid, b"BODY.PEEK[]")
    pieces: list[bytes] = []
    while (start := sum(map(len, pieces))) < limit:
        piece = _octets(mailbox, uid, b"BODY.PEEK[]<%d.%d>" % (start, MOST_PIECE))
        if isinstance(piece, Unavailable):
            return piece
        pieces.append(piece)
        if len(piece) < MOST_PIECE:  # RFC822.SIZE may be wrong, the end is not
            break
    return b"".join(pieces)


def _octets(mailbox: Mailbox, uid: int, what: bytes) -> bytes | Unavailable:
    items = fetch_items(mailbox, [uid], what).get(uid)
    if items is None:
        return Unavailable("the message is gone", passing=True)
    if isinstance(items, Unavailable):
        return items
    value = next((value for name, value in items.items() if name.startswith(b"BODY[]")), None)
    if value is None:
        return NOT_SENT
    return value if isinstance(value, bytes) else Unavailable("the server's answer can't be read")
