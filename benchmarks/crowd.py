"""An IMAP server for a crowd: thousands of accounts that idle over TLS, in a process of its own.

It has little to do for each of them, so that what is measured is the client: a mail arrives when `EXISTS` is
written, and is acted on when `UID MOVE` has been read. (Dovecot tells of new mail half a second late.)
Orders come on stdin, a line each, and are answered with a line of JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import resource
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.beside import Beside
from benchmarks.mails import synthetic
from tests.lab.model import Box, Mail, Search, fetch_item, substring
from tests.lab.scripted import _items, _words

CAPABILITY = "IMAP4rev1 LITERAL+ ID IDLE NAMESPACE UIDPLUS MOVE OBJECTID SPECIAL-USE UNSELECT"


class Crowd(Beside):
    """The server's process, as the benchmark sees it; a context manager."""

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__("benchmarks.crowd", str(certificate), str(key))

    def order(self, name: str, **values: float) -> dict[str, Any]:
        """`watched`: how many idle. `deliver`: so many mails a second for so long, then wait for the last."""
        return self.ask(json.dumps({"order": name, **values}))


class Account:
    """One user's mail, and the session that idles on it."""

    def __init__(self) -> None:
        self.boxes = {"INBOX": Box("INBOX", uidvalidity=11)}
        self.idler: Session | None = None
        self.arrived: dict[int, float] = {}

    def box(self, name: str) -> Box:
        if name not in self.boxes:
            self.boxes[name] = Box(name, uidvalidity=11 + len(self.boxes))
        return self.boxes[name]


class Server:
    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.latencies: list[float] = []
        self.last = 0.0

    # -- orders -----------------------------------------------------------------------------------
    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["order"] == "watched":
            return {"watched": sum(account.idler is not None for account in self.accounts.values())}
        return await self._deliver(order["rate"], order["seconds"], order["patience"])

    async def _deliver(self, rate: float, seconds: float, patience: float) -> dict[str, Any]:
        self.latencies.clear()
        rng, accounts = random.Random(2), sorted(self.accounts)
        letters = [synthetic(number, 1_700_000_000) for number in range(500)]
        began, sent = time.monotonic(), 0
        while sent < rate * seconds:
            wait = began + sent / rate - time.monotonic()
            await asyncio.sleep(max(0.0, wait))
            account = self.accounts[accounts[rng.randrange(len(accounts))]]
            inbox = account.boxes["INBOX"]
            mail = inbox.add(letters[sent % len(letters)])
            account.arrived[mail.uid] = time.monotonic()
            if account.idler is not None:
                account.idler.tell()
            sent += 1
        until = time.monotonic() + patience
        while len(self.latencies) < sent and time.monotonic() < until:
            await asyncio.sleep(0.05)
        return {"sent": sent, "seconds": self.last - began, "latencies": sorted(self.latencies)}

    # -- sessions ---------------------------------------------------------------------------------
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(self, writer)
        writer.write(f"* OK [CAPABILITY {CAPABILITY}] crowd\r\n".encode())
        try:
            while line := await reader.readline():
                literals = []
                while match := re.search(rb"\{(\d+)(\+?)\}\r\n$", line):
                    if not match[2]:
                        writer.write(b"+ go ahead\r\n")
                    literals.append(await reader.readexactly(int(match[1])))
                    line = line.rstrip(b"\r\n") + await reader.readline()
                if session.answer(line.rstrip(b"\r\n"), literals):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        session.leave()
        writer.close()


class Session:
    def __init__(self, server: Server, writer: asyncio.StreamWriter) -> None:
        self._server, self._writer = server, writer
        self._account = Account()
        self._box: Box | None = None
        self._idle = b""
        self._plain = b""
        self._told = 0

    def leave(self) -> None:
        if self._account.idler is self:
            self._account.idler = None

    def tell(self) -> None:
        """How many mails there are, if that is news."""
        if self._box is not None and self._box.uidnext > self._told:
            self._told = self._box.uidnext
            self._writer.write(b"* %d EXISTS\r\n" % len(self._box.mails))

    def _log_in(self, user: str) -> None:
        self._account = self._server.accounts.setdefault(user, Account())

    def answer(self, line: bytes, literals: list[bytes]) -> bool:
        """Answers one line. Gives whether that was the last."""
        if self._idle:
            self.leave()
            self._writer.write(self._idle + b" OK done\r\n")
            self._idle = b""
            return False
        if self._plain:
            self._log_in(base64.b64decode(line).split(b"\0")[1].decode())
            self._writer.write(self._plain + b" OK in\r\n")
            self._plain = b""
            return False
        tag, _, rest = line.partition(b" ")
        words = _words(rest, literals)
        name = "_".join(words[: 2 if words[0].upper() == "UID" else 1]).lower()
        handler = getattr(self, "do_" + name, None)
        if handler is None:
            self._writer.write(tag + b" BAD unknown command\r\n")
        else:
            text = handler(tag, words)
            if text is not None:
                self._writer.write(text + tag + b" OK done\r\n")
        return name == "logout"

    def do_capability(self, tag: bytes, words: list[str]) -> bytes:
        return f"* CAPABILITY {CAPABILITY}\r\n".encode()

    def do_login(self, tag: bytes, words: list[str]) -> bytes:
        self._log_in(words[1])
        return b""

    def do_authenticate(self, tag: bytes, words: list[str]) -> None:
        self._plain = tag
        self._writer.write(b"+ \r\n")

    def do_id(self, tag: bytes, words: list[str]) -> bytes:
        return b"* ID NIL\r\n"

    def do_namespace(self, tag: bytes, words: list[str]) -> bytes:
        return b'* NAMESPACE (("" "/")) NIL NIL\r\n'

    def do_list(self, tag: bytes, words: list[str]) -> bytes:
        if words[2] == "":
            return b'* LIST (\\Noselect) "/" ""\r\n'
        return "".join(f'* LIST () "/" {name}\r\n' for name in self._account.boxes).encode()

    def do_status(self, tag: bytes, words: list[str]) -> bytes:
        box = self._account.box(words[1])
        told = f"MESSAGES {len(box.mails)} UIDNEXT {box.uidnext} UIDVALIDITY {box.uidvalidity}"
        return f"* STATUS {words[1]} ({told})\r\n".encode()

    def do_create(self, tag: bytes, words: list[str]) -> bytes:
        self._account.box(words[1])
        return b""

    def do_noop(self, tag: bytes, words: list[str]) -> bytes:
        return b"" if self._box is None else b"* %d EXISTS\r\n" % len(self._box.mails)

    def do_subscribe(self, tag: bytes, words: list[str]) -> bytes:
        return b""

    do_unselect = do_subscribe

    def do_logout(self, tag: bytes, words: list[str]) -> bytes:
        return b"* BYE\r\n"

    def do_select(self, tag: bytes, words: list[str]) -> bytes:
        self._box = box = self._account.box(words[1])
        self._told = box.uidnext
        return (
            "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n"
            "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] kept\r\n"
            f"* {len(box.mails)} EXISTS\r\n"
            f"* OK [UIDVALIDITY {box.uidvalidity}] valid\r\n* OK [UIDNEXT {box.uidnext}] next\r\n"
        ).encode()

    do_examine = do_select

    def do_idle(self, tag: bytes, words: list[str]) -> None:
        self._idle = tag
        self._account.idler = self
        self._writer.write(b"+ idling\r\n")
        self.tell()

    def do_uid_search(self, tag: bytes, words: list[str]) -> bytes:
        assert self._box is not None
        words = words[2:]
        short = words[0].upper() == "RETURN"
        if short:
            words = words[words.index(")") + 1 :]
        if words[0].upper() == "CHARSET":
            words = words[2:]
        if "EMAILID" in words:
            uids = [int(words[words.index("EMAILID") + 1].removeprefix("m"))]
            found = [mail.uid for mail in self._box.mails if mail.uid in uids]
        else:
            found = Search(words, self._box, substring).run()
        if short:
            every = f" ALL {','.join(map(str, found))}" if found else ""
            return f'* ESEARCH (TAG "{tag.decode()}") UID{every}\r\n'.encode()
        return (" ".join(["* SEARCH", *map(str, found)]) + "\r\n").encode()

    def do_uid_fetch(self, tag: bytes, words: list[str]) -> bytes:
        assert self._box is not None
        answer = b""
        items = _items(words[3:])
        for mail in self._box.chosen(words[2]):
            values = [_item(mail, item) for item in items]
            answer += b"* %d FETCH (%s)\r\n" % (self._box.mails.index(mail) + 1, b" ".join(values))
        return answer

    def do_uid_move(self, tag: bytes, words: list[str]) -> bytes:
        assert self._box is not None
        now = time.monotonic()
        target = self._account.box(words[3])
        chosen = self._box.chosen(words[2])
        new = [target.add(mail.raw, mail.flags) for mail in chosen]
        old_set, new_set = (",".join(str(mail.uid) for mail in mails) for mails in (chosen, new))
        told = f"* OK [COPYUID {target.uidvalidity} {old_set} {new_set}] moved\r\n".encode()
        for mail in chosen:
            told += b"* %d EXPUNGE\r\n" % (self._box.mails.index(mail) + 1)
            self._box.mails.remove(mail)
            at = self._account.arrived.pop(mail.uid, None)
            if at is not None:
                self._server.latencies.append(now - at)
        target.mails.clear()  # nobody looks, and the server shall not grow
        self._server.last = now
        return told


def _item(mail: Mail, name: str) -> bytes:
    return b"EMAILID (m%d)" % mail.uid if name.upper() == "EMAILID" else fetch_item(mail, name)


async def _main(certificate: str, key: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    crowd = Server()
    server = await asyncio.start_server(crowd.serve, "127.0.0.1", 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(0, lambda: orders.put_nowait(os.read(0, 4096)))
    while line := await orders.get():
        print(json.dumps(await crowd.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
