"""core/fixture.py: a message written in the file becomes a real one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest

from mailrules.core.fixture import Attached, Fixture
from mailrules.core.message import (
    ANSWER,
    HISTORY,
    SIGHTINGS,
    SIZE,
    STRUCTURE,
    WRITTEN_TO,
    Message,
    gmail_fact,
    search_fact,
)
from mailrules.core.mime import attachments

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)


def message(fixture: Fixture, **more: object) -> Message:
    known = {"account": "work", "now": NOW, "body_limit": 1000, "trusted_authserv": ("mx.example.org",)}
    return fixture.message(**{**known, **more})  # type: ignore[arg-type]


def test_any_parser_reads_it() -> None:
    """Headers, both texts and attachments are where RFC 5322 and MIME want them."""
    fixture = Fixture(
        headers=(("From", "Ännchen <a@example.com>"), ("X-Tag", "1"), ("X-Tag", "2")),
        body="Grüße", html="<p>Grüße</p>",
        attachments=(Attached("rechnung.pdf"), Attached("a.eml", "message/rfc822")),
    )  # fmt: skip
    parsed = message_from_bytes(fixture.content(NOW), policy=policy.SMTPUTF8)
    assert parsed["From"] == "Ännchen <a@example.com>"
    assert parsed.get_all("X-Tag") == ["1", "2"]
    assert parsed["Date"].datetime == NOW
    assert parsed.get_body(("plain",)).get_content() == "Grüße\r\n"  # type: ignore[union-attr]
    assert parsed.get_body(("html",)).get_content() == "<p>Grüße</p>\r\n"  # type: ignore[union-attr]
    assert [part.get_filename() for part in parsed.iter_attachments()] == ["rechnung.pdf", "a.eml"]
    assert not parsed.defects


def test_same_form_same_bytes() -> None:
    """Nothing in it is left to chance."""
    fixture = Fixture(body="a", html="b", attachments=(Attached("c.png", inline=True), Attached("d.txt")))
    assert fixture.content(NOW) == fixture.content(NOW)


def test_what_is_said_replaces_what_is_made() -> None:
    """A header of the form stands in place of the one that would be made."""
    fixture = Fixture(headers=(("Content-Type", "multipart/report; boundary=x"), ("Message-ID", "<m@x>")))
    lines = fixture.content(NOW).lower().splitlines()
    assert sum(line.startswith(b"content-type") for line in lines) == 1
    assert sum(line.startswith(b"message-id") for line in lines) == 1


@pytest.mark.parametrize(
    ("date", "expected"),
    [("", b"Date: Sun, 01 Mar 2026 09:00:00 +0000"), ("once", b"Date: once"), (None, None)],
)
def test_date(date: str | None, expected: bytes | None) -> None:
    """The Date is the arrival's, or the text that is given, or there is none."""
    found = [line for line in Fixture(date=date).content(NOW).splitlines() if line.startswith(b"Date")]
    assert found == ([expected] if expected else [])


def test_facts_beside_the_bytes() -> None:
    """Size, arrival, flags, history and a server's answers are as the form says."""
    when = datetime(2020, 1, 1, tzinfo=UTC)
    fixture = Fixture(
        size=7, received=when, flags=frozenset(["\\Seen"]), returned=True, search=frozenset(["SEEN"])
    )
    asked = [search_fact("UNSEEN"), gmail_fact("x")]
    found = message(fixture, asked=asked)
    assert (found.get(SIZE), found.internaldate, found.flags) == (7, when, frozenset(["\\Seen"]))
    assert found.get(HISTORY) == "returned"
    assert (found.get(search_fact("SEEN")), found.get(search_fact("UNSEEN"))) == (True, False)
    assert not found.has(gmail_fact("x"))


def test_a_file_is_left_as_it_is() -> None:
    """Of a message in a file not a byte changes; what stands beside it counts."""
    raw = b"From: a@b.example\nDate: Tue, 5 Mar 2019 10:00:00 +0100\n\nhello\n"
    assert Fixture(raw=raw).content(NOW) == raw
    assert message(Fixture(raw=raw)).internaldate.year == 2019
    assert message(Fixture(raw=raw, received=NOW)).internaldate == NOW


def test_an_attachment_alone() -> None:
    """Without a text there is no part of text."""
    [part] = message(Fixture(attachments=(Attached(type="image/png", size=10_000),))).get(STRUCTURE)
    assert part.content_type == "image/png"
    assert abs(part.decoded_size - 10_000) < 100
    assert len(attachments([part])) == 1


def test_auth_is_the_word_of_who_is_trusted() -> None:
    """`auth` becomes the topmost Authentication-Results of the account's server."""
    fixture = Fixture(auth=(("dmarc", "pass"), ("spf", "fail")))
    [value] = message(fixture).header("authentication-results")
    assert value.strip() == b"mx.example.org; dmarc=pass; spf=fail"


def test_what_the_journal_and_sent_would_say() -> None:
    """What only journal, Sent mailbox and scripts know is said by the form, or is not known."""
    who = (("From", "Bob <BOB@example.com>"),)
    found = message(Fixture(headers=who, replied_to=True, duplicate=timedelta(days=2), unanswered=False))
    assert found.get(WRITTEN_TO) == {"bob@example.com": NOW}
    assert found.get(SIGHTINGS).earlier.seen == NOW - timedelta(days=2)
    assert found.get(ANSWER) is not None
    found = message(Fixture(headers=who, replied_to=False, duplicate=timedelta(), unanswered=True))
    assert (found.get(WRITTEN_TO), found.get(SIGHTINGS).earlier, found.get(ANSWER)) == ({}, None, None)
    assert not message(Fixture(headers=who)).has(WRITTEN_TO)
