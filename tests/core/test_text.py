"""mailrules.core.text: the normal form of texts, and the operators on them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.text import Glob, Regex, Text, fold, squeeze, text_test


def holds(value: str, *, case_sensitive: bool = False, **operators: str | list[str]) -> bool:
    lists = {
        name.rstrip("_"): [wanted] if isinstance(wanted, str) else wanted
        for name, wanted in operators.items()
    }
    return text_test(lists, case_sensitive=case_sensitive).holds(Text(value))


def test_folding() -> None:
    """Case, composition, and runs of white space make no difference; ends are trimmed."""
    assert fold("  Stra\u00dfe\t\n X\u00a0Y ") == "strasse x y"
    assert fold("E\u0301") == fold("é")
    assert squeeze(" A \n B ") == "A B"


@given(st.text())
def test_folding_is_stable(text: str) -> None:
    """A folded text folds to itself."""
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("value", "operators", "expected"),
    [
        ("An Invoice", {"contains": "invoice"}, True),
        ("An  \t Invoice", {"contains": "an invoice"}, True),
        ("An Invoice", {"contains": ["x", "voice"]}, True),
        ("An Invoice", {"contains": "bill"}, False),
        (" An Invoice ", {"is_": "an invoice"}, True),
        ("An Invoice 2", {"is_": "an invoice"}, False),
        ("", {"is_": ""}, True),
        ("[ci] x", {"starts_with": "[CI]"}, True),
        ("x [ci]", {"starts_with": "[CI]"}, False),
        ("a.pdf", {"ends_with": [".PDF", ".doc"]}, True),
        ("a.pdf.exe", {"ends_with": ".pdf"}, False),
        ("a.pdf", {"glob": "*.PDF"}, True),
        ("a.pdf", {"glob": "?.p?f"}, True),
        ("xa.pdf", {"glob": "a*"}, False),
        ("a*b", {"glob": r"a\*b"}, True),
        ("axb", {"glob": r"a\*b"}, False),
        ("[a]", {"glob": "[a]"}, True),
        ("a\nb", {"glob": "a*b"}, True),
        ("build 42", {"regex": r"^BUILD \d+$"}, True),
        ("Straße", {"contains": "STRASSE"}, True),
        ("A B", {"contains": "a", "ends_with": "b"}, True),
        ("A B", {"contains": "a", "ends_with": "x"}, False),
    ],
)
def test_operators(value: str, operators: dict[str, str | list[str]], expected: bool) -> None:
    """Each operator takes one or several values, any of them; of several operators all must hold."""
    assert holds(value, **operators) is expected


@pytest.mark.parametrize(
    ("value", "operators", "expected"),
    [
        ("Invoice", {"contains": "Invoice"}, True),
        ("Invoice", {"contains": "invoice"}, False),
        ("An  Invoice", {"is_": "An Invoice"}, True),
        ("A.pdf", {"glob": "*.PDF"}, False),
        ("ABC", {"regex": "abc"}, False),
        ("ABC", {"regex": "(?i)abc"}, True),
    ],
)
def test_case_sensitive(value: str, operators: dict[str, str | list[str]], expected: bool) -> None:
    """With `case_sensitive` letters must agree; blanks still do not."""
    assert holds(value, case_sensitive=True, **operators) is expected


def test_regexes_see_the_text_as_it_is() -> None:
    """Letter case, blanks and line ends are kept for a regex."""
    assert holds("A  B", regex="A  B") and not holds("A  B", regex="A B")
    assert holds("a\nb", regex="(?m)^b$") and not holds("a\nb", regex="^b$")
    assert holds("e\u0301".encode().decode(), regex="e") and holds("é", regex="e\u0301")


def test_exists() -> None:
    """`exists` asks whether there is a value, not what it is."""
    assert text_test({}, exists=True).any_holds([Text("")])
    assert not text_test({}, exists=True).any_holds([])
    assert text_test({}, exists=False).any_holds([])


def test_all_operators_hold_of_the_same_value() -> None:
    """Two values that each satisfy one operator do not satisfy both."""
    test = text_test({"contains": ["a"], "ends_with": ["z"]})
    assert not test.any_holds([Text("a"), Text("z")])
    assert test.any_holds([Text("x"), Text("a z")])


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


def test_groups_of_several_patterns() -> None:
    """Of several patterns the first that matches gives the groups; one they do not share may be missing."""
    test = text_test({"regex": ["a(?P<x>.)", "b(?P<x>.)(?P<y>.)"]})
    assert test.groups([Text("b12")]) == {"x": "1", "y": "2"}
    assert test.group_names() == {"x": False, "y": True}


def test_hostile_text_takes_linear_time() -> None:
    """What ruins backtracking matchers is judged at once."""
    began = time.process_time()
    assert not Regex(r"^(\w+\s?)*$").matches(Text("a" * 100_000 + "!"))
    assert not Glob("*a*a*a*a*a*a*b").matches("a" * 100_000)
    assert time.process_time() - began < 1


@given(st.text(), st.text(alphabet="ab*?\\[x", max_size=8))
def test_operators_never_raise(value: str, wanted: str) -> None:
    """No text raises, lone surrogates included."""
    for operator in ("contains", "is", "starts_with", "ends_with", "glob"):
        text_test({operator: [wanted]}).holds(Text(value))
    text_test({"regex": ["a+"]}).holds(Text(value + "\ud800"))


@given(st.text(alphabet="abc", max_size=8), st.text(alphabet="abc*?", max_size=5))
def test_globs_agree_with_fnmatch(value: str, pattern: str) -> None:
    """`*` and `?` mean what they mean in a shell."""
    from fnmatch import fnmatchcase

    assert Glob(pattern).matches(value) is fnmatchcase(value, pattern)
