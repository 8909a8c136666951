"""Mailboxes in From, To and their like: RFC 5322 section 3.4 with its obsolete forms, and what mail has.

Linear in time, without recursion: `(` two thousand times is one comment that never closes. The
structure is read before encoded words are decoded, so that a decoded comma or `<` forges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mailrules.core.charset import decode_bytes, nfc
from mailrules.core.decoding import LONGEST, decode, decode_words, unfold

MOST = 5000
"""Mailboxes that are read of one header."""


class Address(NamedTuple):
    """One mailbox. `name` is decoded; `local` and `domain` are as written, without quotes.

    A mailbox without `@` has only a `local` (`From: root`) or only a `name` (`From: The Boss`).
    """

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        """`local@domain`; the local part alone if there is no domain."""
        _, local, domain = self
        return f"{local}@{domain}" if domain else local


_PLAIN = re.compile(
    rb"\s*+(?:\"([^\"\\<>\x80-\xff]*+)\"|([^\"\\<>()\[\],;:@\x80-\xff]*+))\s*+"
    rb"<([^\s\"\\<>()\[\],;:@\x80-\xff]++)@([A-Za-z0-9.-]++)>\s*"
)
_BARE = re.compile(rb"\s*([^\s\"\\<>()\[\],;:@\x80-\xff]++)@([A-Za-z0-9.-]++)\s*")
_TOKEN = re.compile(
    r"""(?P<blank>\s++)
    |"(?P<quoted>(?:[^"\\]|\\.)*+)"
    |(?P<literal>\[[^\[\]\\\r\n<>]*+\])
    |(?P<special>[<>,;:@()])
    |(?P<atom>[^\s"<>,;:@()\[]++)
    |(?P<odd>.)""",
    re.VERBOSE | re.DOTALL,
)
_PAREN = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SURROGATES = re.compile("[\ud800-\udfff]")


def addresses(raws: Iterable[bytes]) -> tuple[Address, ...]:
    """The mailboxes of these raw header values, in order, groups opened. Never raises."""
    found: list[Address] = []
    for raw in raws:
        plain = _PLAIN.fullmatch(raw)
        if plain is not None:
            quoted, words, local, domain = plain.groups()
            name = quoted if quoted is not None else words
            found.append(Address(decode(name) if name else "", local.decode(), domain.decode()))
            continue
        bare = _BARE.fullmatch(raw)
        if bare is not None:
            found.append(Address("", bare[1].decode(), bare[2].decode()))
            continue
        if len(found) < MOST:
            found += _parse(raw)
    return tuple(found[:MOST])


def compared(domain: str) -> str:
    """The form of a domain in which two are compared: lower case, U-labels, no dot at the end."""
    domain = domain.rstrip(".")
    if domain.isascii():
        domain = domain.lower()
        if "xn--" not in domain:
            return domain
    return nfc(".".join(_u_label(label) for label in domain.split(".")[:128]).casefold())


def _u_label(label: str) -> str:
    if label[:4].lower() != "xn--" or len(label) > 63:
        return label
    try:
        decoded = label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label
    return label if _SURROGATES.search(decoded) or "." in decoded or "@" in decoded else decoded


def without_comments(text: str) -> str:
    """The text without its (nested) comments and outside-of-quotes blanks runs; quotes are kept."""
    pieces = []
    comments = _Comments(text)
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        assert token is not None  # the last alternative takes any character
        if token["special"] == "(" and (end := comments.end(place)) is not None:
            pieces.append(" ")
            place = end
            continue
        pieces.append(token[0])
        place = token.end()
    return "".join(pieces)


class _Comments:
    """Finds where comments close. Gives up on parentheses at the first that never does: linear."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.broken = False

    def end(self, start: int) -> int | None:
        if self.broken:
            return None
        depth = 0
        for match in _PAREN.finditer(self.text, start):
            if match[0] == "(":
                depth += 1
            elif match[0] == ")":
                depth -= 1
                if depth == 0:
                    return match.end()
        self.broken = True
        return None


class _Mailbox:
    """What was read of one mailbox so far: words before `<`, what is inside, comments."""

    __slots__ = ("angle", "closed", "comments", "words")

    def __init__(self) -> None:
        self.words: list[tuple[str, str]] = []  # (kind, text): atom, quoted, literal, "@", blank
        self.comments: list[str] = []
        self.angle: list[tuple[str, str]] | None = None
        self.closed = False

    def result(self) -> Address | None:
        name = _phrase(self.words)
        if self.angle is not None:
            local, domain = _spec(_behind_route(self.angle))
            if not local and not domain and not name:
                return None
            return Address(name or _comment(self.comments), local, domain)
        at = next((i for i, (kind, _) in enumerate(self.words) if kind == "@"), None)
        if at is None:
            words = [w for w in self.words if w[0] != "blank"]
            if not words:
                return None
            if len(words) == 1 and words[0][0] == "atom" and "=?" not in words[0][1]:
                return Address(_comment(self.comments), words[0][1], "")
            return Address(name, "", "")
        first, last = _around(self.words, at)
        local, domain = _spec(self.words[first:last])
        name = _phrase(self.words[:first] + self.words[last:]) or _comment(self.comments)
        return Address(name, local, domain) if name or local or domain else None


def _parse(raw: bytes) -> list[Address]:
    text = unfold(decode_bytes(raw[:LONGEST]))
    found: list[Address] = []
    comments = _Comments(text)
    box = _Mailbox()
    place = 0

    def finish() -> None:
        nonlocal box
        result = box.result()
        if result is not None:
            found.append(result)
        box = _Mailbox()

    while place < len(text) and len(found) < MOST:
        token = _TOKEN.match(text, place)
        assert token is not None  # the last alternative takes any character
        kind, value = token.lastgroup or "odd", token[token.lastgroup or 0]
        place = token.end()
        inside = box.angle is not None and not box.closed
        words = box.angle if inside and box.angle is not None else box.words
        if kind == "special":
            if value == "(":
                end = comments.end(place - 1)
                if end is not None:
                    box.comments.append(text[place : end - 1])
                    place = end
                    if words and words[-1][0] != "blank" and not box.closed:
                        words.append(("blank", " "))
            elif value == "<":
                if box.closed:
                    finish()
                elif box.angle is not None:  # `<<a@b>>`, or one that was never closed
                    box.words += box.angle
                box.angle = []
            elif value == ">":
                box.closed = box.angle is not None
            elif value == "@":
                if not box.closed:
                    words.append(("@", "@"))
            elif value == ":":
                if inside:
                    words.append(("colon", ":"))
                elif any(k == "@" for k, _ in box.words):
                    finish()
                else:
                    box = _Mailbox()  # what came was the name of a group
            elif value == "," and inside and box.angle and box.angle[0][0] == "@" and _is_route(text, place):
                words.append(("comma", ","))
            elif value in ",;":
                finish()
        elif not box.closed and (kind != "blank" or (words and words[-1][0] != "blank")):
            words.append((kind, _ESCAPE.sub(r"\1", value) if kind == "quoted" else value))
    finish()
    return found


_ROUTE_END = re.compile(r"[^<>,:\"]*+(?:,[^<>,:\"]*+){0,100}:")


def _is_route(text: str, place: int) -> bool:
    """Whether a source route goes on here: `<@a,@b:user@host>` (RFC 5322 section 4.4)."""
    return _ROUTE_END.match(text, place, place + 2000) is not None


def _behind_route(words: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if words and words[0][0] == "@":
        for i, (kind, _) in enumerate(words):
            if kind == "colon":
                return words[i + 1 :]
    return words


def _spec(words: list[tuple[str, str]]) -> tuple[str, str]:
    """Local part and domain, split at the last `@`."""
    kinds = [kind for kind, _ in words]
    if "@" not in kinds:
        return nfc("".join(t for k, t in words if k != "blank")), ""
    at = len(kinds) - 1 - kinds[::-1].index("@")
    local = "".join(t for k, t in words[:at] if k != "blank")
    domain = "".join(t for k, t in words[at + 1 :] if k != "blank")
    if local[:7].lower() == "mailto:":
        local = local[7:]
    if local.startswith("'") and domain.endswith("'"):
        local, domain = local[1:], domain[:-1]
    return nfc(local), nfc(domain)


def _around(words: list[tuple[str, str]], at: int) -> tuple[int, int]:
    """The words that make up the address around an `@` outside of `<>`: blanks only beside dots."""
    first = at
    while first > 0:
        kind, text = words[first - 1]
        if kind == "blank":
            before = words[first - 2][1] if first > 1 else ""
            if first < at and not words[first][1].startswith(".") and not before.endswith("."):
                break
            if first == 1:
                break
        elif kind == "quoted" and first < at and words[first][0] != "blank" and text != ".":
            break
        first -= 1
    last = at + 1
    while last < len(words):
        kind, text = words[last]
        if kind == "blank" and last > at + 1:
            after = words[last + 1][1] if last + 1 < len(words) else ""
            if not words[last - 1][1].endswith(".") and not after.startswith("."):
                break
        last += 1
    return first, last


def _phrase(words: list[tuple[str, str]]) -> str:
    """A display name: words with one blank where there were any, encoded words decoded (also in quotes)."""
    text = " ".join("".join(" " if k == "blank" else t for k, t in words).split())
    return _decoded(text)


def _comment(comments: list[str]) -> str:
    return _decoded(_ESCAPE.sub(r"\1", comments[-1])) if comments else ""


def _decoded(text: str) -> str:
    if "=?" in text:
        text = decode_words(text.encode("utf-8", "replace"))
    return nfc(" ".join(unfold(text).split())) if text else ""
