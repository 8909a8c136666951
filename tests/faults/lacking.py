"""A server that truly lacks extensions, as a stage wants one: what it does not announce it answers with BAD.

Dovecot's `imap_capability` only hides them: the commands still work there.
"""

from __future__ import annotations

import imaplib
from collections.abc import Iterable

from tests.lab.dovecot import PASSWORD
from tests.lab.scripted import FULL, ScriptedServer, Session

ALL = FULL + " ESEARCH"
_BAD = b"{tag} BAD unknown command\r\n"
_COMMANDS = {
    "MOVE": rb"UID MOVE",
    "UIDPLUS": rb"UID EXPUNGE",
    "IDLE": rb"IDLE",
    "ESEARCH": rb"UID SEARCH RETURN",
    "NAMESPACE": rb"NAMESPACE",
    "ID": rb"ID ",
    "UNSELECT": rb"UNSELECT",
}


class Lacking(ScriptedServer):
    """One account, for `Stage`. `missing`: names of extensions; "COPYUID": it never names new UIDs."""

    host = "127.0.0.1"

    def __init__(self, *missing: str) -> None:
        announced = " ".join(word for word in ALL.split() if word not in missing)
        super().__init__(
            capability=announced,
            password=PASSWORD,
            copyuid=(lambda *_: b"") if "COPYUID" in missing else None,
        )
        for name in missing:
            if name in _COMMANDS:
                self.script(_COMMANDS[name], _BAD)
        if "LITERAL+" in missing:
            self.script(rb".*\{\d+\+\}", self._no_literal_plus)
        for mailbox in ("Archive", "Trash"):
            self.box(mailbox, attributes=(f"\\{mailbox}",))

    @staticmethod
    def _no_literal_plus(_session: Session, _line: bytes) -> bytes:
        return _BAD

    @property
    def imap_port(self) -> int:
        return self.port

    def new_user(self) -> str:
        return "me"

    def session(self, user: str, mailbox: str | None = None) -> imaplib.IMAP4:
        client = imaplib.IMAP4(self.host, self.port, timeout=30)
        client.login(user, PASSWORD)
        if mailbox is not None:
            assert client.select(f'"{mailbox}"')[0] == "OK"
        return client

    def append(
        self, user: str, raw: bytes | Iterable[bytes], mailbox: str = "INBOX", *, flags: str = ""
    ) -> list[int]:
        messages = [raw] if isinstance(raw, bytes) else raw
        with self.lock:
            box = self.box(mailbox)
            return [box.add(message, set(flags.strip("()").split())).uid for message in messages]
