"""Learning from a real Sent mailbox: in windows, only what is new, to be gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailrules import clock
from mailrules.adapters.imap.connection import Connection, Login
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Store
from mailrules.core.errors import TransientError
from mailrules.core.message import ANSWER, WRITTEN_TO, Message, MessageKey, Unavailable, header_fact
from mailrules.judging import correspondence
from mailrules.judging.correspondence import Correspondence
from tests.lab.dovecot import PASSWORD, Dovecot, message


@pytest.fixture
def inbox(dovecot: Dovecot, user: str) -> Iterator[Mailbox]:
    connection = Connection(Login("work", dovecot.host, dovecot.imap_port, "none", user, lambda: PASSWORD))
    connection.open()
    connection.mailboxes()
    yield connection.select("INBOX")
    connection.close()


@pytest.fixture(params=[True, False], ids=["journal", "no journal"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store | None]:
    if not request.param:
        yield None
        return
    with Store.open(tmp_path) as opened:
        yield opened


class Letters:
    """The correspondence of an account; it stops after so many windows, or not."""

    def __init__(self, store: Store | None, inbox: Mailbox, *, name: str | None = "Sent") -> None:
        self.inbox = inbox
        self.windows_left: int | None = None
        self.letters = Correspondence("work", store, sent=lambda: name, stopping=self._stopping)

    def _stopping(self) -> bool:
        if self.windows_left is None:
            return False
        self.windows_left -= 1
        return self.windows_left < 0

    def known(self, *senders: str) -> list[bool | Unavailable]:
        now = clock.now()
        messages = {
            n: Message(
                MessageKey("work", "INBOX", 1, n), now, {header_fact("from"): (f"<{sender}>".encode(),)}
            )
            for n, sender in enumerate(senders)
        }
        found = self.letters.learn(self.inbox, WRITTEN_TO, messages, {}, patient=True)
        return [one if isinstance(one, Unavailable) else bool(one) for one in found.values()]


def test_it_goes_on_where_it_was(
    dovecot: Dovecot, user: str, inbox: Mailbox, store: Store | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two windows, it has what it read, and reads the rest next time."""
    monkeypatch.setattr(correspondence, "WINDOW", 10)
    monkeypatch.setattr(correspondence, "OVERLAP", 0)
    dovecot.append(user, [message(n, to=f"{n}@example.org") for n in range(35)], mailbox="Sent")
    letters = Letters(store, inbox)
    letters.windows_left = 2
    with pytest.raises(TransientError, match="stops"):
        letters.known("0@example.org")
    letters.windows_left = None
    asked: list[int] = []
    fetch = Mailbox.fetch
    monkeypatch.setattr(
        Mailbox, "fetch", lambda self, uids, *a, **k: (asked.extend(uids), fetch(self, uids, *a, **k))[1]
    )
    assert letters.known("0@example.org", "34@example.org", "35@example.org") == [True, True, False]
    assert asked == list(range(21, 36))


def test_nothing_new_is_one_question(
    dovecot: Dovecot, user: str, inbox: Mailbox, store: Store | None
) -> None:
    """STATUS alone, and the mailbox stays selected; after that, what is new is seen at once."""
    dovecot.append(user, message(1, to="a@example.org"), mailbox="Sent")
    letters = Letters(store, inbox)
    assert letters.known("A@Example.ORG") == [True]
    inbox.come_back()
    assert letters.known("a@example.org", "b@example.org") == [True, False]
    assert inbox.connection.is_selected(inbox)
    dovecot.append(user, message(2, to="b@example.org"), mailbox="Sent")
    assert letters.known("b@example.org") == [True]
    assert inbox.uids() == []  # it selects itself again


def test_what_was_asked_for_before_is_not_asked_again(
    dovecot: Dovecot, user: str, inbox: Mailbox, store: Store | None
) -> None:
    """Of messages of one window Sent is asked once: it is as new as they are."""
    letters = Letters(store, inbox)
    assert letters.known("a@example.org") == [False]
    dovecot.append(user, message(1, to="a@example.org"), mailbox="Sent")
    old = Message(
        MessageKey("work", "INBOX", 1, 1), datetime.now(UTC) - timedelta(minutes=1),
        {header_fact("from"): (b"a@example.org",)},
    )  # fmt: skip
    assert letters.letters.learn(inbox, WRITTEN_TO, {1: old}, {}, patient=True) == {1: {}}


def test_answers(dovecot: Dovecot, user: str, inbox: Mailbox, store: Store | None) -> None:
    """By In-Reply-To and References; with the answer's own Message-ID."""
    dovecot.append(user, [
        message(1, in_reply_to="<1@c>", message_id="<our1@us>"),
        message(2, references="<0@c>\r\n <2@c>", message_id="<our2@us>"),
    ], mailbox="Sent")  # fmt: skip
    letters = Letters(store, inbox)
    now = clock.now()
    messages = {
        n: Message(MessageKey("work", "INBOX", 1, n), now, {header_fact("message-id"): (b"<%d@c>" % n,)})
        for n in range(4)
    }
    found = letters.letters.learn(inbox, ANSWER, messages, {}, patient=True)
    assert {n: answer and answer.message_id for n, answer in found.items()} == {
        0: "our2@us", 1: "our1@us", 2: "our2@us", 3: None,
    }  # fmt: skip


def test_a_sent_mailbox_that_is_not_there(inbox: Mailbox, store: Store | None) -> None:
    """It can't be judged, and what to write is said."""
    (missing,) = Letters(store, inbox, name="Nowhere").known("a@example.org")
    assert isinstance(missing, Unavailable) and not missing.passing and "special_use" in missing.reason
