"""Asking the user's programs: what `script` conditions compare.

They run in threads beside the mailboxes. New mail waits a second for its scripts; what takes longer is put
off, and the mailbox looked at again when it has ended: a script that hangs holds up its own message.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from mailrules import clock
from mailrules.adapters import command
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.actions.exchange import script_input
from mailrules.core.conditions.script import NOT_WITHOUT
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import Fact, Message, MessageKey, Question, ScriptAnswer, Unavailable
from mailrules.judging.judge import PENDING

TOGETHER = 8
"""Scripts that one account's conditions run at a time."""
LARGEST_MESSAGE = 100 << 20
"""Octets of a message that is handed to a script, at most."""
PATIENCE = 1.0
"""Seconds that new mail waits for its scripts; then it is judged when they have ended."""
STIR = 60.0
"""Seconds of waiting after which the server hears from us, so that it does not hang up."""
GRACE = 1.0
"""Seconds that a script has when the program stops: it changes nothing, and is asked again."""
_SHORT = 0.05

_Asked = tuple[MessageKey, Fact]


class Questions:
    """What one account's messages are asked, over all its mailboxes. From any thread."""

    def __init__(self, account: str, stopping: threading.Event, *, ended: Callable[[str], None]) -> None:
        """`ended` is called with the account when a script has ended for which nobody waits."""
        self.stopping = stopping
        self._account = account
        self._ended = ended
        self._pool: ThreadPoolExecutor | None = None  # few accounts have such rules
        self._lock = threading.Lock()
        self._running: dict[_Asked, Future[ScriptAnswer]] = {}
        self._left: set[_Asked] = set()
        """Those that run and that nobody waits for."""
        self._done: dict[_Asked, ScriptAnswer] = {}
        """Their answers, until they are taken."""
        self._queued: set[_Asked] = set()

    def room(self) -> bool:
        """Whether one more may run."""
        with self._lock:
            return len(self._running) < TOGETHER

    def begin(self, asked: _Asked, work: Callable[[], ScriptAnswer]) -> Future[ScriptAnswer] | None:
        """Start it. None: as many run as may."""
        with self._lock:
            if len(self._running) >= TOGETHER:
                return None
            self._queued.discard(asked)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(TOGETHER, thread_name_prefix="mailrules-asking")
            future = self._running[asked] = self._pool.submit(work)
        future.add_done_callback(lambda done: self._end(asked, done))
        return future

    def _end(self, asked: _Asked, done: Future[ScriptAnswer]) -> None:
        with self._lock:
            self._running.pop(asked, None)
            alone = asked in self._left
            self._left.discard(asked)
            if alone and not done.exception():
                self._done[asked] = done.result()
            wanted = alone or bool(self._queued)
        if wanted and not self.stopping.is_set():
            self._ended(self._account)

    def take(self, asked: _Asked) -> ScriptAnswer | Future[ScriptAnswer] | None:
        """The answer, once; or what will give it; None: it was not asked."""
        with self._lock:
            answer = self._done.pop(asked, None)
            if answer is not None:
                return answer
            future = self._running.get(asked)
            if future is not None:
                self._left.discard(asked)
            return future

    def leave(self, asked: _Asked, future: Future[ScriptAnswer] | None) -> bool:
        """Go without waiting any longer: `ready` says when it has ended, or can begin. False: it has."""
        with self._lock:
            if future is None:
                self._queued.add(asked)
            elif asked in self._running:
                self._left.add(asked)
            else:
                return False
            return True

    def ready(self, mailbox: Mailbox) -> frozenset[int]:
        """Messages of a mailbox for which a script has ended, or can begin."""
        where = (self._account, mailbox.name, mailbox.uidvalidity)
        with self._lock:
            ready = [*self._done, *(self._queued if len(self._running) < TOGETHER else ())]
        return frozenset(key.uid for key, _ in ready if key[:3] == where)


class Asking:
    """Runs the scripts that conditions ask, once for each message, rule and decision."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._answers: dict[_Asked, ScriptAnswer] = {}

    def learn(
        self,
        mailbox: Mailbox,
        fact: Fact,
        messages: Mapping[int, Message],
        identities: Mapping[int, Identity],
        *,
        patient: bool,
    ) -> Mapping[int, Any]:
        """What the script says of these messages, or PENDING; those that are gone are absent.

        Raises TransientError if the connection is lost, or if the program stops meanwhile.
        """
        until = None if patient else clock.timer() + PATIENCE
        found: dict[int, Any] = {}
        running: dict[int, Future[ScriptAnswer]] = {}
        todo: deque[int] = deque()
        for uid, message in messages.items():
            asked = (message.key, fact)
            known = self._answers.get(asked) or self._questions.take(asked)
            if isinstance(known, ScriptAnswer):
                found[uid] = known
            elif known is not None:
                running[uid] = known
            else:
                todo.append(uid)
        unnamed = [uid for uid in todo if uid not in identities]
        who = {**identities, **(mailbox.identities(unnamed) if unnamed else {})}
        try:
            while (todo or running) and not self._questions.stopping.is_set():
                while todo and self._begin(mailbox, fact, messages, who, todo[0], running, found):
                    todo.popleft()
                if not running and not todo:
                    break
                if until is not None and clock.timer() >= until:
                    break
                self._wait(mailbox, running, found, until)
        except KeyboardInterrupt:
            self._questions.stopping.set()  # else the program would wait for the scripts at its end
            raise
        if self._questions.stopping.is_set():
            raise TransientError("mailrules stops")
        for uid, future in running.items():
            asked = (messages[uid].key, fact)
            found[uid] = PENDING if self._questions.leave(asked, future) else future.result()
        for uid in todo:
            self._questions.leave((messages[uid].key, fact), None)
            found[uid] = PENDING
        for uid, answer in found.items():
            if isinstance(answer, ScriptAnswer) and not answer.passing:
                self._answers[messages[uid].key, fact] = answer
        return found

    def _begin(
        self,
        mailbox: Mailbox,
        fact: Fact,
        messages: Mapping[int, Message],
        who: Mapping[int, Identity],
        uid: int,
        running: dict[int, Future[ScriptAnswer]],
        found: dict[int, Any],
    ) -> bool:
        """Begin with this one. False: it has to wait for others."""
        if not self._questions.room():
            return False
        if uid not in who:
            return True  # gone
        question: Question = fact.argument  # type: ignore[assignment]
        raw = _raw(mailbox, uid) if question.input != "none" else b""
        if isinstance(raw, Unavailable):
            found[uid] = raw
            return True
        if raw is None:
            return True
        octets, key, told = raw, messages[uid].key, who[uid]
        future = self._questions.begin(
            (key, fact),
            lambda: ask(
                question, octets, key=key, message_id=told.message_id, flags=sorted(told.flags),
                stop=self._questions.stopping,
            ),
        )  # fmt: skip
        if future is None:
            return False
        running[uid] = future
        return True

    def _wait(
        self,
        mailbox: Mailbox,
        running: dict[int, Future[ScriptAnswer]],
        found: dict[int, Any],
        until: float | None,
    ) -> None:
        """Until one of those that run has ended, or it is time to look again."""
        seconds = STIR if until is None else max(0.0, min(STIR, until - clock.timer()))
        with mailbox.connection.lane.left():
            if running:
                done, _ = wait(running.values(), timeout=seconds, return_when=FIRST_COMPLETED)
            else:
                done = set()
                self._questions.stopping.wait(min(seconds, _SHORT))  # others of the account are at it
        for uid in [uid for uid, future in running.items() if future in done]:
            found[uid] = running.pop(uid).result()
        if running and not done and seconds == STIR:
            mailbox.send(b"NOOP")


def _raw(mailbox: Mailbox, uid: int) -> bytes | Unavailable | None:
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
        *,
        patient: bool,
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
    env = {**dict(question.env), **command.script_variables(variables)}
    try:
        result = run(
            question.run,
            stdin=stdin,
            env=env,
            base=question.base,
            timeout=question.timeout,
            stop=stop,
            grace=GRACE,
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
