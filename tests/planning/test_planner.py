"""`apply` over a mailbox in windows: when it acts, and what it counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailrules import config as configuration
from mailrules.adapters.store import Store
from mailrules.house import House
from mailrules.judging.pace import Pace
from mailrules.planning import carrying_out
from mailrules.planning.planned import Progress, Selection
from mailrules.planning.planner import Planner
from tests.integration.test_trust import count
from tests.lab.dovecot import PASSWORD, Dovecot, message
from tests.lab.journal import opened
from tests.lab.program import account

FILE = "rules:\n  - {name: file, when: {subject: x}, then: [{flag: $F}, {move: There}]}\n"


class Small(Pace):
    """Windows of a few messages, however quick they are."""

    def learn(self, count: int, *, seconds: float, waited: int) -> None:
        pass


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is thousands elsewhere is a handful here."""
    monkeypatch.setenv("LAB_PASSWORD", PASSWORD)
    monkeypatch.setattr(carrying_out, "TOGETHER", 4)
    monkeypatch.setattr("mailrules.planning.planner.Pace", lambda: Small(size=5))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "state") as store:
        yield store


def house(dovecot: Dovecot, user: str, store: Store, rules: str) -> House:
    path = store.path.parent.parent / "rules.yaml"
    path.write_text("accounts:\n" + account(dovecot, user) + rules)
    return House(configuration.load(path), store)


def phases(planner: Planner, *, over_brakes: bool = False) -> list[str]:
    events = planner.apply(over_brakes=over_brakes)
    return [event.phase for event in events if isinstance(event, Progress) and event.done]


def test_it_acts_while_it_judges_where_no_brake_can_trip(dovecot: Dovecot, user: str, store: Store) -> None:
    """Each window is done and forgotten, in one run; the counts are those of the whole mailbox."""
    dovecot.append(user, [message(n, subject="x") for n in range(12)])
    planner = Planner(house(dovecot, user, store, FILE), Selection())
    assert phases(planner) == ["judging", "acting", "judging", "acting", "judging", "acting"]
    summary = planner.summary
    assert (summary.messages, summary.matched, dict(summary.states)) == (12, 12, {"done": 24})
    assert summary.created == {(user, "There"): 12}, "it was not there when it was begun"
    assert len(summary.runs) == 1
    assert (count(dovecot, user, "There"), count(dovecot, user, "INBOX")) == (12, 0)


def test_a_brake_that_may_trip_holds_everything(dovecot: Dovecot, user: str, store: Store) -> None:
    """That too many leave is seen only near the end: nothing was done to the first, and there is no run."""
    dovecot.append(user, [message(n, subject="x" if n % 2 else "y") for n in range(100)])
    dovecot.append(user, [message(n, subject="x") for n in range(100, 104)])
    built = house(dovecot, user, store, FILE)
    planner = Planner(built, Selection())
    assert set(phases(planner)) == {"judging"}
    assert "54 of 104 messages would leave" in planner.summary.braked[0]
    assert (planner.summary.runs, count(dovecot, user, "INBOX")) == ([], 104)
    wanted = Planner(built, Selection())
    assert phases(wanted, over_brakes=True)[2] == "acting"
    assert (wanted.summary.matched, count(dovecot, user, "INBOX")) == (54, 50)


def test_what_waited_for_the_brake_is_done_with_the_rest(dovecot: Dovecot, user: str, store: Store) -> None:
    """The first half of the mailbox waits; then it is sure that not too many leave, and all are done."""
    dovecot.append(user, [message(n, subject="x" if n < 20 else "y") for n in range(104)])
    planner = Planner(house(dovecot, user, store, FILE), Selection())
    told = phases(planner)
    assert told.index("acting") == 15, "when 72 are judged, 32 more may leave: 52 of 104"
    assert told.count("judging") == 21
    assert (planner.summary.states, count(dovecot, user, "There")) == ({"done": 40}, 20)


def test_stopped_between_windows(dovecot: Dovecot, user: str, store: Store) -> None:
    """What was begun is in the journal, its run has an end, and the next `apply` does the rest."""
    dovecot.append(user, [message(n, subject="x") for n in range(12)])
    built = house(dovecot, user, store, FILE)
    planner = Planner(built, Selection(), stopping=lambda: count(dovecot, user, "There") > 0)
    assert "acting" in phases(planner)
    assert planner.summary.stopped
    assert planner.summary.states == {"done": 8}
    (run,) = planner.summary.runs
    with opened(store.path) as journal:
        (ended,) = journal.execute("SELECT matched FROM run WHERE id = ? AND ended_at > 0", (run,))
    assert ended == (4,)
    phases(Planner(built, Selection()))
    assert (count(dovecot, user, "There"), count(dovecot, user, "INBOX")) == (12, 0)


@pytest.mark.parametrize(
    "rule",
    [
        "{name: a, when: always, then: [{assign: {to: [anna, bert], by: round_robin, with: keyword}}]}",
        "{name: a, when: {not: {replied_to: true}}, then: [{flag: $F}]}",
    ],
)
def test_what_acting_may_change_is_judged_first(dovecot: Dovecot, user: str, store: Store, rule: str) -> None:
    """Whose turn it is, and what the Sent mailbox tells, is found out for all before anything is done."""
    dovecot.append(user, [message(n) for n in range(12)])
    planner = Planner(house(dovecot, user, store, f"rules:\n  - {rule}\n"), Selection())
    assert phases(planner) == ["judging"] * 3 + ["acting"] * 3
