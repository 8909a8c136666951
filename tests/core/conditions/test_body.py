"""body, text."""

from __future__ import annotations

import pytest

from mailrules.core.message import ALL_HEADERS, BODY
from mailrules.core.search import Key
from tests.core.conditions.speaking import condition, groups, mail, matches, raw_mail, trace

MULTIPART = (
    "Content-Type: multipart/mixed; boundary=x",
    "Subject: =?utf-8?q?Caf=C3=A9?=",
)
PARTS = (
    "--x\r\nContent-Type: text/html\r\n\r\n<p>Visible <b>te</b>xt</p><script>hidden</script>\r\n"
    "--x\r\nContent-Type: text/plain; name=a.txt\r\n\r\nattached\r\n--x--\r\n"
)


@pytest.mark.parametrize(
    ("test", "expected"),
    [("visible text", True), ("hidden", False), ("attached", False), ("Café", False), ("[x, text]", True)],
)
def test_body(test: str, expected: bool) -> None:
    """Text parts, HTML as its visible text; neither attachments nor headers."""
    assert matches(f"body: {test}", *MULTIPART, body=PARTS) is expected


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("visible text", True),
        ("attached", False),
        ("café", True),
        ("'subject: café'", True),
        ("hidden", False),
    ],
)
def test_text(test: str, expected: bool) -> None:
    """All decoded headers, then what body sees."""
    assert matches(f"text: {test}", *MULTIPART, body=PARTS) is expected


def test_line_ends_are_kept_for_a_regex() -> None:
    """`^` and `$` with `(?m)` see lines, in body and text."""
    assert groups("body: {regex: '(?m)^Order: (?P<n>[0-9]+)$'}", body="Hi\r\nOrder: 42\r\nBye") == {"n": "42"}
    assert matches("text: {regex: '(?m)^X-A: b$'}", "X-A: b", "X-C: d")
    assert matches("body: hi order", body="Hi\r\nOrder")


def test_only_the_first_part_of_a_long_body_is_judged() -> None:
    """What is beyond the limit is not seen, and the fact says that it was cut."""
    message = raw_mail(b"A: b\n\n" + b"x" * 100 + b" late", body_limit=50)
    assert not matches("body: late", message=message)
    assert message.get(BODY).cut


def test_an_empty_body_matches_nothing() -> None:
    """Nothing is found in nothing; `exists` tells."""
    assert not matches("body: {contains: a}", body="")
    assert matches("body: {exists: false}", body="") and matches("body: {exists: true}", body="a")


def test_facts_search_and_trace() -> None:
    """Body costs a body; the value is cut; SEARCH is asked for a word."""
    assert condition("body: x").facts() == {BODY} and condition("body: x").cost == "body"
    assert condition("text: x").facts() == {ALL_HEADERS, BODY}
    assert condition("body: {starts_with: dear sir}").search() == Key("BODY", ("dear",), text=True)
    assert condition("text: xy").search() == Key("TEXT", ("xy",), text=True)
    assert trace("body: x", mail(body="b")).value == "b"
    assert len(trace("body: x", mail(body="b" * 10_000)).value) == 2000
