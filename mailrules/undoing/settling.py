"""What is to be done to take effects back, once it is known where their messages are, and why some are left.

Asks nobody: neither the journal nor a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailrules.adapters.store import TURNS, PlannedUndo
from mailrules.performing.recovery import MOVES
from mailrules.undoing.inverse import OPPOSITE, History, turned_back
from mailrules.undoing.takings import Job, Taking


@dataclass(frozen=True, slots=True)
class Settlement:
    """Of one account. `force`: also what was moved on, or changed, since."""

    history: History
    trash: str | None
    force: bool

    def settle(self, job: Job) -> None:
        """Its plans, and why what is not in them is left."""
        if job.at is None or job.known is None:
            return
        if job.copy:
            self._settle_copy(job)
            return
        moves = [t for t in job.takings if t.row.verb in MOVES]
        flags = [t for t in job.takings if t.row.verb in OPPOSITE]
        if job.by_hand and not self.force:
            home = moves and job.at.mailbox == moves[0].row.mailbox
            words = f"it is back in {job.at.mailbox}" if home else f"it was moved on to {job.at.mailbox}"
            job.leave(f"{words} by somebody since; --force takes it back all the same")
            return
        if moves and not self._may_move(job, moves):
            moves = []
        self._turn_flags(job, flags)
        if moves:
            self._move_back(job, moves)

    def _may_move(self, job: Job, moves: Sequence[Taking]) -> bool:
        """Whether nothing else has moved it on since."""
        if self.force:
            return True
        chosen = {taking.row.id for taking in moves}
        for taking in moves:
            since = self.history.later(taking.row, job.thread, chosen, MOVES)
            if since:
                for each in moves:
                    each.leave(f"effect {since[-1].id} has moved it on since; --force takes it back")
                return False
        return True

    def _move_back(self, job: Job, moves: Sequence[Taking]) -> None:
        """All the moves at once, to where the first of them took it from."""
        assert job.at is not None and job.known is not None
        first = next((t for row in job.thread.path for t in moves if t.row.id == row.id), moves[0])
        home = first.row.mailbox
        if job.at.mailbox == home:
            for taking in moves:
                taking.leave(f"it is in {home} already")
            return
        also = tuple(taking.row.id for taking in moves if taking is not first)
        arguments = {"mailbox": home}
        for taking in moves:
            taking.will("move", arguments, job.at)
        undo = PlannedUndo(job.at.uid, job.known, first.row, "move", arguments, leaves=True, also=also)
        job.plans.append((undo, list(moves)))

    def _turn_flags(self, job: Job, takings: Sequence[Taking]) -> None:
        assert job.at is not None and job.known is not None
        now = {
            "flags": {flag.lower() for flag in job.known.flags},
            "labels": {label.lower() for label in job.known.labels},
        }
        chosen = {taking.row.id for taking in takings}
        for taking in sorted(takings, key=lambda t: self.history.place(t.row), reverse=True):
            row = taking.row
            later = self.history.later(row, job.thread, chosen, OPPOSITE)
            turned = turned_back(row, now[TURNS[row.verb]], later, force=self.force)
            for because in turned.because:
                taking.leave(because)
            if turned.flags:
                arguments = {TURNS[row.verb]: list(turned.flags)}
                taking.will(OPPOSITE[row.verb], arguments, job.at)
                undo = PlannedUndo(job.at.uid, job.known, row, OPPOSITE[row.verb], arguments, leaves=False)
                job.plans.append((undo, [taking]))

    def _settle_copy(self, job: Job) -> None:
        assert job.at is not None and job.known is not None
        original = job.original
        since = [row for row in job.thread.path if row.undone is None and row.undoes is None]
        if since and not self.force:
            job.leave(f"effect {since[-1].id} has moved the copy on since; --force takes it back")
        elif self.trash is None:
            job.leave("the account has no trash to put the copy into")
        elif job.at.mailbox == self.trash:
            job.leave("the copy is in the trash already")
        elif original is None or original.at is None:
            job.leave("the original is not to be found, so this may be the last copy")
        else:
            (taking,) = job.takings[:1]
            arguments = {"mailbox": self.trash, "special_use": "\\Trash"}
            taking.will("trash", arguments, job.at)
            home = taking.row.mailbox
            proof = {**original.at._asdict(), "or": home if home != job.at.mailbox else None}
            undo = PlannedUndo(
                job.at.uid, job.known, taking.row, "trash", arguments, leaves=True,
                detail={"original": proof},
            )  # fmt: skip
            job.plans.append((undo, [taking]))
