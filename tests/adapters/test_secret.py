"""mailrules.adapters.secret: where passwords come from, and that they are never shown."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.adapters import secret as secret_module
from mailrules.adapters.secret import ScrubFilter, Secret, remember, scrub
from mailrules.core.errors import PermanentError, TransientError

CANARY = 'c4nary-"pass\\word"+/é'


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Each test begins with no secret known."""
    secret_module._known.clear()
    secret_module._forms.clear()
    secret_module._short = ()
    yield
    secret_module._known.clear()
    secret_module._forms.clear()
    secret_module._short = ()


def from_env(value: str) -> Secret:
    return Secret("env", ("SECRET",), environ={"SECRET": value})


def kept(directory: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = directory / "password"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def test_env() -> None:
    """A password comes from an environment variable, and an unset one is named."""
    assert from_env("env-secret").read() == "env-secret"
    with pytest.raises(PermanentError, match=r"environment variable NOPE is not set\. Set it"):
        Secret("env", ("NOPE",), environ={}).read()


@pytest.mark.parametrize("content", ["file-secret", "file-secret\n", "file-secret\r\n"])
def test_file_without_its_newline(tmp_path: Path, content: str) -> None:
    """The newline an editor leaves at the end of a file is not part of the password."""
    assert Secret("file", (str(kept(tmp_path, content)),)).read() == "file-secret"


def test_file_keeps_blanks(tmp_path: Path) -> None:
    """Blanks belong to the password: only the line end is dropped."""
    assert Secret("file", (str(kept(tmp_path, " two words \n")),)).read() == " two words "


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602, 0o644, 0o666])
def test_file_open_to_others(tmp_path: Path, mode: int) -> None:
    """A file that others can read or write is refused with the command that closes it."""
    path = kept(tmp_path, "file-secret", mode)
    with pytest.raises(PermanentError, match=rf"mode 0{mode:o}\)\. Close it: chmod 600 .*password"):
        Secret("file", (str(path),)).read()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty password"),
        ("\n", "empty"),
        ("a\nb", "more than one line"),
        (b"\xff", "not UTF-8"),
        ("a\0", "line"),
    ],
)
def test_file_that_holds_no_password(tmp_path: Path, content: str | bytes, words: str) -> None:
    """What can't be a password is refused, and not shown."""
    with pytest.raises(PermanentError, match=words):
        Secret("file", (str(kept(tmp_path, content)),)).read()


def test_file_missing(tmp_path: Path) -> None:
    """A missing file is a clear permanent failure that says how to make it."""
    with pytest.raises(PermanentError, match=r"No such file.*umask 077; cat > .*nope"):
        Secret("file", (str(tmp_path / "nope"),)).read()


def test_credential(tmp_path: Path) -> None:
    """A systemd credential is read from its directory in the mode systemd gives it."""
    kept(tmp_path, "credential-secret\n", 0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert Secret("credential", ("password",), environ=environ).read() == "credential-secret"
    assert Secret("file", (str(tmp_path / "password"),), environ=environ).read() == "credential-secret"
    with pytest.raises(PermanentError, match="LoadCredential=password:"):
        Secret("credential", ("password",), environ={}).read()


def test_command() -> None:
    """A command's first line is the password: `pass show` has details below it."""
    program = "print('command-secret'); print('user: me')"
    assert Secret("command", (sys.executable, "-c", program)).read() == "command-secret"


def test_command_that_fails() -> None:
    """A failing command may work later; what it says is told, but not a password in it."""
    remember("known-secret")
    program = (
        "import sys; print('half-secret'); print('no half-secret known-secret', file=sys.stderr); sys.exit(3)"
    )
    with pytest.raises(TransientError, match=r"exit status 3: no \*\*\* \*\*\*$"):
        Secret("command", (sys.executable, "-c", program)).read()


def test_command_that_is_not_there() -> None:
    """A command that does not exist will not exist later either."""
    with pytest.raises(PermanentError, match="can't be run: No such file"):
        Secret("command", ("/nonexistent/command",)).read()


def test_command_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that never ends is given up."""
    monkeypatch.setattr("mailrules.adapters.secret.COMMAND_TIMEOUT", 0.2)
    with pytest.raises(TransientError, match="within"):
        Secret("command", ("sleep", "30")).read()


def test_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keyring is asked for the service and the account's username."""
    keyring = pytest.importorskip("keyring")
    from keyring.backend import KeyringBackend

    before = keyring.get_keyring()  # first: the class below would be among those to choose from

    class Memory(KeyringBackend):
        priority = 1  # type: ignore[assignment]

        def get_password(self, service: str, username: str) -> str | None:
            return "keyring-secret" if (service, username) == ("mail", "me@example.org") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    keyring.set_keyring(Memory())
    try:
        assert Secret("keyring", ("mail",), username="me@example.org").read() == "keyring-secret"
        with pytest.raises(PermanentError, match=r"keyring set mail you@example\.org"):
            Secret("keyring", ("mail",), username="you@example.org").read()
    finally:
        keyring.set_keyring(before)


def test_is_read_anew(tmp_path: Path) -> None:
    """A rotated password is seen at the next login."""
    secret = Secret("file", (str(kept(tmp_path, "first-secret")),))
    assert secret.read() == "first-secret"
    kept(tmp_path, "second-secret")
    assert secret.read() == "second-secret"


def test_never_shown() -> None:
    """No way of printing a secret, and no traceback around its use, has the password in it."""
    secret = from_env(CANARY)
    secret.read()
    try:
        raise RuntimeError(f"NO [AUTHENTICATIONFAILED] {secret!r}")
    except RuntimeError:
        shown = traceback.format_exc()
    for text in (repr(secret), str(secret), f"{secret}", repr([secret]), repr({"a": secret}), shown):
        assert "c4nary" not in text
        assert "SECRET" in text


def wire_forms(secret: str) -> list[str]:
    b64 = lambda text: base64.b64encode(text.encode()).decode()  # noqa: E731
    return [
        secret,
        f'a LOGIN me "{secret}"',
        'a LOGIN "me" "{}"'.format(secret.replace("\\", "\\\\").replace('"', '\\"')),
        repr(secret),
        repr(secret.encode()),
        json.dumps({"p": secret}),
        f"AUTHENTICATE PLAIN {b64(f'{chr(0)}me@example.org{chr(0)}{secret}')}",
        f"AUTHENTICATE PLAIN {b64(f'me{chr(0)}me{chr(0)}{secret}')}",
        f"AUTH LOGIN {b64(secret)}",
        f"XOAUTH2 {b64(f'user=a@b.example{chr(1)}auth=Bearer {secret}{chr(1)}{chr(1)}')}",
        f"XOAUTH2 {b64(f'user=aa@b.example{chr(1)}auth=Bearer {secret}{chr(1)}{chr(1)}')}",
    ]


def test_scrub_every_form() -> None:
    """A password is replaced however a log may have it: bare, quoted, escaped, base64 at any offset."""
    remember(CANARY)
    for text in wire_forms(CANARY):
        clean = scrub(text)
        assert "***" in clean, text
        assert "c4nary" not in clean and "word" not in clean
    for text in wire_forms(CANARY)[6:]:
        token = scrub(text).split()[-1]
        for part in token.split("***"):
            for start in range(4):
                piece = part[start:]
                assert b"c4nary" not in base64.b64decode(piece[: len(piece) // 4 * 4]), text


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=4, max_size=20),
    before=st.text("abc =\"'", max_size=6),
    after=st.text("xyz =\"'", max_size=6),
)
def test_scrub_any_secret(secret: str, before: str, after: str) -> None:
    """Whatever the password and whatever stands around it, it is gone from the text."""
    remember(secret)
    assert secret not in scrub(before + secret + after) or secret in "***"
    token = base64.b64encode(f"\0{before}\0{secret}".encode()).decode()
    assert scrub(token) != token


def test_scrub_short_secret_only_alone() -> None:
    """A password of three letters is hidden where it stands alone, and does not eat the words of the log."""
    remember("fox")
    assert scrub("foxtrot: NO fox refused") == "foxtrot: NO *** refused"


def test_scrub_overlapping() -> None:
    """Two passwords that overlap in the text leave nothing of either."""
    remember("overlap-one")
    remember("one-two-three")
    assert scrub("<overlap-one-two-three>") == "<***>"


def test_scrub_leaves_other_text() -> None:
    """Text without a secret comes back as it was."""
    assert scrub("work/INBOX uid=4711 rule=newsletter move to=News done") == (
        "work/INBOX uid=4711 rule=newsletter move to=News done"
    )


def test_scrub_is_quick() -> None:
    """A long hostile line, with thousands of accounts known, does not stall the log."""
    for number in range(3000):
        remember(f"many-secrets-{number:05}")
    text = "many-secrets-" * 5000
    started = time.perf_counter()
    assert scrub("A" * 65_000 + text + "many-secrets-00042").endswith("***")
    assert time.perf_counter() - started < 5


def test_filter_scrubs_a_record() -> None:
    """Message, arguments, traceback and extras of a log record are scrubbed."""
    remember(CANARY)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(ScrubFilter())
    handler.setFormatter(logging.Formatter("%(message)s %(extra)s"))
    logger = logging.getLogger("tests.secret")
    logger.propagate = False
    logger.handlers[:] = [handler]
    try:
        raise ValueError(CANARY)
    except ValueError:
        logger.exception("login of %s failed", CANARY, extra={"extra": CANARY})
    shown = stream.getvalue()
    assert "c4nary" not in shown
    assert "login of *** failed ***" in shown
    assert "ValueError: ***" in shown


# -- keeping one --------------------------------------------------------------------------------------------


def test_a_file_that_is_written_is_its_owners(tmp_path: Path) -> None:
    """0600 from the start, whole or not at all, and what was there before is replaced."""
    path = tmp_path / "new" / "secret"
    kept = Secret("file", (str(path),))
    assert kept.writable
    kept.write(CANARY)
    assert kept.read() == CANARY
    assert path.stat().st_mode & 0o777 == 0o600
    kept.write("another-one")
    assert kept.read() == "another-one"
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]
    with pytest.raises(PermanentError, match="can't be written"):
        Secret("file", (str(path / "below"),)).write(CANARY)


def test_the_keyring_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the service and the user name that it is read by."""
    import keyring
    import keyring.backend

    class Memory(keyring.backend.KeyringBackend):
        priority = 1.0  # type: ignore[assignment]
        kept: dict[tuple[str, str], str] = {}

        def get_password(self, service: str, username: str) -> str | None:
            return self.kept.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.kept[service, username] = password

    before = keyring.get_keyring()
    keyring.set_keyring(Memory())
    try:
        assert secret_module.keyring_works()
        Secret("keyring", ("mailrules",), username="me").write(CANARY)
        assert Secret("keyring", ("mailrules",), username="me").read() == CANARY
        keyring.set_keyring(__import__("keyring.backends.fail", fromlist=["x"]).Keyring())
        assert not secret_module.keyring_works()
        with pytest.raises(PermanentError, match="can't be written"):
            Secret("keyring", ("mailrules",), username="me").write(CANARY)
    finally:
        keyring.set_keyring(before)


@pytest.mark.parametrize("source", ["env", "command", "credential"])
def test_elsewhere_nothing_can_be_kept(source: str) -> None:
    """It is said what can."""
    other = Secret(source, ("x",))  # type: ignore[arg-type]
    assert not other.writable
    with pytest.raises(PermanentError, match="keyring: mailrules"):
        other.write(CANARY)
