"""A journal that was put back from a copy: refused, and then gone on with, and nothing is sent twice."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailrules import config as configuration
from mailrules.adapters.store import Store, StoreBroken
from mailrules.house import House
from mailrules.once import run_once
from tests.faults.letters import (
    FULL,
    Killed,
    all_sent_once,
    config,
    epoch,
    fill,
    killed_at,
    letter,
    once,
    sent,
    subjects,
)
from tests.lab.dovecot import PASSWORD, Dovecot
from tests.lab.journal import opened
from tests.lab.program import Program
from tests.lab.scripted import ScriptedServer

pytestmark = pytest.mark.timeout(900)
RULES = """\
  - {name: send, when: {subject: send}, then: [{forward: team@example.org}], on_unknown: retry}
  - {name: keep a copy, when: {subject: copy}, then: [{copy: Copies}]}
  - {name: file, when: {any: [{subject: file}, {subject: copy}]}, then: [{move: Filed}]}
"""


def back_up(state: Path, to: Path) -> None:
    """As docs/operations.md says."""
    with opened(state / "journal.db") as journal:
        journal.execute("VACUUM INTO ?", [str(to)])


def put_back(state: Path, copy: Path) -> None:
    for name in ("journal.db-wal", "journal.db-shm"):
        (state / name).unlink(missing_ok=True)
    shutil.copy(copy, state / "journal.db")


def mailbox(server: Dovecot, user: str, name: str) -> list[str]:
    """The subjects in a mailbox."""
    with server.session(user) as client:
        if client.select(f'"{name}"', readonly=True)[0] != "OK":
            return []
        _, answer = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        found = [
            part[1].decode().removeprefix("Subject:").strip() for part in answer if isinstance(part, tuple)
        ]
        return sorted(found)


@pytest.mark.parametrize("since", [False, True], ids=["baseline now", "since"])
def test_nothing_is_sent_twice_by_a_journal_of_the_past(
    since: bool, dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path, record: Any
) -> None:
    """T20: what was sent, filed or copied since the copy stays as it is; what is new is judged."""
    fill(dovecot, user, subjects("send old", 5))
    text = config(dovecot, user, smtp_sink, RULES, "INBOX", '"Lists/*"')
    with Program(tmp_path, text) as program:
        program.run("run", "--once")
        fill(dovecot, user, ["send 1", "file 1"], date=None)
        program.run("run", "--once")
        program.run("pause", "--all")
        fill(dovecot, user, ["send 2", "file 2", "copy 2"], date=None)
        program.run("run", "--once")
        back_up(program.state, tmp_path / "copy.db")
        program.run("resume", "--all")
        with dovecot.session(user) as client:
            client.create("Lists/New")
        fill(dovecot, user, ["send 3", "file 3"], date=None)
        fill(dovecot, user, ["send 4"], "Lists/New", date=None)
        program.start()
        smtp_sink.wait(4, 60)
        program.wait_for(
            lambda: mailbox(dovecot, user, "Filed") == ["copy 2", "file 1", "file 2", "file 3"], timeout=60
        )
        program.kill()
        time.sleep(1.1)  # servers date mail to the second
        ended = datetime.now(UTC)
        fill(dovecot, user, ["send 5"], date=None)
        put_back(program.state, tmp_path / "copy.db")
        for words in (("run", "--once"), ("run",), ("apply", "--yes")) if FULL else (("run", "--once"),):
            refused = program.run(*words, status=1)
            assert "is older than the last one used here" in refused.stderr
            assert "mailrules resync --baseline now" in refused.stderr
        time.sleep(1.1)
        choice = ["--since", epoch(ended)] if since else ["--baseline", "now"]
        (done,) = program.json("resync", *choice, "--yes")
        assert len(done["unknown"]) == 1
        program.run("run", "--once")
        program.run("resume", "--all")
        fill(dovecot, user, ["send 6"], date=None)
        for _ in range(2):
            program.run("run", "--once")
        expected = [f"send {n}" for n in (1, 2, 3, 4, 6)] + (["send 5"] if since else [])
        all_sent_once(record, "T20", smtp_sink, expected)
        assert mailbox(dovecot, user, "Filed") == ["copy 2", "file 1", "file 2", "file 3"]
        assert mailbox(dovecot, user, "Copies") == ["copy 2"]
        (unknown,) = program.log("--state", "unknown")
        assert unknown["subject"] == "send 2" and "put back from a copy" in unknown["detail"]["error"]
        others = {(e["rule"], e["state"]) for e in program.log() if e["id"] != unknown["id"]}
        assert others == {("send", "done"), ("file", "done"), ("keep a copy", "done")}


def test_much_new_mail_is_held_first(dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path) -> None:
    """The brake holds after `resync` as after new numbers: --since with too early a time sends nothing."""
    with Program(tmp_path, config(dovecot, user, smtp_sink, RULES)) as program:
        program.run("run", "--once")
        back_up(program.state, tmp_path / "copy.db")
        fill(dovecot, user, subjects("send", 60), date=None)
        program.run("run", "--once")
        put_back(program.state, tmp_path / "copy.db")
        program.run("resync", "--since", "1d", "--yes")
        program.run("run", "--once")
        assert sent(smtp_sink) == once(subjects("send", 60))
        (pause,) = program.json("status")[0]["paused"]
        assert "the journal was put back from a copy, and 60 of its 60 messages" in pause["reason"]
        assert {e["state"] for e in program.log()} == {"held"}


def test_mail_that_has_no_date_is_old(tmp_path: Path) -> None:
    """What the server can't say the age of is never acted on unasked, and it is said."""
    text = "rules:\n  - {name: r, when: always, then: [{mark: flagged}]}\n"
    with ScriptedServer() as server:
        account = (
            f"accounts:\n  work: {{host: 127.0.0.1, port: {server.port}, security: none, username: me, "
            "password: {env: LAB_PASSWORD}}\n"
        )
        with Program(tmp_path, account + text) as program:
            program.run("run", "--once")
            program.run("resync", "--since", "2020-01-01", "--yes")
            server.box().add(letter("undated"))
            server.box().add(letter("dated"))
            answer = b'* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2 INTERNALDATE "02-Mar-2026 10:00:00 +0000")\r\n'
            server.script(rb"UID FETCH 1:2 \(.*INTERNALDATE", answer + b"{tag} OK done\r\n", times=1)
            assert "uid=1: the server does not say when they came" in program.run("run", "--once").stderr
            assert [e["uid"] for e in program.log()] == [2]


def test_numbered_anew_as_well(dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path) -> None:
    """A server that was put back with its journal: the time that was said counts, not the last sweep."""
    with Program(tmp_path, config(dovecot, user, smtp_sink, RULES)) as program:
        program.run("run", "--once")
        back_up(program.state, tmp_path / "copy.db")
        fill(dovecot, user, ["send 1"], date=None)
        program.run("run", "--once")
        put_back(program.state, tmp_path / "copy.db")
        dovecot.doveadm("mailbox", "update", "-u", user, "--uid-validity", "4000000009", "INBOX")
        time.sleep(1.1)
        program.run("resync", "--baseline", "now", "--yes")
        fill(dovecot, user, ["send 2"], date=None)
        for _ in range(2):
            program.run("run", "--once")
        assert sent(smtp_sink) == once(["send 1", "send 2"])


@pytest.mark.parametrize("braked", [False, True], ids=["few", "too many"])
def test_killed_between_any_two_steps(
    braked: bool, dovecot: Dovecot, smtp_sink: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any write of `resync` or of the pass after it, the next one comes to the same end."""
    monkeypatch.setenv("LAB_PASSWORD", PASSWORD)
    new = subjects("send new", 60 if braked else 3)
    for step in range(7):
        user = dovecot.new_user()
        smtp_sink.messages.clear()
        file, state = tmp_path / f"{step}.yaml", tmp_path / f"state{step}"
        file.write_text(config(dovecot, user, smtp_sink, RULES))
        house = configuration.load(file)

        def go(house: Any = house, state: Path = state) -> None:
            with Store.open(state) as store:
                run_once(House(house, store), done=lambda _: None)

        fill(dovecot, user, subjects("send old", 3))
        go()
        back_up(state, tmp_path / f"{step}.db")
        fill(dovecot, user, ["send before"], date=None)
        go()
        put_back(state, tmp_path / f"{step}.db")
        time.sleep(1.1)
        since = datetime.now(UTC).replace(microsecond=0)
        fill(dovecot, user, new, date=None)
        with pytest.raises(StoreBroken):
            go()
        if step == 0:
            with Store.open(state, put_back=True) as store, killed_at(1), pytest.raises(Killed):
                store.resync(since=since, at=since)
            with pytest.raises(StoreBroken):
                go()
        with Store.open(state, put_back=True) as store:
            store.resync(since=since, at=since)
        if step:
            with Store.open(state) as store, killed_at(step), pytest.raises(Killed):
                run_once(House(house, store), done=lambda _: None)
        go()
        go()
        assert sent(smtp_sink) == once(["send before"] if braked else ["send before", *new]), step
        with Store.open(state, read_only=True) as store:
            assert [e["state"] for e in store.log()] == ["held" if braked else "done"] * len(new), step
            assert store.paused() == ({f"mailbox:{user}/INBOX"} if braked else set()), step
            assert store.resync_since(user, "INBOX") is None
