"""The file's spelling of mailboxes and the wire's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.adapters.imap.names import Namespace, Namespaces, decode, encode
from mailrules.adapters.imap.tokens import tokens
from mailrules.core.errors import PermanentError

SLASH = Namespaces()
COURIER = Namespaces(Namespace("INBOX.", "."), (Namespace("#shared.", "."), Namespace("Public.", ".")))
YANDEX = Namespaces(Namespace("", "|"))
DOMINO = Namespaces(Namespace("", "\\"))
FLAT = Namespaces(Namespace("", None))


@pytest.mark.parametrize(
    ("spaces", "name", "wire"),
    [
        (SLASH, "Archive/2026", b"Archive/2026"),
        (SLASH, "inbox", b"INBOX"),
        (SLASH, "INBOX/x", b"INBOX/x"),
        (SLASH, "Größe/R&D", b"Gr&APYA3w-e/R&-D"),
        (COURIER, "INBOX", b"INBOX"),
        (COURIER, "Archive/2026", b"INBOX.Archive.2026"),
        (COURIER, "INBOX/Archive", b"INBOX.Archive"),
        (COURIER, "Public/Team", b"Public.Team"),
        (COURIER, "#shared/a/b", b"#shared.a.b"),
        (COURIER, "Public", b"Public"),
        (YANDEX, "a/b", b"a|b"),
        (DOMINO, "a/b", b"a\\b"),
        (FLAT, "a", b"a"),
    ],
)
def test_to_wire_and_back(spaces: Namespaces, name: str, wire: bytes) -> None:
    """Each name finds its bytes, and they find a name that means the same."""
    assert spaces.to_wire(name) == wire
    back = spaces.from_wire(wire, spaces.personal.delimiter)
    assert back is not None and spaces.to_wire(back) == wire


@pytest.mark.parametrize(
    ("spaces", "name"),
    [(COURIER, "v1.2"), (SLASH, "a//b"), (SLASH, ""), (FLAT, "a/b"), (SLASH, "a\r\nb"), (YANDEX, "a|b/c")],
)
def test_what_this_server_cannot_have(spaces: Namespaces, name: str) -> None:
    """An error that says why, and nothing that means another mailbox."""
    with pytest.raises(PermanentError):
        spaces.to_wire(name)


def test_a_listed_name_the_file_cannot_spell() -> None:
    """On a server with `.`, `a/b` is one level: it can't be named."""
    assert COURIER.from_wire(b"INBOX.a/b", ".") is None
    assert COURIER.from_wire(b"Elsewhere", ".") is None  # outside of every namespace


def test_read_namespaces() -> None:
    """The first personal namespace counts, the one without prefix before others."""
    text = b'(("Capped/" "/")("" "/")) (("shared/" "/")) NIL'
    spaces = Namespaces.read(tokens([text]))
    assert spaces == Namespaces(Namespace("", "/"), (Namespace("Capped/", "/"), Namespace("shared/", "/")))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_utf7_round_trip(name: str) -> None:
    """Modified UTF-7 keeps every name, and is ASCII."""
    wire = encode(name)
    assert wire.isascii() and decode(wire) == name


@pytest.mark.parametrize("wire", [b"&BBAEMQQyACYEMwQ0BDU-", b"&", b"&!!-", b"caf\xc3\xa9", b"\xff", b"&AOk"])
def test_odd_encodings_are_read_somehow(wire: bytes) -> None:
    """Yandex puts the ampersand inside base64, others send raw UTF-8: no exception."""
    assert decode(wire)
