"""`apply FILE`: does a plan that was kept, and nothing else.

What has changed since it was made is left out, and said. What was done for this plan before is not done
again, so that one that was interrupted goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Acted
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.errors import PermanentError
from mailrules.core.evidence import FlagReading, lasting
from mailrules.house import House
from mailrules.planning.carrying_out import Do
from mailrules.planning.holding import Brake
from mailrules.planning.planfile import SavedPlan, Section
from mailrules.planning.planned import Event, LeftOut, Planned
from mailrules.planning.planner import Planner


class Replay(Planner):
    """Walks a kept plan as a Planner walks mailboxes. `summary` is of what was done, not what was planned."""

    def __init__(self, house: House, saved: SavedPlan, *, stopping: Callable[[], bool] | None = None) -> None:
        super().__init__(house, saved.selection, stopping=stopping)
        self.saved = saved
        self._revisions = {rule.name: rule.revision for rule in house.config.rules}
        self._reading: dict[tuple[str, str], FlagReading] = {}

    def apply(self, *, over_brakes: bool = False) -> Iterator[Event]:
        """Mailbox by mailbox, as they stand in the plan."""
        for account in dict.fromkeys(section.account for section in self.saved.sections):
            if account not in self.house.config.accounts:
                for section in self._sections(account):
                    yield from self._leave(section, f"there is no account '{account}' in the file any more")
                continue
            yield from self._guarded(
                account,
                lambda name, connection: self._apply_account(name, connection, over_brakes=over_brakes),
            )

    def _sections(self, account: str) -> list[Section]:
        return [section for section in self.saved.sections if section.account == account]

    def _leave(self, section: Section, reason: str) -> Iterator[Event]:
        for planned in self.saved.read(section):
            self.summary.messages += 1
            yield _left_out(planned, reason)

    def _apply_account(self, account: str, connection: Connection, *, over_brakes: bool) -> Iterator[Event]:
        for section in self._sections(account):
            if self._stopping():
                self.summary.stopped = True
                return
            try:
                self.summary.left.add(self.house.finish(account, connection, section.mailbox))
                if self._stopping():
                    self.summary.stopped = True
                    return
                mailbox = connection.select(section.mailbox)
            except PermanentError as error:
                if not connection.alive:
                    raise
                yield from self._leave(section, str(error))
                continue
            if mailbox.uidvalidity != section.uidvalidity:
                yield from self._leave(section, "the mailbox was numbered anew since (UIDVALIDITY)")
                continue
            present = mailbox.uids()
            leaves = section.leaves
            leaving = sum(uid in leaves for uid in present)
            if self._braked(account, section.mailbox, Brake(len(present), off=over_brakes, leaving=leaving)):
                continue
            yield from self._do_section(account, connection, mailbox, section)

    def _do_section(
        self, account: str, connection: Connection, mailbox: Mailbox, section: Section
    ) -> Iterator[Event]:
        yield from self._do(
            account, connection, mailbox, map(Do, self.saved.read(section)),
            total=lambda: section.messages, judged=lambda: section.messages,
            detail=None if self.house.dry_run else {"plan": self.saved.id},
        )  # fmt: skip

    def _fit(
        self, account: str, mailbox: Mailbox, window: Sequence[Planned], told: list[Event]
    ) -> Sequence[Planned]:
        """Those that are as they were when the plan was made."""
        uids = [planned.uid for planned in window]
        acted = self.house.store.acted(
            account, mailbox.name, mailbox.uidvalidity, uids, since=self.saved.made
        )
        finished = self.house.store.finished(
            account, mailbox.name, mailbox.uidvalidity, uids, since=self.saved.made
        )
        ours = set(self._ours(account, mailbox, uids))
        there = mailbox.identities([uid for uid in uids if uid not in acted])
        fit: list[Planned] = []
        for planned in window:
            self.summary.messages += 1
            reason = self._why_not(planned, acted.get(planned.uid), there, ours)
            since = finished.get(planned.uid)
            through = since is not None and all(map(since.has, _acting(planned)))
            if since is not None and planned.uid not in acted and (through or planned.uid not in there):
                reason = f"mailrules finished since what run {since.run} had left of it"
            if reason:
                known = through or (planned.uid in acted and acted[planned.uid].plan == self.saved.id)
                told.append(_left_out(planned, reason, known=known))
                continue
            planned = self._now(planned)
            fit.append(planned)
            told.append(planned)
            self.summary.count(planned)
        return fit

    def _why_not(
        self, planned: Planned, acted: Acted | None, there: Mapping[int, Identity], ours: set[int]
    ) -> str:
        """Why this message is left out, or ""."""
        if acted is not None:
            mine = acted.plan == self.saved.id
            return f"{'done before by this plan' if mine else 'mailrules acted on it since'}: run {acted.run}"
        found = there.get(planned.uid)
        if found is None:
            return "it is not there any more: moved or deleted since"
        if found.identity != planned.identity.identity:
            return "another message stands in its place"
        for effect in planned.decision.effects:
            if self._revisions.get(effect.rule) != effect.revision:
                gone = effect.rule not in self._revisions
                return f"rule '{effect.rule}' {'is gone' if gone else 'has changed'} since"
        if not self._read(planned).alike(found.flags, planned.identity.flags):
            changed = " ".join(sorted(lasting(found.flags ^ planned.identity.flags)))
            return f"its flags have changed, and rules read them: {changed}"
        if planned.uid not in ours:
            return "it is quarantined, or new: the running worker judges it"
        return ""

    def _read(self, planned: Planned) -> FlagReading:
        place = (planned.account, planned.mailbox)
        if place not in self._reading:
            self._reading[place] = FlagReading(self.house.rules(*place, scheduled=True))
        return self._reading[place]

    def _now(self, planned: Planned) -> Planned:
        """What is paused now is held now; in a dry run nothing is done. All else is as it was planned."""
        effects = tuple(self._effect_now(planned, effect) for effect in planned.decision.effects)
        return replace(planned, decision=replace(planned.decision, effects=effects))

    def _effect_now(self, planned: Planned, effect: PlannedEffect) -> PlannedEffect:
        if effect.state not in ("planned", "held"):
            return effect
        if self.house.dry_run:
            return replace(effect, state="would", because="dry run")
        why = self.house.why_paused(planned.account, planned.mailbox, effect.rule)
        return replace(effect, state="held" if why else "planned", because=why)


def _acting(planned: Planned) -> list[PlannedEffect]:
    """What the plan itself does: the rest was done before, or waited in the journal."""
    return [effect for effect in planned.decision.effects if effect.state in ("planned", "held", "would")]


def _left_out(planned: Planned, reason: str, *, known: bool = False) -> LeftOut:
    told = planned.identity
    return LeftOut(
        planned.account, planned.mailbox, planned.uid, told.message_id, told.subject, told.sender,
        reason, known,
    )  # fmt: skip
