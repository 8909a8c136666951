"""An IMAP server (pymap) and a mail server that keeps what it is sent (aiosmtpd), both inside this process.

Both listen on 127.0.0.1 alone, on ports that the kernel chooses, and forget everything when they stop. For
showing and trying only: pymap keeps no keywords, has no special-use mailboxes and needs well-formed dates.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from argparse import Namespace
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from aiosmtpd.smtp import SMTP
from proxyprotocol.result import ProxyResultLocal
from proxyprotocol.sock import SocketInfo
from pymap.backend.dict import DictBackend, Identity
from pymap.backend.dict.filter import FilterSet
from pymap.backend.dict.mailbox import MailboxData, MailboxSet
from pymap.concurrent import Event
from pymap.imap import IMAPServer
from pymap.parsing.message import AppendMessage
from pymap.selected import SelectedMailbox

_LOOPBACK = "127.0.0.1"
_PATIENCE = 15  # seconds
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Filed:
    """One message as it lies in a mailbox of the demo server."""

    mailbox: str
    uid: int
    message_id: str
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that was sent on and arrived at the demo's mail server."""

    recipients: tuple[str, ...]
    content: bytes


class _Inbox(MailboxData):
    """An INBOX whose IDLE also tells what came between the last command and IDLE.

    pymap waits for the next change first, and what came before that stays unsaid.
    """

    async def update_selected(
        self, selected: SelectedMailbox, *, wait_on: Event | None = None
    ) -> SelectedMailbox:
        known = selected.mod_sequence
        if known is not None and self._mod_sequences.highest > known:
            wait_on = None
        return await super().update_selected(selected, wait_on=wait_on)


class DemoServer:
    """Both servers in one thread; a context manager. `password` is new each time."""

    username = "robin@example.org"

    def __init__(self) -> None:
        self.password = secrets.token_urlsafe(12)
        self.imap_port = 0
        self.smtp_port = 0
        self.sent: list[Sent] = []
        self._loop = asyncio.new_event_loop()
        self._open = AsyncExitStack()
        self._thread = threading.Thread(target=self._run, name="demo server", daemon=True)

    def __enter__(self) -> Self:
        # Of clients that leave without waiting for an answer; the worker does.
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        self._thread.start()
        try:
            self._in_loop(self._start)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._in_loop(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    # -- what a person's mail provider would do ------------------------------------------------
    def deliver(self, message: bytes) -> int:
        """Puts a message into INBOX, as delivery would: sessions that IDLE are told. Returns its UID."""

        async def append() -> int:
            async with self._identity.new_session() as session:
                arrival = AppendMessage(message, datetime.now(UTC), frozenset())
                appended, _ = await session.append_messages("INBOX", [arrival])
                return min(appended.uids)

        return self._in_loop(append)

    def filed(self) -> list[Filed]:
        """Every message of every mailbox, read behind IMAP's back: nobody's word but the server's."""

        async def read() -> list[Filed]:
            found = []
            async with self._identity.new_session() as session:
                names = await session.mailbox_set.list_mailboxes()
                for entry in names.list():
                    if not entry.exists:
                        continue
                    mailbox = await session.mailbox_set.get_mailbox(entry.name)
                    async for message in mailbox.messages():
                        flags = frozenset(str(flag) for flag in message.permanent_flags)
                        found.append(Filed(entry.name, message.uid, _message_id(message), flags))
            return found

        return self._in_loop(read)

    # -- the thread ----------------------------------------------------------------------------
    def _in_loop(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run it in the server's thread; made there, so that Ctrl-C leaves none that nobody awaits."""
        result: Future[_T] = Future()

        def ended(task: asyncio.Task[_T]) -> None:
            error = task.exception() if not task.cancelled() else asyncio.CancelledError()
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(task.result())

        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(work()).add_done_callback(ended))
        return result.result(_PATIENCE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _start(self) -> None:
        # pymap is configured by the command line it would parse itself.
        arguments = Namespace(
            host=_LOOPBACK, port=0, debug=False, cert=None, key=None, tls=False, demo_data=False,
            demo_user=self.username, demo_password=self.password, proxy_protocol=None, passlib_cfg=None,
            inherited_sockets=None,
        )  # fmt: skip
        backend, config = await DictBackend.init(arguments)
        config.apply_context()
        self._identity: Identity = backend.login.demo_user_identity
        mailboxes = MailboxSet()
        mailboxes._inbox = _Inbox(mailboxes._content_cache, mailboxes._thread_cache)
        config.set_cache[self.username] = (mailboxes, FilterSet())
        serve = IMAPServer(backend.login, config)

        async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # pymap's own IMAPService keeps no reference to a connection's task, and the garbage collector
            # of Python 3.13 then ends idle connections. This coroutine is a task that asyncio.streams keeps.
            try:
                await serve(reader, writer, SocketInfo.get(writer, ProxyResultLocal()))
            except (ConnectionError, asyncio.IncompleteReadError, ValueError):
                pass
            finally:
                writer.close()

        await backend.start(self._open)
        imap = await self._open.enter_async_context(await asyncio.start_server(on_client, _LOOPBACK, 0))
        smtp = await self._open.enter_async_context(
            await self._loop.create_server(lambda: SMTP(self, loop=self._loop), _LOOPBACK, 0)
        )
        self.imap_port = imap.sockets[0].getsockname()[1]
        self.smtp_port = smtp.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        sessions = asyncio.all_tasks() - {asyncio.current_task()}
        for session in sessions:
            session.cancel()
        if sessions:
            await asyncio.wait(sessions, timeout=2)
        await self._open.aclose()

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:
        """What aiosmtpd calls with each message it was given."""
        self.sent.append(Sent(tuple(envelope.rcpt_tos), bytes(envelope.content)))
        return "250 2.0.0 kept for the demo"


def _message_id(message: Any) -> str:
    content = message._content
    header = content.header.parsed.message_id if content is not None else None
    return str(header or "").strip()
