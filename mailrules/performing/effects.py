"""The worker's Effects: joins the actions to IMAP, SMTP and scripts, for one selected mailbox."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mailrules import clock
from mailrules.adapters import command, files
from mailrules.adapters.imap.connection import Connection, MailboxStatus
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.imap.refusals import NoSuchMailbox
from mailrules.adapters.oauth import access_token
from mailrules.config import Account, Settings, Smtp
from mailrules.core.actions.base import Commit, EffectTarget, Errand, Outcome
from mailrules.core.actions.exchange import script_input
from mailrules.core.compose import Outgoing, forward_message, redirect_message, reply_message
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.file_name import attachment_files, message_file
from mailrules.performing.recovery import Copied

Compose = Callable[..., Outgoing]
GONE = Outcome("gone", {"error": "the message is not there any more"})

LARGEST_MESSAGE = 100 << 20
"""Octets of a message that is forwarded, redirected or handed to a script, at most."""


class WorkerEffects:
    """Effects on the messages of one selected mailbox. What `perform.World` asks for."""

    def __init__(
        self,
        *,
        account: Account,
        settings: Settings,
        connection: Connection,
        mailbox: Mailbox,
        stopping: threading.Event,
    ) -> None:
        self._account = account
        self._settings = settings
        self._connection = connection
        self._mailbox = mailbox
        self._foreseen: dict[str, MailboxStatus] = {}
        self._stopping = stopping

    # -- mailboxes ----------------------------------------------------------------------------------
    def move(
        self, targets: Sequence[EffectTarget], mailbox: str, *, on_copied: Copied | None = None
    ) -> Mapping[int, Outcome]:
        return self._mailbox.move(
            _uids(targets), mailbox, identities=_identities(targets), on_copied=on_copied
        )

    def copy(self, targets: Sequence[EffectTarget], mailbox: str) -> Mapping[int, Outcome]:
        return self._mailbox.copy(_uids(targets), mailbox, identities=_identities(targets))

    def remove(self, targets: Sequence[EffectTarget]) -> Mapping[int, Outcome]:
        return self._mailbox.remove(_uids(targets))

    def delete(self, targets: Sequence[EffectTarget]) -> Mapping[int, Outcome]:
        return self._mailbox.delete(_uids(targets))

    def add_flags(self, targets: Sequence[EffectTarget], flags: Sequence[str]) -> Mapping[int, Outcome]:
        return self._mailbox.add_flags(_uids(targets), flags)

    def remove_flags(self, targets: Sequence[EffectTarget], flags: Sequence[str]) -> Mapping[int, Outcome]:
        return self._mailbox.remove_flags(_uids(targets), flags)

    def add_labels(self, targets: Sequence[EffectTarget], labels: Sequence[str]) -> Mapping[int, Outcome]:
        return self._mailbox.add_labels(_uids(targets), labels)

    def remove_labels(self, targets: Sequence[EffectTarget], labels: Sequence[str]) -> Mapping[int, Outcome]:
        return self._mailbox.remove_labels(_uids(targets), labels)

    @property
    def alive(self) -> bool:
        return self._mailbox.alive

    # -- what recovery asks -------------------------------------------------------------------------
    def meanwhile(self, work: Callable[[], None]) -> AbstractContextManager[None]:
        return self._connection.client.meanwhile(work)

    def let_pass(self) -> None:
        self._connection.lane.let_pass()

    def foresee(self, mailboxes: Collection[str]) -> None:
        self._foreseen = dict(self._connection.statuses(list(mailboxes))) if len(mailboxes) > 1 else {}

    def destination(self, mailbox: str) -> Mapping[str, Any]:
        """Where a move or copy will put messages; created if it is missing and may be."""
        status = self._foreseen.pop(mailbox, None)  # once: what comes there meanwhile is not ours
        if status is not None:
            return {"mailbox": mailbox, "uidvalidity": status.uidvalidity, "uidnext": status.uidnext}
        try:
            status = self._connection.status(mailbox)
        except NoSuchMailbox:
            if not self._connection.may_create(mailbox):
                raise
            self._connection.create(mailbox)
            status = self._connection.status(mailbox)
        return {"mailbox": mailbox, "uidvalidity": status.uidvalidity, "uidnext": status.uidnext}

    def present(self, uids: Sequence[int]) -> set[int]:
        return self._mailbox.present(uids)

    def arrived(
        self, identities: Collection[str], destination: Mapping[str, Any]
    ) -> Mapping[str, Sequence[int]]:
        found: dict[str, list[int]] = {}
        try:
            there = self._connection.select(destination["mailbox"], read_only=True)
            same = there.uidvalidity == destination["uidvalidity"]
            low = (destination["uidnext"] or 1) if same else 1
            for uid, known in sorted(there.identities(there.uids(low)).items()):
                if known.identity in identities:
                    found.setdefault(known.identity, []).append(uid)
        except NoSuchMailbox:
            pass
        finally:
            self._connection.reselect(self._mailbox)
        return found

    def flags(self, uids: Sequence[int], kind: str) -> Mapping[int, frozenset[str]]:
        return {
            uid: frozenset(flag.lower() for flag in (known.flags if kind == "flags" else known.labels))
            for uid, known in self._mailbox.identities(uids).items()
        }

    def originals(self, copies: Mapping[int, tuple[str, Mapping[str, Any]]]) -> set[int]:
        found: set[int] = set()
        try:
            for name in {str(place["mailbox"]) for _, place in copies.values()}:
                asked = {key: c for key, c in copies.items() if c[1]["mailbox"] == name}
                found |= self._there(name, asked)
            for key in copies.keys() - found:
                identity, place = copies[key]
                found |= (
                    self._there(str(place["or"]), {key: (identity, {"uid": 0})}) if place["or"] else set()
                )
        finally:
            self._connection.reselect(self._mailbox)
        return found

    def _there(self, name: str, copies: Mapping[int, tuple[str, Mapping[str, Any]]]) -> set[int]:
        """Those whose original is in this mailbox; uid 0: wherever in it."""
        try:
            there = self._connection.select(name, read_only=True)
        except NoSuchMailbox:
            return set()
        known = there.identities({c[1]["uid"] for c in copies.values() if c[1]["uid"]})
        found = set()
        for key, (identity, place) in copies.items():
            if place["uid"]:
                known_as = known.get(place["uid"])
                same = there.uidvalidity == place["uidvalidity"]
                present = same and known_as is not None and known_as.identity == identity
            else:
                present = bool(there.find(identity))
            if present:
                found.add(key)
        return found

    # -- the world outside --------------------------------------------------------------------------
    def forward(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand:
        return self._send_on(forward_message, target, arguments)

    def redirect(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand:
        return self._send_on(redirect_message, target, arguments)

    def reply(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand:
        return self._send_on(reply_message, target, arguments)

    def _send_on(self, compose: Compose, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand:
        from mailrules.adapters import smtp  # most rules only file mail

        settings = self._account.smtp
        if settings is None:
            raise PermanentError(f"account '{self._account.name}' has no `smtp:`, which sending needs.")
        raw = self._raw(target)
        if raw is None:
            return _gone
        server = smtp.SmtpServer(
            host=settings.host,
            port=settings.port,
            security=settings.security,
            username=settings.username,
            password=settings.password.read if settings.password is not None else None,
            token=self._token(settings),
        )

        def errand(commit: Commit) -> Outcome:
            outgoing = compose(
                raw,
                arguments=arguments,
                address=settings.from_address,
                effect_key=target.effect_key,
                now=clock.now(),
            )
            previous = target.detail.get("recipients")
            return smtp.send(server, outgoing, commit=commit, previous=previous, stop=self._stopping)

        return errand

    def save(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand:
        raw = self._raw(target)
        if raw is None:
            return _gone

        def errand(commit: Commit) -> Outcome:  # no point of no return: done again, it changes nothing
            if arguments["what"] == "message":
                found = [message_file(raw)]
            else:
                found = attachment_files(raw, arguments.get("name", ()))
            return files.save(found, arguments["to"], effect_key=target.effect_key)

        return errand

    def webhook(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand:
        from mailrules.adapters import webhook

        body: bytes | None = None
        if "json" in arguments:
            body = webhook.json_body(arguments["json"])
        elif arguments["method"] not in ("GET", "DELETE"):
            read = self._read(target)
            if read is None:
                return _gone
            identity, raw = read
            body = self._input("json", target, raw, identity)

        def errand(commit: Commit) -> Outcome:
            return webhook.call(
                arguments, body=body, effect_key=target.effect_key, commit=commit, stop=self._stopping
            )

        return errand

    def _token(self, settings: Smtp) -> Callable[[], str] | None:
        if settings.auth != "oauth" or settings.password is None:
            return None
        return functools.partial(access_token, settings.password, account=self._account.name)

    def script(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand:
        read = self._read(target, whole=arguments["input"] != "none")
        if read is None:
            return _gone
        identity, raw = read
        variables = {
            "ACCOUNT": self._account.name,
            "MAILBOX": self._mailbox.name,
            "UID": str(target.uid),
            "RULE": target.rule,
            "MESSAGE_ID": identity.message_id,
            "EFFECT_KEY": target.effect_key,
        }

        def errand(commit: Commit) -> Outcome:
            stdin = self._input(arguments["input"], target, raw, identity)
            return command.script(
                arguments, stdin=stdin, variables=variables, commit=commit, stop=self._stopping
            )

        return errand

    def _input(self, form: str, target: EffectTarget, raw: bytes, identity: Identity) -> bytes:
        return script_input(
            form, raw, account=self._account.name, mailbox=self._mailbox.name, uid=target.uid,
            rule=target.rule, flags=sorted(identity.flags),
        )  # fmt: skip

    def _read(self, target: EffectTarget, *, whole: bool = True) -> tuple[Identity, bytes] | None:
        """Who the message is, and its bytes if they are wanted; None if it is gone."""
        identity = self._mailbox.identities([target.uid]).get(target.uid)
        raw = self._raw(target) if whole and identity is not None else b""
        return None if identity is None or raw is None else (identity, raw)

    def _raw(self, target: EffectTarget) -> bytes | None:
        """The whole message; None if it is gone."""
        try:
            return self._mailbox.raw(target.uid, limit=LARGEST_MESSAGE)
        except TransientError:
            if self._mailbox.alive and target.uid not in self._mailbox.present([target.uid]):
                return None
            raise


def _gone(commit: Commit) -> Outcome:
    return GONE


def _uids(targets: Sequence[EffectTarget]) -> list[int]:
    return [target.uid for target in targets]


def _identities(targets: Sequence[EffectTarget]) -> dict[int, str]:
    return {target.uid: target.identity for target in targets}
