"""The order in which messages of an account were seen, with a journal and without."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.store import Store
from mailrules.core.message import SIGHTINGS, Message, MessageKey, Sightings
from mailrules.judging.sightings import Witness

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO_MAILBOX: Any = None
"""It asks no server."""


@pytest.fixture(params=["journal", "only read", "none"])
def witness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Witness]:
    """Of an account, with each kind of journal."""
    if request.param == "none":
        yield Witness("work", None)
        return
    with Store.open(tmp_path) as store:
        if request.param == "journal":
            yield Witness("work", store)
            return
    with Store.open(tmp_path, read_only=True) as store:
        yield Witness("work", store)


def who(name: str, message_id: str = "<a@x>") -> Identity:
    return Identity(identity=f"guid:{name}", message_id=message_id)


def learned(witness: Witness, identities: dict[int, Identity], now: datetime = T0) -> dict[int, Sightings]:
    messages = {uid: Message(MessageKey("work", "INBOX", 1, uid), now) for uid in identities}
    return dict(witness.learn(NO_MAILBOX, SIGHTINGS, messages, identities, patient=True))


def test_the_earlier_one(witness: Witness) -> None:
    """The last other one before it, in the order of UIDs within a window; of the first there is none."""
    window = {1: who("one"), 2: who("two"), 3: who("other", "<b@x>"), 4: who("three")}
    witness.note("INBOX", window, T0)
    found = learned(witness, window)
    assert found[1].earlier is None and found[3].earlier is None
    assert [found[uid].earlier.uid for uid in (2, 4)] == [1, 2]  # type: ignore[union-attr]


def test_the_message_itself_is_no_other(witness: Witness) -> None:
    """Seen again, under another UID and in another mailbox, it is what it was at first."""
    witness.note("INBOX", {1: who("one")}, T0)
    witness.note("INBOX", {2: who("two")}, T0 + HOUR)
    witness.note("Team", {9: who("one")}, T0 + 2 * HOUR)
    assert learned(witness, {9: who("one")})[9] == Sightings(T0, None)
    again = learned(witness, {2: who("two")}, T0 + 9 * HOUR)[2]
    assert again.seen == T0 + HOUR and again.earlier is not None and again.earlier.seen == T0


def test_one_that_nobody_noted(witness: Witness) -> None:
    """It is the newest; without identity nothing is known of it."""
    witness.note("INBOX", {1: who("one")}, T0)
    found = learned(witness, {7: who("seven")}, T0 + HOUR)
    assert found[7].seen == T0 + HOUR and found[7].earlier is not None
    message = Message(MessageKey("work", "INBOX", 1, 8), T0)
    assert witness.learn(NO_MAILBOX, SIGHTINGS, {8: message}, {}, patient=True) == {}


def test_without_message_id_nobody_is_remembered(witness: Witness) -> None:
    """Two of them have nothing in common."""
    window = {1: who("one", ""), 2: who("two", " ")}
    witness.note("INBOX", window, T0)
    assert all(found.earlier is None for found in learned(witness, window).values())


def test_what_is_too_old_is_forgotten(tmp_path: Path) -> None:
    """With the next mail after that time, and not with each."""
    with Store.open(tmp_path) as store:
        witness = Witness("work", store)
        witness.keep = 24 * HOUR
        witness.note("INBOX", {1: who("one")}, T0)
        witness.note("INBOX", {2: who("two", "<b@x>")}, T0 + 20 * HOUR)
        assert set(store.sightings("work", ["a@x", "b@x"])) == {"a@x", "b@x"}
        witness.note("INBOX", {3: who("three", "<c@x>")}, T0 + 25 * HOUR)
        assert set(store.sightings("work", ["a@x", "b@x"])) == {"b@x"}
