"""capturing.py: a test made of a message keeps every condition's outcome and nobody's address."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailrules import config
from mailrules.core.conditions.base import Trace
from mailrules.core.errors import PermanentError
from mailrules.core.fixture import Fixture
from mailrules.core.offline import without_server
from mailrules.explaining.capturing import Captured, capture, dump
from mailrules.explaining.testing import run

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
FILE = r"""
accounts:
  work:
    host: imap.example.org
    username: me@example.org
    password: {env: NOBODY_ASKS}
    trusted_authserv: [mx.example.org]
rules:
  - name: shop
    when: {from: [shop.example, "@acme.example", "*.com"], subject: [invoice, rechnung, re]}
    then: [flag: $A]
  - name: number
    when: {subject: {regex: '(?i)(?P<word>\w+)[ #-]+(?P<n>\d+)'}}
    then: [log: "{{ match.word }} {{ match.n }}"]
  - name: lists
    when: [{list_id: {contains: list}}, {is_bulk: true}]
    unless: {from: "*@*.org"}
    then: [move: Lists]
  - {name: body, when: {body: [unsubscribe, free, click, the, hallo]}, then: [flag: $B]}
  - {name: line, when: {body: {regex: '(?m)^(From|On|>|Dear|Order: \d+)'}}, then: [flag: $C]}
  - {name: whole, when: {text: [linux, money]}, unless: {header: {X-Mailer: outlook}}, then: [flag: $D]}
  - {name: files, when: {attachment: ["*.pdf", "*.gif"]}, then: [flag: $E]}
  - name: people
    when: {to: {name: me}, cc: {exists: true}, from: {name: {regex: "^[a-z ]+$"}}}
    then: [flag: $F]
  - {name: auto, when: {is_auto: true, smaller_than: 20 KB}, then: [flag: $G]}
  - name: late
    when: {sent: {before: 2003-01-01}, received: {weekday: [sat, sun]}, older_than: 30d}
    then: [flag: $H]
  - name: received
    when: {header: {Received: [localhost, smtp]}, exists: [X-Spam-Status, Message-ID]}
    then: [flag: $I]
  - {name: proven, when: {auth: {dmarc: [pass, none]}}, then: [flag: $J]}
  - {name: parts, when: {recipient: {localpart: {starts_with: a}}, reply_to: {exists: false}}, then: [keep]}
"""
DEMO = Path(__file__).parents[2] / "mailrules" / "demo" / "mail"
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@pytest.fixture(scope="module")
def rules() -> config.Config:
    return config.parse(FILE)


def outcomes(found: config.Config, fixture: Fixture) -> list[Any]:
    """How every condition of every rule comes out."""
    facts = [fact for rule in found.rules for fact in rule.facts()]
    message = fixture.message(
        account="work", now=NOW, body_limit=1_000_000, trusted_authserv=("mx.example.org",), asked=facts
    )
    without_server(message, facts)

    def tree(trace: Trace) -> Any:
        return [trace.condition, trace.matched, [tree(child) for child in trace.children]]

    return [tree(rule.when.trace(message)) for rule in found.rules]


def check(found: config.Config, raw: bytes) -> Captured:
    original = Fixture(raw=raw)
    made = capture(found, original, now=NOW, name="t")
    assert outcomes(found, made.fixture) == outcomes(found, original)
    text = dump([made.test])
    # As it stands in a file it is read, and passes.
    again = config.parse(FILE + text)
    [result] = run(again, again.tests)
    assert result.passed, text
    kept = {one.text for one in made.kept}
    for address in set(ADDRESS.findall(raw.decode("latin-1"))):
        local, _, domain = address.casefold().partition("@")
        if address.casefold() in text.casefold() and not address.endswith((".example", ".invalid")):
            pieces = {word.casefold() for word in re.findall(r"[^\W_]+", address)}
            assert {local, domain} <= kept or pieces <= kept, address
    return made


def samples() -> Iterator[Path]:
    yield from sorted(DEMO.glob("*.eml"))
    folder = os.environ.get("MAILRULES_CORPUS")
    if folder:
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        yield from files[:: max(1, len(files) // 200)]


@pytest.mark.parametrize("path", list(samples()), ids=lambda path: path.name)
def test_outcomes_are_kept(path: Path, rules: config.Config) -> None:
    """Of mail as it is: each condition comes out as before, and no address stays unless it is told."""
    raw = path.read_bytes()
    if len(raw) > 1_000_000:
        pytest.skip("large")
    try:
        check(rules, raw)
    except PermanentError as error:
        pytest.skip(f"{error}")


def test_what_is_kept_is_told(rules: config.Config) -> None:
    """A word that a rule looks for stays, and is told with the condition that needs it."""
    raw = (
        b"From: Bob Miller <bob@acme.example>\r\nSubject: Your invoice 4711\r\n\r\n"
        b"Hello Bob, the money is due\r\n"
    )
    made = check(rules, raw)
    assert {one.text for one in made.kept} >= {"acme.example", "invoice", "the", "money"}
    [because] = [one.because for one in made.kept if one.text == "acme.example"]
    assert because == ("rule 'shop': from",)
    text = dump([made.test])
    for word in ("Bob", "Miller", "bob@", "Hello", "due", "4711"):
        assert word not in text


def test_the_same_word_has_the_same_stand_in(rules: config.Config) -> None:
    """Who is named twice is named twice, in any case, and again the next time."""
    raw = b"From: Bob <bob@acme.example>\r\nSubject: BOB and Bob\r\n\r\nbob, write to bob@acme.example\r\n"
    one, two = check(rules, raw), check(rules, raw)
    assert dump([one.test]) == dump([two.test])
    subject = str(one.test["message"]["subject"]).split()
    assert subject[0] == subject[2].upper()


def test_no_message_id_and_reports(rules: config.Config) -> None:
    """A message without Message-ID, and a delivery report, stay what they are."""
    raw = (
        b"From: <x@y.example>\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nThe mail\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n--b--\r\n"
    )
    made = check(rules, raw)
    assert made.test["message"]["headers"]["message-id"] is None


def test_a_text_that_nobody_reads_is_left_out() -> None:
    """Where no rule looks at the text, the test has none; nor headers that no rule reads."""
    found = config.parse(FILE.partition("rules:")[0] + "rules: [{name: a, when: {subject: x}, then: [keep]}]")
    raw = b"Subject: x\r\nX-Secret: yes\r\n\r\nfor nobody else\r\n"
    made = capture(found, Fixture(raw=raw), now=NOW, name="t")
    assert "body" not in made.test["message"]
    assert "X-Secret" not in dump([made.test])
