"""Globs and regular expressions of the rule language, by RE2: linear in time, whatever the text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import re2

from mailrules.core.charset import nfc

_MOST_MEMORY = 8 << 20
_LONGEST_PATTERN = 10_000


class Glob:
    """A pattern over a whole value: `*` any run, `?` any character, `\\` escapes. Linear time."""

    __slots__ = ("_regex", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._regex = re2.compile(rf"(?s)\A(?:{glob_regex(text)})\z", _options(case_sensitive=True))

    def matches(self, value: str) -> bool:
        return self._regex.search(value.encode("utf-8", "replace")) is not None


def glob_regex(text: str) -> str:
    """A glob as a regular expression, not anchored."""
    pieces = []
    characters = iter(text)
    for character in characters:
        if character == "*":
            pieces.append(".*")
        elif character == "?":
            pieces.append(".")
        else:
            pieces.append(re2.escape(next(characters, "\\") if character == "\\" else character))
    return re.sub(r"(?:\.\*)+", ".*", "".join(pieces))


def _options(*, case_sensitive: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    options.case_sensitive = case_sensitive
    return options


class Regex:
    """A regular expression (RE2 syntax), unanchored; and what its named groups found."""

    __slots__ = ("_compiled", "optional_groups", "pattern")

    def __init__(self, pattern: str, *, case_sensitive: bool = False) -> None:
        """Raises ValueError with a sentence that names what RE2 lacks."""
        self.pattern = pattern = nfc(pattern)
        if len(pattern) > _LONGEST_PATTERN:
            raise ValueError(
                f"the regular expression is longer than {_LONGEST_PATTERN} characters. Split it."
            )
        try:
            self._compiled = re2.compile(pattern, _options(case_sensitive=case_sensitive))
        except re2.error as error:
            raise ValueError(_in_words(error)) from None
        except UnicodeEncodeError:
            raise ValueError("the regular expression holds half a character. Write it anew.") from None
        names = _GROUP.findall(pattern)
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise ValueError(
                f"two groups are named '{double}'. Name each once; an alternation can stand inside one group."
            )
        self.optional_groups = _optional_groups(pattern, self._compiled.groupindex)

    def matches(self, text: bytes) -> bool:
        return self._compiled.search(text) is not None

    def groups(self, text: bytes) -> dict[str, str] | None:
        """Named groups that took part in the match; None if it does not match."""
        found = self._compiled.search(text)
        if found is None:
            return None
        return {n: v.decode("utf-8", "replace") for n, v in found.groupdict().items() if v is not None}


_GROUP = re.compile(r"\(\?P?<([^>=!]+)>")
_LACKS = {
    "(?=": "lookahead", "(?!": "lookahead", "(?<=": "lookbehind", "(?<!": "lookbehind",
    "(?>": "an atomic group", "(?(": "a condition", "(?#": "a comment", "(?R": "recursion",
}  # fmt: skip
_INSTEAD = {
    "lookahead": "Say the second test as another condition, or with `unless`.",
    "lookbehind": "Say the second test as another condition, or with `unless`.",
}


def _in_words(error: Exception) -> str:
    raw = error.args[0] if error.args else b""
    said = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    kind, _, where = said.partition(": ")
    what = None
    instead = "Write it without."
    if kind == "invalid perl operator":
        what = next((name for start, name in _LACKS.items() if where.startswith(start)), None)
        if what is None and where.startswith("(?P"):
            what = "a back-reference to a named group, (?P=…)"
        instead = _INSTEAD.get(what or "", instead)
        what = what or f"'{where}'"
    elif kind == "invalid escape sequence":
        if re.fullmatch(r"\\[1-9]", where):
            what = f"a back-reference ({where})"
        elif where == r"\Z":
            what, instead = r"\Z", r"Write \z (lower case) for the end of the text."
        else:
            what, instead = where, r"For a literal backslash write \\."
    elif kind == "bad repetition operator":
        if where.endswith("+"):
            what, instead = f"the possessive repeat {where}", f"Write {where[:-1]}: RE2 never backtracks."
        else:
            what, instead = f"the double repeat {where}", "Put the inner one in (?:…)."
    elif kind == "invalid repetition size":
        what, instead = f"more than 1000 repeats ({where})", "Repeat less often, or without an upper bound."
    if what is not None:
        return f"regular expressions here (RE2) do not know {what}. {instead}"
    if kind.startswith("pattern too large"):
        return "the regular expression takes too much memory. Repeat less, or split it into several."
    return f"the regular expression is wrong: {said}."


def _optional_groups(pattern: str, named: Mapping[str, int]) -> dict[str, bool]:
    """Each named group, and whether it may be missing although the pattern matches.

    It may if it, or a group around it, stands in one branch of an alternation or may repeat zero times.
    """
    if not named:
        return {}
    numbers = {number: name for name, number in named.items()}
    optional: set[int] = set()
    levels: list[list[int]] = [[]]  # the groups opened within each open parenthesis
    alternating = [False]
    opened: list[int | None] = []
    count = 0
    for token in _PATTERN_TOKEN.finditer(pattern):
        text = token[0]
        if text == "|":
            alternating[-1] = True
        elif text.startswith("("):
            captures = not text.startswith("(?") or token["name"] is not None
            if text.startswith("(?") and text.endswith(")"):
                continue  # (?i): flags, no group
            count += captures
            opened.append(count if captures else None)
            levels.append([])
            alternating.append(False)
        elif text.startswith(")") and opened:
            inside = levels.pop()
            if alternating.pop():
                optional.update(inside)
            number = opened.pop()
            if number is not None:
                inside.append(number)
            if re.match(r"\)(?:[?*]|\{0*,|\{0+[,}])", text):
                optional.update(inside)
            levels[-1] += inside
    if alternating[0]:
        optional.update(levels[0])
    return {name: number in optional for number, name in sorted(numbers.items())}


_PATTERN_TOKEN = re.compile(
    r"""\\Q.*?(?:\\E|\Z) | \\. | \[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]
    | \(\?P?<(?P<name>[^>]+)> | \(\?[a-zA-Z-]*[:)] | \( | \)(?:[?*]|\{\d*(?:,\d*)?\})? | \|""",
    re.VERBOSE | re.DOTALL,
)
