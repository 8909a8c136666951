"""seen, flagged, answered, draft, deleted, keyword."""

from __future__ import annotations

import pytest

from mailrules.core.message import FLAGS
from mailrules.core.search import Everything, Key, Or, usable
from tests.core.conditions.speaking import condition, mail, matches, problem, trace


@pytest.mark.parametrize("key", ["seen", "flagged", "answered", "draft", "deleted"])
def test_system_flags(key: str) -> None:
    """True wants the flag, false its absence; the server's letter case does not matter."""
    flag = "\\" + key.capitalize()
    assert matches(f"{key}: true", flags={flag})
    assert matches(f"{key}: true", flags={flag.upper()})
    assert not matches(f"{key}: false", flags={flag})
    assert matches(f"{key}: false", flags={"\\Other", key})
    assert trace(f"{key}: false", mail(flags={flag})).value is True


@pytest.mark.parametrize(
    ("test", "expected"),
    [("$Todo", True), ("$todo", True), ("Todo", False), ("[a, $later]", True), ("{starts_with: $}", True),
     ("{contains: Seen}", False), ("{exists: true}", True), ("{exists: false}", False), ("{in: mine}", True)],
)  # fmt: skip
def test_keyword(test: str, expected: bool) -> None:
    """It has that keyword, in any case; system flags are none."""
    assert (
        matches(f"keyword: {test}", flags={"\\Seen", "$Todo", "$Later"}, lists={"mine": ("$later",)})
        is expected
    )


def test_flags_are_those_that_rules_above_left() -> None:
    """A flag set meanwhile is seen, though everything else of the message was looked at before."""
    before = mail(flags=set())
    assert matches("{seen: false, keyword: {exists: false}}", message=before)
    after = before.with_fact(FLAGS, frozenset({"\\Seen", "$A"}))
    assert matches("{seen: true, keyword: $A}", message=after)


def test_search() -> None:
    """Flags are exact, but not where a rule above may change them."""
    seen = condition("seen: false").search()
    assert seen == Key("UNSEEN", exact=True, changeable="\\seen")
    assert usable(seen, trusted=False, changed_flags=frozenset({"\\seen"})) == Everything(exact=False)
    assert usable(seen, trusted=False, changed_flags=frozenset({"$a"})) == seen
    assert condition("keyword: $A").search() == Key("KEYWORD", ("$a",), exact=True, changeable="$a")
    assert isinstance(condition("keyword: [$A, $B]").search(), Or)
    for when in (
        "keyword: {starts_with: $}",
        "keyword: {is: $A, contains: A}",
        "keyword: 'a b'",
        "keyword: é",
    ):
        assert condition(when).search() == Everything(exact=False)


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("seen: maybe", "takes true or false"),
        ("seen: 'true'", "takes true or false"),
        ("seen: yes", "takes true or false"),
        ("keyword: \\Seen", "Write seen: true."),
        ("keyword: \\Recent", "Keywords do not begin with a backslash"),
    ],
)
def test_errors(when: str, words: str) -> None:
    """Each says what to write instead."""
    assert words in problem(when)
