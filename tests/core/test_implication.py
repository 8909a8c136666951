"""core/implication.py: what it says is proven holds of every message; counterexamples are looked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from mailrules.config.yaml_source import compose
from mailrules.core import implication
from mailrules.core.conditions import parse_when
from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.errors import Report
from mailrules.core.fixture import Attached, Fixture
from mailrules.core.message import Message

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
CONTEXT = ParseContext(
    lists={"vip": ("alice@a.example", "@b.example"), "words": ("beta", "al")}, timezone=UTC
)
PEOPLE = ["alice@a.example", "bob@x.a.example", "alice@b.example", "carol+shop@a.example", "Bob@B.example"]
WORDS = ["alpha", "beta", "alpha beta", "al", "ALPHA", "x", "beta alpha gamma"]
FLAGS = ["\\Seen", "\\Flagged", "$K", "alpha", "beta", "AL"]


def condition(text: str) -> Condition:
    report = Report()
    data = compose(text, "rules.yaml").data
    found = parse_when(data, path=("when",), report=report, context=CONTEXT)
    assert found is not None, (text, report.problems)
    return found


def whens(chance: random.Random, number: int) -> list[str]:
    """Conditions over a small world, so that they often follow from each other or clash."""
    return [_when(chance, 2) for _ in range(number)]


def _when(chance: random.Random, depth: int) -> str:
    if depth and chance.random() < 0.45:
        inner = [_when(chance, depth - 1) for _ in range(chance.choice([1, 2, 2, 3]))]
        kind = chance.choice(["all", "any", "not"])
        return f"{{not: {inner[0]}}}" if kind == "not" else f"{{{kind}: [{', '.join(inner)}]}}"
    return "{" + chance.choice(_LEAVES)(chance) + "}"


def _pick(chance: random.Random, values: Sequence[str]) -> str:
    chosen = chance.sample(list(values), chance.choice([1, 1, 2]))
    return f'"{chosen[0]}"' if len(chosen) == 1 else "[" + ", ".join(f'"{one}"' for one in chosen) + "]"


_TESTS = [
    "alice@a.example",
    "@a.example",
    "a.example",
    "@b.example",
    "b.example",
    "*@a.example",
    "al*@*.example",
]
_OPERATORS = ["contains", "is", "starts_with", "ends_with"]


def _person(chance: random.Random) -> str:
    field = chance.choice(["from", "to", "recipient"])
    kind = chance.random()
    if kind < 0.6:
        return f"{field}: {_pick(chance, _TESTS)}"
    if kind < 0.7:
        return f"{field}: {{exists: {chance.choice(['true', 'false'])}}}"
    if kind < 0.8:
        return f"{field}: {{in: vip}}"
    more = chance.choice(["domain: a.example", "user: alice"])
    return f"{field}: {{address: {_pick(chance, PEOPLE)}, {more}}}"


def _word(chance: random.Random) -> str:
    field = chance.choice(["subject", "subject", "body", "list_id", "keyword"])
    kind = chance.random()
    if kind < 0.4:
        return f"{field}: {_pick(chance, WORDS)}"
    if kind < 0.5:
        return f"{field}: {{exists: {chance.choice(['true', 'false'])}}}"
    if kind < 0.6:
        return f"{field}: {{in: words}}"
    operators = chance.sample(_OPERATORS, chance.choice([1, 2]))
    inner = ", ".join(f"{operator}: {_pick(chance, WORDS)}" for operator in operators)
    if chance.random() < 0.2:
        inner += chance.choice([", case_sensitive: true", ', regex: "^a"', ', glob: "a*"'])
    return f"{field}: {{{inner}}}"


def _header(chance: random.Random) -> str:
    if chance.random() < 0.3:
        return f"exists: {_pick(chance, ['X-Tag', 'List-Id', 'Subject', 'To'])}"
    return f"header: {{{chance.choice(['X-Tag', 'Subject'])}: {_pick(chance, WORDS)}}}"


_LEAVES = [
    _person, _person, _word, _word, _word, _header,
    lambda c: f"{c.choice(['larger_than', 'smaller_than'])}: {c.choice([500, 501, 1000, 1001, 5000])}",
    lambda c: f"{c.choice(['older_than', 'newer_than'])}: {c.choice(['1d', '2d', '10d'])}",
    lambda c: f"{c.choice(['seen', 'flagged', 'is_bulk', 'has_attachment', 'is_auto'])}: "
              f"{c.choice(['true', 'false'])}",
    lambda c: "received: {" + c.choice([
        "since: 2026-03-01", "before: 2026-03-01", "on: [2026-03-01, 2026-03-03]", "weekday: [sun, tue]",
        'on: 2026-03-03, weekday: mon, between: "20:00-08:00"', "since: 2026-02-28, before: 2026-03-04",
        "weekday: wed",
    ]) + "}",
    lambda c: f"auth: {{dmarc: {_pick(c, ['pass', 'fail', 'none'])}}}",
    lambda c: "attachment: "
              + c.choice(['"*.pdf"', "{type: text/plain}", "{larger_than: 10, smaller_than: 50}"]),
]  # fmt: skip


def messages(chance: random.Random, number: int) -> list[Message]:
    """Messages of the same small world, all facts known."""
    return [_message(chance) for _ in range(number)]


def _message(chance: random.Random) -> Message:
    headers: list[tuple[str, str]] = []

    def some(name: str, values: Sequence[str], most: int = 2) -> None:
        headers.extend((name, chance.choice(values)) for _ in range(chance.randint(0, most)))

    for name in ("From", "To", "Cc"):
        people = chance.sample(PEOPLE, chance.randint(0, 2))
        if people:
            headers.append((name, ", ".join(people)))
    some("Subject", WORDS)
    some("X-Tag", WORDS, 1)
    some("List-Id", [f"<{word}>" for word in WORDS], 1)
    some("Precedence", ["bulk"], 1)
    files = chance.sample(["a.pdf", "b.txt"], chance.randint(0, 2))
    fixture = Fixture(
        headers=tuple(headers),
        body=chance.choice([None, *WORDS]),
        attachments=tuple(Attached(name, size=chance.choice([5, 20, 600])) for name in files),
        flags=frozenset(chance.sample(FLAGS, chance.randint(0, 4))),
        received=NOW - timedelta(hours=chance.choice([0, 1, 20, 24, 25, 47, 48, 60, 96, 240, 500])),
        size=chance.choice([None, 499, 500, 501, 502, 1000, 1001, 1002, 4000, 6000]),
        auth=chance.choice([(), (("dmarc", "pass"),), (("dmarc", "fail"),)]),
    )  # fmt: skip
    return fixture.message(account="work", now=NOW, body_limit=10_000, trusted_authserv=("mx.example.org",))


def test_counterexamples_are_not_found() -> None:
    """Of thousands of pairs: what can never be is never, and what follows does, on every message tried."""
    chance = random.Random(1)
    mails = messages(chance, 400)
    written = whens(chance, 160)
    conditions = [condition(text) for text in written]
    found = [implication.terms(one) for one in conditions]
    truths = [[one.judge(mail).truth for mail in mails] for one in conditions]
    nevers = followed = 0
    for place, one in enumerate(found):
        for truth, mail in zip(truths[place], mails, strict=True):
            if one is not None:
                by_terms = any(all(_holds(literal, mail) for literal in term) for term in one)
                assert by_terms is truth, written[place]
        if implication.never(one) is not None:
            nevers += 1
            assert True not in truths[place], written[place]
        for other, wanted in enumerate(found):
            if other != place and implication.follows(one, wanted):
                followed += 1
                for mine, its in zip(truths[place], truths[other], strict=True):
                    assert not (mine is True and its is not True), (written[place], written[other])
    assert nevers >= 5
    assert followed >= 200


def _holds(literal: implication.Literal, mail: Message) -> bool:
    """The truth of a literal, by what its atom says."""
    atom = literal.atom
    if isinstance(atom, implication.Within):
        number = mail.size if atom.what == "size" else (NOW - mail.internaldate) // timedelta(microseconds=1)
        within = (atom.low is None or number >= atom.low) and (atom.high is None or number <= atom.high)
        return within is literal.true
    if isinstance(atom, implication.There):
        if atom.view[0] == "texts":
            return bool(mail.header(str(atom.view[1]))) is literal.true
        exists = literal.condition.judge(mail).truth
        written_as = literal.condition.test.exists  # type: ignore[attr-defined]
        return (exists is written_as) is literal.true
    if isinstance(atom, implication.Is):
        wanted = literal.condition.wanted  # type: ignore[attr-defined]
        return (literal.condition.judge(mail).truth is wanted) is literal.true
    if isinstance(atom, implication.Words) and atom.view[0] == "texts":
        from mailrules.core.conditions.views import header_texts

        return atom.test.any_holds(header_texts(mail, str(atom.view[1]))) is literal.true
    return literal.condition.judge(mail).truth is literal.true


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{from: alice@mail.shop.example}", "{from: shop.example}"),
        ("{from: ['@shop.example', x@shop.example], seen: true}", "{from: ['@shop.example', b@c.example]}"),
        ("{to: a@b.example}", "{recipient: '@b.example'}"),
        ("{subject: {is: [invoice 7, invoice 8]}}", "{subject: {starts_with: inv, contains: voice}}"),
        ("{subject: invoice}", "{any: [{subject: x}, {header: {Subject: inv}}]}"),
        ("{larger_than: 5 MB, seen: true}", "{larger_than: 1 MB}"),
        ("{older_than: 30d}", "{not: {newer_than: 29d}}"),
        ("{subject: {in: words}}", "{subject: {contains: [be, al]}}"),
        ("{attachment: '*.pdf'}", "{has_attachment: true}"),
        ("{list_id: x}", "{is_bulk: true}"),
        ("{auth: {dmarc: pass, spf: fail}}", "{auth: {dmarc: [pass, none]}}"),
        (
            "{received: {since: 2026-01-02, weekday: mon}}",
            "{received: {since: 2026-01-01, weekday: [mon, tue]}}",
        ),
        ("{subject: {regex: 'a+'}}", "{subject: {regex: ['b', 'a+']}}"),
        ("{not: {subject: a}}", "{not: {subject: {contains: abc}}}"),
    ],
)  # fmt: skip
def test_follows(one: str, other: str) -> None:
    """What a person sees to follow does; the other way round it does not."""
    mine, its = implication.terms(condition(one)), implication.terms(condition(other))
    assert implication.follows(mine, its)
    assert not implication.follows(its, mine)


def test_too_many_terms_prove_nothing() -> None:
    """A condition of a thousand alternatives in each of three places is left alone."""
    many = "{any: [" + ", ".join(f"{{subject: w{n}}}" for n in range(30)) + "]}"
    found = implication.terms(condition(f"{{all: [{many}, {many}, {many}]}}"))
    assert found is None
    assert implication.never(found) is None
    assert not implication.follows(found, found)
