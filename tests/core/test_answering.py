"""core/answering.py: whom RFC 3834 and RFC 5230 let an automatic reply go to."""

from __future__ import annotations

import pytest

from mailrules.core.answering import return_address, sender_key, why_not_answered
from mailrules.core.headers import parse_block
from tests.core.answering_cases import ALLOWED, FORBIDDEN, changed

OWN = ("me@our.example",)


@pytest.mark.parametrize(
    ("headers", "words"), [case[1:] for case in FORBIDDEN], ids=[c[0] for c in FORBIDDEN]
)
def test_forbidden(headers: str, words: str) -> None:
    """What RFC 3834 forbids is not answered, and the reason says what it was."""
    why = why_not_answered(parse_block(headers.encode()), OWN)
    assert why is not None and words in why


@pytest.mark.parametrize("headers", [case[1] for case in ALLOWED], ids=[case[0] for case in ALLOWED])
def test_allowed(headers: str) -> None:
    """A person who wrote to us is answered."""
    assert why_not_answered(parse_block(headers.encode()), OWN) is None


def test_where_it_goes() -> None:
    """To the Return-Path; without one to From; never to Reply-To."""
    mail = changed(return_path="<a@b.example>", reply_to="list@c.example")
    assert return_address(parse_block(mail.encode())) == "a@b.example"
    assert return_address(parse_block(changed(return_path=None).encode())) == "ann@acme.example"
    assert return_address(parse_block(changed(return_path="<>").encode())) == ""


def test_nothing_is_known_of_us() -> None:
    """Without an account (`explain FILE`) nothing is asked of its addresses."""
    assert why_not_answered(parse_block(changed(to="you@x.example").encode()), ()) is None


@pytest.mark.parametrize(
    "address",
    ["Ann@Acme.example", "prvs=1234abcdef=ann@acme.example", "SRS0=Hash=TT=acme.example=ann@relay.example"],
)
def test_the_same_sender(address: str) -> None:
    """Letter case and the tags that relays add each day don't make another sender."""
    assert sender_key(address) == "ann@acme.example"
