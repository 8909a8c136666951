"""Looking for clues leaves out no rule that would have matched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrules.core.conditions import parse_when
from mailrules.core.conditions.base import ParseContext
from mailrules.core.decision import AccountFacts, Decision, Needs, Situation, decide
from mailrules.core.errors import Report
from mailrules.core.message import Message, MessageKey, header_fact
from mailrules.core.offline import message_from_bytes
from mailrules.core.rule import Rule
from mailrules.core.ruleset import FEW, MOST, RuleSet

SITUATION = Situation(AccountFacts("work"), again=True)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
LISTS = {"vip": ("ann@example.com", "@board.example", "*@*.wild.example")}


def rule(name: str, when: Any) -> Rule:
    report = Report()
    condition = parse_when(when, path=("when",), report=report, context=ParseContext(lists=LISTS))
    assert condition is not None, [p.message for p in report.problems]
    return Rule(name=name, when=condition)


def message(raw: bytes) -> Message:
    return message_from_bytes(raw, now=NOW)


def matched(rules: Sequence[Rule], mail: Message) -> tuple[str, ...]:
    decision = decide(rules, mail, SITUATION)
    assert isinstance(decision, Decision)
    return decision.matched


WORDS = ("invoice", "Straße", "ΣΊΣΥΦΟΣ", "re", "a b", "ﬁne", "é", "x", "İstanbul", "100%", "[ci]", ".*")
ADDRESSES = (
    "ann@example.com", "@example.com", "example.com", "*-noreply@*.example.com", "@b?ard.example",
    "@bücher.example", "xn--bcher-kva.example", "o'neil+tag@sub.example.com", "*@mail*.example.com",
)  # fmt: skip
texts = st.sampled_from(WORDS)
operators = st.sampled_from(("contains", "is", "starts_with", "ends_with"))
text_values: st.SearchStrategy[Any] = st.one_of(
    texts,
    st.lists(texts, min_size=1, max_size=3),
    st.builds(lambda o, t, c: {o: t, "case_sensitive": c}, operators, texts, st.booleans()),
    st.builds(lambda t: {"glob": f"*{t.replace('[', '').replace('*', '')}?*"}, texts),
    st.sampled_from(({"regex": r"(?P<n>\d+)|inv"}, {"regex": "^re:"}, {"regex": ["A", "b$"]},
                     {"exists": True}, {"exists": False}, {"regex": "INV", "case_sensitive": True})),
)  # fmt: skip
address_values: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(ADDRESSES),
    st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3),
    st.builds(lambda v: {"name": v}, texts),
    st.builds(lambda v: {"localpart": v}, texts),
    st.sampled_from(({"domain": "example.com"}, {"contains": "ann"}, {"in": "vip"}, {"exists": True},
                     {"exists": False}, {"detail": "tag"}, {"domain": {"is": "example.com"}})),
)  # fmt: skip
leaves = st.one_of(
    st.builds(lambda v: {"subject": v}, text_values),
    st.builds(lambda v: {"list_id": v}, text_values),
    st.builds(lambda v: {"header": {"X-Kind": v, "Subject": v}}, text_values),
    st.builds(lambda f, v: {f: v}, st.sampled_from(("from", "to", "recipient")), address_values),
    st.sampled_from(
        ({"exists": ["X-Kind", "List-Id"]}, {"larger_than": 500}, {"is_bulk": True}, {"seen": False})
    ),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda v: {"all": v}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda v: {"any": v}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda v: {"not": v}, inner),
    ),
    max_leaves=4,
)
HEADERS = {
    "Subject": [
        "Invoice 42", "re: Straße", "STRASSE a  b", "=?utf-8?q?=CE=A3=CE=AF=CF=83=CF=85=CF=86=CE=BF=CF=82?=",
        "fine x", "[ci] .* 100%", "é", "İSTANBUL", "",
    ],
    "From": [
        "Ann <ann@example.com>", "ANN@EXAMPLE.COM", "x-noreply@sub.example.com", "root",
        "Re <o'neil+tag@sub.example.com>", "a@xn--bcher-kva.example", "<>",
        "c@board.example, d@x.wild.example",
    ],
    "To": ["a@mail1.example.com", "undisclosed-recipients:;", "fine <b@b_ard.example>"],
    "X-Kind": ["invoice", "re", "x"],
    "List-Id": ["Invoice <re.example>", "x"],
}  # fmt: skip
mails = st.builds(
    lambda chosen: (
        "".join(f"{n}: {v}\r\n" for n, v in chosen.items() if v is not None).encode() + b"\r\nbody\r\n"
    ),
    st.fixed_dictionaries({n: st.one_of(st.none(), st.sampled_from(v)) for n, v in HEADERS.items()}),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(trees, min_size=1, max_size=8), st.lists(mails, min_size=1, max_size=4))
def test_the_same_rules_match(whens: list[Any], raws: list[bytes]) -> None:
    """Any conditions, any mail: a set of rules decides as the same rules one by one."""
    rules = [rule(str(n), when) for n, when in enumerate(whens)]
    together = RuleSet(rules)
    for raw in raws:
        assert matched(together, message(raw)) == matched(rules, message(raw))


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, MOST + 10])
def test_many_patterns(count: int) -> None:
    """Each of many needles and expressions finds its rule, however they are searched."""
    rules = [rule(f"c{n}", {"subject": f"word{n}."}) for n in range(count)]
    rules += [rule(f"r{n}", {"subject": {"regex": rf"\bword{n}\."}}) for n in range(count)]
    together = RuleSet(rules)
    for n in {0, count - 1}:
        mail = message(f"Subject: a WORD{n}. and more\r\n\r\n".encode())
        assert matched(together, mail) == (f"c{n}", f"r{n}")
        assert len(together.candidates(mail)) == 2
    assert together.candidates(message(b"Subject: nothing\r\n\r\n")) == []


def test_what_is_not_known_leaves_nothing_out() -> None:
    """A fact that nobody has fetched yet is asked for, as it is without a set."""
    rules = [rule("a", {"subject": "x"}), rule("b", {"header": {"X-Late": "y"}})]
    mail = Message(MessageKey("work", "INBOX", 1, 1), NOW, {header_fact("subject"): (b"nothing",)})
    assert decide(RuleSet(rules), mail, SITUATION) == Needs(frozenset({header_fact("x-late")}))


@pytest.mark.parametrize("when", [{"body": "hello"}, {"text": "hello"}, {"not": {"body": "hello"}}])
def test_what_has_no_clues_is_always_judged(when: Any) -> None:
    """Conditions on what a message says are judged one by one, alone or beside others."""
    rules = [rule("a", when), rule("b", {"subject": "x"})]
    raw = b"Subject: x\r\n\r\nhello\r\n"
    assert matched(RuleSet(rules), message(raw)) == matched(rules, message(raw))


@pytest.mark.parametrize("memory", [40_000, 150_000, 200_000, 300_000, 32 << 20])
def test_an_automaton_without_room_leaves_nothing_out(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where RE2's set has too little memory it can't be made, or answers nothing; each pattern is asked."""
    monkeypatch.setattr("mailrules.core.ruleset._MEMORY", memory)
    patterns = [f"(a|b)*{letter}(a|b){{0,60}}$" for letter in "abcdefgh"]
    rules = [rule(str(n), {"subject": {"regex": pattern}}) for n, pattern in enumerate(patterns)]
    raw = b"Subject: " + b"ab" * 300 + b"c" + b"ab" * 10 + b"\r\n\r\n"
    assert matched(RuleSet(rules), message(raw)) == matched(rules, message(raw)) != ()


@pytest.mark.corpus
def test_real_mail_is_decided_the_same() -> None:
    """Every mail of the corpus, by rules of every kind that has clues."""
    folder = os.environ.get("MAILRULES_CORPUS")
    if not folder:
        pytest.skip("MAILRULES_CORPUS names no folder of real mails")
    whens: list[Any] = [
        *({"subject": word} for word in ("free", "re:", "linux", "money", "[ilug]", "meeting", "é", "?")),
        *({"subject": {"regex": r}} for r in (r"^fw", r"\d{3,}", "[^\\x00-\\x7f]", "(?P<tag>\\[\\w+\\])")),
        *({"from": f} for f in ("yahoo.com", "@hotmail.com", "*@*.org", "enron.com", {"name": "john"})),
        *({"list_id": v} for v in ({"exists": True}, {"contains": "list"}, {"regex": "linux|spam"})),
        {"any": [{"to": "enron.com"}, {"recipient": {"contains": "list"}}]},
        {"header": {"Received": "localhost", "X-Mailer": {"exists": True}}},
        {"all": [{"from": {"contains": "a"}}, {"not": {"subject": "a"}}]},
    ]
    rules = [rule(str(n), when) for n, when in enumerate(whens)]
    together = RuleSet(rules)
    seen = set()
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        raw = path.read_bytes()
        found = matched(together, message(raw))
        assert found == matched(rules, message(raw)), path
        seen.update(found)
    assert len(seen) == len(rules)
