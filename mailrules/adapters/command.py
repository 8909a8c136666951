"""Running a user's program: no shell, an environment of its own, an end that it can't escape.

The program runs below a guard (`supervise.py`), a process that owns all its descendants. The guard is ready
before the journal commits, so that only the program itself lies behind the point of no return.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailrules import clock
from mailrules.adapters.secret import scrub
from mailrules.core.actions.base import Outcome
from mailrules.core.actions.exchange import parse_answers
from mailrules.core.errors import PermanentError, TransientError

TEMPORARY = 75
"""Exit status EX_TEMPFAIL: try later."""
_GUARD = Path(__file__).with_name("supervise.py")
_GUARD_START = 20.0
_GUARD_END = 8.0
"""Seconds the guard has to end what it guards: 2 for TERM, 2 for KILL, and air."""
_KEPT = ("PATH", "LANG", "LANGUAGE", "TZ", "HOME", "USER", "LOGNAME")
_PATH = "/usr/local/bin:/usr/bin:/bin"
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a program ended. `status` is negative for a signal, None if it never ran (`error` says why).

    `interrupted`: it was ended by us: "timeout" or "stop". `cut`: an output had more than 64 KB.
    `lost`: its guard is gone, and nobody knows what became of it.
    """

    status: int | None
    stdout: bytes = b""
    stderr: bytes = b""
    cut: bool = False
    interrupted: str = ""
    error: str = ""
    lost: bool = False
    survivors: int = 0
    seconds: float = 0.0


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    base: str = "",
    timeout: float = 60.0,
    commit: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
    grace: float = 5.0,
) -> CommandResult:
    """Run a program to its end. `base`: the directory that a relative path stands under.

    Once `stop` is set it has `grace` more seconds to end by itself.

    `commit` is called just before the program starts; what it raises comes through, and nothing is run.
    Raises PermanentError if there is no such program, TransientError if the system has no room for it.
    """
    environment = {**_environment(), **(env or {})}
    program = _program(argv[0], base=base, path=environment.get("PATH", _PATH))
    try:
        directory = tempfile.mkdtemp(prefix="mailrules-")
    except OSError as error:
        raise TransientError(f"no place for a script's temporary files: {error}") from None
    try:
        environment["TMPDIR"] = directory
        spec = {"program": program, "argv": list(argv), "env": environment, "timeout": timeout}
        return _guarded(spec, stdin=stdin, directory=directory, commit=commit, stop=stop, grace=grace)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def script(
    arguments: Mapping[str, Any],
    *,
    stdin: bytes,
    variables: Mapping[str, str],
    commit: Callable[[], None],
    stop: threading.Event | None = None,
    leaves_already: bool = False,
) -> Outcome:
    """Perform one `script` effect: `arguments` as the journal has them.

    `variables` are set as MAILRULES_…: ACCOUNT, MAILBOX, UID, RULE, MESSAGE_ID, EFFECT_KEY.
    """
    env = {**arguments.get("env", {}), **script_variables(variables)}
    try:
        result = run(
            arguments["run"], stdin=stdin, env=env, base=arguments.get("base", ""),
            timeout=arguments.get("timeout", 60.0), commit=commit, stop=stop,
        )  # fmt: skip
    except PermanentError as error:
        return Outcome("failed", {"error": str(error)})
    except TransientError as error:
        return Outcome("later", {"error": str(error)})
    return outcome_of(result, allow=arguments.get("allow", {}), leaves_already=leaves_already)


def outcome_of(
    result: CommandResult, *, allow: Mapping[str, Sequence[str]], leaves_already: bool = False
) -> Outcome:
    """The table of exit statuses: 0 done, 75 later, all else failed (RELIABILITY R8)."""
    detail: dict[str, Any] = {"exit": result.status, "seconds": round(result.seconds, 3)}
    said = shown(result.stderr)
    if said:
        detail["stderr"] = said
    if result.survivors:
        detail["survivors"] = result.survivors
    if result.lost:
        return Outcome("unknown", {**detail, "error": result.error})
    if result.error:
        return Outcome("failed", {**detail, "error": result.error})
    if result.interrupted:
        why = "it took longer than its timeout" if result.interrupted == "timeout" else "the worker stopped"
        return Outcome("failed", {**detail, "interrupted": True, "error": f"interrupted: {why}"})
    if result.status == TEMPORARY:
        return Outcome("later", {**detail, "error": _because("asks to be tried later (75)", said)})
    if result.status is not None and result.status < 0:
        return Outcome(
            "failed",
            {**detail, "interrupted": True, "error": f"interrupted: ended by signal {-result.status}"},
        )
    if result.status != 0:
        return Outcome(
            "failed", {**detail, "error": _because(f"ended with exit status {result.status}", said)}
        )
    if not allow:
        return Outcome("done", detail)
    try:
        if result.cut:
            raise PermanentError("the script answered more than 64 KB.")
        answers = parse_answers(result.stdout, allow, leaves_already=leaves_already)
    except PermanentError as error:
        return Outcome("failed", {**detail, "error": str(error)})
    return Outcome("done", {**detail, "answers": len(answers)}, answers=answers)


def shown(output: bytes) -> str:
    """The end of what a program said, for the run log: no control characters, no secrets."""
    text = scrub(output[-4 * _SHOWN :].decode("utf-8", "replace"))
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[-_SHOWN:]


def _because(what: str, said: str) -> str:
    return f"it {what}: {said}" if said else f"it {what}"


def script_variables(values: Mapping[str, str]) -> dict[str, str]:
    """What a script is told in MAILRULES_… variables, as the kernel takes it."""
    return {f"MAILRULES_{name}": _value(value) for name, value in values.items()}


def _value(value: str) -> str:
    """A variable's value as the kernel takes it."""
    return str(value).replace("\0", "").encode("utf-8", "replace")[: 32 * 1024].decode("utf-8", "ignore")


def _environment() -> dict[str, str]:
    """What a program sees of the worker's environment: no secrets, no CREDENTIALS_DIRECTORY, no sockets."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    kept.update({name: value for name, value in os.environ.items() if name.startswith("LC_")})
    kept.setdefault("PATH", _PATH)
    return kept


def _program(name: str, *, base: str, path: str) -> str:
    """The file to run. Raises PermanentError that says what is wrong with it."""
    if "/" not in name:
        found = shutil.which(name, path=path)
        if found is None:
            raise PermanentError(f"there is no program '{name}' in {path}. Write its whole path.")
        return str(Path(found).absolute())
    file = Path(base or ".", name).absolute()
    if not file.is_file():
        raise PermanentError(f"there is no file {file} to run.")
    if not os.access(file, os.X_OK):
        raise PermanentError(f"{file} may not be run. Do: chmod +x {file}")
    return str(file)


def _guarded(
    spec: Mapping[str, Any],
    *,
    stdin: bytes,
    directory: str,
    commit: Callable[[], None] | None,
    stop: threading.Event | None,
    grace: float,
) -> CommandResult:
    ours, guard = _start_guard(stdin, directory)
    try:
        if commit is not None:
            commit()
        return _watch(ours, spec, started=clock.timer(), stop=stop, grace=grace)
    finally:
        ours.close()  # whatever happened: the guard ends, and all that it guards
        _bury(guard)


def _start_guard(stdin: bytes, directory: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The guard, ready, and our end of the socket to it. Raises TransientError."""
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise TransientError(f"a script can't be started now: {error}") from None
    try:
        with theirs, _input(stdin) as source:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(theirs.fileno())],
                stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory,
                env={"PATH": _PATH, "LC_ALL": "C.UTF-8"}, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        ours.close()
        raise TransientError(f"a script can't be started now: {error}") from None
    try:
        ours.settimeout(_GUARD_START)
        ready = ours.recv(1) == b"R"
    except OSError:
        ready = False
    if not ready:
        ours.close()
        _bury(guard)
        raise TransientError("the guard of scripts could not be started.")
    return ours, guard


def _bury(guard: subprocess.Popen[bytes]) -> None:
    """Wait for the guard's end. It ends by itself once our end of the socket is closed."""
    try:
        guard.wait(_GUARD_END)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()


def _watch(
    ours: socket.socket,
    spec: Mapping[str, Any],
    *,
    started: float,
    stop: threading.Event | None,
    grace: float,
) -> CommandResult:
    """Let it run until it ends, is too late, or the worker stops."""
    received = bytearray()
    interrupted = ""
    why = "timeout"
    deadline = started + spec["timeout"]
    try:
        ours.sendall(json.dumps(spec).encode() + b"\n")
        while b"\n" not in received:
            now = clock.timer()
            stopping = stop is not None and stop.is_set() and not interrupted and why != "stop"
            if stopping and deadline > now + grace:
                why, deadline = "stop", now + grace
            if now >= deadline and interrupted:
                raise OSError("the guard does not answer")
            if now >= deadline:
                interrupted, deadline = why, now + _GUARD_END
                ours.sendall(b"T")
            ours.settimeout(max(0.01, min(0.2 if stop is not None else 60.0, deadline - now)))
            try:
                data = ours.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise OSError("the guard is gone")
            received += data
    except OSError as error:
        words = f"{error}: what became of the script can't be known."
        return CommandResult(None, error=words, lost=True, seconds=clock.timer() - started)
    report = json.loads(bytes(received))
    return CommandResult(
        report.get("status"),
        b64decode(report.get("stdout", "")),
        b64decode(report.get("stderr", "")),
        bool(report.get("cut")),
        interrupted if report.get("interrupted") else "",
        f"'{spec['argv'][0]}' {report['error']}" if "error" in report else "",
        False,
        int(report.get("survivors", 0)),
        clock.timer() - started,
    )


def _input(data: bytes) -> Any:
    """A file in memory to read standard input from: a program that does not read it blocks nobody."""
    file = os.fdopen(os.memfd_create("mailrules-stdin"), "w+b")
    file.write(data)
    file.flush()
    file.seek(0)
    return file
