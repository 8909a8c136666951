"""What no rule matched is not looked at again, and that makes no difference to what is found."""

from __future__ import annotations

import imaplib
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailrules import clock
from mailrules import config as configuration
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Store
from mailrules.core.uidset import UidSet
from mailrules.house import House
from mailrules.judging.judge import Judge, Judged
from mailrules.planning.comparing import Comparison
from mailrules.planning.known import Known
from mailrules.planning.planned import Event, Look, Planned, Selection
from mailrules.planning.planner import Planner
from tests.lab.dovecot import PASSWORD, Dovecot, message
from tests.lab.program import account
from tests.planning.test_planner import Small

LASTING = "  - {name: words, when: {subject: {in: words}}, then: [{flag: $W}], stop: true}\n"
OLD = "  - {name: old, when: {subject: c, older_than: 2d}, then: [{flag: $Old}]}\n"
FLAGGED = "  - {name: flagged, when: {keyword: $X, not: {subject: d}}, then: [{flag: $F}, {move: There}]}\n"
TEXT = "  - {name: text, when: {any: [{body: deep}, {keyword: $W}]}, then: [keep]}\n"
DUPLICATE = "  - {name: twice, when: {duplicate: 7d}, then: [{flag: $Twice}]}\n"
NOT_LASTING = "  - {name: unseen, when: {seen: false, subject: [b, d]}, then: [{mark: flagged}]}\n"
RULES = ["".join(rules) for rules in (
    [LASTING], [LASTING, OLD], [FLAGGED, LASTING, TEXT], [TEXT, NOT_LASTING], [LASTING, DUPLICATE], [OLD],
)]  # fmt: skip


class Stage:
    """A mailbox, a journal, and a file that is edited. `looked`: the UIDs that were judged by all rules."""

    def __init__(self, dovecot: Dovecot, user: str, folder: Path) -> None:
        self.dovecot, self.user, self.folder = dovecot, user, folder
        self.store = Store.open(folder / "state")
        self.rules, self.words, self.more = RULES[0], "a", ""
        self.asked: list[Look] = []

    def house(self) -> House:
        path = self.folder / "rules.yaml"
        path.write_text(
            f"{self.more}accounts:\n{account(self.dovecot, self.user)}"
            f"lists:\n  words: [{self.words}]\nrules:\n{self.rules}"
        )
        return House(configuration.load(path), self.store)

    def append(self, *mails: bytes) -> None:
        self.dovecot.append(self.user, list(mails))

    def flag(self, what: str, uids: str = "1:*") -> None:
        with self.dovecot.session(self.user, "INBOX") as client:
            client.uid("STORE", uids, "+FLAGS", f"({what})")

    def _tell(self, events: Iterator[Event], planner: Planner) -> tuple[list[Planned], dict[str, Any]]:
        told = list(events)
        self.asked += [event for event in told if isinstance(event, Look)]
        assert planner.summary.errors == []
        planned = [event for event in told if isinstance(event, Planned)]
        return planned, planner.summary.as_json() | {"deferred": planner.summary.deferred}

    def plan(self, *, afresh: bool = False, **chosen: Any) -> tuple[list[Planned], dict[str, Any]]:
        planner = Planner(self.house(), Selection(afresh=afresh, **chosen))
        return self._tell(planner.plan(), planner)

    def apply(self, **chosen: Any) -> tuple[list[Planned], dict[str, Any]]:
        planner = Planner(self.house(), Selection(**chosen))
        return self._tell(planner.apply(over_brakes=True), planner)


@pytest.fixture
def stage(dovecot: Dovecot, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("LAB_PASSWORD", PASSWORD)
    stage = Stage(dovecot, user, tmp_path)
    yield stage
    stage.store.close()


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """The UIDs that were judged since it was asked last."""
    uids: list[int] = []
    judge = Judge.judge

    def counted(self: Judge, mailbox: Mailbox, those: Sequence[int], *more: Any, **options: Any) -> Judged:
        uids.extend(those)
        return judge(self, mailbox, those, *more, **options)

    monkeypatch.setattr(Judge, "judge", counted)

    def since() -> list[int]:
        found, uids[:] = list(uids), []
        return found

    return since


def test_a_second_apply_looks_at_nothing(stage: Stage, looked: Callable[[], list[int]]) -> None:
    """What no rule matched is counted and not asked for; `plan` knows it, too, and writes nothing down."""
    stage.append(*(message(n, subject="abc"[n % 3]) for n in range(9)))
    assert stage.plan()[1]["messages"] == 9
    assert looked() == list(range(1, 10))
    first = stage.apply()
    assert looked() == list(range(1, 10)), "a plan is no look that counts"
    assert (first[1]["messages"], first[1]["matched"]) == (9, 3)
    stage.append(message(subject="c"))
    again = stage.apply()
    assert looked() == [1, 4, 7, 10]
    assert (again[1]["messages"], again[1]["matched"]) == (10, 3)
    assert "of 6 that no rule matched before, nothing is asked" in stage.asked[-1].words
    assert [p.uid for p in stage.plan()[0]] == [1, 4, 7]
    assert looked() == [1, 4, 7]
    stage.plan(afresh=True)
    assert looked() == list(range(1, 11))
    stage.apply(afresh=True)
    assert looked() == list(range(1, 11))


def test_only_what_changes_is_asked_of_the_known(stage: Stage, looked: Callable[[], list[int]]) -> None:
    """Rules on flags and age see all mail; those on its words only what is not known."""
    stage.rules = RULES[2]
    stage.append(*(message(n, subject="abcd"[n % 4], body="deep" if n == 7 else "flat") for n in range(8)))
    stage.apply()
    looked()
    stage.flag("$X", "2:4,8")
    found, _ = stage.plan()
    assert [p.uid for p in found] == [1, 2, 3, 5, 8], "4 has a d in its subject, 8 is deep and flagged"
    assert looked() == [2, 3, 4, 6, 7, 1, 2, 3, 5, 8]
    assert found == stage.plan(afresh=True)[0]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_known_makes_no_difference(stage: Stage, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over new and vanished mail, flags, other rules, lists and settings, days, new numbers and a journal
    that was put back: with what is known exactly the same is found as without."""
    dice, days = random.Random(seed), [0]
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() + timedelta(days=days[0]))

    def expunge() -> None:
        with suppress(imaplib.IMAP4.error), stage.dovecot.session(stage.user, "INBOX") as client:
            client.store(str(dice.randint(1, 4)), "+FLAGS", r"(\Deleted)")
            client.expunge()

    def new_mail() -> None:
        stage.append(
            *(
                message(n, subject=dice.choice("abcde"), body=dice.choice(["flat", "deep"]))
                for n in range(dice.randint(1, 6))
            )
        )

    def renumber() -> None:
        stage.dovecot.doveadm(
            "mailbox", "update", "--uid-validity", str(dice.randint(5, 2**31)), "-u", stage.user, "INBOX"
        )

    def put_back() -> None:
        stage.store.resync(since=clock.now(), at=clock.now())

    def grow_older() -> None:
        days[0] += 1

    changes: list[Callable[[], Any]] = [
        new_mail, expunge, renumber, put_back, grow_older,
        lambda: stage.flag(dice.choice(["$X", r"\Seen", "$W"]), f"{dice.randint(1, 5)}:*"),
        lambda: setattr(stage, "words", dice.choice(["a", "b", "a, c", "e"])),
        lambda: setattr(stage, "more", dice.choice(["", "settings: {body_limit: 3}\n"])),
    ]  # fmt: skip
    for stage.rules in dice.sample(RULES, len(RULES)):
        only = [{}, {"rules": ("words",)}] if LASTING in stage.rules else [{}]
        for _ in range(4):
            new_mail()
            stage.apply(**dice.choice(only))
            for change in dice.sample(changes, 2):
                change()
            for chosen in only:
                assert stage.plan(**chosen) == stage.plan(afresh=True, **chosen)


def test_a_setting_that_is_judged_by_is_part_of_what_is_known(stage: Stage) -> None:
    """More of a text is read than before: what did not match then may match now."""
    stage.rules = "  - {name: text, when: {body: deep}, then: [{flag: $D}]}\n"
    stage.more = "settings: {body_limit: 3}\n"
    stage.append(message(body="deep"))
    assert stage.apply()[1]["matched"] == 0
    stage.more = ""
    assert stage.plan()[1]["matched"] == 1


def test_a_comparison_looks_at_all(stage: Stage, looked: Callable[[], list[int]]) -> None:
    """What the new rules do not match the old ones may have."""
    stage.append(message(subject="b"))
    stage.apply()
    looked()
    old = configuration.load(stage.folder / "rules.yaml")
    stage.words = "b"
    planner = Comparison(stage.house(), old, Selection())
    stage.words = "a"
    assert len(stage._tell(planner.plan(), planner)[0]) == 0
    assert looked() == [1]
    assert planner.summary.matched == 1


def test_a_stopped_look_keeps_what_it_saw(
    stage: Stage, looked: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was judged before Ctrl-C need not be looked at by the next one, whatever came of the rest."""
    monkeypatch.setattr("mailrules.planning.planner.Pace", lambda: Small(size=5))
    stage.append(*(message(n, subject="b") for n in range(12)))
    seen: list[int] = []
    planner = Planner(stage.house(), Selection(), stopping=lambda: bool(seen.extend(looked()) or seen))
    list(planner.apply())
    assert planner.summary.stopped and seen == [1, 2, 3, 4, 5]
    assert stage.apply()[1]["messages"] == 12
    assert looked() == list(range(6, 13))


def test_nothing_is_kept_of_what_is_not_sure() -> None:
    """Gone, put off, broken, left out by SEARCH, without a fact that could not be had, or matched."""
    known = Known("a", "INBOX", 7, "f", UidSet([1, 2]))
    judged = Judged(
        deferred={11: "later"}, broken={12: ValueError()}, gone={13}, pending={14}, left_out={15}, unsure={16}
    )
    judged.decisions[17] = None  # type: ignore[assignment]
    known.learn(range(10, 20), judged)
    assert list(known.fresh) == [10, 18, 19]
    assert known.all([2, 10, 18, 19]) == UidSet([2, 10, 18, 19]), "without those that are not there any more"
    assert replace(known, fresh=array("Q")).all([1, 5]) == UidSet([1])
