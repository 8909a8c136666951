"""auth."""

from __future__ import annotations

import pytest

from tests.core.conditions.speaking import condition, mail, matches, problem, trace

TRUSTED = {"trusted_authserv": ("mx.example.org",)}
PASS = (
    "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=a.b; dkim=pass header.d=a.b; dmarc=pass"
)
FAIL = "Authentication-Results: MX.Example.Org 1; dmarc=fail (p=reject; dmarc=pass) header.from=a.b"
FORGED = "Authentication-Results: evil.example; dmarc=pass"


@pytest.mark.parametrize(
    ("lines", "test", "expected"),
    [
        ([PASS], "{dmarc: pass}", True),
        ([PASS], "{dmarc: pass, spf: pass, dkim: pass}", True),
        ([PASS], "{dmarc: pass, spf: fail}", False),
        ([FAIL], "{dmarc: fail}", True),
        ([FAIL], "{dmarc: [none, fail]}", True),
        ([FAIL], "{dmarc: pass}", False),
        ([FAIL], "{spf: none}", True),
        ([FAIL, PASS], "{dmarc: pass}", False),
        ([FORGED, FAIL], "{dmarc: pass}", False),
        ([FORGED, FAIL], "{dmarc: fail}", True),
        ([FORGED], "{dmarc: pass}", False),
        ([FORGED], "{dmarc: none}", False),
        ([], "{dmarc: none}", False),
        (["Authentication-Results: mx.example.org; dkim=fail; dkim=pass"], "{dkim: pass}", True),
        (["Authentication-Results: mx.example.org; dkim=fail; dkim=pass"], "{dkim: fail}", False),
        (["Authentication-Results: mx.example.org; none"], "{dmarc: none}", True),
        (['Authentication-Results: mx.example.org; x="; dmarc=pass"'], "{dmarc: pass}", False),
        (["Authentication-Results: (mx.example.org) evil.example; dmarc=pass"], "{dmarc: pass}", False),
        (["Authentication-Results: mx.example.org.evil.example; dmarc=pass"], "{dmarc: pass}", False),
        (["Authentication-Results: mx.example.org;\r\n\tdmarc = pass"], "{dmarc: pass}", True),
    ],
)
def test_auth(lines: list[str], test: str, expected: bool) -> None:
    """Only the topmost result of a trusted server counts, without its comments and quoted text."""
    assert matches(f"auth: {test}", *lines, **TRUSTED) is expected


def test_without_a_trusted_server_it_is_unknown() -> None:
    """What anybody can write into a message proves nothing: neither true nor false."""
    verdict = condition("auth: {dmarc: pass}").judge(mail(PASS))
    assert verdict.truth is None and not verdict.needs
    assert "trusted_authserv" in verdict.causes[0].reason and not verdict.causes[0].passing


def test_trace() -> None:
    """The value is the results that were asked for."""
    assert trace("auth: {dmarc: pass, spf: pass}", mail(FAIL, **TRUSTED)).value == {
        "dmarc": "fail",
        "spf": "none",
    }
    assert trace("auth: {dmarc: pass}", mail(**TRUSTED)).value is None


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("auth: pass", "takes a mapping"),
        ("auth: {arc: pass}", "unknown key 'arc'"),
        ("auth: {dmarc: passed}", "Did you mean 'pass'?"),
        ("auth: {dmarc: true}", "unknown result 'true'"),
        ("auth: {dmarc: []}", "empty list"),
    ],
)
def test_errors(when: str, words: str) -> None:
    """Each says what to write instead."""
    assert words in problem(when)
