"""What would take effects back, by the journal alone."""

from __future__ import annotations

from typing import Any

from mailrules.adapters.store import EffectRow
from mailrules.undoing.inverse import History, Place, nothing, turned_back, why_not
from tests.adapters.store.journal_words import T0


def row(
    id_: int, action: str = "move", *, at: tuple[str, int] = ("INBOX", 1), to: tuple[str, int] | None = None,
    flags: tuple[str, ...] = (), state: Any = "done", **more: Any,
) -> EffectRow:  # fmt: skip
    arguments: dict[str, Any] = {"flags": list(flags)} if flags else {}
    detail: dict[str, Any] = {}
    if to is not None:
        arguments, detail = {"mailbox": to[0]}, {"to_uidvalidity": 7, "to_uid": to[1]}
    return EffectRow(
        id=id_, run=1, account="work", mailbox=at[0], uidvalidity=7, uid=at[1], identity="x", rule="r",
        revision="", step=0, order=0, action=action, target="", arguments=arguments,
        leaves=action == "move", once=False, rendered=True, on_unknown="hold", effect_key="", state=state,
        tries=1, next_try=None, created_at=T0, changed_at=T0, detail=detail | more.pop("detail", {}), **more,
    )  # fmt: skip


def test_a_message_is_followed_along_the_moves() -> None:
    """Over moves of ours, and back by undos; a copy of the same identity is another thread."""
    history = History.of([
        row(1, "copy", to=("Keep", 5)),
        row(2, to=("A", 2)),
        row(3, at=("A", 2), to=("B", 3)),
        row(4, at=("Keep", 5), to=("Old", 9)),
    ])  # fmt: skip
    assert history.thread(Place("INBOX", 7, 1)).end == Place("B", 7, 3)
    assert history.thread(Place("Keep", 7, 5)).end == Place("Old", 7, 9)
    later = history.later(history.rows[2], history.thread(Place("INBOX", 7, 1)), {2}, ("move",))
    assert [other.id for other in later] == [3]


def test_what_is_in_force() -> None:
    """Undone, done again, undone again: only the last of them counts."""
    first, undo, redo = row(1, undone=None), row(2, undoes=1, undone=3), row(3, undoes=2)
    history = History.of([first, undo, redo])
    assert [history.in_force(each) for each in (first, undo, redo)] == [True, False, True]
    first, redo, third = row(1, undone=4), row(3, undoes=2, undone=4), row(4, undoes=3)
    history = History.of([first, undo, redo, third])
    assert [history.in_force(each) for each in (first, undo, redo, third)] == [False, False, False, True]
    stale = History.of([row(1, undone=9), row(2, undoes=1, undone=3), row(3, undoes=2)])
    assert not stale.in_force(stale.rows[3])
    assert "does not count any more" in why_not(stale.rows[3], stale)


def test_why_not() -> None:
    """What waits, is undone, under way or can't be taken back is told with its reason."""
    history = History.of([row(1), row(2, state="planned", undoes=1)])
    assert "effect 2 is about to" in why_not(history.rows[1], history)
    assert "skip 9" in why_not(row(9, state="held"), history)
    assert "undone already" in why_not(row(9, undone=10), history)
    assert "sent on" in why_not(row(9, "forward"), history)
    assert "failed" in why_not(row(9, state="failed"), history)
    assert why_not(row(9), history) == ""
    assert nothing(row(9, state="would")) and nothing(row(9, "log")) and not nothing(row(9, "forward"))


def test_flags_are_turned_back() -> None:
    """Only those that it changed, that are as it left them, and that no later effect has changed."""
    flagged = row(1, "flag", flags=("$A", "$B", "$C"), detail={"changed": ["$A", "$B"]})
    now = {"$a", "$c"}
    turned = turned_back(flagged, now, [])
    assert (turned.flags, now) == (("$A",), {"$c"})
    assert turned.because == ("$B was taken off again since",)
    later = row(2, "flag", flags=("$a",))
    turned = turned_back(flagged, {"$a", "$b"}, [later])
    assert (turned.flags, turned.because) == (("$B",), ("effect 2 has changed $A since",))
    assert turned_back(flagged, {"$a", "$b"}, [later], force=True).flags == ("$A", "$B")
    unflagged = row(3, "unflag", flags=("\\Seen",))
    assert turned_back(unflagged, set(), []).flags == ("\\Seen",)
    assert turned_back(unflagged, {"\\seen"}, []).because == ("\\Seen was set again since",)
    assert (
        "changed nothing"
        in turned_back(row(4, "flag", flags=("$A",), detail={"changed": []}), set(), []).because[0]
    )
