"""What the journal knows of a message that was judged."""

from __future__ import annotations

from pathlib import Path

from mailrules.adapters.store import Store
from tests.adapters.store.journal_words import T0, baseline, decided, flag, record


def test_where_a_message_was_met(tmp_path: Path) -> None:
    """By UID, Message-ID (in brackets or not) or identity; with its flags as they were, and its run."""
    with Store.open(tmp_path) as store:
        baseline(store, (1, 10))
        (row,) = record(store, decided(11, flag(), message_id="<x@example.org>"), kind="apply")
        record(store, decided(12, flag(), message_id="<y@example.org>"))
        (met,) = store.met("work", message_id="x@example.org")
        assert (met.uid, met.identity, met.flags, met.at) == (11, "id-11", frozenset({"\\Seen"}), T0)
        assert store.met("work", mailboxes=("INBOX",), uid=11) == [met]
        assert store.met("work", identity="id-11") == [met]
        assert store.met("work", mailboxes=("Elsewhere",), uid=11) == store.met("home", uid=11) == []
        runs = store.runs([row.run, 99])
        assert [(run.id, run.kind, run.rules_hash) for run in runs.values()] == [(row.run, "apply", "h")]
