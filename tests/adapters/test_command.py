"""adapters/command.py: how scripts are run, given their input, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mailrules.adapters.command import CommandResult, run, script
from mailrules.core.actions.base import Outcome
from mailrules.core.errors import PermanentError


def sh(code: str, *arguments: str, **more: Any) -> CommandResult:
    """Run a shell script; the shell is the program, nothing of ours reads the line."""
    return run(["/bin/sh", "-c", code, "sh", *arguments], **{"timeout": 10.0, **more})


def perform(code: str, **arguments: Any) -> Outcome:
    commits: list[int] = []
    outcome = script(
        {"run": ["/bin/sh", "-c", code], "timeout": 10.0, **arguments},
        stdin=b"", variables={"UID": "7", "EFFECT_KEY": "K"}, commit=lambda: commits.append(1),
    )  # fmt: skip
    assert commits == [1]
    return outcome


def alive(marker: str) -> list[int]:
    """Processes whose command line holds a marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


# -- what it is given -----------------------------------------------------------------------------------
def test_input_output_and_status() -> None:
    """Standard input, both outputs and the exit status go through, byte for byte."""
    result = sh("cat; echo oops >&2; exit 3", stdin=b"a\0b\xff\r\n")
    assert (result.status, result.stdout, result.stderr) == (3, b"a\0b\xff\r\n", b"oops\n")


def test_input_that_nobody_reads() -> None:
    """A program that does not read a large input blocks nobody."""
    assert sh("exit 0", stdin=b"x" * 20_000_000).status == 0


HOSTILE = [
    "$(id)",
    "`id`",
    "; rm -rf /",
    "-rf",
    "a\nb",
    "'\"\\",
    "é\u202e",
    "",
    " ",
    "*",
    "x" * 30_000,
    "\x1b[2J",
]


def test_arguments_are_passed_as_they_are() -> None:
    """No shell reads arguments: what was rendered is what the program sees."""
    result = run([sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *HOSTILE], timeout=20)
    assert eval(result.stdout) == HOSTILE


def test_environment_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH, language and home, nothing else of the worker's; no secrets, no credentials."""
    for name in ("WORK_PASSWORD", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "PYTHONPATH", "LD_PRELOAD"):
        monkeypatch.setenv(name, "canary")
    result = sh("env", env={"MAILRULES_UID": "7"})
    names = {line.split(b"=")[0].decode() for line in result.stdout.splitlines()}
    assert b"canary" not in result.stdout and b"MAILRULES_UID=7" in result.stdout
    usual = "PATH LANG LANGUAGE TZ HOME USER LOGNAME TMPDIR PWD SHLVL _ OLDPWD MAILRULES_UID"
    assert {n for n in names if not n.startswith("LC_")} <= set(usual.split())


def test_private_directory_is_gone_afterwards() -> None:
    """It runs in an empty directory of its own, 0700, which is removed."""
    result = sh("pwd; ls -A; stat -c %a .; echo x > left; echo $TMPDIR")
    here, mode, temporary = result.stdout.decode().split()
    assert mode == "700" and temporary == here and not Path(here).exists()


def test_no_descriptor_is_inherited(tmp_path: Path) -> None:
    """Only the three standard files are open in it, whatever the worker has open."""
    with (tmp_path / "secret").open("w") as leak:
        os.set_inheritable(leak.fileno(), True)
        result = run(
            [sys.executable, "-c", "import os; print(*sorted(os.listdir('/proc/self/fd')))"], timeout=20
        )
    assert set(result.stdout.split()) <= {b"0", b"1", b"2", b"3"}
    assert sh("ls -l /proc/self/fd").stdout.count(b"socket:") == 0


def test_limits() -> None:
    """No core dumps, bounded files and processor time."""
    result = sh("ulimit -c; ulimit -t; ulimit -n", timeout=5.0)
    assert result.stdout.split() == [b"0", b"30", b"1024"]


def test_relative_program_stands_under_its_base(tmp_path: Path) -> None:
    """`./x` is looked for beside the file that names it."""
    program = tmp_path / "x"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    assert run(["./x"], base=str(tmp_path)).stdout == b"here\n"


@pytest.mark.parametrize(
    ("name", "word"), [("no-such-program", "no program"), ("/nowhere/x", "no file"), ("/etc/passwd", "chmod")]
)
def test_program_that_cannot_run(name: str, word: str) -> None:
    """It fails in words before the commit point."""
    commits: list[int] = []
    outcome = script({"run": [name]}, stdin=b"", variables={}, commit=lambda: commits.append(1))
    assert outcome.state == "failed" and word in outcome.detail["error"] and commits == []


def test_file_that_is_no_program(tmp_path: Path) -> None:
    """What the kernel refuses to run failed, and says so."""
    odd = tmp_path / "odd"
    odd.write_text("not a program")
    odd.chmod(0o755)
    outcome = script({"run": [str(odd)]}, stdin=b"", variables={}, commit=lambda: None)
    assert outcome.state == "failed" and "Exec format error" in outcome.detail["error"]


# -- how it ends ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "state", "word"),
    [
        ("exit 0", "done", ""),
        ("exit 75", "later", "75"),
        ("echo no such team >&2; exit 1", "failed", "status 1: no such team"),
        ("exit 111", "failed", "status 111"),
        ("kill -9 $$", "failed", "signal 9"),
        ("kill -SEGV $$", "failed", "signal 11"),
    ],
)
def test_exit_status(code: str, state: str, word: str) -> None:
    """0 is done, 75 later, everything else failed; a signal is `interrupted`."""
    outcome = perform(code)
    assert outcome.state == state and word in outcome.detail.get("error", "")
    assert ("interrupted" in outcome.detail) == ("signal" in word)


def test_hang_is_ended() -> None:
    """A program that hangs is ended at its timeout."""
    started = time.monotonic()
    outcome = perform("sleep 60", timeout=0.5)
    assert outcome.state == "failed" and outcome.detail["interrupted"] is True
    assert "timeout" in outcome.detail["error"]
    assert time.monotonic() - started < 3


def test_ignoring_term_helps_nobody() -> None:
    """What ignores TERM is killed two seconds later."""
    started = time.monotonic()
    result = sh("trap '' TERM; while :; do sleep 0.1; done", timeout=0.5)
    assert result.status == -9 and result.interrupted == "timeout"
    assert time.monotonic() - started < 5.5


def test_term_can_be_used_to_clean_up() -> None:
    """TERM comes first: a program may end in order."""
    result = sh("trap 'echo bye; exit 4' TERM; while :; do sleep 0.1; done", timeout=0.5)
    assert (result.status, result.stdout, result.interrupted) == (4, b"bye\n", "timeout")


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_flood_is_cut(stream: str) -> None:
    """Of each output 64 KB are kept; the rest is read and dropped, and the program goes on."""
    result = sh(f"head -c 3000000 /dev/zero {stream}; exit 0")
    assert result.status == 0 and result.cut
    assert len(result.stdout + result.stderr) == 64 * 1024


def test_endless_flood_is_ended() -> None:
    """A flood does not outlive the timeout."""
    result = sh("yes", timeout=0.5)
    assert result.interrupted == "timeout" and len(result.stdout) == 64 * 1024


ESCAPES = {
    "child": "sleep {m} & exit 0",
    "grandchild": "(sleep {m} & ) & exit 0",
    "setsid": "setsid sleep {m} & exit 0",
    "setsid, double fork": "(setsid sh -c 'sleep {m} & sleep {m}' &) ; exit 0",
    "nohup, no environment": "env -i nohup setsid sleep {m} >/dev/null 2>&1 & sleep 0.3; exit 0",
    "hang with children": "setsid sleep {m} & sleep {m} & sleep {m}",
}


@pytest.mark.parametrize("kind", ESCAPES)
def test_nothing_survives(kind: str) -> None:
    """Whatever the program started is gone when it has ended, also out of its session."""
    marker = f"31415.{os.getpid()}{abs(hash(kind)) % 10000}"
    started = time.monotonic()
    result = sh(ESCAPES[kind].format(m=marker), timeout=1.0)
    assert alive(marker) == [] and result.survivors == 0
    assert time.monotonic() - started < 5
    assert result.status == (0 if kind != "hang with children" else -15)


def test_other_children_of_the_worker_live() -> None:
    """The sweep touches nobody else: the worker's own children, or another script."""
    with subprocess.Popen(["sleep", "30"]) as other:
        try:
            results: list[CommandResult] = []
            slow = threading.Thread(target=lambda: results.append(sh("sleep 1; echo slow")))
            slow.start()
            assert sh("setsid sleep 30 & exit 0").status == 0
            slow.join()
            assert other.poll() is None
            assert results[0].stdout == b"slow\n"
        finally:
            other.kill()


def test_stop_ends_it() -> None:
    """A worker that stops gives the script a grace to end by itself, then ends it."""
    for code, interrupted in (("sleep 30", "stop"), ("sleep 1", "")):
        stop = threading.Event()
        threading.Timer(0.2, stop.set).start()
        started = time.monotonic()
        result = sh(code, timeout=30.0, stop=stop, grace=1.5)
        assert result.interrupted == interrupted and time.monotonic() - started < 4


def test_killed_worker_takes_it_along(tmp_path: Path) -> None:
    """When the worker is killed, the script does not go on alone."""
    marker = f"27182.{os.getpid()}"
    code = f"from mailrules.adapters.command import run; run(['sleep', '{marker}'], timeout=60)"
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    until = time.monotonic() + 10
    while len(alive(marker)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(alive(marker)) == 2  # the worker's own command line, and the script
    worker.kill()
    worker.wait()
    until = time.monotonic() + 5
    while alive(marker) and time.monotonic() < until:
        time.sleep(0.05)
    assert alive(marker) == []


def test_killed_guard_is_unknown() -> None:
    """If the guard itself is killed, nobody knows what became of the script: unknown."""
    outcomes: list[Outcome] = []
    marker = f"16180.{os.getpid()}"
    thread = threading.Thread(target=lambda: outcomes.append(perform(f"sleep {marker}; :")))
    thread.start()
    until = time.monotonic() + 10
    while not alive(marker) and time.monotonic() < until:
        time.sleep(0.02)
    children = alive(marker)
    parents = {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in children}
    [guard] = [p for p in parents if "supervise.py" in Path(f"/proc/{p}/cmdline").read_text()]
    os.kill(guard, 9)
    thread.join(10)
    for pid in alive(marker):
        os.kill(pid, 9)
    assert [o.state for o in outcomes] == ["unknown"]


# -- the journal ----------------------------------------------------------------------------------------
def test_commit_stands_before_the_start(tmp_path: Path) -> None:
    """When the journal commits, the program has not yet begun."""
    file = tmp_path / "began"
    seen: list[bool] = []
    result = sh(f"echo x > {file}", commit=lambda: seen.append(file.exists()))
    assert result.status == 0 and seen == [False] and file.exists()


@pytest.mark.parametrize("error", [OSError("disk"), PermanentError("fenced"), KeyError("x")])
def test_fenced_script_does_not_run(tmp_path: Path, error: Exception) -> None:
    """What the commit raises comes through, and nothing is run."""
    file = tmp_path / "began"

    def fenced() -> None:
        raise error

    with pytest.raises(type(error)):
        sh(f"echo x > {file}", commit=fenced)
    assert not file.exists()


# -- answers --------------------------------------------------------------------------------------------
def answered(lines: Sequence[str], **allow: list[str]) -> Outcome:
    text = "\n".join(lines)
    return perform(f"cat <<'END'\n{text}\nEND", allow=allow)


def test_answers_are_effects() -> None:
    """What a script may ask for comes back in long form."""
    outcome = answered(['{"move": "Team/A"}', '{"flag": "seen"}'], move=["Team/*"], flag=["seen"])
    assert outcome.state == "done"
    assert outcome.answers == (("move", {"mailbox": "Team/A"}), ("flag", {"flags": ["\\Seen"]}))


def test_output_without_allow_is_no_answer() -> None:
    """A script without `allow` may say what it likes."""
    outcome = answered(["hello"])
    assert (outcome.state, outcome.answers) == ("done", ())


def test_refused_answer_fails_the_script() -> None:
    """One line that is not allowed: failed, and none of its answers counts."""
    outcome = answered(['{"flag": "seen"}', '{"move": "Private"}'], move=["Team/*"], flag=["seen"])
    assert (outcome.state, outcome.answers) == ("failed", ()) and "line 2" in outcome.detail["error"]


def test_answers_of_a_failed_script_do_not_count() -> None:
    """Only exit status 0 makes answers of an output."""
    outcome = perform('echo \'{"flag": "seen"}\'; exit 1', allow={"flag": ["seen"]})
    assert (outcome.state, outcome.answers) == ("failed", ())


def test_what_it_says_is_told_without_control_characters() -> None:
    """The log gets the end of stderr, in one line that no terminal obeys."""
    outcome = perform("printf '\\033[2Jbad\\nthing' >&2; exit 1")
    assert outcome.detail["stderr"] == "[2Jbad thing"
