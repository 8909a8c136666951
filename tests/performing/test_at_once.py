"""Sets with one command each: how one ended is written while the server is at the next, whatever happens."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mailrules import clock
from mailrules.adapters.store import ACTING, Decided, EffectRow, Fenced, Store, StoreError
from mailrules.config import parse
from mailrules.core.actions.base import EffectTarget, Outcome, PlannedEffect
from mailrules.core.errors import TransientError
from mailrules.core.uidset import UidSet
from mailrules.house import House
from mailrules.performing.at_once import AtOnce
from mailrules.performing.effects import WorkerEffects
from mailrules.performing.perform import Performer
from mailrules.performing.recovery import Copied
from tests.lab.dovecot import PASSWORD, Dovecot, message
from tests.lab.journal import opened
from tests.lab.proxy import FaultProxy

FIRST, SECOND = ACTING
NAMES = ("One", "Two", "Three")
ENDED = ["done", "done"]
Happens = Callable[[], object]


class Attended(WorkerEffects):
    """The worker's own, and what happens right before a move to a mailbox is sent, or after its answer."""

    before: Mapping[str, Happens] = {}
    after: Mapping[str, Happens] = {}

    def move(
        self, targets: Sequence[EffectTarget], mailbox: str, *, on_copied: Copied | None = None
    ) -> Mapping[int, Outcome]:
        if mailbox in self.before:
            self.before[mailbox]()
        outcomes = super().move(targets, mailbox, on_copied=on_copied)
        if mailbox in self.after:
            self.after[mailbox]()
        return outcomes


class Scene:
    """A mailbox with six messages, two to be moved to each of `NAMES` by the rule of that name."""

    def __init__(
        self, dovecot: Dovecot, user: str, proxy: FaultProxy, store: Store, stack: ExitStack
    ) -> None:
        config = parse(
            f"accounts:\n  work: {{host: 127.0.0.1, port: {proxy.port}, security: none, username: {user}, "
            "password: {env: P}}\nrules: []\n",
            environ={"P": PASSWORD},
        )
        self.store, self.proxy = store, proxy
        self.house = House(config, store)
        self._dovecot, self._user, self._stack = dovecot, user, stack
        uids = dovecot.append(user, [message(n) for n in range(1, 7)])
        self.connect()
        rows = self.plan({uid: move(NAMES[n // 2]) for n, uid in enumerate(uids)})
        self.rows = {name: [row for row in rows if row.rule == name] for name in NAMES}

    def plan(self, effects: Mapping[int, PlannedEffect]) -> list[EffectRow]:
        """Have effects decided, by UID."""
        run = self.store.start_run(
            account="work", mailbox="INBOX", kind="new", rules_hash="h", at=clock.now()
        )
        uids = UidSet(effects)
        known = self.mailbox.identities(uids)
        return self.store.record(
            run, "work", "INBOX", self.mailbox.uidvalidity,
            [Decided(uid, known[uid], [effect]) for uid, effect in effects.items()],
            judged=uids, high_uid=uids.highest, at=clock.now(),
        )  # fmt: skip

    def connect(self) -> None:
        """A new connection, for whoever performs from here on."""
        connection = self.house.connect("work")
        connection.open()
        self._stack.callback(connection.close)
        self.mailbox = connection.select("INBOX")
        self.performer: Performer = self.house.performer("work", connection, self.mailbox)
        self.world = Attended(
            account=self.house.config.accounts["work"],
            settings=self.house.config.settings,
            connection=connection,
            mailbox=self.mailbox,
            stopping=self.house.stopping,
        )

    def at_once(self) -> AtOnce:
        return AtOnce(self.store, self.world, self.performer.endings)

    def perform(self) -> None:
        """What a run does with all that is to be done, or to be recovered."""
        self.performer.perform(self.store.unfinished("work", "INBOX", now=clock.now()))

    def on_answer(self, number: int, happens: Callable[[Any], object]) -> None:
        """Happens when the server has answered so many moves, while its answer is on the way."""
        answers = iter(range(1, 100))
        self.proxy.on(
            rb"COPYUID", "s2c", lambda c: happens(c) if next(answers) == number else None, once=False
        )

    # -- what is there ------------------------------------------------------------------------------
    def states(self, name: str) -> list[str]:
        """As the journal has them, seen from beside."""
        return [state for state, _ in self._effects(name)]

    def inferred(self, name: str) -> list[bool]:
        """Whether recovery has found out how they ended."""
        return [detail.get("inferred", False) for _, detail in self._effects(name)]

    def _effects(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        with opened(self.store.path) as journal:
            found = journal.execute("SELECT state, detail FROM effect WHERE rule = ? ORDER BY id", [name])
            return [(state, json.loads(detail)) for state, detail in found]

    def hands(self) -> dict[str, str]:
        with opened(self.store.path) as journal:
            return dict(journal.execute("SELECT hand, uids FROM in_hand"))

    def there(self, name: str) -> list[str]:
        """The numbers of the messages in a mailbox."""
        with self._dovecot.session(self._user) as client:
            if client.select(f'"{name}"')[0] != "OK":
                return []
            told = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
            return sorted(part[1].decode().split()[-1] for part in told if isinstance(part, tuple))

    def expunge(self, uid: int) -> None:
        with self._dovecot.session(self._user, "INBOX") as client:
            client.uid("STORE", str(uid), "+FLAGS", "(\\Deleted)")
            client.expunge()
        self.mailbox.connection.noop()

    @property
    def moves(self) -> int:
        """How many commands have been sent that move."""
        return sum(c.log["c2s"].count(b"UID MOVE") for c in self.proxy.connections)


def move(name: str) -> PlannedEffect:
    return PlannedEffect(name, "rev", 0, "move", {"mailbox": name}, leaves=True, once=False)


@pytest.fixture
def scene(dovecot: Dovecot, user: str, proxy: FaultProxy, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(tmp_path / "state"))
        yield Scene(dovecot, user, proxy, store, stack)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a journal that another program keeps locked."""
    monkeypatch.setattr("mailrules.adapters.store.database.BUSY", 0.05)


def test_a_set_is_written_while_the_server_is_at_the_next(scene: Scene) -> None:
    """Before a set is answered, the journal has how the one before it ended, and nothing of the next one."""
    seen: list[tuple[dict[str, list[str]], dict[str, str]]] = []

    def keep_back(_: object) -> None:
        until = time.monotonic() + 5
        while any("intent" in scene.states(name) for name in NAMES[: len(seen)]) and time.monotonic() < until:
            time.sleep(0.01)
        seen.append(({name: scene.states(name) for name in NAMES}, scene.hands()))

    scene.expunge(2)
    scene.proxy.on(rb"COPYUID", "s2c", keep_back, once=False)
    with scene.at_once() as at_once:
        for name in NAMES:
            at_once.perform(scene.rows[name])
    begun, waiting, one = ["intent"] * 2, ["planned"] * 2, ["done", "gone"]
    assert seen == [
        ({"One": begun, "Two": waiting, "Three": waiting}, {FIRST: "1:2"}),
        ({"One": one, "Two": begun, "Three": waiting}, {SECOND: "3:4"}),
        ({"One": one, "Two": ENDED, "Three": begun}, {FIRST: "5:6"}),
    ]
    assert (scene.states("Three"), scene.hands()) == (ENDED, {})
    assert [scene.there(name) for name in NAMES] == [["1"], ["3", "4"], ["5", "6"]]


def test_a_set_without_a_command(scene: Scene) -> None:
    """Where the server need not be asked, the set before is written all the same before there is another."""
    label = PlannedEffect("label", "rev", 0, "label", {"labels": ["x"]}, leaves=False, once=False)
    labels = scene.plan({3: label, 4: label})
    with scene.at_once() as at_once:
        at_once.perform(scene.rows["One"])
        at_once.perform(labels)
        assert scene.states("One") == ENDED
    assert scene.states("label") == ["failed"] * 2


@pytest.mark.parametrize(
    ("happens", "two", "three"),
    [
        ("rule:Two", "held", "done"),
        ("account:work", "held", "held"),
        ("stop", "planned", "planned"),
    ],
)
def test_a_brake_between_two_sets(happens: str, two: str, three: str, scene: Scene) -> None:
    """Paused or stopped when the first set is answered: it is written as done, and what is braked is left."""

    def brake(_: object) -> None:
        if happens == "stop":
            scene.house.stopping.set()
        else:
            scene.store.pause(happens, reason="a person", at=clock.now())

    scene.on_answer(1, brake)
    scene.perform()
    assert [scene.states(name) for name in NAMES] == [ENDED, [two] * 2, [three] * 2]
    assert [scene.there(name) for name in ("One", "Two")] == [["1", "2"], []]
    assert scene.moves == (2 if three == "done" else 1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("passes", ["before the end", "after it"])
def test_a_journal_that_can_not_be_written(passes: str, scene: Scene) -> None:
    """The next set keeps its answer, both are written at the end or else found, and none is moved twice."""
    other = sqlite3.connect(scene.store.path, isolation_level=None, check_same_thread=False)
    scene.world.before = {"Two": lambda: other.execute("BEGIN IMMEDIATE")}
    if passes == "before the end":
        scene.world.after = {"Two": lambda: other.execute("ROLLBACK")}
    with pytest.raises(StoreError), scene.at_once() as at_once:
        for name in NAMES:
            at_once.perform(scene.rows[name])
    if passes == "before the end":
        assert [scene.states(name) for name in NAMES] == [ENDED, ENDED, ["planned"] * 2]
        assert scene.hands() == {}
    else:
        assert [scene.states(name) for name in NAMES] == [["intent"] * 2, ["intent"] * 2, ["planned"] * 2]
        other.execute("ROLLBACK")
    other.close()
    scene.perform()
    assert [scene.states(name) for name in NAMES] == [ENDED] * 3
    assert scene.inferred("One") == scene.inferred("Two") == [passes == "after it"] * 2
    assert [scene.there(name) for name in NAMES] == [["1", "2"], ["3", "4"], ["5", "6"]]
    assert scene.moves == 3


@pytest.mark.parametrize("moved", [False, True])
def test_a_connection_lost_at_the_second_set(moved: bool, scene: Scene) -> None:
    """The first set is written as answered, and the next run finds out whether the second was done."""
    if moved:
        scene.on_answer(2, lambda connection: connection.cut())
    else:
        scene.proxy.on(rb'UID MOVE \S+ "Two"', "c2s", lambda connection: connection.cut())
    with pytest.raises(TransientError):
        scene.perform()
    assert [scene.states(name) for name in NAMES] == [ENDED, ["intent"] * 2, ["planned"] * 2]
    assert (scene.inferred("One"), scene.hands()) == ([False] * 2, {})
    assert scene.there("Two") == (["3", "4"] if moved else [])
    scene.connect()
    scene.perform()
    assert [scene.states(name) for name in NAMES] == [ENDED] * 3
    assert scene.inferred("Two") == [moved] * 2
    assert [scene.there(name) for name in NAMES] == [["1", "2"], ["3", "4"], ["5", "6"]]


def test_what_is_somebody_else_s_costs_the_next_set_nothing(scene: Scene) -> None:
    """An effect that was decided elsewhere stays so, the next set is written, and the rest is found."""
    theirs = scene.rows["One"][0]
    scene.world.before = {
        "Two": lambda: scene.store.advance([theirs.id], frm="intent", to="unknown", at=clock.now())
    }
    with pytest.raises(Fenced), scene.at_once() as at_once:
        for name in NAMES:
            at_once.perform(scene.rows[name])
    assert [scene.states(name) for name in NAMES] == [["unknown", "intent"], ENDED, ["planned"] * 2]
    assert scene.hands() == {}
    scene.perform()
    assert [scene.states(name) for name in NAMES] == [["unknown", "done"], ENDED, ENDED]
    assert (scene.inferred("Two"), scene.moves) == ([False] * 2, 3)


def test_what_a_person_has_taken_is_not_done(scene: Scene) -> None:
    """A row that was skipped since it was read falls out of its set; the others of the set are done."""
    scene.store.skip([scene.rows["Two"][1].id], at=clock.now())
    with scene.at_once() as at_once:
        for name in NAMES[:2]:
            at_once.perform(scene.rows[name])
    assert [scene.states(name) for name in NAMES[:2]] == [ENDED, ["done", "skipped"]]
    assert scene.there("INBOX") == ["4", "5", "6"]
