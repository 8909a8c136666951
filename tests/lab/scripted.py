"""A small IMAP server in this process, for what a decent server won't do.

It has a real little mailbox model, so that a whole worker can run against it, and it lies on demand::

    with ScriptedServer(capability="IMAP4rev1 UIDPLUS") as server:      # no MOVE, no IDLE
        server.box().add(message(1))
        server.script(rb"UID SEARCH", b"{tag} NO [UNAVAILABLE] Backend error\\r\\n")
        server.script(rb"UID FETCH 7", CUT, times=1)

A script answers a command whose line matches instead of the model; `{tag}` is the command's tag.
Everything clients send is in `server.commands` (without tags) and `server.received` (as it came).
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.lab.model import BadSearch, Box, Mail, Search, Words, fetch_item, substring

CUT = object()
"""A script that closes the connection."""
HANG = object()
"""A script that never answers."""

FULL = "IMAP4rev1 LITERAL+ ID IDLE NAMESPACE UIDPLUS MOVE SPECIAL-USE UNSELECT"

Answer = bytes | object | Callable[["Session", bytes], bytes | object | None]


@dataclass
class Script:
    pattern: re.Pattern[bytes]
    answer: Answer
    times: int | None
    then_model: bool


class ScriptedServer:
    """`capability` is what it can do after login, `before` what it says before (default: the same)."""

    def __init__(
        self,
        *,
        capability: str = FULL,
        before: str | None = None,
        greeting: bytes = b"* OK ready\r\n",
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = True,
        delimiter: str = "/",
        prefix: str = "",
        search: Words = substring,
        idle_answer: bytes = b"+ idling\r\n",
        copyuid: Callable[[int, str, str], bytes] | None = None,
        password: str = "pw",
        garble: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.garble = garble  # everything it says goes through this
        self.capability, self.before = capability, before or capability
        self.greeting = greeting
        self.tls, self.implicit_tls = tls, implicit_tls
        self.delimiter, self.prefix = delimiter, prefix
        self.search = search
        self.idle_answer = idle_answer
        self.copyuid = copyuid or (lambda v, old, new: f"[COPYUID {v} {old} {new}] ".encode())
        self.password = password
        self.server_id = b"NIL"
        self.boxes: dict[str, Box] = {"INBOX": Box("INBOX", uidvalidity=11)}
        self.commands: list[bytes] = []
        self.received = bytearray()
        self.sessions: list[Session] = []
        self.lock = threading.RLock()
        self._scripts: list[Script] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="scripted-imap", daemon=True)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.close()
        for session in list(self.sessions):
            session.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            session = Session(self, client)
            self.sessions.append(session)
            threading.Thread(target=session.run, name="scripted-session", daemon=True).start()

    # -- the test's side ------------------------------------------------------------------------
    def box(self, name: str = "INBOX", **values: object) -> Box:
        """A mailbox; created if it is missing."""
        with self.lock:
            if name not in self.boxes:
                self.boxes[name] = Box(name, uidvalidity=11 + len(self.boxes))
            box = self.boxes[name]
            for key, value in values.items():
                setattr(box, key, value)
            return box

    def script(
        self, pattern: bytes, answer: Answer, *, times: int | None = None, then_model: bool = False
    ) -> None:
        """Answer commands that match `pattern` (from their start, any case) with `answer`.

        A callable gets (session, line) and may return None: then the model answers. `then_model`
        sends the answer, and then the model's.
        """
        self._scripts.append(Script(re.compile(pattern, re.I | re.S), answer, times, then_model))

    def deliver(self, raw: bytes, mailbox: str = "INBOX") -> Mail:
        """New mail; whoever idles on the mailbox is told."""
        with self.lock:
            mail = self.box(mailbox).add(raw)
            self.tell(b"* %d EXISTS\r\n" % len(self.box(mailbox).mails), mailbox)
            return mail

    def tell(self, data: bytes, mailbox: str = "INBOX") -> None:
        """Send bytes to everybody who idles on a mailbox."""
        for session in list(self.sessions):
            if session.idling and session.box is self.boxes.get(mailbox):
                session.send(data)

    def sent(self, word: bytes) -> list[bytes]:
        """The commands that start with this word."""
        return [line for line in self.commands if line.upper().startswith(word.upper())]

    def scripted(self, session: Session, line: bytes) -> tuple[object, bool] | None:
        with self.lock:
            for script in self._scripts:
                if script.times == 0 or not script.pattern.match(line):
                    continue
                answer = script.answer
                if callable(answer):
                    answer = answer(session, line)
                    if answer is None:
                        continue
                if script.times is not None:
                    script.times -= 1
                return answer, script.then_model
        return None


class Session:
    """One client."""

    def __init__(self, server: ScriptedServer, client: socket.socket) -> None:
        self.server = server
        self.socket = client
        self.box: Box | None = None
        self.idling = False
        self.logged_in = False
        self._buffer = bytearray()
        self._sending = threading.Lock()
        self._deflate: Any = None
        self._inflate: Any = None

    def run(self) -> None:
        try:
            if self.server.tls is not None and self.server.implicit_tls:
                self.socket = self.server.tls.wrap_socket(self.socket, server_side=True)
            self.send(self.server.greeting)
            while self._serve():
                pass
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self.idling = False
            self.cut()

    def cut(self) -> None:
        try:
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()

    def send(self, data: bytes) -> None:
        if self.server.garble is not None:
            data = self.server.garble(data)
        with self._sending:
            if self._deflate is not None:
                data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            self.socket.sendall(data)

    def send_raw(self, data: bytes) -> None:
        """Bytes past the compression, if there is any."""
        with self._sending:
            self.socket.sendall(data)

    # -- reading --------------------------------------------------------------------------------
    def _receive(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        if self._inflate is not None:
            data = self._inflate.decompress(data)
        self.server.received += data
        return data

    def _read_line(self) -> bytes:
        while b"\n" not in self._buffer:
            self._buffer += self._receive()
        end = self._buffer.index(b"\n") + 1
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line.rstrip(b"\r\n")

    def _read_literal(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += self._receive()
        literal = bytes(self._buffer[:size])
        del self._buffer[:size]
        return literal

    def _read_command(self) -> tuple[bytes, list[bytes]]:
        """The line with its literals left as `{n}`, and the literals."""
        line = piece = self._read_line()
        literals = []
        while match := re.search(rb"\{(\d+)(\+?)\}$", piece):
            if not match[2]:
                self.send(b"+ go ahead\r\n")
            literals.append(self._read_literal(int(match[1])))
            piece = self._read_line()
            line += piece
        return line, literals

    # -- commands -------------------------------------------------------------------------------
    def _serve(self) -> bool:
        line, literals = self._read_command()
        tag, _, rest = line.partition(b" ")
        self.server.commands.append(rest)
        scripted = self.server.scripted(self, rest)
        if scripted is not None:
            answer, then_model = scripted
            if answer is CUT:
                return False
            if answer is HANG:
                threading.Event().wait(600)
                return False
            assert isinstance(answer, bytes)
            self.send(answer.replace(b"{tag}", tag))
            if not then_model:
                return True
        words = rest.split()
        name = words[0].upper().decode() if words else ""
        if name == "UID":
            name = "UID_" + words[1].upper().decode()
        handler = getattr(self, "do_" + name.lower(), None)
        if handler is None:
            self.send(tag + b" BAD unknown command\r\n")
            return True
        with self.server.lock:
            answer = handler(tag, _words(rest, literals))
        if answer is not None:
            self.send(answer if answer.startswith(b"* ") or answer[:1] == b"[" else tag + b" " + answer)
        return name != "LOGOUT"

    def do_capability(self, tag: bytes, words: list[str]) -> bytes:
        text = self.server.capability if self.logged_in else self.server.before
        return b"* CAPABILITY " + text.encode() + b"\r\n" + tag + b" OK done\r\n"

    def do_starttls(self, tag: bytes, words: list[str]) -> None:
        self.send(tag + b" OK begin\r\n")
        assert self.server.tls is not None
        self.socket = self.server.tls.wrap_socket(self.socket, server_side=True)

    def do_compress(self, tag: bytes, words: list[str]) -> None:
        self.send(tag + b" OK go on\r\n")
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        self._inflate = zlib.decompressobj(-15)

    def do_login(self, tag: bytes, words: list[str]) -> bytes:
        if words[2] != self.server.password:
            return b"NO [AUTHENTICATIONFAILED] no\r\n"
        self.logged_in = True
        return b"OK welcome\r\n"

    def do_authenticate(self, tag: bytes, words: list[str]) -> bytes:
        self.send(b"+ \r\n")
        secret = base64.b64decode(self._read_line()).split(b"\0")[-1].decode()
        return self.do_login(tag, ["LOGIN", "", secret])

    def do_noop(self, tag: bytes, words: list[str]) -> bytes:
        news = b"* %d EXISTS\r\n" % len(self.box.mails) if self.box else b""
        return news + tag + b" OK done\r\n" if news else b"OK done\r\n"

    def do_logout(self, tag: bytes, words: list[str]) -> bytes:
        return b"* BYE bye\r\n" + tag + b" OK bye\r\n"

    def do_id(self, tag: bytes, words: list[str]) -> bytes:
        return b"* ID " + self.server.server_id + b"\r\n" + tag + b" OK done\r\n"

    def do_namespace(self, tag: bytes, words: list[str]) -> bytes:
        prefix, delimiter = self.server.prefix, self.server.delimiter.replace("\\", "\\\\")
        return f'* NAMESPACE (("{prefix}" "{delimiter}")) NIL NIL\r\n{tag.decode()} OK done\r\n'.encode()

    def do_list(self, tag: bytes, words: list[str]) -> bytes:
        delimiter = self.server.delimiter.replace("\\", "\\\\")
        if words[2] == "":
            return f'* LIST (\\Noselect) "{delimiter}" ""\r\n{tag.decode()} OK done\r\n'.encode()
        lines = [
            f'* LIST ({" ".join(box.attributes)}) "{delimiter}" {_quoted(name)}\r\n'
            for name, box in self.server.boxes.items()
        ]
        return "".join(lines).encode() + tag + b" OK done\r\n"

    def do_status(self, tag: bytes, words: list[str]) -> bytes:
        box = self.server.boxes.get(words[1])
        if box is None:
            return b"NO [NONEXISTENT] no such mailbox\r\n"
        answer = f"MESSAGES {len(box.mails)} UIDNEXT {box.uidnext} UIDVALIDITY {box.uidvalidity}"
        return f"* STATUS {_quoted(words[1])} ({answer})\r\n{tag.decode()} OK done\r\n".encode()

    def do_notify(self, tag: bytes, words: list[str]) -> bytes:
        """Tells how it stands, as `SET STATUS` asks; what is new afterwards a test says by `tell`."""
        names = [name for name in self.server.boxes if name in words and words[1].upper() == "SET"]
        told = b"".join(
            f"* STATUS {_quoted(name)} (MESSAGES {len(box.mails)} UIDNEXT {box.uidnext})\r\n".encode()
            for name, box in ((name, self.server.boxes[name]) for name in names)
            if box is not self.box
        )
        return told + tag + b" OK done\r\n" if told else b"OK done\r\n"

    def do_create(self, tag: bytes, words: list[str]) -> bytes:
        if words[1] in self.server.boxes:
            return b"NO [ALREADYEXISTS] it exists\r\n"
        self.server.box(words[1])
        return b"OK done\r\n"

    def do_subscribe(self, tag: bytes, words: list[str]) -> bytes:
        return b"OK done\r\n"

    def do_select(self, tag: bytes, words: list[str]) -> bytes:
        name = "INBOX" if words[1].upper() == "INBOX" else words[1]
        box = self.server.boxes.get(name)
        self.box = box
        if box is None or "\\Noselect" in box.attributes:
            return b"NO [NONEXISTENT] no such mailbox\r\n"
        right = "READ-ONLY" if words[0].upper() == "EXAMINE" else "READ-WRITE"
        return (
            f"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n* {len(box.mails)} EXISTS\r\n"
            f"* OK [PERMANENTFLAGS ({' '.join(box.permanent)})] kept\r\n"
            f"* OK [UIDVALIDITY {box.uidvalidity}] valid\r\n* OK [UIDNEXT {box.uidnext}] next\r\n"
            f"{tag.decode()} OK [{right}] selected\r\n"
        ).encode()

    do_examine = do_select

    def do_append(self, tag: bytes, words: list[str]) -> bytes:
        box = self.server.boxes.get(words[1])
        if box is None:
            return b"NO [TRYCREATE] no such mailbox\r\n"
        flags = set(words[words.index("(") + 1 : words.index(")")]) if "(" in words else set()
        mail = box.add(words[-1].encode("utf-8", "surrogateescape"), flags)
        return f"OK [APPENDUID {box.uidvalidity} {mail.uid}] done\r\n".encode()

    def do_idle(self, tag: bytes, words: list[str]) -> None:
        self.idling = True
        self.send(self.server.idle_answer)
        self.server.lock.release()
        try:
            line = self._read_line()
        finally:
            self.server.lock.acquire()
            self.idling = False
        self.server.commands.append(line)
        self.send(tag + (b" OK done\r\n" if line.upper() == b"DONE" else b" BAD expected DONE\r\n"))

    # -- UID commands ---------------------------------------------------------------------------
    def _selected(self) -> Box:
        assert self.box is not None, "nothing is selected"
        return self.box

    def do_uid_search(self, tag: bytes, words: list[str]) -> bytes:
        words = words[2:]
        short = words[0].upper() == "RETURN"
        if short:
            words = words[words.index(")") + 1 :]
        if words[0].upper() == "CHARSET":
            words = words[2:]
        try:
            found = Search(words, self._selected(), self.server.search).run()
        except BadSearch as word:
            return f"BAD unknown key {word}\r\n".encode()
        if short:
            every = f" ALL {','.join(map(str, found))}" if found else ""
            line = f'* ESEARCH (TAG "{tag.decode()}") UID{every}'
        else:
            line = " ".join(["* SEARCH", *map(str, found)])
        return f"{line}\r\n{tag.decode()} OK done\r\n".encode()

    def do_uid_fetch(self, tag: bytes, words: list[str]) -> bytes:
        box = self._selected()
        answer = b""
        items = _items(words[3:])
        for mail in box.chosen(words[2]):
            try:
                values = [fetch_item(mail, item) for item in items]
            except KeyError as item:
                return f"BAD unknown item {item}\r\n".encode()
            if not any(item.upper() == "UID" for item in items):
                values.insert(0, b"UID %d" % mail.uid)
            answer += b"* %d FETCH (%s)\r\n" % (box.mails.index(mail) + 1, b" ".join(values))
        return answer + tag + b" OK done\r\n" if answer else b"OK done\r\n"

    def do_uid_store(self, tag: bytes, words: list[str]) -> bytes:
        box = self._selected()
        flags = [word for word in words[4:] if word not in "()"]
        answer = b""
        for mail in box.chosen(words[2]):
            for flag in flags:
                if words[3].startswith("+") and box.keeps(flag):
                    mail.flags.add(flag)
                elif words[3].startswith("-"):
                    mail.flags.discard(flag)
            shown = b" ".join((b"UID %d" % mail.uid, fetch_item(mail, "FLAGS")))
            answer += b"* %d FETCH (%s)\r\n" % (box.mails.index(mail) + 1, shown)
        return answer + tag + b" OK done\r\n" if answer else b"OK done\r\n"

    def _transfer(self, words: list[str]) -> tuple[Box, list[Mail], bytes] | bytes:
        box, target = self._selected(), self.server.boxes.get(words[3])
        if target is None:
            return b"NO [TRYCREATE] no such mailbox\r\n"
        chosen = box.chosen(words[2])
        new = [target.add(mail.raw, mail.flags) for mail in chosen]
        for mail, copy in zip(chosen, new, strict=True):
            copy.received = mail.received
        code = b""
        if chosen and "UIDPLUS" in self.server.capability:
            old_set, new_set = (",".join(str(m.uid) for m in mails) for mails in (chosen, new))
            code = self.server.copyuid(target.uidvalidity, old_set, new_set)
        return box, chosen, code

    def do_uid_copy(self, tag: bytes, words: list[str]) -> bytes:
        done = self._transfer(words)
        return done if isinstance(done, bytes) else b"OK " + done[2] + b"done\r\n"

    def do_uid_move(self, tag: bytes, words: list[str]) -> bytes:
        done = self._transfer(words)
        if isinstance(done, bytes):
            return done
        box, chosen, code = done
        told = b"* OK " + code + b"moved\r\n" if code.startswith(b"[") else code
        answer = told + self._expunge(box, {m.uid for m in chosen})
        return answer + tag + b" OK done\r\n" if answer else b"OK done\r\n"

    def do_uid_expunge(self, tag: bytes, words: list[str]) -> bytes:
        box = self._selected()
        gone = {m.uid for m in box.chosen(words[2]) if "\\Deleted" in m.flags}
        return self._expunge(box, gone) + tag + b" OK done\r\n" if gone else b"OK done\r\n"

    def do_expunge(self, tag: bytes, words: list[str]) -> bytes:
        box = self._selected()
        gone = {m.uid for m in box.mails if "\\Deleted" in m.flags}
        return self._expunge(box, gone) + tag + b" OK done\r\n" if gone else b"OK done\r\n"

    def _expunge(self, box: Box, gone: set[int]) -> bytes:
        answer = b""
        for uid in sorted(gone):
            place = next(i for i, mail in enumerate(box.mails) if mail.uid == uid)
            del box.mails[place]
            answer += b"* %d EXPUNGE\r\n" % (place + 1)
        return answer


_TOKEN = re.compile(
    rb'\s*(?:"((?:[^"\\]|\\.)*)"|(\{\d+\+?\})|([()])|([^\s()"{]+(?:\[[^\]]*\])?(?:<[\d.]+>)?))', re.S
)


def _words(line: bytes, literals: list[bytes]) -> list[str]:
    """A command's words: quoted strings and literals as their content, parentheses alone."""
    words, waiting = [], list(literals)
    for quoted, literal, parenthesis, atom in _TOKEN.findall(line):
        if literal:
            word = waiting.pop(0)
        elif parenthesis:
            word = parenthesis
        elif atom:
            word = atom
        else:
            word = re.sub(rb"\\(.)", rb"\1", quoted)
        words.append(word.decode("utf-8", "surrogateescape"))
    return words


def _items(words: list[str]) -> list[str]:
    """FETCH items; a `BODY.PEEK[HEADER.FIELDS (A B)]` may have been taken apart."""
    text = " ".join(words).replace("( ", "(").replace(" )", ")")
    if text.startswith("("):
        text = text[1:-1]
    return re.findall(r"[^\s\[]+(?:\[[^\]]*\])?(?:<[\d.]+>)?", text)


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
