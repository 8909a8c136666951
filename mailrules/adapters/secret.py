"""Passwords: where they come from, and how they are kept out of everything that is shown.

A `Secret` knows where a password stands, never what it is: it is read when it is needed, and not kept in it.
Every value read is remembered by this process, so that `scrub` can replace it in logs and errors; a server
may well repeat a password in the text of its NO.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shlex
import stat
import subprocess
import tempfile
import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Literal

from mailrules.core.errors import PermanentError, TransientError

SOURCES = ("env", "file", "command", "keyring", "credential")
COMMAND_TIMEOUT = 60.0  # seconds: a pinentry may be waiting for a person
_LIMIT = 65_536  # bytes; no password is longer
_MASK = "***"


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a password comes from. Printing it shows that, never the password."""

    source: Literal["env", "file", "command", "keyring", "credential"]
    argument: tuple[str, ...]  # one name or path; for `command` the argv
    username: str = ""  # whose password, for the keyring
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Secret({self.where})"

    def __str__(self) -> str:
        return f"<secret from {self.where}>"

    @property
    def where(self) -> str:
        """Where it comes from, in words for a person."""
        name = self.argument[0]
        if self.source == "env":
            return f"the environment variable {name}"
        if self.source == "file":
            return f"the file {name}"
        if self.source == "command":
            return f"the command {shlex.join(self.argument)}"
        if self.source == "keyring":
            return f"the keyring's service {name}"
        return f"the systemd credential {name}"

    def read(self) -> str:
        """The password, read anew: a rotated one is seen at the next login.

        Raises PermanentError (it is not there, others can read its file, it is empty or has several lines)
        or TransientError (a command failed or took longer than COMMAND_TIMEOUT).
        """
        value = getattr(self, f"_read_{self.source}")()
        remember(value)
        if not value:
            raise PermanentError(f"{self.where} holds an empty password. Put the password there.")
        if any(c in value for c in "\0\r\n"):
            raise PermanentError(f"{self.where} holds more than one line. Keep the password alone there.")
        return str(value)

    @property
    def writable(self) -> bool:
        """Whether `write` can keep something there."""
        return self.source in ("file", "keyring")

    def write(self, value: str) -> None:
        """Keep a secret there: in the keyring, or whole or not at all in a file that is its owner's alone.

        Raises PermanentError.
        """
        remember(value)
        if self.source == "keyring":
            self._write_keyring(value)
        elif self.source == "file":
            _write_path(Path(self.argument[0]).expanduser(), value, where=self.where)
        else:
            raise PermanentError(
                f"nothing can be kept in {self.where}. "
                "Write password: {keyring: mailrules} or {file: PATH}."
            )

    def _keyring(self) -> ModuleType:
        try:
            import keyring
            import keyring.errors
        except ImportError:
            raise PermanentError(
                f"{self.where} needs the keyring package: pip install 'mailrules[keyring]'."
            ) from None
        return keyring

    def _write_keyring(self, value: str) -> None:
        keyring = self._keyring()
        try:
            keyring.set_password(self.argument[0], self.username, value)
        except keyring.errors.KeyringError as error:
            raise PermanentError(
                f"{self.where} can't be written: {scrub(str(error))}. Use password: {{file: PATH}} instead."
            ) from None

    def _read_env(self) -> str:
        value = self.environ.get(self.argument[0])
        if value is None:
            raise PermanentError(f"{self.where} is not set. Set it, or use another source for the password.")
        return _without_newline(value)

    def _read_file(self) -> str:
        path = Path(self.argument[0]).expanduser()
        directory = self.environ.get("CREDENTIALS_DIRECTORY")
        by_systemd = bool(directory) and path.is_relative_to(str(directory))
        return _read_path(path, where=self.where, private=not by_systemd)

    def _read_credential(self) -> str:
        directory = self.environ.get("CREDENTIALS_DIRECTORY")
        name = self.argument[0]
        if not directory:
            raise PermanentError(
                f"{self.where} can't be read: not started by systemd with credentials. "
                f"Add LoadCredential={name}:/path/to/file to the unit."
            )
        return _read_path(Path(directory) / name, where=self.where, private=False)

    def _read_command(self) -> str:
        try:
            done = subprocess.run(
                self.argument,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_TIMEOUT,
                env=dict(self.environ),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TransientError(f"{self.where} gave no password within {COMMAND_TIMEOUT:.0f} s.") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise PermanentError(f"{self.where} can't be run: {why}. Check the path.") from None
        # The first line, as `pass show` and other mail programs mean it; details may follow it.
        value = _decode(done.stdout[:_LIMIT], where=self.where).partition("\n")[0].removesuffix("\r")
        if done.returncode != 0:
            remember(value)
            words = done.stderr[-500:].decode("utf-8", "replace").strip().splitlines()
            said = f": {scrub(words[-1])}" if words else ""
            raise TransientError(f"{self.where} failed with exit status {done.returncode}{said}")
        return value

    def _read_keyring(self) -> str:
        service = self.argument[0]
        keyring = self._keyring()
        try:
            value = keyring.get_password(service, self.username)
        except keyring.errors.KeyringLocked:
            raise TransientError(f"{self.where} is locked. Unlock the keyring.") from None
        except keyring.errors.KeyringError as error:
            raise PermanentError(
                f"{self.where} can't be read: {error}. Check 'keyring --list-backends'."
            ) from None
        if value is None:
            raise PermanentError(
                f"{self.where} has no password for '{self.username}'. "
                f"Store it: keyring set {shlex.quote(service)} {shlex.quote(self.username)}"
            )
        return _without_newline(value)


def _read_path(path: Path, *, where: str, private: bool) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if private and mode & 0o077:
                raise PermanentError(
                    f"{where} is open to others (mode {mode:04o}). "
                    f"Close it: chmod 600 {shlex.quote(str(path))}"
                )
            raw = file.read(_LIMIT + 1)
    except OSError as error:
        step = "Check the path and its owner."
        if private and isinstance(error, FileNotFoundError):
            step = (
                f"Check the path, or type the password into it: (umask 077; cat > {shlex.quote(str(path))})"
            )
        raise PermanentError(f"{where} can't be read: {error.strerror or error}. {step}") from None
    if len(raw) > _LIMIT:
        raise PermanentError(f"{where} is too long for a password. Check the path.")
    return _without_newline(_decode(raw, where=where))


def _write_path(path: Path, value: str, *, where: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 from the start
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(value + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PermanentError(
            f"{where} can't be written: {error.strerror or error}. Check its directory and who owns it."
        ) from None


def keyring_works() -> bool:
    """Whether there is a keyring on this system that keeps secrets, without asking it for any."""
    try:
        import keyring
        import keyring.backends.fail
        import keyring.backends.null
    except ImportError:
        return False
    try:
        backend = keyring.get_keyring()
        return not isinstance(backend, keyring.backends.fail.Keyring | keyring.backends.null.Keyring)
    except Exception:  # noqa: BLE001 - a backend of anybody's
        return False


def _decode(raw: bytes, *, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise PermanentError(f"{where} gave a password that is not UTF-8. Save it as UTF-8.") from None


def _without_newline(value: str) -> str:
    return value.removesuffix("\n").removesuffix("\r")


# -- keeping them out of what is shown -------------------------------------------------------------------

_lock = threading.Lock()
_known: set[str] = set()
_short: tuple[str, ...] = ()
# By their first four characters: a line is scrubbed in one pass, however many accounts there are.
_forms: dict[str, tuple[tuple[str, bool], ...]] = {}
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")


def remember(value: str) -> None:
    """From now on `scrub` replaces this value. `Secret.read` calls it; other holders of secrets may."""
    global _short
    with _lock:
        if not value or value in _known:
            return
        _known.add(value)
        for form in _escaped(value):
            if len(form) < 4:
                _short = (*_short, form)
            else:
                _index(form, base64_=False)
        for form in _base64_forms(value.encode()):
            _index(form, base64_=True)


def _index(form: str, *, base64_: bool) -> None:
    known = (*_forms.get(form[:4], ()), (form, base64_))
    _forms[form[:4]] = tuple(sorted(known, key=lambda entry: -len(entry[0])))


def scrub(text: str) -> str:
    """The text with every secret read by this process replaced by `***`.

    Also as the wire and logs may have it: base64 (as AUTHENTICATE PLAIN, LOGIN and XOAUTH2 send it, whatever
    stands before it), escaped as an IMAP quoted string, JSON or a Python literal, percent-encoded.
    """
    spans = [span for at in range(len(text) - 3) if (span := _span(text, at)) is not None]
    for short in _short:
        # Three letters are found in half of all words: only where they stand alone.
        alone = re.finditer(rf"(?<!\w){re.escape(short)}(?!\w)", text)
        spans += [match.span() for match in alone]
    if not spans:
        return text
    pieces: list[str] = []
    after = 0
    for start, end in sorted(spans):
        if start > after or not pieces:
            pieces += [text[after:start], _MASK]
        after = max(after, end)
    return "".join([*pieces, text[after:]])


def _span(text: str, at: int) -> tuple[int, int] | None:
    """The longest form of a secret that begins here."""
    for form, base64_ in _forms.get(text[at : at + 4], ()):
        if text.startswith(form, at):
            start, end = at, at + len(form)
            if base64_:
                # The characters at its ends are made of the secret and of its neighbours.
                while start > max(0, at - 2) and text[start - 1] in _BASE64:
                    start -= 1
                while end < min(len(text), at + len(form) + 4) and text[end] in _BASE64:
                    end += 1
            return start, end
    return None


def _escaped(value: str) -> set[str]:
    imap = value.replace("\\", "\\\\").replace('"', '\\"')
    return {
        value,
        imap,
        repr(value)[1:-1],
        repr(imap)[1:-1],
        repr(value.encode())[2:-1],
        repr(imap.encode())[2:-1],
        json.dumps(value)[1:-1],
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote_plus(value),
    }


def _base64_forms(raw: bytes) -> set[str]:
    """The characters that depend on the secret alone, for each place it may have in a group of three."""
    forms = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        middle = encoded[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        if len(middle) >= 4 and len(raw) >= 4:
            forms |= {middle, middle.replace("+", "-").replace("/", "_")}
    return forms


class ScrubFilter(logging.Filter):
    """Scrubs message, arguments, traceback and extras of every record. Put it on handlers, not on loggers:
    a logger's filter does not see what its children pass on."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = scrub(record.getMessage())
        record.args = None
        if record.exc_info:
            record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        if record.exc_text:
            record.exc_text = scrub(record.exc_text)
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        for name, value in record.__dict__.items():
            if isinstance(value, str) and name not in ("msg", "exc_text", "stack_info"):
                record.__dict__[name] = scrub(value)
        return True
