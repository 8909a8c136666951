"""core/actions/webhook.py: what may be called, and what mail may choose of it."""

from __future__ import annotations

from typing import Any

import pytest

from mailrules.core.actions import parse_then
from mailrules.core.errors import RenderError, Report
from mailrules.core.values import Plain
from tests.core.actions.act import CONTEXT, actions, effect, problem


def test_long_form() -> None:
    """A bare URL is a POST of the message; the target is the text of the file."""
    [action] = actions({"webhook": "https://h.example/m"})
    assert effect({"webhook": "https://h.example/m"}) == (
        "webhook", {"url": "https://h.example/m", "method": "POST", "headers": {}, "timeout": 30.0},
    )  # fmt: skip
    assert (action.once, action.leaves, action.repeatable) == (True, False, True)
    assert not actions({"webhook": {"url": "https://h.example/", "idempotent": Plain("false")}})[0].repeatable


def test_json_of_the_file() -> None:
    """Plain scalars are what they look like, quoted ones text; strings are templates at any depth."""
    body = {
        "title": "{{ message.subject }}", "n": Plain("42"), "x": Plain("1.5"), "yes": Plain("true"),
        "text": "42", "no": Plain("NO"), "nothing": None, "list": ["{{ vars.team }}", Plain("007")],
    }  # fmt: skip
    _, arguments = effect({"webhook": {"url": "https://h.example/", "json": body}}, subject='a "b"')
    assert arguments["json"] == {
        "title": 'a "b"', "n": 42, "x": 1.5, "yes": True, "text": "42", "no": "NO", "nothing": None,
        "list": ["sales", "007"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "path"),
    [
        ("a/b?c#d&e=f", "a%2Fb%3Fc%23d%26e%3Df"),
        ("é @evil.example", "%C3%A9%20%40evil.example"),
        ("x\r\nHost: evil", "x%20%20Host%3A%20evil"),
    ],
)
def test_mail_in_the_url(subject: str, path: str) -> None:
    """A value from mail fills one place of path or query, percent-encoded."""
    url = "https://h.example/t/{{ message.subject }}?s={{ message.subject }}"
    assert effect({"webhook": url}, subject=subject)[1]["url"] == f"https://h.example/t/{path}?s={path}"


@pytest.mark.parametrize("subject", [".", ".."])
def test_no_way_up(subject: str) -> None:
    """A value that would climb out of its path fails."""
    with pytest.raises(RenderError, match="'\\.' or '\\.\\.'"):
        effect({"webhook": "https://h.example/t/{{ message.subject }}/x"}, subject=subject)


def test_headers() -> None:
    """Values are templates without line ends; a token stays where it is kept."""
    headers = {"X-Subject": "{{ message.subject }}", "Authorization": {"env": "TOKEN"}}
    _, arguments = effect(
        {"webhook": {"url": "https://h.example/", "headers": headers}}, subject="=?utf-8?q?a=0D=0AX: b?="
    )
    assert arguments["headers"] == {"X-Subject": "a  X: b", "Authorization": {"env": "TOKEN"}}
    kept = {"url": "https://h.example/", "headers": {"Authorization": {"file": "token"}}}
    assert effect({"webhook": kept})[1]["base"] == "/etc/mailrules"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "needs a URL"),
        ("hooks", "not the URL"),
        ("ftp://h.example/", "not the URL"),
        ("https:///x", "not the URL"),
        ("https://me:pw@h.example/", "does not stand in the URL"),
        ("https://h.example:99999/", "not a URL"),
        ("https://h.example/a b", "a blank"),
        ("https://h.example/a\\b", "a backslash"),
        ("https://h.example/../x", "'..'"),
        ("https://{{ message.from.domain }}/", "mail may not choose who is called"),
        ("https://h.example{{ message.from.domain }}/", "mail may not choose who is called"),
        ("https://h.example:{{ message.uid }}/", "mail may not choose who is called"),
        ("{{ match.name }}://h.example/", "mail may not choose who is called"),
        ("https://a@{{ message.from.domain }}/", "mail may not choose who is called"),
        ({"url": "https://h.example/", "method": "TRACE"}, "expected one of"),
        ({"url": "https://h.example/", "body": "x"}, "has no 'body'"),
        ({"url": "https://h.example/", "headers": {"Host": "x"}}, "mailrules itself"),
        ({"url": "https://h.example/", "headers": {"a b": "x"}}, "not the name of a header"),
        ({"url": "https://h.example/", "headers": {"{{ message.subject }}": "x"}}, "not the name"),
        ({"url": "https://h.example/", "headers": {"A": "x", "a": "y"}}, "stands twice"),
        ({"url": "https://h.example/", "headers": {"A": {"command": "x"}}}, "expected text, or where"),
        ({"url": "https://h.example/", "headers": "A: b"}, "expected names and values"),
        ({"url": "https://h.example/", "timeout": "1h"}, "at most 10m"),
        ({"url": "https://h.example/", "idempotent": "perhaps"}, "not true or false"),
        ({"url": "https://h.example/", "json": {"a": "{{ nobody }}"}}, "unknown name"),
    ],
)
def test_no_webhook(value: Any, words: str) -> None:
    """What can't be called, or what mail could choose, is an error when the file is loaded."""
    assert words in problem({"webhook": value})[1]


def test_the_vars_may_name_the_host() -> None:
    """What the file's author wrote may stand anywhere; it is checked when it is filled in."""
    assert effect({"webhook": "https://{{ vars.team }}.example/x"})[1]["url"] == "https://sales.example/x"
    with pytest.raises(RenderError, match="not the URL"):
        effect({"webhook": "{{ vars.team }}"})


def test_in_the_clear() -> None:
    """http:// to another machine is a warning; to this one it is not."""
    for url, warned in (("http://h.example/", True), ("http://127.0.0.1:8080/x", False)):
        report = Report()
        assert parse_then([{"webhook": url}], path=("then",), report=report, context=CONTEXT)
        assert [p.severity for p in report.problems] == ["warning"] * warned


def test_a_secret_in_the_file() -> None:
    """A header that looks like a secret, written out, is a warning that says where it belongs."""
    report = Report()
    hook = {"url": "https://h.example/", "headers": {"Authorization": "Bearer x", "X-Team": "sales"}}
    assert parse_then([{"webhook": hook}], path=("then",), report=report, context=CONTEXT)
    [found] = report.problems
    assert found.severity == "warning" and "Authorization: {env: NAME}" in found.message


def test_the_same_twice() -> None:
    """One rule calls a URL once."""
    url = "https://h.example/"
    assert "twice" in problem({"webhook": url}, {"webhook": {"url": url}})[1]
