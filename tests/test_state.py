"""The state directory: where it is, and that one process at a time holds it."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mailrules.core.errors import ConfigError, NotPermitted
from mailrules.state import State, StateLocked, locate


# -- where ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"explicit": "/a", "configured": "/b", "environ": {"STATE_DIRECTORY": "/c"}}, "/a"),
        ({"configured": "/b", "environ": {"STATE_DIRECTORY": "/c"}}, "/b"),
        ({"configured": "kept", "config_path": Path("/home/me/rules.yaml")}, "/home/me/kept"),
        ({"environ": {"STATE_DIRECTORY": "/c:/d", "XDG_STATE_HOME": "/x"}}, "/c"),
        ({"config_path": Path("/etc/m/r.yaml"), "environ": {"XDG_STATE_HOME": "/x"}}, "/var/lib/mailrules"),
        ({"config_path": Path("/home/etc/rules.yaml"), "environ": {"XDG_STATE_HOME": "/x"}}, "/x/mailrules"),
        ({"environ": {"HOME": "/home/me"}}, "/home/me/.local/state/mailrules"),
    ],
)  # fmt: skip
def test_the_order_of_places(given: dict[str, object], expected: str) -> None:
    """The command line, the file, systemd, /var/lib for /etc, then the user's own; the first that speaks."""
    arguments = {"environ": {}} | given
    assert locate(**arguments).directory == Path(expected)  # type: ignore[arg-type]


def test_where_it_looked_is_said() -> None:
    """A message about a state names what pointed there."""
    assert str(locate(environ={"STATE_DIRECTORY": "/c"})) == "/c ($STATE_DIRECTORY)"


@pytest.mark.parametrize("where", ["explicit", "configured"])
def test_a_url_is_refused(where: str) -> None:
    """A database this version can't use is a matter of the configuration."""
    with pytest.raises(ConfigError, match="postgresql:// is not supported"):
        locate(**{where: "postgresql://x/y"})  # type: ignore[arg-type]


# -- the lock -------------------------------------------------------------------------------------
HOLDS = """
    import sys, time
    from pathlib import Path
    from mailrules.state import State
    with State(Path(sys.argv[1]), "test").lock(sys.argv[2]):
        print("held", flush=True)
        time.sleep(float(sys.argv[3]))
"""


def holding(directory: Path, command: str = "run", seconds: float = 60) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDS), directory, command, str(seconds)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_worker_is_told_who_holds_it(tmp_path: Path) -> None:
    """Two processes can't hold one state; the second says who the first is, at once."""
    process = holding(tmp_path / "s")
    try:
        begun = time.monotonic()
        with pytest.raises(
            StateLocked, match=rf"`mailrules run`, process {process.pid} on \S+, since 20"
        ) as e:
            State(tmp_path / "s", "test").lock("run", wait=5)
        assert time.monotonic() - begun < 2
        assert e.value.holder is not None
        assert e.value.holder.pid == process.pid
    finally:
        process.kill()
        process.wait()


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    """After SIGKILL nothing is left in the way."""
    process = holding(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with State(tmp_path, "test").lock("run"):
        holder = State(tmp_path, "test").holder()
        assert holder is not None
        assert holder.pid == os.getpid()


def test_a_command_is_waited_for(tmp_path: Path) -> None:
    """A command holds the state for a moment only, so the next one waits its turn."""
    process = holding(tmp_path, "pause", 0.5)
    with State(tmp_path, "test").lock("run", wait=10):
        pass
    assert process.wait() == 0


def test_waiting_has_an_end(tmp_path: Path) -> None:
    """But not for ever."""
    process = holding(tmp_path, "apply")
    try:
        with pytest.raises(StateLocked, match="`mailrules apply`"):
            State(tmp_path, "test").lock("pause", wait=0.3)
    finally:
        process.kill()
        process.wait()


def test_children_do_not_inherit_it(tmp_path: Path) -> None:
    """A script that outlives us does not keep the state locked."""
    lock = State(tmp_path, "test").lock("run")
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        lock.close()
        State(tmp_path, "test").lock("run").close()
    finally:
        child.kill()
        child.wait()


def test_let_go_names_nobody(tmp_path: Path) -> None:
    """Once released, nobody is said to hold it; releasing twice does nothing."""
    state = State(tmp_path, "test")
    lock = state.lock("run", socket=Path("/run/x.sock"))
    holder = state.holder()
    assert holder is not None
    assert holder.socket == "/run/x.sock"
    lock.close()
    lock.close()
    assert state.holder() is None


def test_it_is_ours_alone(tmp_path: Path) -> None:
    """The directory is made for its user only, with all that leads to it."""
    with State(tmp_path / "a" / "b", "test").lock("run"):
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "a" / "b" / "lock").stat().st_mode) == 0o600


def test_a_place_one_may_not_write(tmp_path: Path) -> None:
    """It is said where, why, and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(NotPermitted, match=r"cannot write the state in .*/file/state \(test\): .*--state"):
        State(tmp_path / "file" / "state", "test").lock("run")


# -- the socket -----------------------------------------------------------------------------------
def test_where_the_socket_is(tmp_path: Path) -> None:
    """systemd's runtime directory, else the user's with a name for each state, else beside the state."""
    one, two = State(tmp_path / "one", "t"), State(tmp_path / "two", "t")
    assert one.socket(environ={"RUNTIME_DIRECTORY": "/run/mailrules"}) == Path("/run/mailrules/control.sock")
    own = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert one.socket(environ=own).parent == tmp_path / "mailrules"
    assert one.socket(environ=own) != two.socket(environ=own)
    assert re.fullmatch(r"[0-9a-f]{12}\.sock", one.socket(environ=own).name)
    gone = {"XDG_RUNTIME_DIR": str(tmp_path / "gone")}
    assert one.socket(environ=gone) == tmp_path / "one" / "control.sock"
    assert one.socket(environ={}) == tmp_path / "one" / "control.sock"
