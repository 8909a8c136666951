"""Handing one message to an SMTP server, with the point of no return where the journal knows it.

MAIL, RCPT, DATA and the body go first; a connection that ends before the final dot cancels all of it
(RFC 5321 section 4.1.1.10). Then the journal says `commit`, then the dot is sent, and from there on a lost
reply is `unknown`. As long as our own system still holds some of the body the commit waits, and who went
away during the commit never saw the dot. With CHUNKING the whole body is acknowledged before `commit`,
which then waits for `BDAT 0 LAST` alone (RELIABILITY R6).

All recipients share one transaction: one commit point, one final reply, and each has its own state. What
is `done` or `failed` for one of them in an earlier try is not tried again.
"""

from __future__ import annotations

import re
import smtplib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mailrules.adapters.smtp_session import Refused, Session, SmtpServer, Stopped
from mailrules.core.actions.base import Commit, Outcome, State
from mailrules.core.compose import LONGEST_LINE, Outgoing
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.recipient import recipient_problem, wire_form

__all__ = ["SmtpServer", "send"]

_CHUNK = 512 * 1024
_SETTLED = ("done", "failed")
_RANK: tuple[State, ...] = ("unknown", "later", "failed", "done")
"""The state of the whole is the first of these that some recipient has."""
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_DOT = re.compile(rb"^\.", re.MULTILINE)
_LONG_LINE = re.compile(rb"[^\r\n]{%d}" % (LONGEST_LINE + 1))


class _Fenced(Exception):
    """The journal did not let us commit; carries what it raised."""


@dataclass(slots=True)
class _Transaction:
    server: SmtpServer
    outgoing: Outgoing
    commit: Commit
    states: dict[str, dict[str, str]]
    reached: bool = False
    """Whether the server was ready for the message: what fails before says nothing of it."""
    reply: str = ""
    error: str = ""
    pending: list[str] = field(default_factory=list)

    def settle(self, recipients: list[str], state: State, reply: str) -> None:
        for recipient in recipients:
            self.states[recipient] = {"state": state, "reply": reply}

    def outcome(self) -> Outcome:
        found = {s["state"] for s in self.states.values()}
        state = next(s for s in _RANK if s in found)
        detail: dict[str, Any] = {
            "recipients": self.states,
            "server": f"{self.server.host}:{self.server.port}",
            "message_id": self.outgoing.message_id,
        }
        if self.reply:
            detail["reply"] = self.reply
        if self.outgoing.notes:
            detail["notes"] = list(self.outgoing.notes)
        if state != "done":
            worst = [f"{r}: {s['reply']}" for r, s in self.states.items() if s["state"] == state]
            detail["error"] = self.error or "; ".join(worst)
        return Outcome(state, detail, unreached=state == "later" and not self.reached)


def send(
    server: SmtpServer,
    outgoing: Outgoing,
    *,
    commit: Commit,
    previous: Mapping[str, Mapping[str, str]] | None = None,
    stop: threading.Event | None = None,
    grace: float = 60.0,
) -> Outcome:
    """Send one message. Nothing is raised for what the network or the server does: that is the Outcome.

    `detail["recipients"]` maps each recipient to its `state` and `reply`; `previous` is that of an earlier
    try. `commit` is called once, when all that is missing is the end of the message; what it raises comes
    through, and nothing was sent. `stop` gives up before that point at once, after it within `grace` seconds.
    """
    told = {r: dict(s) for r, s in (previous or {}).items() if s.get("state") in _SETTLED}
    transaction = _Transaction(server, outgoing, commit, {r: told.get(r, {}) for r in outgoing.recipients})
    transaction.pending = [r for r in outgoing.recipients if r not in told]
    if not transaction.pending:
        return transaction.outcome()
    session = Session(server, stop=stop, grace=grace)
    try:
        _refuse_unsendable(outgoing)
        session.open()
        transaction.reached = True
        _hand_over(session, transaction)
        session.part()
    except _Fenced as fenced:
        raise cast(BaseException, fenced.__cause__) from None
    except Refused as refused:
        transaction.error = str(refused)
        transaction.settle(transaction.pending, "failed" if refused.lasting else "later", refused.reply)
    except PermanentError as error:
        transaction.error = str(error)
        transaction.settle(transaction.pending, "failed", str(error))
    except (TransientError, OSError, smtplib.SMTPException, ValueError) as error:
        # ValueError: smtplib's own guard against line ends in a command.
        transaction.error = str(error)
        transaction.settle(transaction.pending, "later", str(error))
    finally:
        session.close()
    return transaction.outcome()


def _refuse_unsendable(outgoing: Outgoing) -> None:
    """What no server may be given, whoever built it."""
    for address in (*outgoing.recipients, *([outgoing.mail_from] if outgoing.mail_from else [])):
        problem = recipient_problem(address)
        if problem:
            raise PermanentError(problem)
    if b"\0" in outgoing.data:
        raise PermanentError("the message has a NUL byte, which SMTP can't carry.")
    if _LONG_LINE.search(outgoing.data):
        raise PermanentError(
            f"the message has a line longer than {LONGEST_LINE} bytes, which SMTP can't carry."
        )


def _hand_over(session: Session, transaction: _Transaction) -> None:
    outgoing = transaction.outgoing
    data = _sendable(session, outgoing)
    options = ""
    if session.has_extn("size"):
        options += f" SIZE={len(data)}"
    if session.has_extn("8bitmime") and not data.isascii():
        options += " BODY=8BITMIME"
    if outgoing.utf8:
        options += " SMTPUTF8"
        session.command_encoding = "utf-8"
    sender = wire_form(outgoing.mail_from) if outgoing.mail_from else ""
    session.command("MAIL", f"FROM:<{sender}>{options}")
    _name_recipients(session, transaction)
    if not transaction.pending:
        return
    if session.has_extn("chunking"):
        for start in range(0, len(data), _CHUNK):
            chunk = data[start : start + _CHUNK]
            session.send(b"BDAT %d\r\n" % len(chunk))
            session.send(chunk)
            session.reply("BDAT")
        end = b"BDAT 0 LAST\r\n"
    else:
        session.command("DATA", expect=3)
        session.send(_DOT.sub(b"..", data))
        end = b".\r\n"
    session.await_acknowledgement()
    if _answered_early(session, transaction):
        return
    if session.stop.is_set():
        raise Stopped("the worker is shutting down")
    try:
        transaction.commit()
    except BaseException as error:
        session.close()
        raise _Fenced from error
    _finish(session, transaction, end)


def _name_recipients(session: Session, transaction: _Transaction) -> None:
    """RCPT for each; those refused get their state and are no longer pending."""
    for recipient in list(transaction.pending):
        try:
            session.command("RCPT", f"TO:<{wire_form(recipient)}>")
        except Refused as refused:
            if refused.code == 421:
                raise
            # RFC 5321 section 4.5.3.1.10: 552 to RCPT means "too many at once", and is 452.
            lasting = refused.lasting and refused.code != 552
            transaction.settle([recipient], "failed" if lasting else "later", refused.reply)
            transaction.pending.remove(recipient)


def _answered_early(session: Session, transaction: _Transaction) -> bool:
    """Whether the server says that it has the message before it was whole: then nobody knows what it has.

    Raises if it refused, or is gone: nothing was accepted.
    """
    if not session.early():
        return False
    transaction.reply = session.reply("DATA")
    transaction.error = f"{session.server.host} answered {transaction.reply} before the message was whole. "
    transaction.error += "It may have been delivered."
    transaction.settle(transaction.pending, "unknown", transaction.reply)
    return True


def _finish(session: Session, transaction: _Transaction, end: bytes) -> None:
    """The end of the message and its reply: what fails once the end is sent is unknown.

    If the server went away during the commit, or our system does not take the end, it was never sent: that
    is as before the commit.
    """
    session.committed()
    if _answered_early(session, transaction):
        return
    session.send(end)
    try:
        code, text = session.getreply()
        transaction.reply = session.spoken(code, text)
    except (TransientError, OSError, smtplib.SMTPException) as error:
        transaction.error = f"the message was handed over, and then: {error}. It may have been delivered."
        transaction.settle(transaction.pending, "unknown", str(error))
        return
    states: dict[int, State] = {2: "done", 4: "later", 5: "failed"}
    transaction.settle(transaction.pending, states.get(code // 100, "unknown"), transaction.reply)


def _sendable(session: Session, outgoing: Outgoing) -> bytes:
    """The bytes as this server takes them. Raises PermanentError."""
    data = outgoing.data
    host = session.server.host
    if not data.isascii() and not session.has_extn("8bitmime"):
        if outgoing.seven_bit is None:
            raise PermanentError(
                f"{host} does not offer 8BITMIME, and the message has 8-bit text. Use forward."
            )
        data = outgoing.seven_bit()
    if outgoing.utf8 and not session.has_extn("smtputf8"):
        raise PermanentError(f"{host} does not offer SMTPUTF8, and the message or an address needs it.")
    if _BARE.search(data):
        data = _LINE_END.sub(b"\r\n", data)
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    limit = session.esmtp_features.get("size", "").strip()
    if limit.isdigit() and 0 < int(limit) < len(data):
        raise PermanentError(f"the message has {len(data)} bytes, and {host} takes at most {limit}.")
    return data
