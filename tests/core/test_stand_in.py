"""core/stand_in.py: others for what people wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.stand_in import Names, Token, tokens

MAIL = "Bob Miller <bob.miller+x@mail.example.com> wrote on 12 May: BOB owes 0700 to bob"


def test_tokens() -> None:
    """Addresses come in two pieces, words and numbers in one each, in their order."""
    assert list(tokens("Bob <bob+x@Mail.example.com>. 42 für")) == [
        Token("word", "bob"), Token("local", "bob+x"), Token("domain", "mail.example.com"),
        Token("number", "42"), Token("word", "für"),
    ]  # fmt: skip


def test_form_is_kept() -> None:
    """Letter case, the number of digits, and the signs between stay; a word has one stand-in."""
    names = Names(tokens(MAIL))
    found = names.replace(MAIL, frozenset())
    bob, *_ = found.split()
    assert bob.istitle()
    assert bob.upper() in found.split()
    assert found.split()[-1] == bob.lower()
    assert len([word for word in found.split() if word.isdigit() and len(word) == 4]) == 1
    assert "<user1@host1.example>" in found


def test_what_is_kept_stays() -> None:
    """A kept token stays as it is written, everywhere."""
    names = Names(tokens(MAIL))
    found = names.replace(MAIL, {Token("word", "bob"), Token("domain", "mail.example.com")})
    assert found.startswith("Bob ")
    assert "BOB" in found
    assert "user1@mail.example.com" in found
    assert "Miller" not in found


def test_another() -> None:
    """One that will not do can be sought anew."""
    token = Token("word", "bob")
    names = Names([token])
    first = names.stand_in(token)
    names.others[token] = 1
    assert names.stand_in(token) not in (first, "bob")


@pytest.mark.parametrize("text", ["", "@", "a@", "@b", "a@@b", "x@y@z", "<>", "=?utf-8?q?a?="])
def test_odd_texts(text: str) -> None:
    """Whatever looks like an address and is none is no trouble."""
    Names(tokens(text)).replace(text, frozenset())


@given(st.text(max_size=200))
def test_nothing_else_changes(text: str) -> None:
    """Keeping all changes nothing; replacing all leaves none of the words of three letters or more."""
    those = list(tokens(text))
    names = Names(those)
    assert names.replace(text, frozenset(those)) == text
    left = {token.text for token in tokens(names.replace(text, frozenset()))}
    long = {token.text for token in those if token.kind == "word" and len(token.text) > 2}
    assert not long & left
