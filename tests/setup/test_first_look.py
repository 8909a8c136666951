"""mailrules.setup.first_look: what a new account's server shows, and what is written from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mailrules import config
from mailrules.adapters.autoconfig import Endpoint
from mailrules.adapters.secret import Secret
from mailrules.core.errors import NotPermitted
from mailrules.setup.first_look import SCHEMA, as_written, connect, look, write, write_schema
from mailrules.setup.starter import Start
from tests.lab.dovecot import PASSWORD, Dovecot

START = Start(
    account="example", address="me@example.org", username="me@example.org",
    imap=Endpoint("imap.example.org", 993, "tls"), password=("env", "X"),
)  # fmt: skip


def test_it_only_looks(dovecot: Dovecot, user: str) -> None:
    """Mailboxes, their uses, and how much each rule would concern; no message is marked as seen."""
    dovecot.append(user, b"List-Id: <a.example>\r\nSubject: Your invoice\r\n\r\nx\r\n")
    dovecot.append(user, b"Subject: Votre facture\r\n\r\nx\r\n")
    start = Start(
        account="a", address="a@example.org", username=user, password=("env", "X"),
        imap=Endpoint(dovecot.host, dovecot.imap_port, "none"),
    )  # fmt: skip
    connection = connect(start, Secret("env", ("X",)), PASSWORD)
    connection.open()
    try:
        found, mailboxes, messages = look(connection, start)
    finally:
        connection.close()
    assert messages == found.looked_at == 2
    assert found.found == {"newsletters": 1, "notices": 0, "invoices": 2, "marked as spam": 0}
    assert found.special_use["\\Junk"] == "Junk"
    assert {"name": "INBOX", "special_use": None} in mailboxes
    with dovecot.session(user, "INBOX") as client:
        assert client.search(None, "UNSEEN")[1] == [b"1 2"]


def test_where_the_password_is_said_to_be(tmp_path: Path) -> None:
    """Files beside the rules move with them."""
    place = tmp_path / "rules.yaml"
    assert as_written(Secret("file", (str(tmp_path / "a" / "pw"),)), place) == ("file", "a/pw")
    assert as_written(Secret("file", ("/elsewhere/pw",)), place) == ("file", "/elsewhere/pw")
    assert as_written(Secret("command", ("pass", "x")), place) == ("command", ("pass", "x"))
    assert as_written(Secret("keyring", ("mailrules",)), place) == ("keyring", "mailrules")


def test_the_schema_is_made_anew_and_nothing_else(tmp_path: Path) -> None:
    """An older one of ours is replaced; somebody else's file is not."""
    place = tmp_path / "rules.yaml"
    assert write_schema(place) == SCHEMA
    path = tmp_path / SCHEMA
    path.write_text('{"title": "mailrules", "old": true}')
    assert write_schema(place) == SCHEMA
    assert "old" not in json.loads(path.read_text())
    for other in ("{}", "[]", "hello"):
        path.write_text(other)
        assert write_schema(place) == ""
        assert path.read_text() == other


def test_what_was_there_goes_aside(tmp_path: Path) -> None:
    """And what is written is right."""
    place = tmp_path / "rules.yaml"
    place.write_text("old\n")
    write(place, START)
    assert config.load(place, environ={}).accounts["example"].username == "me@example.org"
    assert (tmp_path / "rules.yaml.old").read_text() == "old\n"
    with pytest.raises(NotPermitted, match="--output"):
        write(tmp_path / "no" / "rules.yaml", START)
