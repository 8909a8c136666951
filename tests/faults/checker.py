"""What came of it: compares the server, the SMTP sink, the script's traces and the journal.

lost      a message is nowhere, or what the journal says was sent or run was not
doubled   a message, a forward or a script's run is there twice
wrong     the world is not as the rules have it, or not as the journal says
unknown   effects that ended as unknown: shown to a person, never repeated by themselves
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.faults.stage import FOREIGN, OPEN_STATES, Stage, number_of

SENDING = ("forward", "redirect", "reply")


@dataclass
class Verdict:
    """Counts, and a line for each thing that is not right."""

    runs: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    unknown: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    def say(self, kind: str, words: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        self.notes.append(f"{kind}: {words}")

    def __iadd__(self, other: Verdict) -> Verdict:
        for name in ("runs", "lost", "doubled", "wrong", "unknown"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.notes += other.notes
        return self


def check(stage: Stage) -> Verdict:
    """Judge every message of the stage. Call it after `settle`: nothing may be open any more."""
    verdict = Verdict(runs=len(stage.numbers))
    boxes = stage.look()
    places: dict[int, Counter[str]] = defaultdict(Counter)
    flags: dict[int, list[frozenset[str]]] = defaultdict(list)
    for mailbox, found in boxes.items():
        for number, those in found:
            places[number][mailbox] += 1
            flags[number].append(those)
    sent, traces = Counter(stage.sent()), Counter(stage.traces())
    journal: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for entry in stage.entries():
        journal[number_of(entry["subject"])].append(entry)
    for number in stage.numbers:
        _mailboxes(stage, verdict, number, places[number], flags[number])
        _outside(stage, verdict, number, sent, traces[number], journal[number])
        _journal(verdict, number, journal[number])
    _foreign(stage, verdict, boxes)
    verdict.unknown = len(stage.unknown)
    return verdict


def _mailboxes(
    stage: Stage, verdict: Verdict, number: int, places: Counter[str], flags: list[frozenset[str]]
) -> None:
    wanted, given = stage.scenario.where, {flag.lower() for flag in stage.scenario.flags}
    if stage.scenario.answers and (number, "script") in stage.unknown:
        wanted, given = ("INBOX",), set()  # nobody heard what it asked for
    if wanted and not places:
        verdict.say("lost", f"{number} is nowhere")
        return
    for mailbox, count in places.items():
        if count > 1:
            verdict.say("doubled", f"{number} is in {mailbox} {count} times")
        if mailbox not in wanted:
            verdict.say("wrong", f"{number} is in {mailbox}, which no rule wants")
    for mailbox in wanted:
        if not places[mailbox]:
            verdict.say("wrong", f"{number} is not in {mailbox}")
    for those in flags:
        if not given <= {flag.lower() for flag in those}:
            verdict.say("wrong", f"{number} has {sorted(those)}, not {stage.scenario.flags}")
        if "\\Deleted" in those:
            verdict.say("wrong", f"{number} is left behind marked \\Deleted")


def _outside(
    stage: Stage,
    verdict: Verdict,
    number: int,
    sent: Counter[tuple[str, int]],
    traces: int,
    journal: list[dict[str, Any]],
) -> None:
    said = {entry["action"]: entry["state"] for entry in journal}
    for recipient in stage.scenario.sent:
        action = next((a for a in SENDING if a in said), "forward")
        _once(stage, verdict, (number, action), sent[recipient.format(number), number], said.get(action))
    if stage.scenario.saved:
        _once(stage, verdict, (number, "save"), stage.saved().count(number), said.get("save"))
        if 0 in stage.saved():
            verdict.say("wrong", "half a file is left")
    if stage.scenario.called:
        _once(stage, verdict, (number, "webhook"), len(stage.called().get(number, ())), said.get("webhook"))
    if stage.scenario.scripts:
        _once(stage, verdict, (number, "script"), traces, said.get("script"))
    elif traces:
        verdict.say("wrong", f"{number}: a script ran that no rule asks for")


def _once(stage: Stage, verdict: Verdict, what: tuple[int, str], count: int, state: str | None) -> None:
    number, action = what
    if count > 1 and not stage.scenario.retries:
        verdict.say("doubled", f"{number}: {action} happened {count} times")
    if count == 0 and what not in stage.unknown:
        verdict.say("lost", f"{number}: {action} never happened, and the journal says {state}")
    if count == 1 and state not in ("done", "skipped"):
        verdict.say("wrong", f"{number}: {action} happened, and the journal says {state}")


def _journal(verdict: Verdict, number: int, journal: list[dict[str, Any]]) -> None:
    if not journal:
        verdict.say("lost", f"{number} was never judged")
    for entry in journal:
        if entry["state"] in OPEN_STATES:
            verdict.say("wrong", f"{number}: {entry['action']} is left {entry['state']}")


def _foreign(stage: Stage, verdict: Verdict, boxes: dict[str, list[tuple[int, frozenset[str]]]]) -> None:
    left = sum(1 for number, _ in boxes.get("INBOX", ()) if number >= 10**6)
    if stage.foreign and left != FOREIGN:
        verdict.say("lost", f"{FOREIGN - left} messages that somebody else had marked \\Deleted are gone")
