"""What a YAML parser complains about, in words that say what to do next."""

from __future__ import annotations

import re
from typing import NamedTuple

import yaml


class Trouble(NamedTuple):
    """A place (counted from 1) and what is wrong there."""

    line: int
    column: int
    message: str


# YAML 1.2 section 5.1: the printable characters, and the byte order mark at the start.
_REFUSED = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def refused_text(raw: bytes, *, limit: int) -> Trouble | None:
    """Why these bytes are no text for a YAML file, or None: too long, not UTF-8, control characters."""
    if len(raw) > limit:
        return Trouble(1, 1, "the file is larger than 1 MB. Put long lists into files (lists: {file: …}).")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Trouble(1, 1, "the file is UTF-16. Save it as UTF-8.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _count(raw[: error.start].decode("utf-8"))
        return Trouble(
            line, column, f"the byte 0x{raw[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        )
    text = text.removeprefix("\ufeff")
    match = _REFUSED.search(text)
    if match is None:
        return None
    line, column = _count(text[: match.start()])
    if match[0] == "\0":
        return Trouble(line, column, "a NUL byte stands here. Remove it, or save the file as UTF-8 text.")
    code = f"{ord(match[0]):04x}"
    message = f'the control character U+{code.upper()} may not stand here. Remove it, or write "\\u{code}".'
    return Trouble(line, column, message)


def _count(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what follows this text."""
    lines = re.split("\r\n|\n|\r", before)
    return len(lines), len(lines[-1]) + 1


_UNQUOTED_TEMPLATE = re.compile(r"(?:[:,\[]|^\s*-|\s-)\s+(\{\{)|^\s*(\{\{)")


def syntax_trouble(error: yaml.YAMLError, text: str) -> Trouble:
    """The parser's error in our words. Both of PyYAML's parsers are understood."""
    mark = getattr(error, "problem_mark", None)
    context = getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or "")
    doing = str(getattr(error, "context", None) or "")
    if mark is None:
        mark = context
    if mark is None:
        return Trouble(1, 1, f"this is not YAML ({error}). Check quotes and indentation.")
    lines = re.split("\r\n|\n|\r", text)
    line = lines[mark.line] if mark.line < len(lines) else ""
    character = text[mark.index : mark.index + 1]
    template = _UNQUOTED_TEMPLATE.search(line)
    if template is not None and "block" in doing:
        start = template.start(1) if template[1] else template.start(2)
        return Trouble(
            mark.line + 1, start + 1, 'a template at the start of a value needs quotes: "{{ … }}".'
        )
    if "quoted scalar" in doing and "escape" not in problem and context is not None:
        return _at(context, "the quote that opens here is never closed. Close it, or double a ' inside '…'.")
    if "escape" in problem:
        back = character != "\\"  # the two parsers point one apart
        return Trouble(
            mark.line + 1,
            mark.column + 1 - back,
            "in \"…\" a backslash needs a known letter after it. Use '…' instead: there it is kept.",
        )
    if character == "\t":
        return _at(mark, "a tab stands where YAML wants blanks. Indent with spaces.")
    if "cannot start any token" in problem:
        return _at(mark, f"a value can't start with '{character}'. Put it into quotes: \"{character}…\".")
    if "alias" in doing or "anchor" in doing:
        first = "*" if "alias" in doing else "&"
        return _at(
            context or mark,
            f"a value that starts with '{first}' needs quotes, if text is meant: \"{first}…\".",
        )
    if "tag" in doing or "tag" in problem:
        return _at(context or mark, "a value that starts with '!' needs quotes, if text is meant: \"!…\".")
    if problem.startswith("mapping values are not allowed"):
        return _at(
            mark,
            "a second ': ' in one value, or a wrong indentation. "
            "Quote the value, or align it with its neighbours.",
        )
    if "expected ':'" in problem and context is not None:
        return _at(
            context, "a 'key: value' was expected: the ':' is missing. Add it, or check the indentation."
        )
    if "flow" in doing and context is not None:
        kind, end = ("list", "]") if "sequence" in doing else ("mapping", "}")
        if "node" not in doing:
            return _at(
                mark,
                f"a ',' or the '{end}' is missing before this: the {kind} opens at line {context.line + 1}, "
                f"column {context.column + 1}. Add it.",
            )
    if "node content" in problem or "node" in doing:
        return _at(mark, f"a value was expected here, not '{character}'. Write one, or quote it.")
    if "block scalar" in doing:
        return _at(mark, "after '|' or '>' the text begins on the next line, indented. Move it there.")
    if "block" in doing:
        return _at(
            mark,
            "this does not fit what stands above it. Indent it like its neighbours; "
            "text that goes on after a closing quote needs quotes around all of it.",
        )
    if "document" in problem:
        return _at(
            mark, "the document ended before this. Remove '...' or the '%' line: one file holds one document."
        )
    return _at(mark, f"{problem or 'this is not YAML'}. Check quotes and indentation here.")


def _at(mark: yaml.Mark, message: str) -> Trouble:
    return Trouble(mark.line + 1, mark.column + 1, message)
