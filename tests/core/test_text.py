"""mailrules.core.text: the normal form of texts, and the operators on them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.text import Text, fold, squeeze, text_test


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


def test_groups_of_several_patterns() -> None:
    """Of several patterns the first that matches gives the groups; one they do not share may be missing."""
    test = text_test({"regex": ["a(?P<x>.)", "b(?P<x>.)(?P<y>.)"]})
    assert test.groups([Text("b12")]) == {"x": "1", "y": "2"}
    assert test.group_names() == {"x": False, "y": True}


@given(st.text(), st.text(alphabet="ab*?\\[x", max_size=8))
def test_operators_never_raise(value: str, wanted: str) -> None:
    """No text raises, lone surrogates included."""
    for operator in ("contains", "is", "starts_with", "ends_with", "glob"):
        text_test({operator: [wanted]}).holds(Text(value))
    text_test({"regex": ["a+"]}).holds(Text(value + "\ud800"))
