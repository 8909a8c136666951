"""A block that is left out at one look is one in which no rule matches."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrules.core.headers import parse_block
from mailrules.core.message import Message, MessageKey
from mailrules.core.ruleset import RuleSet
from mailrules.core.sieve import LONGEST, without_assertions
from tests.core.test_ruleset import NOW, address_values, rule, text_values


def read(rules: RuleSet, block: bytes) -> Message:
    names = [(fact, str(fact.argument).encode()) for fact in rules.facts]
    return Message(MessageKey("work", "INBOX", 1, 1), NOW, parse_block(block).among(names))


def left_out(rules: RuleSet, block: bytes) -> bool:
    """Whether the sieve leaves it out. What it does not see does not match."""
    assert rules.sieve is not None
    seen = rules.sieve(block)
    if seen is not None:
        unseen = [r for place, r in enumerate(rules) if place not in seen]
        assert not [r.name for r in unseen if r.when.judge(read(rules, block)).truth], block
        told = read(rules, block)
        rules.tell(told, seen)
        assert [r.name for r in rules.candidates(told)] == [rules[place].name for place in sorted(seen)]
    return seen == ()


leaves = st.one_of(
    st.builds(lambda v: {"subject": v}, text_values),
    st.builds(lambda v: {"list_id": v}, text_values),
    st.builds(lambda f, v: {f: v}, st.sampled_from(("from", "to")), address_values),
    st.builds(lambda v: {"any": [{"subject": v}, {"from": {"name": v}}]}, text_values),
)
names = st.sampled_from(("Subject", "subject", "FROM", "From", "To", "List-Id", "SUBJECT "))
words = st.sampled_from(
    (
        "invoice",
        "Invoice",
        "re",
        "Straße",
        "STRASSE",
        "ﬁne",
        "fine",
        "é",
        "e\u0301",
        "ΣΊΣΥΦΟΣ",
        "İstanbul",
        "100%",
        "a",
        "b",
        "x",
        " ",
        "  ",
        "\t",
        "[ci]",
        ".*",
        "=?utf-8?q?inv?=",
        "=?utf-8?q?oice?=",
        "=?utf-8?b?aW52b2ljZQ==?=",
        "=?utf-8?q?a=0Afrom: x?=",
        "=?",
        "?=",
        "=",
        "\r\n ",
        "\r\n\t",
        "\r\nFrom: ",
        "ann@example.com",
        "<ann@example.com>",
        "Ann <ann@Example.com>",
        '"An\\n" <ann@board.example>',
        "o'neil+tag@sub.example.com",
        "<ann @ example.com>",
        "a(c)nn@example.com",
        '"an"n@example.com',
        "a@xn--bcher-kva.example",
        ", ",
        "<",
        ">",
        "(",
        ")",
        '"',
        "\\",
        ":",
        ";",
        "@",
        "\0",
        "\x1b(B",
        "\r",
        "\x0b",
        "mailto:ann@example.com",
        "K",
        "ſ",
        "ß",
    )
)
values = st.lists(words, max_size=6).map("".join)
blocks = st.lists(st.tuples(names, values), max_size=4).map(
    lambda fields: "".join(f"{n}: {v}\r\n" for n, v in fields).encode() + b"\r\n"
)


@settings(max_examples=600, deadline=None)
@given(st.lists(leaves, min_size=1, max_size=5), st.lists(blocks, min_size=1, max_size=8))
def test_nothing_is_left_out_that_matches(whens: list[Any], raws: list[bytes]) -> None:
    """Whatever the rules and however broken the header: what is left out matches no rule."""
    rules = RuleSet([rule(str(n), when) for n, when in enumerate(whens)])
    if rules.sieve is not None:
        for raw in raws:
            left_out(rules, raw)


@pytest.mark.parametrize(
    ("when", "raw"),
    [
        ({"subject": "Straße"}, "Subject: Straße"),
        ({"subject": "strasse"}, "Subject: =?utf-8?q?x?= Straße"),
        ({"subject": {"regex": "straße"}}, "Subject: Straße"),
        ({"from": "ann@example.com"}, "Subject: =?utf-8?q?x?=\rFrom: ann@example.com\r"),
        ({"from": "ann@example.com"}, "Subject: é\rFrom: ann@example.com\r"),
        ({"header": {"From": "ann@example.com"}}, "From: =?utf-8?q?ann?=@example.com"),
        ({"from": {"localpart": {"contains": "utf-8"}}}, "From: A <=?utf-8?q?ann?=@example.com>"),
    ],
)
def test_what_bytes_do_not_show_is_judged(when: Any, raw: str) -> None:
    """Where a field is read as something else than its bytes show, a rule still gets to see it."""
    rules = RuleSet([rule("a", when), rule("b", {"from": "x@y.example"}), rule("c", {"subject": "zzz"})])
    block = raw.encode() + b"\r\n\r\n"
    assert rules[0].when.judge(read(rules, block)).truth
    assert not left_out(rules, block)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ({"name": {"regex": "a b"}}, b'From: "a  b" <u@example.com>, c@d.example'),
        ({"domain": {"regex": "^example", "case_sensitive": True}}, b"From: u@Example.com"),
        ({"domain": {"regex": "(?-i)example"}}, b"From: u@Example.com"),
    ],
)
def test_what_is_read_in_another_form_has_no_sieve(value: Any, raw: bytes) -> None:
    """Names lose blanks and domains capitals, so that a regex for them may not be in the bytes."""
    rules = RuleSet([rule("a", {"from": value})])
    assert rules[0].when.judge(read(rules, raw + b"\r\n\r\n")).truth
    assert rules.sieve is None


@pytest.mark.parametrize(
    "block",
    [
        b"From: Ann <ann@elsewhere.example>\r\nSubject: nothing of interest\r\n\r\n",
        b"Subject: Re: folded\r\n over two lines\r\n\r\n",
        b"Subject: =?utf-8?q?Gr=C3=B6=C3=9Fe?= =?utf-8?b?w7xiZXI=?=\r\nFrom: a@b.example\r\n\r\n",
        b'From: "Ann, B." <ann@elsewhere.example>\r\nTo: a@b.example, C D <c@d.example>\r\n\r\n',
        b"\r\n",
    ],
)
def test_what_is_usual_is_left_out(block: bytes) -> None:
    """Plain, folded and encoded lines without a clue need no closer look."""
    rules = RuleSet(
        [
            rule("a", {"subject": "invoice"}),
            rule("b", {"from": "@vendor.example"}),
            rule("c", {"to": "x@vendor.example"}),
            rule("d", {"subject": {"regex": "^order #\\d"}}),
        ]
    )
    assert left_out(rules, block)


@pytest.mark.parametrize(
    "when",
    [{"seen": False}, {"not": {"subject": "x"}}, {"body": "x"}, {"is_bulk": True}, {"subject": {"is": ""}}],
)
def test_rules_that_may_match_anything_leave_nothing_out(when: Any) -> None:
    """One condition that shows itself in no header keeps every message."""
    assert RuleSet([rule("a", when), rule("b", {"subject": "x"})]).sieve is None


def test_a_rule_that_is_switched_off_changes_nothing() -> None:
    """It matches nothing, so it needs not be seen."""
    off = replace(rule("b", {"seen": False}), enabled=False)
    rules = RuleSet([off, rule("a", {"subject": "x"})])
    assert left_out(rules, b"Subject: nothing\r\n\r\n")
    assert rules.sieve is not None and rules.sieve(b"Subject: x\r\n\r\n") == (1,)


def test_a_long_block_is_judged_the_careful_way() -> None:
    """Headers of unusual length are not even looked at."""
    rules = RuleSet([rule("a", {"subject": "x"})])
    assert not left_out(rules, b"Subject: " + b"a" * LONGEST + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^a$", "xax"),
        (r"\Aa\z", "xax"),
        (r"\ba\b", "xax"),
        (r"(?P<n>a)(?P<m>b)|(c)", "ab"),
        (r"[$^]", "$"),
        (r"\Q^$\E", "^$"),
        (r"\$\^", "$^"),
        ("(?i)A|^", "a"),
        (r"[^\]^]", "x"),
        (r"^*a", "a"),
        (r"[[:^alpha:]$]", "1"),
    ],
)
def test_without_assertions(pattern: str, text: str) -> None:
    """Anchors are gone, what only looks like one stays."""
    relaxed = without_assertions(pattern)
    assert relaxed is not None
    import re2

    assert re2.search(relaxed, text)
    assert "?P<" not in relaxed


@pytest.mark.corpus
def test_real_mail() -> None:
    """Every mail of the corpus: what is left out matches nothing, and most is left out."""
    folder = os.environ.get("MAILRULES_CORPUS")
    if not folder:
        pytest.skip("MAILRULES_CORPUS names no folder of real mails")
    whens: list[Any] = [
        *({"subject": word} for word in ("free", "linux", "money", "[ilug]", "meeting", "é")),
        *({"subject": {"regex": r}} for r in (r"^fw", r"\d{6,}", "(?P<tag>\\[\\w+\\]) ?$")),
        *({"from": f} for f in ("@hotmail.com", "*@*.org", {"name": "john"})),
        *({"list_id": v} for v in ({"contains": "list"}, {"regex": "linux|spam"})),
    ]
    rules = RuleSet([rule(str(n), when) for n, when in enumerate(whens)])
    wanted = re.compile(rb"(?im)^(?:from|subject|list-id):[^\n]*\n(?:[ \t][^\n]*\n)*")
    seen = out = 0
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        head = path.read_bytes().partition(b"\n\n")[0] + b"\n"
        block = b"".join(m[0] for m in wanted.finditer(head)) + b"\n"
        seen += 1
        out += left_out(rules, block)
    assert out > seen / 4
