"""core/actions/send.py: forward, redirect, and who may be sent to."""

from __future__ import annotations

from typing import Any

import pytest

from mailrules.core.errors import RenderError
from mailrules.core.message import header_fact
from mailrules.core.recipient import allowed, recipient_problem
from tests.core.actions.act import RENDER, actions, effect, message, problem


def test_forward() -> None:
    """The short form attaches, with a subject of its own."""
    assert effect({"forward": "boss@our.example"}, subject="Hi\t there") == (
        "forward",
        {"to": ["boss@our.example"], "mode": "attach", "subject": "Fwd: Hi there"},
    )
    [action] = actions({"forward": "boss@our.example"})
    assert action.once and action.needs_smtp and not action.leaves
    assert action.facts() == {header_fact("subject")}


def test_forward_in_long_form() -> None:
    """Recipients, mode, subject and text are rendered."""
    entry = {
        "forward": {
            "to": ["a@x.example", "{{ vars.team }}@x.example"],
            "mode": "inline",
            "subject": "S {{ rule }}",
            "text": "from {{ message.from.name }}",
        }
    }
    assert effect(entry, from_="Ann <a@b.c>")[1] == {
        "to": ["a@x.example", "sales@x.example"],
        "mode": "inline",
        "subject": "S r",
        "text": "from Ann",
    }


def test_redirect() -> None:
    """A redirect has recipients and nothing else."""
    assert effect({"redirect": "a@x.example"}) == ("redirect", {"to": ["a@x.example"]})
    assert effect({"redirect": ["a@x.example", "b@x.example"]})[1]["to"] == ["a@x.example", "b@x.example"]


def test_target_is_the_recipients() -> None:
    """What makes two sendings the same are the recipients, in any order and letter case."""
    targets = {
        action.render(message(), RENDER)[2]
        for entry in (["a@x.example", "B@x.example"], ["b@X.example", "A@x.example"])
        for action in actions({"redirect": entry})
    }
    assert targets == {"a@x.example,b@x.example"}


def test_mail_chooses_no_recipient() -> None:
    """A value from mail in a recipient is an error, unless `only` lists what is allowed."""
    for value in (
        "{{ message.from.address }}",
        "{{ match.name }}@our.example",
        "x+{{ message.uid }}@our.example",
    ):
        assert "only" in problem({"forward": value})[1]
        assert problem({"redirect": [value]})[0] == (0, "redirect", 0)
    entry = {"forward": {"to": "{{ message.from.address }}", "only": ["@our.example", "ann@*.example"]}}
    assert effect(entry, from_="Bob <Bob@Our.example>")[1]["to"] == ["Bob@Our.example"]
    assert effect(entry, from_="ann@a.b.example")[1]["to"] == ["ann@a.b.example"]
    for author in (
        "eve@evil.example",
        "x@our.example.evil.example",
        "<a@b@our.example>",
        "",
        "a@evilour.example",
    ):
        with pytest.raises(RenderError):
            effect(entry, from_=author)


def test_never_to_itself() -> None:
    """A message is not sent to the account that it came to."""
    for entry in ({"forward": "Me@Our.example"}, {"redirect": "me@our.example"}):
        with pytest.raises(RenderError, match="loop"):
            effect(entry)


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        ({"forward": "boss"}, (0, "forward"), "not an address"),
        ({"forward": "Boss <b@x.example>"}, (0, "forward"), "bare address"),
        ({"forward": ["a@b.c", "x"]}, (0, "forward", 1), "not an address"),
        ({"forward": {"to": "a@b.c", "mode": "inlined"}}, (0, "forward", "mode"), "attach or inline"),
        ({"forward": {"to": "a@b.c", "modus": "x"}}, (0, "forward", "modus"), "Did you mean 'mode'?"),
        ({"forward": {"subject": "x"}}, (0, "forward"), "needs an address"),
        ({"forward": {"to": "a@b.c", "only": ["x", "b.c"]}}, (0, "forward", "only", 0), "neither an address"),
        ({"forward": {"to": "a@b.c", "only": ["@x.example"]}}, (0, "forward", "to"), "not among"),
        ({"forward": ["a@b.c", "A@b.c"]}, (0, "forward", 1), "twice"),
        ({"forward": [f"a{n}@b.c" for n in range(21)]}, (0, "forward"), "more than 20"),
        ({"redirect": {"to": "a@b.c"}}, (0, "redirect"), "expected text"),
        ({"redirect": []}, (0, "redirect"), "needs an address"),
    ],
)
def test_mistakes(entry: Any, path: tuple[Any, ...], words: str) -> None:
    """Every mistake is told at its own place."""
    found, message = problem(entry)
    assert found == path and words in message


@pytest.mark.parametrize(
    "address",
    ["a@b.c", "a+b@x-y.example", "o'neil@example.org", "jörg@bücher.example", "a@localhost", "x.y.z@a.b.c.d"],
)
def test_addresses(address: str) -> None:
    """Plain addresses, also outside ASCII, are taken."""
    assert recipient_problem(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "@b",
        "a@",
        "a@b@c",
        "a b@c",
        "a@b c",
        "a@b\n",
        "a\0@b",
        "<a@b>",
        '"a b"@c',
        "a,b@c",
        "a@b,c@d",
        "a@[1.2.3.4]",
        ".a@b",
        "a.@b",
        "a..b@c",
        "a@-b",
        "a@b-",
        "a@.b",
        "a@b.",
        "a" * 65 + "@b",
        "a@" + "b" * 64,
        "a@b\u200bc",
        "a@b\u2028",
        "a:b@c",
        "a;b@c",
        "(a)@b",
        "a\\@b",
        "a@b\x7f",
        "a@\u202ecba",
    ],
)
def test_no_addresses(address: str) -> None:
    """What is more, or less, than one plain address is not."""
    assert recipient_problem(address) is not None


def test_only_is_an_address_test() -> None:
    """Addresses, @domains, domains with their subdomains, wildcards; nothing lets a look-alike in."""
    assert allowed("A@Our.example", ["@our.example"]) and not allowed("a@sub.our.example", ["@our.example"])
    assert allowed("a@sub.our.example", ["our.example"]) and not allowed("a@xour.example", ["our.example"])
    assert allowed("a@b.c", ["A@B.C"]) and not allowed("xa@b.c", ["a@b.c"])
    assert allowed("no-reply@x.example", ["no-*@*.example"]) and not allowed("a@b.c", [])
    assert not allowed("a@b.c", ["[a-z]@b.c"])
