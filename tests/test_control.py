"""The control socket: requests, streams, hostile and vanishing clients."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mailrules import control
from mailrules.control import ControlClient, ControlServer, connect
from mailrules.core.errors import ConfigError, NoSuchName, NotPermitted, PermanentError, TransientError
from mailrules.state import State

closed = threading.Event()


def count(arguments: Mapping[str, Any]) -> Iterator[dict[str, int]]:
    for number in range(arguments["to"]):
        yield {"number": number}


def endless(arguments: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    try:
        while True:
            yield {"more": "x" * 10_000}
    finally:
        closed.set()


def refuse(arguments: Mapping[str, Any]) -> None:
    raise {
        "config": ConfigError(["rules.yaml:1:2: wrong", "rules.yaml:3:4: wrong too"]),
        "transient": TransientError("not now"),
        "permanent": PermanentError("never"),
        "not permitted": NotPermitted("not you"),
        "no such name": NoSuchName("no rule 'x'"),
        "bug": ZeroDivisionError("oops"),
    }[arguments["how"]]


def read(arguments: Mapping[str, Any]) -> dict[str, Any]:
    descriptor = arguments.get("file")
    return {"read": os.pread(descriptor, 100, 0).decode() if descriptor is not None else None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def server(path: Path) -> Iterator[ControlServer]:
    server = ControlServer(path)
    server.register("count", count)
    server.register("endless", endless)
    server.register("read", read)
    server.register("refuse", refuse)
    server.register("one", lambda arguments: {"got": dict(arguments)})
    server.register("none", lambda arguments: None)
    server.register("hang", lambda arguments: time.sleep(3))
    with server:
        yield server


def alive(path: Path) -> bool:
    return list(ControlClient(path).request("one", a=1)) == [{"got": {"a": 1}}]


def raw(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def test_requests_and_their_events(server: ControlServer, path: Path) -> None:
    """A request brings one event, several, or none."""
    client = ControlClient(path)
    assert list(client.request("one", name="x", ids=[1, 2])) == [{"got": {"name": "x", "ids": [1, 2]}}]
    assert list(client.request("none")) == []
    assert [e["number"] for e in client.request("count", to=1000)] == list(range(1000))


def test_events_come_as_they_happen(path: Path) -> None:
    """A stream is not held back until it ends."""
    go = threading.Event()

    def slow(arguments: Mapping[str, Any]) -> Iterator[dict[str, int]]:
        yield {"step": 1}
        assert go.wait(5)
        yield {"step": 2}

    server = ControlServer(path)
    server.register("slow", slow)
    with server:
        events = ControlClient(path).request("slow")
        assert next(events) == {"step": 1}
        go.set()
        assert list(events) == [{"step": 2}]


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("config", ConfigError, "rules.yaml:3:4: wrong too"),
        ("transient", TransientError, "not now"),
        ("permanent", PermanentError, "never"),
        ("not permitted", NotPermitted, "not you"),
        ("no such name", NoSuchName, "no rule 'x'"),
        ("bug", PermanentError, "ZeroDivisionError: oops"),
    ],
)
def test_errors_arrive_as_what_they_are(
    server: ControlServer, path: Path, how: str, kind: type[Exception], words: str
) -> None:
    """What the worker raises, the command raises."""
    with pytest.raises(kind, match=words) as caught:
        list(ControlClient(path).request("refuse", how=how))
    assert type(caught.value) is kind
    if isinstance(caught.value, ConfigError):
        assert len(caught.value.lines) == 2
    assert alive(path)


def test_an_unknown_command_says_so(server: ControlServer, path: Path) -> None:
    """A newer command line asking an older worker is told."""
    with pytest.raises(PermanentError, match="does not know 'fly'"):
        list(ControlClient(path).request("fly"))


def test_only_its_user_may_connect(server: ControlServer, path: Path) -> None:
    """The socket is its owner's, and in a directory of its own."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_is_never_open_to_others(tmp_path: Path) -> None:
    """Not even for a moment under a lax umask: it is born 0600."""
    seen: list[int] = []
    real = socket.socket.listen

    class Looks(ControlServer):
        pass

    def listen(self: socket.socket, backlog: int = 0) -> None:
        seen.append(stat.S_IMODE((tmp_path / "s").stat().st_mode))
        real(self, backlog)

    old = os.umask(0)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "listen", listen)
            with Looks(tmp_path / "s"):
                pass
    finally:
        os.umask(old)
    assert seen == [0o600]


def test_another_user_is_refused(path: Path) -> None:
    """Even one who gets at the socket: the kernel says who asks."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    place = Path("/tmp") / f"mailrules-{os.getpid()}.sock"
    server = ControlServer(place)
    asked: list[Any] = []
    server.register("one", lambda arguments: asked.append(arguments))
    code = """
        import os, sys
        from pathlib import Path
        from mailrules.control import ControlClient
        os.setuid(65534)
        try:
            list(ControlClient(Path(sys.argv[1])).request("one"))
        except Exception as error:
            print(type(error).__name__, error)
    """
    ask = [sys.executable, "-c", textwrap.dedent(code), str(place)]
    with server:
        closed_door = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
        place.chmod(0o666)
        open_door = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    assert closed_door.startswith("NotPermitted this user may not talk to the worker")
    assert open_door.startswith("NotPermitted user 65534 may not ask")
    assert asked == []


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"{}\n", b"[]\n", b'{"command": 5}\n', b'{"command": "one"', b"\xff\xfe\n",
        b"[" * 50_000 + b"\n",
        b'{"command": "one", "x": "' + b"y" * 100_000 + b'"}\n',
    ],
)  # fmt: skip
def test_nonsense_is_sent_away(server: ControlServer, path: Path, data: bytes) -> None:
    """A request that is none, or too long, gets no answer and does no harm."""
    try:
        assert b"event" not in raw(path, data)
    except ConnectionError:
        pass  # reset: it was not even read to its end
    assert alive(path)


def test_a_client_that_says_nothing(
    server: ControlServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent clients fill their places only for a while, and the others are served."""
    monkeypatch.setattr(control, "ASK_TIMEOUT", 0.3)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(control.MOST_CLIENTS * 2)]
    for one in silent:
        one.connect(str(path))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert alive(path)
            break
        except TransientError:
            time.sleep(0.05)
    else:
        pytest.fail("silent clients keep everybody out")
    for one in silent:
        one.close()


def test_a_client_that_disappears(server: ControlServer, path: Path) -> None:
    """A stream whose reader is gone is closed, so that its work can be cleaned up."""
    closed.clear()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b'{"command": "endless"}\n')
        connection.recv(10)
    assert closed.wait(5)
    assert alive(path)


def test_a_client_that_does_not_read(
    server: ControlServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stays but never reads counts as gone after a while."""
    monkeypatch.setattr(control, "TELL_TIMEOUT", 0.2)
    closed.clear()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b'{"command": "endless"}\n')
        assert closed.wait(5)
    assert alive(path)


def test_leaving_a_stream_early(server: ControlServer, path: Path) -> None:
    """A command that has seen enough goes, and the worker notices."""
    closed.clear()
    events = ControlClient(path).request("endless")
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert closed.wait(5)


def test_a_worker_that_hangs(server: ControlServer, path: Path) -> None:
    """It is not waited for without end."""
    with pytest.raises(TransientError, match="does not answer"):
        list(ControlClient(path).request("hang", timeout=0.2))


def test_a_worker_that_ends(path: Path) -> None:
    """A worker that stops sends its clients away, and its socket is gone."""
    server = ControlServer(path)
    started = threading.Event()

    def wait(arguments: Mapping[str, Any]) -> Iterator[dict[str, int]]:
        yield {"step": 1}
        started.wait(5)
        yield {"step": 2}

    server.register("wait", wait)
    server.start()
    events = ControlClient(path).request("wait")
    next(events)
    server.stop()
    started.set()
    with pytest.raises(TransientError):
        list(events)
    assert not path.exists()


def test_a_dead_workers_socket_is_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket file nobody listens on is like none, and the next worker takes its place."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    state = State(tmp_path, "test")
    assert connect(state) is None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(state.socket()))
    assert state.socket().exists()
    assert connect(state) is None
    server = ControlServer(state.socket())
    server.register("one", lambda arguments: {"got": dict(arguments)})
    with server:
        client = connect(state)
        assert client is not None
        assert alive(client.path)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A file in the socket's place is not removed."""
    (tmp_path / "control.sock").write_text("precious")
    with pytest.raises(NotPermitted, match="cannot listen"):
        ControlServer(tmp_path / "control.sock").start()
    assert (tmp_path / "control.sock").read_text() == "precious"


def test_the_lock_says_where_the_worker_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with a runtime directory of its own (systemd) is found by way of the state's lock."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    state = State(tmp_path / "state", "test")
    elsewhere = tmp_path / "run" / "control.sock"
    server = ControlServer(elsewhere)
    server.register("one", lambda arguments: {"got": dict(arguments)})
    with state.lock("run", socket=elsewhere), server:
        client = connect(state)
        assert client is not None
        assert client.path == elsewhere


def test_a_very_long_path(tmp_path: Path) -> None:
    """Longer than a socket's address may be, it works all the same."""
    path = tmp_path / ("d" * 120) / "control.sock"
    server = ControlServer(path)
    server.register("one", lambda arguments: {"got": dict(arguments)})
    with server:
        assert path.exists()
        assert alive(path)


def test_the_wire(server: ControlServer, path: Path) -> None:
    """One JSON object a line, the last one says that it is over."""
    lines = raw(path, b'{"command": "count", "to": 2}\n').splitlines()
    assert [json.loads(line) for line in lines] == [
        {"event": {"number": 0}}, {"event": {"number": 1}}, {"end": True},
    ]  # fmt: skip


def test_a_file_may_come_with_a_request(server: ControlServer, path: Path, tmp_path: Path) -> None:
    """The worker reads the client's open file, which it could not open itself; it is closed afterwards."""
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "private").write_text("hello")
    with (tmp_path / "private").open("rb") as file:
        (tmp_path / "private").unlink()
        assert list(ControlClient(path).request("read", file=file.fileno(), more="x" * 20_000)) == [
            {"read": "hello"}
        ]
    deadline = time.monotonic() + 5
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_number_is_no_file(server: ControlServer, path: Path) -> None:
    """A client that names a descriptor of the worker's own gets nothing for it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b'{"command": "read", "file": 0}\n')
        assert json.loads(client.makefile("rb").readline()) == {"event": {"read": None}}
