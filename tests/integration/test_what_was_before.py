"""Conditions on what was before, and scripts that judge, through the worker on a real server."""

from __future__ import annotations

import imaplib
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need_dovecot
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot, Layout, message
from tests.lab.program import Program, account


def subjects(server: Dovecot, user: str, keyword: str, mailbox: str = "INBOX") -> list[str]:
    """Subjects of the messages with that keyword, in their order."""
    with server.session(user, mailbox) as client:
        found = client.uid("SEARCH", f"KEYWORD {keyword}")[1][0].decode().split()
        told = [client.uid("FETCH", uid, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1] for uid in found]
    # Beside the answer may stand what somebody else's flags have become.
    headers = [next(part[1] for part in parts if isinstance(part, tuple)) for parts in told]
    return [header.decode().partition(": ")[2].strip() for header in headers]


def config(server: Dovecot, user: str, rules: str, **more: Any) -> str:
    return "accounts:\n" + account(server, user, **more) + "rules:\n" + rules


def executable(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def outcome(explained: dict[str, Any], rule: str) -> dict[str, Any]:
    return next(r for r in explained["rules"] if r["name"] == rule)


# -- duplicate ----------------------------------------------------------------------------------------
DUPLICATES = "  - {name: twice, when: {duplicate: 7d}, then: [{flag: $Twice}]}\n"


def test_the_second_is_a_duplicate(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Of two with one Message-ID the later is one, in any watched mailbox and in one window; nobody's copy of
    the message itself is."""
    dovecot.append(user, message(0, message_id="<old@x>"))
    with Program(tmp_path, config(dovecot, user, DUPLICATES, mailboxes=["INBOX", "Team"])) as program:
        with dovecot.session(user) as client:
            client.create("Team")
        program.run("run", "--once")
        mails = [message(n, subject=name, message_id=i) for n, (name, i) in enumerate([
            ("first", "<a@x>"), ("second", "<a@x>"), ("other", "<b@x>"), ("after old", "<old@x>"),
        ])]  # fmt: skip
        mails += [b"From: a@b.example\r\nSubject: nameless\r\n\r\nx\r\n"] * 2
        dovecot.append(user, mails)
        program.run("run", "--once")
        assert subjects(dovecot, user, "$Twice") == ["second"], "what was there before us was not seen"
        dovecot.append(user, [message(9, subject="third", message_id="<b@x>")], mailbox="Team")
        with dovecot.session(user, "INBOX") as client:
            client.uid("COPY", "2", "Team")  # of "first": the same message
        program.run("run", "--once")
        assert subjects(dovecot, user, "$Twice", "Team") == ["third"]
        (explained,) = program.json("explain", "--uid", "3", "--mailbox", "INBOX")
        (traced,) = outcome(explained, "twice")["conditions"]
        assert traced["value"]["message_id"] == "a@x" and traced["value"]["earlier"]["uid"] == 2
        (explained,) = program.json("explain", "--uid", "2", "--mailbox", "INBOX")
        assert outcome(explained, "twice")["matched"] is False
        again = program.json("plan")
        found = [one["uid"] for one in again[:-1] if one["mailbox"] == "INBOX"]
        assert found == [1, 3], "judged again alike; the oldest is seen last"


def test_plan_and_apply_agree_on_duplicates(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Without a journal, `plan` counts the duplicates among what is there as `apply` does."""
    dovecot.append(user, [message(n, subject=f"{n}", message_id=f"<{n % 3}@x>") for n in range(9)])
    with Program(tmp_path, config(dovecot, user, DUPLICATES)) as program:
        *planned, summary = program.json("plan")
        assert len(planned) == 6 and summary["summary"]["rules"] == {"twice": 6}
        *applied, _ = program.json("apply", "--yes")
        assert len(applied) == 6
        assert subjects(dovecot, user, "$Twice") == ["3", "4", "5", "6", "7", "8"]


def test_against_rules_without_it(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """`plan --against` knows duplicates whichever of the two files asks for them."""
    dovecot.append(user, [message(n, subject=f"{n}", message_id="<a@x>") for n in range(3)])
    with Program(tmp_path, config(dovecot, user, DUPLICATES)) as program:
        other = tmp_path / "other.yaml"
        other.write_text(config(dovecot, user, "  - {name: none, when: {subject: z}, then: [keep]}\n"))
        differing = [one["uid"] for one in program.json("plan", "--against", str(other))[:-1]]
        program.config.write_text(other.read_text())
        other.write_text(config(dovecot, user, DUPLICATES))
        assert [one["uid"] for one in program.json("plan", "--against", str(other))[:-1]] == differing
        assert differing == [2, 3]


# -- script -------------------------------------------------------------------------------------------
def test_a_script_judges(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """0 matches, 1 does not, else the rule does nothing and the message stays; it is asked once for each
    message, only where the other conditions leave it open, and sees the message and who asks."""
    executable(
        tmp_path, "judge.sh",
        '#!/bin/sh\necho "$MAILRULES_RULE $MAILRULES_UID $MAILRULES_MESSAGE_ID $EXTRA" >> asked\n'
        'echo "first line" >&2; echo "looked at it" >&2\n'
        'case "$(cat)" in *yes*) exit 0;; *no*) exit 1;; *later*) exit 75;; *) exit 3;; esac\n',
    )  # fmt: skip
    judge = tmp_path / "judge.sh"
    judge.write_text(judge.read_text().replace(">> asked", f">> {tmp_path}/asked"))
    rules = (
        "  - name: ask\n    when: {subject: ask, script: {run: [./judge.sh], env: {EXTRA: x}}}\n"
        "    then: [{flag: $Yes}]\n"
        "  - {name: away, when: always, then: [{move: Away}]}\n"
    )
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        program.run("run", "--once")
        dovecot.append(user, [
            message(1, subject="ask 1", body="yes", message_id="<1@x>"),
            message(2, subject="ask 2", body="no"), message(3, subject="ask 3", body="what"),
            message(4, subject="else", body="yes"), message(5, subject="ask 5", body="later"),
        ])  # fmt: skip
        program.run("run", "--once", status=None)
        assert subjects(dovecot, user, "$Yes", "Away") == ["ask 1"]
        asked = (tmp_path / "asked").read_text().splitlines()
        assert sorted(line.split()[1] for line in asked) == ["1", "2", "3", "5"]
        assert "ask 1 <1@x> x" in asked
        skipped = [e for e in program.log() if e["rule"] == "ask" and e["state"] == "skipped"]
        assert [e["uid"] for e in skipped] == [3] and "exit status 3" in str(skipped[0]["detail"])
        with dovecot.session(user, "INBOX") as client:
            left = client.uid("SEARCH", "ALL")[1][0].split()
        assert left == [b"3", b"5"], "one can't be judged, one is asked again later"
        (tmp_path / "asked").unlink()
        (explained,) = program.json("explain", "--uid", "3")
        assert outcome(explained, "ask")["matched"] is None and not (tmp_path / "asked").exists()
        (explained,) = program.json("explain", "--uid", "3", "--scripts")
        traced = outcome(explained, "ask")["conditions"][1]
        assert traced["condition"] == "script" and traced["matched"] is None
        assert traced["value"] == {"exit": 3, "stderr": "looked at it"}
        (tmp_path / "asked").unlink()
        program.json("plan", status=None)
        assert len((tmp_path / "asked").read_text().splitlines()) == 2, "plan asks each once"


def test_explain_runs_scripts_when_told(tmp_path: Path, dovecot: Dovecot, user: str) -> None:
    """`explain FILE` runs no script by itself; with --scripts only those that it depends on."""
    executable(tmp_path, "judge.sh", f"#!/bin/sh\necho x >> {tmp_path}/asked\ngrep -q secret\n")
    rules = (
        "  - {name: a, when: {subject: hello, script: [./judge.sh]}, then: [keep]}\n"
        "  - {name: b, when: {subject: nothing, script: [./judge.sh]}, then: [keep]}\n"
    )
    mail = tmp_path / "mail.eml"
    mail.write_bytes(message(1, subject="hello", body="secret"))
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        (explained,) = program.json("explain", str(mail))
        assert outcome(explained, "a")["matched"] is None and not (tmp_path / "asked").exists()
        assert "--scripts" in program.run("explain", str(mail)).stdout
        (explained,) = program.json("explain", str(mail), "--scripts")
        assert outcome(explained, "a")["matched"] is True and outcome(explained, "b")["matched"] is False
        assert (tmp_path / "asked").read_text() == "x\n"
        assert outcome(explained, "b")["conditions"][1]["matched"] is None


def test_a_script_that_hangs_holds_up_its_own_mailbox_alone(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """While a script of one mailbox hangs, new mail of another is acted on; then its timeout ends it."""
    rules = (
        "  - {name: slow, mailboxes: [Slow], when: {script: {run: [/bin/sleep, '60'], timeout: 3s}},"
        " then: [{flag: $Slow}]}\n"
        "  - {name: quick, mailboxes: [INBOX], when: always, then: [{flag: $Quick}]}\n"
    )
    with dovecot.session(user) as client:
        client.create("Slow")
    with Program(tmp_path, config(dovecot, user, rules, mailboxes=["INBOX", "Slow"])) as program:
        program.run("run", "--once")
        program.start("-v")
        program.wait_for("connected", timeout=20)
        dovecot.append(user, message(1), mailbox="Slow")
        dovecot.append(user, message(2, subject="quick"))
        program.wait_for(lambda: subjects(dovecot, user, "$Quick") == ["quick"], timeout=20)
        program.wait_for("longer than its timeout", timeout=30)
        program.stop()
        assert subjects(dovecot, user, "$Slow", "Slow") == []


def test_a_slow_script_is_heard_when_it_has_ended(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """New mail whose script takes its time is put off, and judged as soon as that has said so; each is run
    once, and a worker that stops meanwhile asks anew."""
    executable(tmp_path, "slow.sh", f"#!/bin/sh\necho $MAILRULES_UID >> {tmp_path}/asked\nsleep 2\n")
    rules = "  - {name: slow, when: {script: [./slow.sh]}, then: [{flag: $Slow}]}\n"
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        program.run("run", "--once")
        program.start()
        program.wait_for("connected", timeout=20)
        dovecot.append(user, [message(n, subject=f"{n}") for n in range(10)])
        ten = [str(n) for n in range(10)]
        program.wait_for(lambda: sorted(subjects(dovecot, user, "$Slow")) == ten, timeout=60)
        asked = (tmp_path / "asked").read_text().split()
        assert sorted(asked, key=int) == [str(n) for n in range(1, 11)]
        for uid, name in ((11, "stopped"), (12, "killed")):
            dovecot.append(user, message(10, subject=name))
            program.wait_for(lambda n=uid: str(n) in (tmp_path / "asked").read_text().split(), timeout=30)
            program.stop() if name == "stopped" else program.kill()
            program.run("run", "--once")
            assert name in subjects(dovecot, user, "$Slow")
            if name == "stopped":
                program.start()


def test_plan_can_be_stopped_while_a_script_hangs(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Ctrl-C ends `plan` and its script at once."""
    executable(tmp_path, "hang.sh", f"#!/bin/sh\necho x >> {tmp_path}/asked\nexec sleep 50\n")
    rules = "  - {name: hang, when: {script: [./hang.sh]}, then: [keep]}\n"
    dovecot.append(user, message(1))
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        planning = subprocess.Popen(
            program.arguments("plan"), env=program.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        program.wait_for((tmp_path / "asked").exists)
        planning.send_signal(signal.SIGINT)
        said = planning.communicate(timeout=15)[1].decode()
        assert "Traceback" not in said and planning.returncode != 0


# -- what the Sent mailbox tells ----------------------------------------------------------------------
WRITTEN = (
    "  - {name: known, when: {replied_to: true}, then: [{flag: $Known}]}\n"
    "  - {name: stranger, when: {replied_to: false}, then: [{flag: $Stranger}]}\n"
)


def test_who_was_written_to_is_known(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """To, Cc and Bcc of mail in Sent count, also of what was sent a moment ago; and are kept."""
    dovecot.append(user, [
        message(1, to="Ann <ANN@Example.test>, x@example.test"),
        message(2, to="y@y.example", cc="c@c.example"),
        message(3, to="undisclosed-recipients:;", bcc="b@b.example"),
    ], mailbox="Sent")  # fmt: skip
    with Program(tmp_path, config(dovecot, user, WRITTEN)) as program:
        program.run("run", "--once")
        dovecot.append(user, [
            message(n, subject=who, **{"from": f"Some One <{who}>"}) for n, who in enumerate([
                "ann@example.test", "C@C.Example", "b@b.example", "z@z.example", "example.test",
            ])
        ])  # fmt: skip
        program.run("run", "--once")
        assert subjects(dovecot, user, "$Known") == ["ann@example.test", "C@C.Example", "b@b.example"]
        assert subjects(dovecot, user, "$Stranger") == ["z@z.example", "example.test"]
        dovecot.append(user, message(5, to="z@z.example"), mailbox="Sent")
        dovecot.append(user, message(6, subject="now known", **{"from": "z@z.example"}))
        program.run("run", "--once")
        assert "now known" in subjects(dovecot, user, "$Known")
        (explained,) = program.json("explain", "--uid", "4")
        value = outcome(explained, "known")["conditions"][0]["value"]
        assert list(value) == ["z@z.example"] and value["z@z.example"].endswith("Z")
        with dovecot.session(user, "Sent") as client:
            client.uid("STORE", "1:*", "+FLAGS", "\\Deleted")
            client.expunge()
        dovecot.append(user, message(7, subject="still known", **{"from": "ann@example.test"}))
        program.run("run", "--once")
        assert "still known" in subjects(dovecot, user, "$Known")


def test_the_worker_reads_sent_and_comes_back(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """While it watches, each look into Sent is only at what is new, and the next mail is seen as before."""
    with Program(tmp_path, config(dovecot, user, WRITTEN)) as program:
        program.run("run", "--once")
        program.start()
        program.wait_for("connected", timeout=20)
        for n in range(3):
            dovecot.append(user, message(n, to=f"{n}@example.org"), mailbox="Sent")
            dovecot.append(user, message(n, subject=f"{n}", **{"from": f"{n}@example.org"}))
            expected = [str(k) for k in range(n + 1)]
            program.wait_for(lambda e=expected: subjects(dovecot, user, "$Known") == e, timeout=20)
        program.stop()
        assert subjects(dovecot, user, "$Stranger") == []


def test_sent_is_read_again_where_it_was_numbered_anew(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Another UIDVALIDITY: what is there is learned once more."""
    with Program(tmp_path, config(dovecot, user, WRITTEN)) as program:
        dovecot.append(user, [message(n, to="a@a.example") for n in range(5)], mailbox="Sent")
        program.run("run", "--once")
        dovecot.append(user, message(1, subject="one", **{"from": "a@a.example"}))
        program.run("run", "--once")
        with dovecot.session(user) as client:
            client.delete("Sent")
            client.create("Sent")
        dovecot.append(user, message(1, to="new@a.example"), mailbox="Sent")
        dovecot.append(user, message(2, subject="two", **{"from": "new@a.example"}))
        program.run("run", "--once")
        assert subjects(dovecot, user, "$Known") == ["one", "two"]


def test_without_a_sent_mailbox_it_is_unknown(lab_ca: LabCA, tmp_path: Path) -> None:
    """It says which setting helps, and the message stays; with that setting it can be judged."""
    need_dovecot()
    rules = WRITTEN + "  - {name: away, when: always, then: [{move: Away}]}\n"
    with Dovecot(Layout(special_use=False), ca=lab_ca) as server:
        user = server.new_user()
        with Program(tmp_path, config(server, user, rules)) as program:
            program.run("run", "--once")
            server.append(user, message(1, subject="one", **{"from": "a@a.example"}))
            done = program.run("run", "--once", status=None)
            assert "special_use: {sent: NAME}" in done.stderr, done.stderr
            assert subjects(server, user, "$Stranger") == [] == subjects(server, user, "$Known")
            with server.session(user) as client:
                assert client.select("INBOX")[1] == [b"1"]
                client.create("Postausgang")
            text = config(server, user, rules, special_use="{sent: Postausgang}")
            program.config.write_text(text)
            server.append(user, message(1, to="a@a.example"), mailbox="Postausgang")
            server.append(user, message(2, subject="two", **{"from": "a@a.example"}))
            program.run("run", "--once")
            assert subjects(server, user, "$Known", "Away") == ["two"]


def test_what_is_not_answered_in_time(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Old enough, and nothing in Sent names it in In-Reply-To or References."""
    rules = "  - {name: late, when: {unanswered_for: 4h}, schedule: {every: 15m}, then: [{flag: $Late}]}\n"
    old = datetime.now(UTC) - timedelta(hours=5)
    mails = [(n, message(n, subject=f"{n}", message_id=f"<{n}@c>")) for n in range(4)]
    with dovecot.session(user) as client:
        for n, mail in mails:
            client.append("INBOX", "", imaplib.Time2Internaldate(old) if n != 3 else "", mail)
    dovecot.append(user, [
        message(8, in_reply_to="<1@c>", to="c@c.example", message_id="<answer@us>"),
        message(9, references="<0.nobody@c>\r\n <2@c> <later@c>", to="c@c.example"),
    ], mailbox="Sent")  # fmt: skip
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        program.run("run", "--once")
        *planned, _ = program.json("plan", "--scheduled")
        assert [one["uid"] for one in planned] == [1]
        value = planned[0]["rules"][0]["conditions"][0]["value"]
        assert value["answered"] is None and value["received"].endswith("Z")
        program.run("apply", "--yes", "--scheduled", status=None)
        assert subjects(dovecot, user, "$Late") == ["0"]


def test_the_helpdesk_timer(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A worker's schedule finds what nobody has answered in time, and nothing that was answered before."""
    rules = "  - {name: late, when: {unanswered_for: 4s}, schedule: {every: 2s}, then: [{flag: $Late}]}\n"
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        program.run("run", "--once")
        program.start()
        program.wait_for("connected", timeout=20)
        for n in range(2):
            dovecot.append(user, message(n, subject=f"{n}", message_id=f"<{n}@c>"))
        dovecot.append(user, message(9, in_reply_to="<1@c>"), mailbox="Sent")
        program.wait_for(lambda: subjects(dovecot, user, "$Late") == ["0"], timeout=40)
        program.stop()
        assert subjects(dovecot, user, "$Late") == ["0"]


@pytest.mark.parametrize("journal", [True, False])
def test_plan_learns_without_writing(dovecot: Dovecot, user: str, tmp_path: Path, journal: bool) -> None:
    """`plan` knows what Sent says, whether there is a journal or not."""
    dovecot.append(user, message(1, to="a@a.example"), mailbox="Sent")
    dovecot.append(user, message(1, **{"from": "a@a.example"}))
    with Program(tmp_path, config(dovecot, user, WRITTEN)) as program:
        if journal:
            program.run("run", "--once")
        *planned, _ = program.json("plan")
        assert planned[0]["actions"][0]["rule"] == "known"
