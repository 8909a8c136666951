"""The visible text of an HTML part, in linear time.

Not the standard library's html.parser: it takes quadratic time on unclosed markup (CVE-2025-6069),
and one such mail would hold up all others. What is wanted here is less than parsing: tags out,
entities read, blocks on lines of their own.
"""

from __future__ import annotations

import re

_BLANKS = re.compile(r"[ \t\r\n\f]+")
_TAG_NAME = re.compile(r"/?[a-zA-Z][a-zA-Z0-9:-]{0,20}")
_TAG_END = re.compile(r"""(?:[^>"']|"[^"]*"|'[^']*')*+>""")
_HIDDEN = {
    name: re.compile(f"</{name}(?=[ />])", re.IGNORECASE)
    for name in ("script", "style", "title", "template", "noembed", "noframes")
}
_LINES = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote body br center dd div dl dt fieldset figure footer form"
        " h1 h2 h3 h4 h5 h6 header hr html li main nav ol option p pre section select"
        " table tbody tfoot thead tr ul",
    )
)
_CELLS = frozenset(("td", "th"))
_UNSEEN = re.compile(
    r"\shidden(?=[\s=/>])"
    r"|\sstyle\s*=\s*(?:\"[^\"]*|'[^']*|[^\s\"'>]*)(?:display\s*:\s*none|visibility\s*:\s*hidden)",
    re.IGNORECASE,
)
"""An element that is not shown: what is in it, a reader does not see, but a filter would."""
_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_LONG_NUMBER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{7,});?")
_RUNS = re.compile(r" {2,}")
_AROUND_LINES = re.compile(r" ?\n[ \n]*")


def visible_text(source: str) -> str:
    """What a reader sees: no scripts, styles, titles and comments; a line for each block. Never raises."""
    source = _BLANKS.sub(" ", source)
    pieces: list[str] = []
    place = 0
    quotes = True  # whether quotes in tags can still be trusted to close
    unseen = ""  # the element that hides what follows, and how deep it is nested in its like
    depth = 0
    shown = 0  # length of `pieces` when it began
    while True:
        start = source.find("<", place)
        if start < 0:
            pieces.append(source[place:])
            break
        pieces.append(source[place:start])
        if source.startswith("<!--", start):
            end = source.find("-->", start + 4)
            if end < 0:
                break  # browsers hide the rest, too
            place = end + 3
            continue
        name = _TAG_NAME.match(source, start + 1)
        if name is None and source[start + 1 : start + 2] not in ("!", "?", "/"):
            pieces.append("<")
            place = start + 1
            continue
        end = -1
        if name is not None and quotes:
            tag = _TAG_END.match(source, name.end())
            quotes = tag is not None
            end = tag.end() if tag else -1
        if end < 0:
            end = source.find(">", start) + 1
            if end == 0:
                break
        place = end
        if name is None:
            continue
        word = name[0].lower()
        bare = word.lstrip("/")
        if unseen:
            if bare == unseen and source[end - 2] != "/":
                depth += -1 if word[0] == "/" else 1
            if depth == 0:
                del pieces[shown:]
                unseen = ""
        elif (
            word[0] != "/"
            and word not in _VOID
            and word not in _HIDDEN
            and source[end - 2] != "/"
            and _UNSEEN.search(source, start, end)
        ):
            unseen, depth, shown = word, 1, len(pieces)
        if bare in _LINES:
            pieces.append("\n")
        elif bare in _CELLS:
            pieces.append(" ")
        elif word in _HIDDEN and source[end - 2] != "/":
            close = _HIDDEN[word].search(source, end)
            if close is None:
                break
            place = close.start()
    if unseen:  # never closed: all the rest is hidden
        del pieces[shown:]
    text = "".join(pieces)
    if "&" in text:
        import html  # its tables take 4 ms: where some mail's text is asked for

        # int() of thousands of digits raises; no character has so high a number.
        text = html.unescape(_LONG_NUMBER.sub("\N{REPLACEMENT CHARACTER}", text)).replace("\0", "")
    return _AROUND_LINES.sub("\n", _RUNS.sub(" ", text)).strip()
