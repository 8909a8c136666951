"""How text is compared: one normal form, and the operators of the rule language.

Three forms of a text: as it is (NFC, for `regex`), squeezed (white space runs as one blank, ends
trimmed, for `case_sensitive`), folded (squeezed and case-folded, for everything else).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from mailrules.core.charset import nfc

OPERATORS = ("contains", "is", "starts_with", "ends_with", "glob", "regex")
"""Each takes a scalar or a list (any of them)."""

_MOST_MEMORY = 8 << 20
_LONGEST_PATTERN = 10_000


def squeeze(text: str) -> str:
    """White space runs as one blank, ends trimmed."""
    return " ".join(text.split())


def fold(text: str) -> str:
    """The form in which texts are compared without regard to case."""
    if text.isascii():
        return " ".join(text.lower().split())
    return nfc(" ".join(nfc(text).casefold().split()))


class Text:
    """One value from a message and its forms, each made once."""

    __slots__ = ("_encoded", "_folded", "_squeezed", "plain")

    def __init__(self, plain: str) -> None:
        self.plain = plain
        self._folded: str | None = None
        self._squeezed: str | None = None
        self._encoded: bytes | None = None

    @property
    def folded(self) -> str:
        if self._folded is None:
            self._folded = fold(self.plain)
        return self._folded

    @property
    def squeezed(self) -> str:
        if self._squeezed is None:
            self._squeezed = squeeze(self.plain)
        return self._squeezed

    @property
    def encoded(self) -> bytes:
        """UTF-8: re2 searches bytes three times as fast as text it has to encode first."""
        if self._encoded is None:
            self._encoded = self.plain.encode("utf-8", "replace")
        return self._encoded

    def __repr__(self) -> str:
        return f"Text({self.plain!r})"


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

    def matches(self, text: Text) -> bool:
        return self._compiled.search(text.encoded) is not None

    def groups(self, text: Text) -> dict[str, str] | None:
        """Named groups that took part in the match; None if it does not match."""
        found = self._compiled.search(text.encoded)
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


@dataclass(frozen=True, slots=True)
class TextTest:
    """All operators of one mapping; each a tuple of values of which one must hold.

    `contains`, `is_`, `starts_with`, `ends_with` hold needles in normal form. `also` is one more test
    that must hold of the same value (what `in: LIST` became). Build with `text_test`.
    """

    contains: tuple[str, ...] | None = None
    is_: frozenset[str] | None = None
    starts_with: tuple[str, ...] | None = None
    ends_with: tuple[str, ...] | None = None
    glob: tuple[Glob, ...] | None = None
    regex: tuple[Regex, ...] | None = None
    exists: bool | None = None
    case_sensitive: bool = False
    also: TextTest | None = None

    def holds(self, text: Text) -> bool:
        """Whether every operator holds of this one value."""
        value = text.squeezed if self.case_sensitive else text.folded
        needles = self.contains
        if needles is not None:
            for needle in needles:
                if needle in value:
                    break
            else:
                return False
        if self.is_ is not None and value not in self.is_:
            return False
        if self.starts_with is not None and not value.startswith(self.starts_with):
            return False
        if self.ends_with is not None and not value.endswith(self.ends_with):
            return False
        if self.glob is not None and not any(glob.matches(value) for glob in self.glob):
            return False
        if self.regex is not None and not any(regex.matches(text) for regex in self.regex):
            return False
        return self.also is None or self.also.holds(text)

    def any_holds(self, texts: Sequence[Text]) -> bool:
        """Whether some value satisfies them all; for `exists`, whether there is a value."""
        if self.exists is not None:
            return bool(texts) is self.exists
        for text in texts:  # noqa: SIM110 — the generator of any() costs more than the test
            if self.holds(text):
                return True
        return False

    def groups(self, texts: Iterable[Text]) -> dict[str, str]:
        """Named groups of the first value that satisfies them all."""
        if self.regex is None or not any(regex.optional_groups for regex in self.regex):
            return {}
        for text in texts:
            if self.holds(text):
                return next(g for g in (regex.groups(text) for regex in self.regex) if g is not None)
        return {}

    def group_names(self) -> dict[str, bool]:
        """Named groups, and whether each may be missing although the test holds."""
        names: dict[str, bool] = {}
        for regex in self.regex or ():
            names.update(regex.optional_groups)
        if self.regex is not None and len(self.regex) > 1:
            everywhere = set.intersection(*(set(regex.optional_groups) for regex in self.regex))
            return {
                name: name not in everywhere or any(r.optional_groups.get(name, True) for r in self.regex)
                for name in names
            }
        return names


def text_test(
    operators: Mapping[str, Sequence[str]],
    *,
    exists: bool | None = None,
    case_sensitive: bool = False,
    also: TextTest | None = None,
) -> TextTest:
    """A TextTest of values as they were written. Raises ValueError for a wrong regular expression."""
    normal = nfc_squeeze if case_sensitive else fold

    def needles(operator: str) -> tuple[str, ...] | None:
        values = operators.get(operator)
        return None if values is None else tuple(dict.fromkeys(normal(value) for value in values))

    whole = needles("is")
    globs = needles("glob")
    regexes = operators.get("regex")
    return TextTest(
        contains=needles("contains"),
        is_=None if whole is None else frozenset(whole),
        starts_with=needles("starts_with"),
        ends_with=needles("ends_with"),
        glob=None if globs is None else tuple(Glob(glob) for glob in globs),
        regex=None if regexes is None else tuple(Regex(r, case_sensitive=case_sensitive) for r in regexes),
        exists=exists,
        case_sensitive=case_sensitive,
        also=also,
    )


def nfc_squeeze(text: str) -> str:
    return squeeze(nfc(text))
