"""is_bulk, is_auto."""

from __future__ import annotations

import pytest

from tests.core.conditions.speaking import mail, matches, problem, trace


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("List-Id: <a.b>", True),
        ("List-Unsubscribe: <mailto:x>", True),
        ("Precedence: bulk", True),
        ("Precedence: List (comment)", True),
        ("Precedence: junk", True),
        ("Precedence: normal", False),
        ("X-List: bulk", False),
    ],
)
def test_is_bulk(line: str, expected: bool) -> None:
    """Lists and newsletters say so in one of three headers."""
    assert matches("is_bulk: true", line) is expected
    assert matches("is_bulk: false", line) is not expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Auto-Submitted: auto-replied", True),
        ("Auto-Submitted: auto-generated; x=y", True),
        ("Auto-Submitted: no", False),
        ("Auto-Submitted: NO (really); x=y", False),
        ("Auto-Submitted: (hm) no", False),
        ("Return-Path: <>", True),
        ("Return-Path: < >", True),
        ("Return-Path: <a@b>", False),
        ("X-Auto-Response-Suppress: OOF", True),
        ("X-Auto-Response-Suppress: None", False),
        ("Content-Type: multipart/report; report-type=delivery-status; boundary=x", True),
        ("Content-Type: multipart/mixed; boundary=x", False),
        ("Content-Type: text/plain", False),
    ],
)
def test_is_auto(line: str, expected: bool) -> None:
    """What no person sent says so in one of four headers."""
    assert matches("is_auto: true", line) is expected
    assert matches("is_auto: false", line) is not expected


def test_trace() -> None:
    """The value is the header that says so."""
    assert trace("is_bulk: true", mail("Precedence: bulk")).value == "Precedence: bulk"
    assert trace("is_auto: false", mail()).value is None


def test_errors() -> None:
    """They take true or false."""
    assert "true or false" in problem("is_bulk: List-Id")
