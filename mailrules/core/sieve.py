"""One look at a header block, as the server sent it: which rules may match?

Most mail matches nothing. RE2 sees that in the bytes themselves, in one pass, before a field is split. It
only says so where the bytes are sure to mean what they look like (their *shape*): unfolded and decoded lines
of characters whose case and normal form hold no surprise, addresses in their usual form. There, what a
condition must see (its clue) stands in the line as it stands in what the condition looks at; whatever else
comes is judged the careful way.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import re2

from mailrules.core.clue import Clue
from mailrules.core.decoding import decode_line

Sieve = Callable[[bytes], tuple[int, ...] | None]
"""The places of the rules that may match a message with this header block: mostly none. None: unknown."""

LONGEST = 64 * 1024
"""Octets of a block that are looked at: more is unusual."""
MOST = 3000
"""Clues that are looked for at once; a file with more is judged the careful way."""
_MEMORY = 64 << 20


def _run(characters: str, *, least: str = "*") -> str:
    """Any run of these and `=`, but without `=?`: that begins an encoded word. `?` is among them."""
    return f"(?:[{characters}?]|=+[{characters}]){least}=*"


# Each but the sharp s folds to one character that is not ASCII, as RE2 folds it, and NFC leaves it alone: no
# combining marks, no ligatures, no Kelvin sign, no long s, no blanks.
_FOREIGN = (
    r"\x{a1}-\x{12f}\x{131}-\x{148}\x{14a}-\x{17e}\x{391}-\x{3a1}\x{3a3}-\x{3af}\x{3b1}-\x{3ce}"
    r"\x{400}-\x{45f}\x{490}-\x{4ff}\x{2010}-\x{2027}\x{2030}-\x{203a}\x{20ac}\x{2122}\x{3001}-\x{3029}"
    r"\x{3041}-\x{3096}\x{30a0}-\x{30ff}\x{4e00}-\x{9fff}\x{ac00}-\x{d7a3}\x{1f300}-\x{1faff}"
)
_TEXT = _run(r"\t\x20-\x3c\x3e@-\x7e" + _FOREIGN)  # printable
_WORDS = _run(r"\t !#-'*+\-./0-9A-Z^-~" + _FOREIGN)  # as address.py reads them without taking them apart
_QUOTED = '"' + _run(r"\t !#-;@-\[\]-~" + _FOREIGN) + '"'
_ADDRESS = _run(r"!#-'*+\-./0-9A-Z^-~", least="+") + r"@(?:[A-Za-z0-9.]|-[A-Za-z0-9.])+"  # no `xn--`
_BOX = rf"[ \t]*(?:(?:{_QUOTED}|{_WORDS})[ \t]*<{_ADDRESS}>|{_ADDRESS})[ \t]*"
_BOXES = rf"{_BOX}(?:,{_BOX})*"
_ANYTHING = r"[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*"

_TOKEN = re.compile(
    r"""\\Q.*?(?:\\E|\Z) | \\. | \[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]
    | \(\?P?<[^>]+> | \(\?[a-zA-Z-]*[:)] | \( | [$^] | [^\\\[($^]+ | .""",
    re.VERBOSE | re.DOTALL,
)
_ASSERTIONS = ("^", "$", r"\A", r"\z", r"\b", r"\B")


def sieve(
    clues: Mapping[tuple[Any, ...], Iterable[tuple[Clue, int]]], headers: Iterable[str]
) -> Sieve | None:
    """What sees in a block of these headers (names in lower case) which rules may match.

    `clues` by their view, with the places of their rules, of every rule that there is. None: nothing can be
    seen by them.
    """
    shapes: dict[str, str] = dict.fromkeys(headers, _ANYTHING)
    hits: dict[str, list[int]] = defaultdict(list)
    for view, those in clues.items():
        names = _headers_of(view)
        if not set(names) <= shapes.keys():
            return None
        boxes = view[0] in ("mailboxes", "part")
        for name in names:
            if shapes[name] != _BOXES:
                shapes[name] = _BOXES if boxes else _TEXT
        start = rf"(?:\A|\n)(?i:{'|'.join(map(re2.escape, names))}):"
        for clue, place in those:
            seen = _seen(clue, part=view[2] if view[0] == "part" else "")
            if seen is None:
                return None
            hits[start + seen].append(place)
    if len(hits) > MOST:
        return None
    lines = "|".join(rf"(?i:{re2.escape(name)}):{shape}" for name, shape in shapes.items())
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    together = re2.Set.SearchSet(options)
    try:
        together.Add(rf"\A(?:(?:{lines})\r?\n)*(?:\r?\n)?\z")
        for pattern in hits:
            together.Add(pattern)
        together.Compile()
    except re2.error:
        return None
    match = together.Match
    places = [(), *map(tuple, hits.values())]

    def look(block: bytes) -> tuple[int, ...] | None:
        if len(block) > LONGEST:
            return None
        found = match(block)
        if found == _USUAL and _SHARP_S not in block:
            return ()
        if not found or 0 not in found or _SHARP_S in block:  # whatever was hit: it may not be all
            if _UNUSUAL.search(block):
                return None
            found = []
            for each in _in_plain_lines(block):
                more = match(each)
                if not more or 0 not in more:
                    return None
                found += more
        return tuple({place for hit in found for place in places[hit]})

    return look


_USUAL = [0]


_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_SHARP_S = "ß".encode()
# A line end that servers don't take for one, but `parse_block` may; an encoded word in an address, which is
# decoded in the text of the field and not in the address. RE2, for it is linear.
_UNUSUAL = re2.compile(rb"\r(?:[^\n]|\z)|(?:=\?|\?=)[^ \t\r\n]*@|@[^ \t\r\n]*=\?")


def _in_plain_lines(block: bytes) -> Iterator[bytes]:
    """A line for each field: unfolded, decoded, in UTF-8.

    Where there is a sharp s, also with what it folds to: regexes see the one, other tests the other.
    """
    block = _FOLD.sub(b"", block)
    if b"=?" not in block and block.isascii():
        yield block
        return
    lines = [
        decode_line(line) if b"=?" in line or not line.isascii() else line.decode("ascii")
        for line in block.split(b"\n")
    ]
    text = "\n".join(lines)
    yield text.encode("utf-8", "replace")
    if "ß" in text:
        yield text.replace("ß", "ss").encode("utf-8", "replace")


def _headers_of(view: tuple[Any, ...]) -> tuple[str, ...]:
    if view[0] == "texts":
        return (view[1],)
    return ("list-id",) if view[0] == "list ids" else tuple(view[1])


def _seen(clue: Clue, *, part: str) -> str | None:
    """How this clue looks in a line of the usual shape, behind the colon. None: any way.

    `part`: of the mailboxes there, if that is what it is looked for in.
    """
    if clue.kind == "there":
        return ""
    if clue.kind == "regex":
        relaxed = without_assertions(clue.value)
        flag = "-i" if clue.case_sensitive else "i"
        if relaxed is None or part in ("name", "domain"):  # these have lost blanks, or capitals
            return None
        return rf"[^\n]*(?{flag}:{relaxed})"
    if not clue.value:
        return None
    return rf"[^\n]*(?i:{re2.escape(clue.value)})".replace(r"\ ", r"[ \t]+")


def without_assertions(pattern: str) -> str | None:
    """An RE2 pattern that matches wherever this one does, and keeps no groups. None if it can't be said.

    Without `^`, `$`, `\\b` and their like, which look at what is around: here that is something else.
    """
    pieces: list[str] = []
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if text in _ASSERTIONS:
            pieces.append("(?:)")
        elif text == "(" or text.startswith(("(?P<", "(?<")):
            pieces.append("(?:")
        else:
            pieces.append(text)
    relaxed = "".join(pieces)
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(relaxed, options)
    except re2.error:
        return None
    return relaxed
