"""Asking the user's programs: what `script` conditions compare.

They run beside one another, some at a time, and hold up their own mailbox and no other. The places are
those of errands: actions that are scripts count with them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from mailrules.adapters import command
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.actions.exchange import script_input
from mailrules.core.conditions.script import NOT_WITHOUT
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import Fact, Message, MessageKey, Question, ScriptAnswer, Unavailable
from mailrules.errands import Errands

log = logging.getLogger("mailrules.run")

TOGETHER = 4
"""Scripts that one mailbox runs at a time."""
LARGEST_MESSAGE = 100 << 20
"""Octets of a message that is handed to a script, at most."""
STIR = 60.0
"""Seconds of waiting after which the server hears from us, so that it does not hang up."""


class Asking:
    """Runs the scripts that conditions ask, once for each message, rule and decision."""

    def __init__(self, account: str, errands: Errands, stopping: threading.Event) -> None:
        self._account = account
        self._errands = errands
        self._stopping = stopping
        self._answers: dict[tuple[MessageKey, Fact], ScriptAnswer] = {}

    def learn(
        self,
        mailbox: Mailbox,
        fact: Fact,
        messages: Mapping[int, Message],
        identities: Mapping[int, Identity],
    ) -> Mapping[int, Any]:
        """What the script says of these messages; those that are gone are absent.

        Raises TransientError if the connection is lost, or if the program stops meanwhile.
        """
        question: Question = fact.argument  # type: ignore[assignment]
        found: dict[int, Any] = {
            uid: self._answers[message.key, fact]
            for uid, message in messages.items()
            if (message.key, fact) in self._answers
        }
        asked = [uid for uid in messages if uid not in found]
        unnamed = [uid for uid in asked if uid not in identities]
        who = {**identities, **(mailbox.identities(unnamed) if unnamed else {})}
        running: dict[int, Future[ScriptAnswer]] = {}
        with ThreadPoolExecutor(TOGETHER, thread_name_prefix="mailrules-asking") as pool:
            for uid in asked:
                if uid not in who:
                    continue
                while len(running) >= TOGETHER:
                    self._take_one(mailbox, running, found)
                raw = self._raw(mailbox, uid) if question.input != "none" else b""
                if isinstance(raw, Unavailable):
                    found[uid] = raw
                elif raw is not None:
                    running[uid] = pool.submit(self._ask, question, raw, messages[uid].key, who[uid])
            while running:
                self._take_one(mailbox, running, found)
        if self._stopping.is_set():
            raise TransientError("mailrules stops")
        for uid, answer in found.items():
            if isinstance(answer, ScriptAnswer) and not answer.passing:
                self._answers[messages[uid].key, fact] = answer
        return found

    def _take_one(
        self, mailbox: Mailbox, running: dict[int, Future[ScriptAnswer]], found: dict[int, Any]
    ) -> None:
        """Wait for the first of those that run."""
        uid = next(iter(running))
        while True:
            try:
                with mailbox.connection.lane.left():
                    found[uid] = running[uid].result(STIR)
                break
            except NotYet:
                mailbox.send(b"NOOP")
        del running[uid]

    def _ask(self, question: Question, raw: bytes, key: MessageKey, who: Identity) -> ScriptAnswer:
        while not self._errands.place(self._account):
            if self._stopping.wait(0.05):
                return ScriptAnswer(None, problem="mailrules stops", passing=True)
        try:
            return ask(
                question,
                raw,
                key=key,
                message_id=who.message_id,
                flags=sorted(who.flags),
                stop=self._stopping,
            )
        finally:
            self._errands.give_back(self._account)

    def _raw(self, mailbox: Mailbox, uid: int) -> bytes | Unavailable | None:
        """The whole message; None if it is gone."""
        try:
            return mailbox.raw(uid, limit=LARGEST_MESSAGE)
        except PermanentError as error:
            return Unavailable(f"script: {error}")
        except TransientError as error:
            if not mailbox.alive:
                raise
            if uid not in mailbox.present([uid]):
                return None
            return Unavailable(f"script: {error}", passing=True)


class NotAsking:
    """Where a person looks only (`explain`): no script is run."""

    def learn(
        self,
        mailbox: Mailbox,
        fact: Fact,
        messages: Mapping[int, Message],
        identities: Mapping[int, Identity],
    ) -> Mapping[int, Any]:
        return dict.fromkeys(messages, Unavailable(NOT_WITHOUT))


def ask(
    question: Question,
    raw: bytes,
    *,
    key: MessageKey,
    message_id: str,
    flags: list[str],
    stop: threading.Event | None = None,
    run: Callable[..., command.CommandResult] = command.run,
) -> ScriptAnswer:
    """Run the script on one message, to its end."""
    stdin = script_input(
        question.input,
        raw,
        account=key.account,
        mailbox=key.mailbox,
        uid=key.uid,
        rule=question.rule,
        flags=flags,
    )
    variables = {
        "ACCOUNT": key.account,
        "MAILBOX": key.mailbox,
        "UID": str(key.uid),
        "RULE": question.rule,
        "MESSAGE_ID": message_id,
    }
    env = {**dict(question.env), **command.variables(variables)}
    try:
        result = run(
            question.run, stdin=stdin, env=env, base=question.base, timeout=question.timeout, stop=stop
        )
    except PermanentError as error:
        return ScriptAnswer(None, problem=f"script: {error}")
    except TransientError as error:
        return ScriptAnswer(None, problem=f"script: {error}", passing=True)
    return answer_of(result)


def answer_of(result: command.CommandResult) -> ScriptAnswer:
    """0 and 1 are answers, 75 is none yet, all else is none (SPEC section 3)."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    said = command.shown(lines[-1]) if lines else ""
    because = f": {said}" if said else ""
    if result.interrupted == "stop":
        return ScriptAnswer(result.status, said, "script: mailrules stops", passing=True)
    if result.interrupted:
        return ScriptAnswer(result.status, said, f"script: it took longer than its timeout{because}")
    if result.error:
        return ScriptAnswer(result.status, said, f"script: {result.error}{because}")
    if result.status == command.TEMPORARY:
        return ScriptAnswer(
            result.status, said, f"script: it asks to be asked later (75){because}", passing=True
        )
    if result.status is None or result.status < 0:
        return ScriptAnswer(result.status, said, f"script: ended by signal {-(result.status or 0)}{because}")
    if result.status > 1:
        return ScriptAnswer(result.status, said, f"script: exit status {result.status}{because}")
    return ScriptAnswer(result.status, said)
