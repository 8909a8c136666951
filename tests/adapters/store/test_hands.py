"""What is in hand is written down, and crossed out with what became of it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from mailrules.adapters.store import ACTING, JUDGING, Store, doing
from mailrules.adapters.store.schema import in_hand
from mailrules.core.errors import TransientError

from .journal_words import at, baseline, decided, flag, forward, record


def hands(store: Store) -> dict[str, str]:
    with store._database.read() as connection:
        return {row.hand: row.uids for row in connection.execute(select(in_hand))}


def test_a_window_is_in_hand_until_it_is_recorded(store: Store) -> None:
    """Messages about to be judged are written down, and the record of their decisions crosses them out."""
    baseline(store)
    store.take("work", "INBOX", JUDGING, 7, [11, 12, 13, 20])
    assert hands(store) == {JUDGING: "11:13,20"}
    record(store, decided(11, flag()))
    assert hands(store) == {}


def test_another_mailbox_keeps_its_own(store: Store) -> None:
    """What one mailbox records says nothing of what another works on."""
    store.take("work", "Lists", JUDGING, 7, [3])
    record(store, decided(11, flag()))
    assert hands(store) == {JUDGING: "3"}


def test_a_hand_turns_from_one_piece_of_a_window_to_the_next(store: Store) -> None:
    """Of a large window only the piece that is worked on is in hand; other hands keep what they have."""
    store.take("work", "INBOX", JUDGING, 7, [1, 2])
    store.take("work", "INBOX", ACTING[0], 7, [9])
    store.turn_to("work", "INBOX", JUDGING, 7, [3, 4])
    assert hands(store) == {JUDGING: "3:4", ACTING[0]: "9"}


def test_an_error_empties_the_hand(store: Store) -> None:
    """A lost connection is not a death: nothing stays in hand."""
    store.take("work", "INBOX", JUDGING, 7, [11])
    with pytest.raises(TransientError), store.held("work", "INBOX", JUDGING):
        raise TransientError("cut off")
    assert hands(store) == {}


def test_a_set_is_in_hand_from_intent_to_its_end(store: Store) -> None:
    """A set of effects is in hand from the arrow to `intent` until the arrow that says how it ended."""
    rows = record(store, decided(1, flag()), decided(2, flag()))
    ids = [row.id for row in rows]
    store.advance(ids, frm="planned", to="intent", at=at(1), hand=ACTING[0])
    assert hands(store) == {ACTING[0]: "1:2"}
    store.advance(ids[:1], frm="intent", to="gone", at=at(2))
    assert hands(store) == {ACTING[0]: "1:2"}
    store.advance(ids[1:], frm="intent", to="done", at=at(2), hand=ACTING[0])
    assert hands(store) == {}


def test_rows_taken_one_after_the_other_are_in_the_same_hand(store: Store) -> None:
    """A set that had to be taken row by row is in hand as a whole: none of it was alone."""
    for row in record(store, decided(1, flag()), decided(2, flag())):
        store.advance([row.id], frm="planned", to="intent", at=at(1), hand=ACTING[0])
    assert hands(store) == {ACTING[0]: "1:2"}


def test_what_is_past_its_commit_point_is_still_in_hand(store: Store) -> None:
    """An effect done by itself has a hand of its own, from intent over commit to its end."""
    one, other = record(store, decided(1, forward()), decided(2, forward()))
    for row in (one, other):
        store.advance([row.id], frm="planned", to="intent", at=at(1), hand=doing(row.id))
    store.advance([one.id], frm="intent", to="commit", at=at(2))
    assert hands(store) == {doing(one.id): "1", doing(other.id): "2"}
    store.advance([one.id], frm="commit", to="done", at=at(3), hand=doing(one.id))
    assert hands(store) == {doing(other.id): "2"}


def test_a_script_that_answers_puts_its_message_down(store: Store) -> None:
    """The transaction that plans what a script asked for crosses it out too."""
    (row,) = record(store, decided(1, forward()))
    store.advance([row.id], frm="planned", to="intent", at=at(1), hand=doing(row.id))
    store.answered(row.id, [flag("$Answered")], detail={}, at=at(2))
    assert hands(store) == {}
