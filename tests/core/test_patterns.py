"""mailrules.core.patterns: globs and regular expressions."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.patterns import Glob, Regex


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("(?=a)", "lookahead"),
        ("(?!a)", "lookahead"),
        ("(?<=a)b", "lookbehind"),
        ("(?<!a)b", "lookbehind"),
        (r"(a)\1", r"a back-reference (\1)"),
        ("(?P<x>a)(?P=x)", "a back-reference to a named group"),
        ("a*+", "possessive repeat *+"),
        ("a{2}+", "possessive repeat {2}+"),
        ("(?>a)", "atomic group"),
        (r"a\Z", r"\z (lower case)"),
        ("a{1001}", "more than 1000 repeats"),
        ("(a{100}){100}", "more than 1000 repeats"),
        ("(?(1)a)", "a condition"),
        (r"\h", r"\h"),
        ("(a", "missing )"),
        ("(?P<n>a)|(?P<n>b)", "two groups are named 'n'"),
        ("\ud800", "half a character"),
        ("a" * 20_000, "longer than"),
    ],
)
def test_what_re2_lacks_is_named(pattern: str, named: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A regular expression that can't be is refused in words; nothing is written to stderr."""
    with pytest.raises(ValueError, match=r"\.") as error:
        Regex(pattern)
    assert named in str(error.value) and str(error.value).endswith(".")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("pattern", "optional"),
    [
        ("(?P<a>x)(?P<b>y)?", {"a": False, "b": True}),
        ("((?P<a>x)|z)(?P<b>y)", {"a": True, "b": False}),
        ("(?P<a>x)|y", {"a": True}),
        ("(?:(?P<a>x))*(?P<b>y)+", {"a": True, "b": False}),
        (r"[(|](?P<a>x){0,2}\((?P<b>.*)", {"a": True, "b": False}),
        (r"\Q(|\E(?P<a>x)", {"a": False}),
        ("(?i:(?P<a>a)(?P<b>c|d))", {"a": False, "b": False}),
        ("(?i)(?P<a>a)", {"a": False}),
        ("[]|](?P<a>a)", {"a": False}),
        ("[[:alpha:])](?P<a>a)", {"a": False}),
        ("(?P<a>(?P<b>x)|y)", {"a": False, "b": True}),
        ("(a)(?<a>b){1,}", {"a": False}),
        ("(?P<a>x)*?y", {"a": True}),
        ("(?P<a>x){0}y", {"a": True}),
    ],
)
def test_groups_that_may_be_missing(pattern: str, optional: dict[str, bool]) -> None:
    """A named group may be missing if it, or one around it, is one branch or may repeat zero times."""
    assert Regex(pattern).optional_groups == optional


def test_hostile_text_takes_linear_time() -> None:
    """What ruins backtracking matchers is judged at once."""
    began = time.process_time()
    assert not Regex(r"^(\w+\s?)*$").matches(b"a" * 100_000 + b"!")
    assert not Glob("*a*a*a*a*a*a*b").matches("a" * 100_000)
    assert time.process_time() - began < 1


@given(st.text(alphabet="abc", max_size=8), st.text(alphabet="abc*?", max_size=5))
def test_globs_agree_with_fnmatch(value: str, pattern: str) -> None:
    """`*` and `?` mean what they mean in a shell."""
    from fnmatch import fnmatchcase

    assert Glob(pattern).matches(value) is fnmatchcase(value, pattern)
