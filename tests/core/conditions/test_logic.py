"""all, any, not, always: three-valued logic, what is needed first, named groups, traces."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.conditions import parse_when
from mailrules.core.conditions.base import Condition, ParseContext, Verdict
from mailrules.core.conditions.logic import All, AnyOf, Not, cheapest
from mailrules.core.errors import Report
from mailrules.core.message import (
    BODY,
    FLAGS,
    SIZE,
    STRUCTURE,
    Fact,
    Message,
    MessageKey,
    Unavailable,
    header_fact,
    search_fact,
)
from mailrules.core.search import Everything, Key, Nothing, Or, all_of
from tests.core.conditions.speaking import (
    CAN_T,
    NOW,
    condition,
    groups,
    judge,
    mail,
    matches,
    problem,
    problems,
    trace,
)


class Known(Condition):
    """A condition whose truth is given: True, False, or None for unknown."""

    key: ClassVar[str] = "known"
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "header"
    truth: bool | None

    def judge(self, message: Message) -> Verdict:
        return Verdict(self.truth, causes=() if self.truth is not None else (CAN_T,))


EMPTY = Message(MessageKey("a", "INBOX", 1, 1), NOW)
truths = st.sampled_from([True, False, None])
trees = st.recursive(
    truths.map(lambda truth: Known(truth=truth)),
    lambda inner: st.one_of(
        inner.map(lambda c: Not(condition=c)),
        st.lists(inner, min_size=1, max_size=4).map(lambda cs: All(conditions=tuple(cs))),
        st.lists(inner, min_size=1, max_size=4).map(lambda cs: AnyOf(conditions=tuple(cs))),
    ),
    max_leaves=12,
)


def truth(tree: Condition) -> bool | None:
    return tree.judge(EMPTY).truth


def kleene(tree: Condition) -> bool | None:
    """The same by SPEC section 3, as directly as it can be said."""
    if isinstance(tree, Known):
        return tree.truth
    if isinstance(tree, Not):
        inner = kleene(tree.condition)
        return None if inner is None else not inner
    assert isinstance(tree, All | AnyOf)
    parts = [kleene(part) for part in tree.conditions]
    deciding = isinstance(tree, AnyOf)
    if deciding in parts:
        return deciding
    return None if None in parts else not deciding


@given(trees)
def test_three_valued(tree: Condition) -> None:
    """`all` is false if a part is, else unknown if one is; `any` the other way; `not` keeps unknown."""
    assert truth(tree) is kleene(tree)


@given(st.lists(trees, min_size=1, max_size=3))
def test_de_morgan(parts: list[Condition]) -> None:
    """Not all is any not, and not any is all not, also where something is unknown."""
    negated = tuple(Not(condition=part) for part in parts)
    assert truth(Not(condition=All(conditions=tuple(parts)))) is truth(AnyOf(conditions=negated))
    assert truth(Not(condition=AnyOf(conditions=tuple(parts)))) is truth(All(conditions=negated))


@given(trees)
def test_unknown_says_why_and_known_does_not(tree: Condition) -> None:
    """Causes come with unknown, and only with it."""
    verdict = tree.judge(EMPTY)
    assert bool(verdict.causes) == (verdict.truth is None)


def bare(facts: dict[Fact, Any]) -> Message:
    return Message(MessageKey("a", "INBOX", 1, 1), NOW, facts)


SUBJECT = header_fact("subject")


def test_all_is_false_though_others_need_facts() -> None:
    """One false part decides, whatever is missing."""
    assert judge("{subject: x, body: y, larger_than: 10}", bare({SIZE: 5})).truth is False


def test_any_is_true_though_others_need_facts() -> None:
    """One true part decides, whatever is missing."""
    assert judge("any: [{subject: x}, {larger_than: 10}]", bare({SIZE: 50})).truth is True


def test_needs_come_before_unknown() -> None:
    """What is missing is asked for first: it could still make `all` false."""
    message = bare({SIZE: Unavailable("gone")})
    assert judge("{subject: x, larger_than: 10}", message) == Verdict(None, needs=frozenset([SUBJECT]))
    message.facts[SUBJECT] = (b"x",)
    assert judge("{subject: x, larger_than: 10}", message).causes == (Unavailable("gone"),)


def test_what_is_cheap_is_asked_for_first() -> None:
    """Headers and flags before structure and SEARCH, these before the body: each may end the asking."""
    when = "{body: x, search: UNSEEN, has_attachment: true, subject: x, seen: true}"
    message = bare({})
    assert judge(when, message).needs == {SUBJECT, FLAGS}
    message.facts |= {SUBJECT: (b"x",), FLAGS: frozenset(["\\Seen"])}
    assert judge(when, message).needs == {STRUCTURE, search_fact("UNSEEN")}
    message.facts |= {STRUCTURE: (), search_fact("UNSEEN"): True}
    assert judge(when, message).truth is False
    assert judge(when.replace("has_attachment: true, ", ""), message).needs == {BODY}
    assert cheapest([]) == frozenset()


def test_one_condition_asks_for_all_it_may_read_at_once() -> None:
    """`recipient` reads eight headers, and asks for them in one go."""
    assert len(judge("recipient: a@b.c", bare({})).needs) == 8


def test_mappings_lists_and_always() -> None:
    """A mapping is `all`, a list `any` of mappings, `always` every message; they nest."""
    assert matches("{subject: a, from: x@y.z}", "Subject: a", "From: x@y.z")
    assert not matches("{subject: a, from: x@y.z}", "Subject: a")
    assert matches("[{subject: a}, {subject: b}]", "Subject: b")
    assert matches("always")
    assert matches("{not: [{subject: a}, {subject: b}], subject: c}", "Subject: c")
    assert not matches("not: [{subject: a}, {subject: b}]", "Subject: b")
    assert matches("all: [{subject: a}, {any: [{subject: b}, {not: {subject: c}}]}]", "Subject: a")


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("{}", "there is no condition here"),
        ("[]", "there is no condition here"),
        ("not: {}", "there is no condition here"),
        ("all: []", "takes a list of conditions"),
        ("any: {subject: x}", "A mapping already means that all its keys must hold"),
        ("allways", "Write 'always'"),
        ("always: true", "stands alone"),
        ("frm: x", "unknown condition 'frm'. Did you mean 'from'?"),
        ("From: x@y.z", "Did you mean 'from'?"),
        ("list-id: x", "Did you mean 'list_id'?"),
        ("unread: true", "Did you mean 'seen: false'?"),
        ("size: 3", "Did you mean 'larger_than or smaller_than'?"),
        ("X-Spam: yes", "write header: {X-Spam: …}"),
        ("zzzzzz: 1", "Conditions: from, to"),
    ],
)
def test_errors_say_what_to_write(when: str, words: str) -> None:
    """Unknown words get a near one; wrong shapes get the right one."""
    assert words in problem(when)


def test_all_errors_are_found_at_once() -> None:
    """Each wrong part is reported at its own place."""
    found = problems("{any: [{frm: x}, {larger_than: big}], subject: {regex: '('}}")
    assert [p.path for p in found] == [
        ("when", "any", 0, "frm"),
        ("when", "any", 1, "larger_than"),
        ("when", "subject", "regex"),
    ]
    assert [p.at for p in found] == ["key", "value", "value"]


def test_deep_nesting_is_refused() -> None:
    """Nesting has an end, and the error names it."""
    deep: Any = "always"
    for _ in range(80):
        deep = {"not": deep}
    report = Report()
    assert parse_when(deep, path=("when",), report=report, context=ParseContext()) is None
    assert ["nested too deeply" in p.message for p in report.problems] == [True]


def test_groups_come_in_file_order() -> None:
    """Of two conditions that give a group of one name, the first in the file counts, cheap or not."""
    when = "{body: {regex: '(?P<x>b.)'}, subject: {regex: '(?P<x>s.)(?P<y>.)'}}"
    assert groups(when, "Subject: s12", body="b1") == {"x": "b1", "y": "2"}
    assert condition(when).group_names() == {"x": False, "y": False}


def test_groups_of_any_may_be_missing() -> None:
    """What only one branch of `any` names may be missing; what all name may not."""
    when = "any: [{subject: {regex: '(?P<x>s)(?P<y>.)'}}, {from: {regex: '(?P<x>f)'}}]"
    assert condition(when).group_names() == {"x": False, "y": True}
    assert groups(when, "Subject: s1", "From: f@g") == {"x": "s", "y": "1"}
    assert groups(when, "Subject: no", "From: f@g") == {"x": "f"}


def test_any_waits_for_facts_that_give_groups() -> None:
    """Groups do not depend on what happened to be fetched: a branch that names some is judged first."""
    when = "any: [{body: {regex: '(?P<x>.)'}}, {subject: s}]"
    message = bare({SUBJECT: (b"s",)})
    assert judge(when, message).needs == {BODY}
    message.facts[BODY] = Unavailable("gone")
    assert judge(when, message) == Verdict(True)


def test_not_gives_no_groups() -> None:
    """Nothing under `not` goes to templates."""
    assert groups("not: {not: {subject: {regex: '(?P<x>s)'}}}", "Subject: s") == {}
    assert condition("not: {subject: {regex: '(?P<x>s)'}}").group_names() == {}


def test_search() -> None:
    """`all` keeps what compiles, `any` is everything if one part is, `not` needs what is exact."""
    larger = Key("LARGER", (10,), exact=True)
    assert condition("{larger_than: 10, search: X}").search() == all_of([larger, Everything(exact=False)])
    assert condition("any: [{larger_than: 10}, {search: X}]").search() == Everything(exact=False)
    assert isinstance(condition("any: [{larger_than: 10}, {seen: true}]").search(), Or)
    assert condition("not: {not: {larger_than: 10}}").search().exact
    assert condition("not: {subject: x}").search() == Everything(exact=False)
    assert condition("not: always").search() == Nothing()


def test_trace_has_the_conditions_as_the_file_lists_them() -> None:
    """Every condition is shown, also after the outcome is clear; `not` and `any` have children."""
    shown = trace("{any: [{subject: a}, {subject: b}], not: {from: x@y.z}}", mail("Subject: a"))
    assert shown.as_json() == {
        "condition": "all",
        "argument": {"any": [{"subject": "a"}, {"subject": "b"}], "not": {"from": "x@y.z"}},
        "matched": True,
        "value": None,
        "children": [
            {
                "condition": "any",
                "argument": [{"subject": "a"}, {"subject": "b"}],
                "matched": True,
                "value": None,
                "children": [
                    {"condition": "subject", "argument": "a", "matched": True, "value": "a", "children": []},
                    {"condition": "subject", "argument": "b", "matched": False, "value": "a", "children": []},
                ],
            },
            {
                "condition": "not",
                "argument": {"from": "x@y.z"},
                "matched": True,
                "value": None,
                "children": [
                    {
                        "condition": "from",
                        "argument": "x@y.z",
                        "matched": False,
                        "value": None,
                        "children": [],
                    }
                ],
            },
        ],
    }


def test_a_written_all_is_shown_as_one() -> None:
    """`all: [...]` is a node of its own in the tree; a mapping is not."""
    shown = trace("all: [{subject: a}]", mail("Subject: a"))
    assert [child.condition for child in shown.children] == ["all"]


def test_trace_says_why_something_is_unknown() -> None:
    """Unknown has its cause in words."""
    message = mail("Subject: a", facts={search_fact("X"): CAN_T})
    assert trace("{search: X, subject: a}", message).because == "can't be had"
