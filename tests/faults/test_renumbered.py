"""Mailboxes whose numbers change or come late: no old mail is sent on, no new mail is passed over."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailrules import config as configuration
from mailrules.adapters.store import Store
from mailrules.house import House
from mailrules.once import run_once
from tests.faults.letters import (
    FULL,
    Killed,
    all_sent_once,
    config,
    fill,
    killed_at,
    letter,
    once,
    sent,
    subjects,
)
from tests.lab.dovecot import PASSWORD, Dovecot
from tests.lab.journal import opened
from tests.lab.model import Box
from tests.lab.program import Program
from tests.lab.scripted import FULL as ABLE
from tests.lab.scripted import ScriptedServer

pytestmark = pytest.mark.timeout(900)
OLD = 5000 if FULL else 300
NEW = 20
FORWARD = "  - {name: all, when: always, then: [{forward: team@example.org}]}\n"


def number_anew(server: Dovecot, user: str, uidvalidity: int) -> None:
    server.doveadm("mailbox", "update", "-u", user, "--uid-validity", str(uidvalidity), "INBOX")


# -- T9: another UIDVALIDITY ------------------------------------------------------------------------
@pytest.mark.parametrize("watching", [False, True], ids=["at rest", "watching"])
def test_no_old_mail_is_sent_on_and_all_new_mail_is(
    watching: bool, dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path, record: Any
) -> None:
    """Old mail is known by date, what was sent by identity; new mail is sent once."""
    fill(dovecot, user, subjects("old", OLD))
    sent_before, new = subjects("before", 5), subjects("new", NEW)
    with Program(tmp_path, config(dovecot, user, smtp_sink, FORWARD)) as program:
        program.run("run", "--once", timeout=300)
        fill(dovecot, user, sent_before, date=None)
        if watching:
            program.start()
            smtp_sink.wait(len(sent_before), 60)
        else:
            program.run("run", "--once")
        number_anew(dovecot, user, 4_000_000_001)
        fill(dovecot, user, new, date=None)
        if watching:
            smtp_sink.wait(len(sent_before) + NEW, 120)
            assert "numbered the mailbox anew" in program.said()
            assert program.stop() == 0
        for _ in range(2):
            program.run("run", "--once", timeout=300)
        all_sent_once(record, "T9", smtp_sink, sent_before + new, f"{OLD} old messages")
        assert {e["state"] for e in program.log()} == {"done"}
        assert program.json("status")[0]["paused"] == []


def test_a_mailbox_that_is_put_back_with_new_dates_is_paused(
    dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path, record: Any
) -> None:
    """Where neither identity nor date tells, the brake holds all of it, and what comes later too."""
    names = subjects("old", 5000 if FULL else 60)
    rules = (
        "  - {name: send, when: {subject: old}, then: [{forward: team@example.org}]}\n"
        "  - {name: file, when: {subject: later}, then: [{move: Filed}]}\n"
    )
    with dovecot.session(user) as client:
        client.create("Work")
    fill(dovecot, user, names, "Work")
    with Program(tmp_path, config(dovecot, user, smtp_sink, rules, "Work")) as program:
        program.run("run", "--once")
        dovecot.doveadm("mailbox", "delete", "-u", user, "Work")
        dovecot.doveadm("mailbox", "create", "-u", user, "Work")
        fill(dovecot, user, names, "Work", date=None)
        program.run("run", "--once", timeout=300)
        fill(dovecot, user, ["later"], "Work", date=None)
        program.run("run", "--once")
        (pause,) = program.json("status")[0]["paused"]
        assert pause["target"] == f"mailbox:{user}/Work"
        assert f"{len(names)} of its {len(names)} messages would be sent on" in pause["reason"]
        assert f"mailrules resume {user}/Work" in pause["reason"]
        states = {(e["rule"], e["state"]) for e in program.log()}
        assert states == {("send", "held"), ("file", "held")}
        all_sent_once(record, "T9", smtp_sink, [], f"brake, {len(names)} dated anew")
        *unwanted, wanted = program.log("--rule", "send", "--state", "held")
        program.run("skip", *(str(e["id"]) for e in unwanted), timeout=300)
        program.run("resume", f"{user}/Work")
        program.run("run", "--once", timeout=300)
        assert sent(smtp_sink) == once([wanted["subject"]])


def test_few_messages_are_no_matter_for_the_brake(
    dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path
) -> None:
    """Nor are many that only move, nor many in a mailbox that is much larger."""
    rules = (
        "  - {name: file, when: {subject: old}, then: [{move: Filed}]}\n"
        "  - {name: send, when: {subject: few}, then: [{forward: team@example.org}]}\n"
    )
    with dovecot.session(user) as client:
        client.create("Work")
    with Program(tmp_path, config(dovecot, user, smtp_sink, rules, "Work")) as program:
        program.run("run", "--once")
        dovecot.doveadm("mailbox", "delete", "-u", user, "Work")
        dovecot.doveadm("mailbox", "create", "-u", user, "Work")
        fill(dovecot, user, subjects("old", 80) + subjects("few", 10), "Work", date=None)
        program.run("run", "--once")
        assert sent(smtp_sink) == once(subjects("few", 10))
        assert len(program.log("--rule", "file", "--state", "done")) == 80
        assert program.json("status")[0]["paused"] == []


def test_new_mail_is_found_wherever_it_lies(
    dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path
) -> None:
    """A mailbox that is put back may have its newest mail first; it is not left to the daily scan."""
    fill(dovecot, user, ["there"])
    with Program(tmp_path, config(dovecot, user, smtp_sink, FORWARD)) as program:
        program.run("run", "--once")
        fill(dovecot, user, ["new"], date=None)
        fill(dovecot, user, subjects("old", 210))
        number_anew(dovecot, user, 4_000_000_002)
        program.run("run", "--once")
        assert sent(smtp_sink) == once(["new"])


@pytest.mark.parametrize("braked", [False, True], ids=["few", "too many"])
def test_killed_between_any_two_steps(
    braked: bool, dovecot: Dovecot, smtp_sink: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any write of the pass that meets the new numbers, the next one comes to the same end."""
    monkeypatch.setenv("LAB_PASSWORD", PASSWORD)
    new = subjects("new", 60 if braked else 3)
    for step in range(1, 8):
        user = dovecot.new_user()
        smtp_sink.messages.clear()
        file = tmp_path / f"{step}.yaml"
        file.write_text(config(dovecot, user, smtp_sink, FORWARD))
        rules, state = configuration.load(file), tmp_path / f"state{step}"
        fill(dovecot, user, subjects("old", 10))

        def go(rules: Any = rules, state: Path = state) -> None:
            with Store.open(state) as store:
                run_once(House(rules, store), done=lambda _: None)

        go()
        fill(dovecot, user, ["before"], date=None)
        go()
        number_anew(dovecot, user, 4_000_000_000 + step)
        fill(dovecot, user, new, date=None)
        with Store.open(state) as store, killed_at(step), pytest.raises(Killed):
            run_once(House(rules, store), done=lambda _: None)
        go()
        go()
        assert sent(smtp_sink) == once(["before"] if braked else ["before", *new]), step
        with Store.open(state, read_only=True) as store:
            states = [e["state"] for e in store.log()]
            assert sorted(states) == ["done", *["held" if braked else "done"] * len(new)], step
            assert store.paused() == ({f"mailbox:{user}/INBOX"} if braked else set()), step


# -- T10: in mid-session ------------------------------------------------------------------------------
class Renumbering:
    """Numbers INBOX anew when it is told to, once, and notes which command came last before it."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.place: int | None = None

    def __call__(self, *, says: bool = True) -> bytes | None:
        if self.place is not None:
            return None
        with self.server.lock:
            box = self.server.box()
            box.uidvalidity = 99
            for number, mail in enumerate(box.mails, 1001):
                mail.uid = number
            box.uidnext = 1001 + len(box.mails)
            self.place = len(self.server.commands)
        return b"* OK [UIDVALIDITY 99] numbered anew\r\n" if says else b""

    def stale(self) -> list[bytes]:
        """Commands after the change that name messages by what they were called before."""
        assert self.place is not None
        found, told = [], False
        elsewhere = self.server.commands[self.place - 1].startswith(b"EXAMINE")
        for line in self.server.commands[self.place :]:
            told = told or line.startswith(b"SELECT")
            elsewhere = line.startswith(b"EXAMINE") or (elsewhere and not line.startswith(b"SELECT"))
            numbers = re.match(rb"UID (?:FETCH|STORE|MOVE|COPY|EXPUNGE|SEARCH UID) ([\d:,*]+)", line)
            if numbers is None or elsewhere:
                continue
            low = min(int(n) for n in re.findall(rb"\d+", numbers[1]))
            if not told or (low < 1001 and b"*" not in numbers[1]):
                found.append(line)
        return found


MOMENTS = ["idle", "UID FETCH", "UID COPY", "EXAMINE"]
if FULL:
    MOMENTS += ["select", "UID STORE", "UID MOVE", "UID SEARCH"]


@pytest.mark.parametrize("when", MOMENTS)
def test_no_command_names_a_message_by_an_old_number(when: str, tmp_path: Path, record: Any) -> None:
    """Whenever the server says it, the connection is given up; then each message is acted on once."""
    able = ABLE.replace(" UIDPLUS", "") if when == "EXAMINE" else ABLE  # so that a copy is looked for
    with ScriptedServer(capability=able) as server:
        for name in ("Copies", "There"):
            server.box(name)
        for number in range(5):
            server.box().add(letter(f"stays {number}"))
        text = (
            f"accounts:\n  work: {{host: 127.0.0.1, port: {server.port}, security: none, username: me, "
            "password: {env: LAB_PASSWORD}}\nrules:\n"
            "  - {name: r, when: {subject: acts}, then: [{copy: Copies}, {mark: flagged}, {move: There}]}\n"
        )
        with Program(tmp_path, text) as program:
            program.run("run", "--once")
            change = Renumbering(server)
            arrive(server, "acts 0")
            if when not in ("select", "idle"):
                server.script(when.encode(), lambda *_: change(says=when != "EXAMINE"), then_model=True)
            program.start()
            if when in ("select", "idle"):
                program.wait_for(lambda: len(server.box("There").mails) == 1, timeout=60)
                program.wait_for(lambda: any(session.idling for session in server.sessions), timeout=60)
                told = change() or b""
                if when == "idle":
                    server.tell(told)
                else:
                    for session in list(server.sessions):
                        session.cut()
            program.wait_for(lambda: change.place is not None, timeout=60)
            place = change.place or 0
            program.wait_for(
                lambda: any(c.startswith(b"SELECT") for c in server.commands[place:]), timeout=60
            )
            program.wait_for(lambda: any(session.idling for session in server.sessions), timeout=60)
            arrive(server, "acts 1", tell=True)
            program.wait_for(lambda: len(server.box("There").mails) == 2, timeout=60)
            assert program.stop() == 0
            assert [e["state"] for e in program.log()] == ["done"] * 6
        record("T10", 1, wrong=len(change.stale()))
        assert change.stale() == []
        for name in ("Copies", "There"):
            found = sorted(mail.fields("subject") for mail in server.box(name).mails)
            assert found == ["acts 0", "acts 1"], name
        assert {mail.fields("subject") for mail in server.box().mails} == set(subjects("stays", 5))


def arrive(server: ScriptedServer, subject: str, *, uid: int | None = None, tell: bool = False) -> None:
    """Mail that comes now, in its place."""
    with server.lock:
        box: Box = server.box()
        mail = box.add(letter(subject), uid=uid)
        mail.received = datetime.now(UTC).replace(microsecond=0)
        box.mails.sort(key=lambda each: each.uid)
        if tell:
            server.tell(b"* %d EXISTS\r\n" % len(box.mails))


# -- T13, T14: numbers that come late --------------------------------------------------------------------
def late(server: ScriptedServer, folder: Path) -> Program:
    text = (
        f"accounts:\n  work: {{host: 127.0.0.1, port: {server.port}, security: none, username: me, "
        "password: {env: LAB_PASSWORD}}\nrules:\n  - {name: r, when: always, then: [{mark: flagged}]}\n"
    )
    return Program(folder, text)


def test_a_number_that_shows_late_is_judged_with_the_next_news(tmp_path: Path, record: Any) -> None:
    """UID 105 after 110: the sweep looks below the checkpoint."""
    with ScriptedServer() as server:
        for number in range(100):
            server.box().add(letter(f"old {number}"))
        with late(server, tmp_path) as program:
            program.start()
            program.wait_for(lambda: any(session.idling for session in server.sessions), timeout=60)
            for uid in (110, 105):
                arrive(server, f"uid {uid}", uid=uid, tell=True)
                program.wait_for(f"uid={uid} rule=r flag \\Flagged done", timeout=60)
                program.wait_for(lambda: any(session.idling for session in server.sessions), timeout=60)
            assert program.stop() == 0
            assert sorted(e["uid"] for e in program.log()) == [105, 110]
            record("T13", 2)


def test_a_number_that_shows_very_late_is_found_by_the_daily_scan(tmp_path: Path, record: Any) -> None:
    """Below what sweeps look at, once a day all of the mailbox is."""
    with ScriptedServer() as server:
        for uid in range(1, 1001):
            if uid != 105:
                server.box().add(letter(f"old {uid}"), uid=uid)
        with late(server, tmp_path) as program:
            program.run("run", "--once")
            arrive(server, "late", uid=105)
            program.run("run", "--once")
            assert program.log() == [], "else this shows nothing"
            with opened(program.state / "journal.db") as journal:
                journal.execute("UPDATE mailbox SET last_full_scan = last_full_scan - 86400000001")
            program.run("run", "--once")
            assert [e["uid"] for e in program.log()] == [105]
            record("T14", 1)


@pytest.mark.parametrize("times", [1, 2], ids=["readable again", "unreadable for once more"])
def test_what_waits_is_still_new_after_a_change(times: int, tmp_path: Path, record: Any) -> None:
    """A message that could not be judged for hours has no identity yet; it is judged all the same."""
    with ScriptedServer(capability=ABLE) as server:
        text = (
            f"accounts:\n  work:\n    host: 127.0.0.1\n    port: {server.port}\n    security: none\n"
            "    username: me\n    password: {env: SCRIPTED}\n"
            "rules:\n  - {name: all, when: {subject: stuck}, then: [{move: There}]}\n"
        )
        with Program(tmp_path, text, environment={"SCRIPTED": server.password}) as program:
            program.run("run", "--once")
            mail = server.box().add(letter("stuck"))
            mail.received = datetime.now(UTC) - timedelta(hours=3)
            server.script(rb"UID FETCH", b"{tag} OK nothing to say\r\n", times=times)
            program.run("run", "--once", status=None)
            with opened(program.state / "journal.db") as journal:  # three hours pass
                hours = 3 * 3600 * 10**6
                journal.execute("UPDATE message SET recorded_at = recorded_at - ?", (hours,))
                journal.execute("UPDATE mailbox SET baseline_at = baseline_at - ?", (2 * hours,))
            server.box(uidvalidity=4711)
            program.run("run", "--once")
            moved = list(server.box("There").mails)
        record("T9", 1, lost=1 - len(moved), note="a message that waited")
        assert len(moved) == 1 and not server.box().mails
