"""T40, T47: what mail and servers say reaches no terminal as a command, and no password leaves the worker."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import hostile
from tests.faults.conftest import Record
from tests.lab.program import Program
from tests.lab.scripted import FULL, ScriptedServer
from tests.lab.smtp import ScriptedSmtp

# -- T40 ----------------------------------------------------------------------------------------------
NASTY = {
    "ESC": "\x1b[2J\x1b[31m", "OSC": "\x1b]0;owned\x07", "OSC 8": "\x1b]8;;http://x\x1b\\",
    "C1": "\x9b2J\x9d0;x\x9c\x85", "DEL": "a\x7f\x08\x08", "bell": "\x07\x0e\x0f",
    "bidi": "\u202e\u2066gpj.exe\u2069\u202c\u200f", "lines": "\u2028\u2029\x0b\x0c\x1c\x1d\x1e",
    "CRLF": "a\r\n2026-01-01 00:00:00 ERROR forged", "invisible": "\u200b\ufeff\u2060\u200d",
    "DCS": "\x1bP1$r\x1b\\", "markup": "[bold red]x[/] [link=file:///etc]y[/link] {x} %s",
}  # fmt: skip
RAW = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
"""What must not come out: everything but the line end that a terminal obeys, or that is not seen."""


def encoded(text: str) -> bytes:
    """As an encoded word: how mail says what headers can't."""
    return b"=?utf-8?b?" + base64.b64encode(text.encode()) + b"?="


def evil_mail(number: int, nasty: str) -> bytes:
    raw = nasty.replace("\r\n", " ").encode()
    word = encoded(nasty)
    return (
        b"From: %s <a%d@example.test>\r\nTo: me@example.test\r\nSubject: evil %s %s\r\n"
        b"Message-ID: <%d%s@x>\r\nList-Id: %s <l%d.example.test>\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n"
        b"Authentication-Results: mx.example.test; dkim=%s\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n%s\r\n--b\r\n"
        b'Content-Type: application/x; name="%s"\r\n\r\nx\r\n--b--\r\n'
    ) % (word, number, word, raw, number, raw, raw, number, raw, raw, raw)


@pytest.fixture
def evil(tmp_path: Path) -> Iterator[tuple[Program, ScriptedServer]]:
    """A server full of nasty text, and rules under which all of it is said somewhere."""
    script = tmp_path / "say"
    script.write_text("#!/bin/sh\ncat >&2\nprintf '%b' '\\033[2J\\0302\\0233 stderr\\r\\n' >&2\nexit 1\n")
    script.chmod(0o755)
    rules = f"""
rules:
  - {{name: scripted, when: {{subject: evil}}, then: [{{script: [{script}, --, "{{{{ message.subject }}}}"]}}]}}
  - {{name: noted, when: {{subject: {{regex: "evil (?P<what>.*)"}}}},
      then: [{{log: "it says {{{{ match.what }}}} from {{{{ message.from.name }}}}"}}]}}
  - {{name: lists, when: {{exists: List-Id}}, then: [{{copy: "Lists/{{{{ message.list_id }}}}"}}]}}
  - {{name: refused, when: {{smaller_than: 1MB}}, then: [{{copy: Refused}}]}}
  - {{name: attached, when: {{attachment: {{name: "*"}}}}, then: [{{flag: $B}}]}}
  - {{name: sent, when: {{larger_than: 10}}, then: [{{forward: {{to: boss@example.test, subject: "{{{{ message.subject }}}}"}}}}]}}
  - {{name: keyed, when: {{auth: {{dkim: pass}}}}, then: [{{flag: $A}}]}}
"""  # noqa: E501
    text = "".join(NASTY.values()).replace("\r\n", " ")
    line = text.encode().replace(b"\r", b"").replace(b"\n", b"")
    with ScriptedServer(greeting=b"* OK " + line + b"\r\n") as server, ScriptedSmtp() as smtp:
        smtp.replies["RCPT"] = "550 no " + text
        server.box("Refused")
        server.box("Strange" + text)
        server.script(rb"CAPABILITY", b"* OK [ALERT] attention " + line + b"\r\n", then_model=True)
        server.script(rb'UID COPY \S+ "?Refused', b"{tag} NO [CANNOT] no " + line + b"\r\n")
        server.script(rb"LOGOUT", b"* BYE " + line + b"\r\n", then_model=True)
        account = hostile.account("work", server.port, mailboxes=("INBOX", '"Strange*"', "Missing"))
        account += f"    smtp: {{host: 127.0.0.1, port: {smtp.port}, security: none, username: ~}}\n"
        account += "    trusted_authserv: mx.example.test\n"
        config = "settings: {}\naccounts:\n" + account + rules
        with Program(tmp_path, config, environment={"LAB": server.password}) as program:
            yield program, server


def said_raw(text: str) -> list[str]:
    return [line for line in text.split("\n") if RAW.search(line)]


COMMANDS: list[tuple[str, ...]] = [
    ("plan", "-v"), ("plan", "--json"), ("run", "--once", "-v"), ("log",), ("log", "-v"), ("log", "--json"),
    ("status", "-v"), ("status", "--json"), ("check", "--online"), ("apply", "--yes", "-v"),
    ("explain", "--uid", "1", "--mailbox", "INBOX", "-v"), ("explain", "FILE", "-v"), ("explain", "FILE"),
    ("explain", "FILE", "--json"),
]  # fmt: skip


@pytest.mark.timeout(600)
def test_nothing_obeys_mail(evil: tuple[Program, ScriptedServer], tmp_path: Path, record: Record) -> None:
    """Whatever mail, servers and scripts say: no control or invisible character in any output."""
    program, server = evil
    first = program.run("run", "--once", status=None)
    for number, nasty in enumerate(NASTY.values()):
        server.box().add(evil_mail(number, nasty))
    file = tmp_path / "evil.eml"
    file.write_bytes(evil_mail(0, "".join(NASTY.values())))
    outputs = {"first": first}
    for arguments in COMMANDS:
        given = tuple(word.replace("FILE", str(file)) for word in arguments)
        outputs[" ".join(arguments)] = done = program.run(*given, status=None)
        if "--json" in arguments:
            for line in done.stdout.splitlines():
                json.loads(line)
    failed = Counter(entry["rule"] for entry in program.log("--state", "failed"))
    assert set(failed) == {"scripted", "refused", "sent"} and min(failed.values()) >= len(NASTY), failed
    everything = "".join(done.stdout + done.stderr for done in outputs.values())
    for word in ("attention", "stderr", "550", "evil"):
        assert word in everything, f"{word} was said nowhere: the test proves nothing"
    wrong = [
        f"{name}: {line!r}"
        for name, done in outputs.items()
        for line in said_raw(done.stdout) + said_raw(done.stderr)
    ]
    wrong += [f"{name}: a line is forged" for name, done in outputs.items()
              if re.search(r"(?m)^2026-01-01 00:00:00 ERROR forged", done.stdout + done.stderr)]  # fmt: skip
    crashed = [name for name, done in outputs.items() if "Traceback" in done.stderr]
    record("T40", runs=len(outputs), wrong=len(wrong), note="commands, as text and as JSON")
    assert not wrong, "\n".join(wrong[:10])
    assert not crashed, outputs[crashed[0]].stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", ["text", "json"])
def test_the_workers_log_and_status(
    evil: tuple[Program, ScriptedServer], form: str, tmp_path: Path, record: Record
) -> None:
    """The worker's log, as text and as JSON, and what it tells systemd, have no raw control character."""
    program, server = evil
    text = program.config.read_text()
    program.config.write_text(text.replace("settings: {}", f"settings: {{log: {{format: {form}}}}}"))
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(0.2)
        program.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    heard.append(notify.recv(65536))
                except TimeoutError:
                    pass

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            program.start("-v")
            program.wait_for("watched from now on")
            deadline = time.monotonic() + 20
            while not any(session.idling for session in list(server.sessions)):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            for number, nasty in enumerate(NASTY.values()):
                server.deliver(evil_mail(number, nasty))
            program.wait_for("rule=sent", timeout=60)
            server.script(
                rb"IDLE", b"* BYE " + "".join(NASTY.values()).replace("\r\n", "").encode() + b"\r\n"
            )
            for session in list(server.sessions):
                if session.idling:
                    session.send(b"* BYE leaving \x1b[2J\xc2\x9b\r\n")
            program.wait_for(lambda: "goodbye" in program.said() or "closed" in program.said())
            status = program.run("status", "-v").stdout
            program.stop()
        finally:
            stop.set()
            listener.join()
    said = program.output.read_bytes().decode("utf-8", "surrogateescape")
    wrong = said_raw(said) + said_raw(status) + [
        line for data in heard for line in said_raw(data.decode("utf-8", "surrogateescape"))
    ]  # fmt: skip
    record("T40", runs=len(said.splitlines()), wrong=len(wrong), note=f"log lines ({form}), STATUS=")
    assert heard and not wrong, wrong[:10]
    assert {line.partition(b"=")[0] for data in heard for line in data.split(b"\n") if line} <= {
        b"READY", b"STATUS", b"WATCHDOG", b"STOPPING",
    }  # fmt: skip
    if form == "json":
        assert all(json.loads(line)["message"] for line in said.splitlines())


# -- T47 ----------------------------------------------------------------------------------------------
CANARY = 'kanarie"vogel\\42+/=x'


def forms(secret: str) -> list[bytes]:
    """The password as it might stand somewhere: bare, quoted for IMAP, in JSON, in base64 at any offset."""
    quoted = secret.replace("\\", "\\\\").replace('"', '\\"')
    found = [secret.encode(), quoted.encode(), json.dumps(secret)[1:-1].encode(), repr(secret)[1:-1].encode()]
    for before in (b"", b"x", b"xx", b"\0me\0"):
        encoded = base64.b64encode(before + secret.encode())
        found.append(encoded[4:-4])
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("moment", ["login refused", "at work"])
def test_the_password_is_nowhere(moment: str, tmp_path: Path, record: Record) -> None:
    """A server that repeats the password in all it says, a script that looks around: it is nowhere."""
    password = tmp_path / "password"
    password.write_text(CANARY + "\n")
    password.chmod(0o600)
    spy = tmp_path / "spy"
    seen = tmp_path / "seen"
    spy.write_text(
        "#!/bin/sh\n{ env; cat /proc/self/environ /proc/$PPID/environ /proc/$PPID/cmdline; "
        f"ls -l /proc/self/fd; pwd; ls -la; ulimit -c; cat; }} >> {seen} 2>&1\nexit 0\n"
    )
    spy.chmod(0o755)
    echo = CANARY.replace("\\", "\\\\").replace('"', '\\"').encode()
    all_forms = b" ".join([CANARY.encode(), echo, base64.b64encode(b"\0me\0" + CANARY.encode())])
    rules = f"""
rules:
  - {{name: spy, when: always, then: [{{script: [{spy}]}}]}}
  - {{name: no, when: always, then: [{{copy: Refused}}]}}
  - {{name: go, when: always, then: [{{move: Moved}}]}}
"""
    with ScriptedServer(password=CANARY, capability=FULL) as server:
        server.box("Refused")
        server.box("Moved")
        if moment == "login refused":
            server.script(rb"LOGIN", b"{tag} NO [AUTHENTICATIONFAILED] not " + all_forms + b"\r\n")
        else:
            server.script(rb"CAPABILITY", b"* OK [ALERT] you are " + all_forms + b"\r\n", then_model=True)
            server.script(rb"SELECT", b"* OK [ALERT] still " + all_forms + b"\r\n", then_model=True)
            server.script(rb'UID COPY \S+ "?Refused', b"{tag} NO [CANNOT] " + all_forms + b"\r\n")
        text = "accounts:\n" + hostile.account("work", server.port, mailboxes=("INBOX", "Missing")).replace(
            "{env: LAB}", f"{{file: {password}}}"
        )
        with Program(tmp_path, text + rules, environment={"PYTHONFAULTHANDLER": "1"}) as program:
            outputs = [program.run("run", "--once", "-v", status=None)]
            for number in range(3):
                server.box().add(b"Subject: %d\r\n\r\nx\r\n" % number)
            outputs.append(program.run("run", "--once", "-v", status=None))
            program.start("-v")
            program.wait_for("refused" if moment == "login refused" else "connected")
            assert program.worker is not None
            proc = Path(f"/proc/{program.worker.pid}")
            processes = (proc / "environ").read_bytes() + (proc / "cmdline").read_bytes()
            for session in list(server.sessions):
                try:
                    session.send(b"* BYE go, " + all_forms + b"\r\n")
                except OSError:
                    pass
            if moment == "at work":
                program.wait_for("goodbye")
            for arguments in (("status",), ("log",), ("check", "--online")):
                outputs.append(program.run(*arguments, "-v", status=None))
                outputs.append(program.run(*arguments, "--json", status=None))
            program.stop()
            places = {
                "output": "".join(done.stdout + done.stderr for done in outputs).encode("utf-8", "replace"),
                "log": program.said().encode("utf-8", "replace"),
                "processes": processes,
                "script": seen.read_bytes() if seen.exists() else b"",
            }
            for file in (*program.state.rglob("*"), *(tmp_path / "run").rglob("*")):
                if file.is_file() and not stat.S_ISSOCK(file.stat().st_mode):
                    places[str(file.relative_to(tmp_path))] = file.read_bytes()
    assert any(name.endswith(".db") or "sqlite" in name or "journal" in name for name in places), (
        places.keys()
    )
    if moment == "at work":
        assert b"MAILRULES_UID" in places["script"] and b"***" in places["output"], "the server was not heard"
    hits = [name for name, data in places.items() if any(form in data for form in forms(CANARY))]
    record("T47", runs=len(places), wrong=len(hits), note=moment)
    assert not hits, {name: _around(places[name]) for name in hits}


def _around(data: bytes) -> bytes:
    place = max(data.find(form) for form in forms(CANARY))
    return data[max(0, place - 150) : place + 60]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_password_for_everybody_is_refused(mode: int, tmp_path: Path, record: Record) -> None:
    """A password file that others can read or write: nothing is sent, and what closes it is named."""
    password = tmp_path / "password"
    password.write_text("pw\n")
    password.chmod(mode)
    with ScriptedServer() as server:
        text = "accounts:\n" + hostile.account("work", server.port).replace(
            "{env: LAB}", f"{{file: {password}}}"
        )
        rules = "rules:\n  - {name: a, when: always, then: [keep]}\n"
        with Program(tmp_path, text + rules) as program:
            done = program.run("run", "--once", status=None)
        assert done.returncode not in (0, 75) and f"chmod 600 {password}" in done.stderr, done.stderr
        assert not server.sent(b"LOGIN")
    record("T47", runs=1, note=f"password file {mode:o}")
    assert os.path.exists(password)
