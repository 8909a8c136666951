"""How text is compared: one normal form, and the operators of the rule language.

Three forms of a text: as it is (NFC, for `regex`), squeezed (white space runs as one blank, ends
trimmed, for `case_sensitive`), folded (squeezed and case-folded, for everything else).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mailrules.core.charset import nfc
from mailrules.core.patterns import Glob, Regex

OPERATORS = ("contains", "is", "starts_with", "ends_with", "glob", "regex")
"""Each takes a scalar or a list (any of them)."""


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
        folded = self._folded
        if folded is None:
            folded = self._folded = fold(self.plain)
        return folded

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
    only: str | None = None
    """The needle, if the test is nothing but `contains` with one: what most rules say."""

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
        if self.regex is not None:
            encoded = text.encoded
            for regex in self.regex:
                if regex.matches(encoded):
                    break
            else:
                return False
        return self.also is None or self.also.holds(text)

    def any_holds(self, texts: Sequence[Text]) -> bool:
        """Whether some value satisfies them all; for `exists`, whether there is a value."""
        if self.exists is not None:
            return bool(texts) is self.exists
        if self.only is not None:
            needle = self.only
            for text in texts:  # noqa: SIM110
                if needle in text.folded:
                    return True
            return False
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
                return next(g for g in (regex.groups(text.encoded) for regex in self.regex) if g is not None)
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

    contains = needles("contains")
    whole = needles("is")
    globs = needles("glob")
    regexes = operators.get("regex")
    simple = set(operators) == {"contains"} and also is None and not case_sensitive
    return TextTest(
        contains=contains,
        is_=None if whole is None else frozenset(whole),
        starts_with=needles("starts_with"),
        ends_with=needles("ends_with"),
        glob=None if globs is None else tuple(Glob(glob) for glob in globs),
        regex=None if regexes is None else tuple(Regex(r, case_sensitive=case_sensitive) for r in regexes),
        exists=exists,
        case_sensitive=case_sensitive,
        also=also,
        only=contains[0] if simple and contains is not None and len(contains) == 1 else None,
    )


def nfc_squeeze(text: str) -> str:
    return squeeze(nfc(text))
