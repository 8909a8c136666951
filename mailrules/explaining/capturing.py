"""`test --capture`: a test made of a message that is there, with stand-ins for what people wrote.

First the message is written down in the form of `tests:`. Then every address, word and number is replaced,
as far as each condition of each rule still comes out as it did; what has to be kept is kept, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mailrules.config import yaml_nodes
from mailrules.config.tests import SYSTEM_FLAGS, Tests
from mailrules.config.yaml_source import compose
from mailrules.core.address import addresses
from mailrules.core.conditions.auth import METHODS, auth_results
from mailrules.core.conditions.base import Trace
from mailrules.core.conditions.date import parse_date
from mailrules.core.decoding import decode
from mailrules.core.errors import PermanentError, Report
from mailrules.core.fixture import ADDRESS_HEADERS, TEXT_HEADERS, Attached, Fixture
from mailrules.core.headers import Headers
from mailrules.core.message import (
    ALL_HEADERS,
    ANSWER,
    BODY,
    FLAGS,
    GMAIL_LABELS,
    INTERNALDATE,
    SIGHTINGS,
    SIZE,
    STRUCTURE,
    WRITTEN_TO,
    Fact,
    Message,
    Sightings,
    Unavailable,
    UnknownFact,
)
from mailrules.core.mime import attachments
from mailrules.core.offline import without_server
from mailrules.core.stand_in import Names, Token, tokens
from mailrules.core.values import Plain
from mailrules.explaining.explain import explain_on_server
from mailrules.explaining.testing import Action, account_of, judge, run, short_form

if TYPE_CHECKING:
    from mailrules.config import Config
    from mailrules.config.tests import RuleTest
    from mailrules.house import House

_ALWAYS = ("from", "sender", "reply-to", "to", "cc", "bcc", "delivered-to", "subject", "list-id",
           "list-unsubscribe", "precedence", "auto-submitted")  # fmt: skip
"""Headers that a test is good to have, whatever today's rules read."""
_NOT_TEXT = ("date", "mime-version", "content-transfer-encoding", "content-type")
_TRIES = 3
_LARGEST = 50_000_000
_ADDRESSES = {header.lower(): key for key, header in ADDRESS_HEADERS.items()}
_TEXTS = {header.lower(): key for key, header in TEXT_HEADERS.items()}
Outcomes = dict[tuple[str, ...], Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A piece of the message that stays as it is, and the conditions that need it."""

    text: str
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Captured:
    """The test, as data of the file; its message; and what was kept of the original."""

    test: Mapping[str, Any]
    fixture: Fixture
    kept: tuple[Kept, ...]
    content: bytes


def capture(
    config: Config, original: Fixture, *, now: datetime, name: str, file: str | None = None
) -> Captured:
    """A test of this message. `file`: the name of the file that the message will stand in.

    Raises PermanentError where the form can't say what the message is: then some condition would come out
    otherwise, and it says which.
    """
    return _Capture(config, original, now).made(name, file)


class _Capture:
    def __init__(self, config: Config, original: Fixture, now: datetime) -> None:
        self._config = config
        self._original = original
        self._now = now
        self._facts = frozenset[Fact]().union(*(rule.facts() for rule in config.rules))
        message = self._message(original)
        self._parts = attachments(message.get(STRUCTURE))
        self._wanted = self._outcomes(original, exact=True)
        self._form = self._written_down(message)
        self._names = Names(self._tokens(self._form))

    def made(self, name: str, file: str | None) -> Captured:
        differs = self._differing(self._form)
        if differs:
            raise PermanentError(
                "the message can't be written down as a test: "
                f"{'; '.join(differs[:3])} would come out otherwise. Keep it as a file: file: PATH."
            )
        kept = self._kept()
        fixture = self._replaced(self._form, frozenset(kept))
        account = account_of(self._config, fixture)
        authserv = next(iter(account.trusted_authserv), "") if account is not None else ""
        content = fixture.content(self._now, authserv=authserv)
        told = fixture if file is None else fixture.with_raw(content)
        test = self._expected(self._data(told, name, file), told)
        reasons = tuple(Kept(token.text, tuple(because)) for token, because in kept.items())
        return Captured(test, fixture, reasons, content)

    # -- what is compared ---------------------------------------------------------------------------
    def _message(self, fixture: Fixture) -> Message:
        account = account_of(self._config, fixture)
        message = fixture.message(
            account=account.name if account is not None else "-",
            now=self._now,
            body_limit=self._config.settings.body_limit,
            trusted_authserv=tuple(account.trusted_authserv) if account is not None else (),
            asked=self._facts,
        )
        return without_server(message, self._facts)

    def _outcomes(self, fixture: Fixture, *, exact: bool = False) -> Outcomes:
        """How each condition of each rule comes out. Not `exact`: the files attached are not built."""
        light = fixture
        if not exact:
            light = replace(
                fixture, attachments=tuple(replace(file, size=1, text="") for file in fixture.attachments)
            )
        message = self._message(light)
        if not exact and self._parts:
            self._as_large(message)
        found: Outcomes = {}
        for rule in self._config.rules:
            _flatten(rule.when.trace(message), (rule.name,), found)
        return found

    def _as_large(self, message: Message) -> None:
        """Give the parts the sizes that the files of the original have."""
        sized = iter(self._parts)
        parts = []
        for part in message.get(STRUCTURE):
            like = next(sized, None) if attachments([part]) else None
            parts.append(part if like is None else replace(part, size=like.size, encoding=like.encoding))
        message.facts[STRUCTURE] = tuple(parts)

    def _differing(self, fixture: Fixture) -> list[str]:
        """The conditions that come out otherwise than those of the original, in words."""
        found = self._outcomes(fixture)
        paths = [path for path, matched in self._wanted.items() if found.get(path) != matched]
        leaves = [path for path in paths if not any(o[: len(path)] == path for o in paths if o != path)]
        return list(dict.fromkeys(f"rule '{path[0]}': {path[-1].partition(' ')[2]}" for path in leaves))

    # -- the form -----------------------------------------------------------------------------------
    def _written_down(self, message: Message) -> Fixture:
        """The message in the form of a test, every word as it is."""
        block: Headers = message.get(ALL_HEADERS)
        read = {str(fact.argument) for fact in self._facts if fact.kind == "header"}
        everything = "*" in read
        headers = []
        for raw_name, raw in block.fields:
            name = raw_name.decode("latin-1")
            lower = name.lower()
            if lower in _NOT_TEXT:
                continue
            if everything or lower in read or lower in _ALWAYS or lower == "message-id":
                headers.append((name, self._value(lower, raw)))
        kinds = [_line(decode(raw)) for raw in block.get("content-type")]
        if kinds and kinds[0].lower().startswith("multipart/report") and "content-type" in read:
            headers.append(("Content-Type", "multipart/report"))
        dates = [_line(decode(raw)) for raw in block.get("date")]
        date: datetime | str | None = (parse_date(dates[0]) or dates[0]) if dates else None
        return replace(
            self._original,
            raw=None,
            headers=tuple(headers),
            date=date,
            body=(message.get(BODY).text or None) if BODY in self._facts else None,
            attachments=tuple(_attached(part) for part in self._parts),
            auth=_auth(message),
            without=frozenset() if block.get("message-id") else frozenset(["message-id"]),
            received=message.internaldate,
            size=message.size,
        )

    def _value(self, name: str, raw: bytes) -> str:
        if name in _ADDRESSES or name.startswith("resent-"):
            people = addresses([raw])
            if people:
                return ", ".join(_person(one.name, one.address) for one in people)
        return _line(decode(raw))

    def _tokens(self, form: Fixture) -> list[Token]:
        texts = [value for _, value in form.headers]
        texts += [form.body or "", *(_stem(file.name)[0] for file in form.attachments)]
        return list(dict.fromkeys(token for text in texts for token in tokens(text)))

    def _replaced(self, form: Fixture, kept: frozenset[Token]) -> Fixture:
        def new(text: str) -> str:
            return self._names.replace(text, kept)

        files = []
        for file in form.attachments:
            stem, end = _stem(file.name)
            files.append(replace(file, name=new(stem) + end))
        return replace(
            form,
            headers=tuple(
                (name, value if name == "Content-Type" else new(value)) for name, value in form.headers
            ),
            body=None if form.body is None else new(form.body),
            attachments=tuple(files),
        )

    # -- what must be kept --------------------------------------------------------------------------
    def _kept(self) -> dict[Token, list[str]]:
        """The tokens without which a condition comes out otherwise, and which condition."""
        kept = dict.fromkeys(self._names.order)
        reasons: dict[Token, list[str]] = {}
        if not kept:
            return reasons

        def fails(without: Iterable[Token]) -> list[str]:
            left = kept.keys() - set(without)
            return self._differing(self._replaced(self._form, frozenset(left)))

        def drop(those: Sequence[Token]) -> None:
            because = fails(those)
            if not because:
                for token in those:
                    del kept[token]
            elif len(those) > 1:
                half = len(those) // 2
                drop(those[:half])
                drop(those[half:])
            elif not self._another(those[0], fails):
                reasons[those[0]] = because
            else:
                del kept[those[0]]

        drop(list(kept))
        return reasons

    def _another(self, token: Token, fails: Callable[[Iterable[Token]], list[str]]) -> bool:
        """Whether another stand-in does: the first may itself be what a rule looks for."""
        for attempt in range(1, _TRIES):
            self._names.others[token] = attempt
            if not fails([token]):
                return True
        del self._names.others[token]
        return False

    # -- the test -----------------------------------------------------------------------------------
    def _data(self, fixture: Fixture, name: str, file: str | None) -> dict[str, Any]:
        message: dict[str, Any] = {} if file is None else {"file": file}
        others: dict[str, list[str]] = {}
        said: dict[str, list[str]] = {}
        for header, value in fixture.headers:
            said.setdefault(header.lower(), []).append(value)
        for header, value in fixture.headers:
            key = _ADDRESSES.get(header.lower()) or _TEXTS.get(header.lower())
            if key is not None and len(said[header.lower()]) == 1 and value and key != "list_id":
                message[key] = value
            else:
                others.setdefault(header, []).append(value)
        if others or fixture.without:
            message["headers"] = {
                header: values[0] if len(values) == 1 else values for header, values in others.items()
            } | dict.fromkeys(sorted(fixture.without))
        if file is None:
            date = fixture.date
            message["date"] = date.isoformat() if isinstance(date, datetime) else date
            if fixture.body is not None:
                message["body"] = fixture.body
            if fixture.attachments:
                message["attachments"] = [_file_data(one) for one in fixture.attachments]
            if fixture.auth:
                message["auth"] = dict(fixture.auth)
        return {"name": name, "at": self._now.isoformat(), "message": message | _outside(fixture)}

    def _expected(self, test: dict[str, Any], fixture: Fixture) -> dict[str, Any]:
        """The test with what comes of it now; and it is sure to pass."""
        _, decision = judge(self._config, fixture, now=self._now)
        effects = [e for e in decision.effects if e.state in ("planned", "held", "would")]
        actions = [short_form(Action(effect.action, effect.arguments)) for effect in effects]
        rules = list(decision.matched)
        if fixture.raw is not None:
            if self._outcomes(fixture, exact=True) != self._wanted:
                raise PermanentError(
                    "the message that was made is judged otherwise. Capture it without --output."
                )
            return {**test, "expect": {"rules": rules, "actions": actions}}
        for expect in ({"rules": rules, "actions": actions}, {"rules": rules}):
            whole = {**test, "expect": expect}
            read = self._read(whole)
            [result] = run(self._config, [read])
            if result.passed and not self._differing(read.message):
                return whole
        raise PermanentError("the test that was made does not pass. Keep the message as a file: file: PATH.")

    def _read(self, test: Mapping[str, Any]) -> RuleTest:
        """The test as the file will have it, read back."""
        document = compose(dump([test]), "capture.yaml")
        report = Report()
        [read] = Tests(
            document,
            report,
            rules=frozenset(rule.name for rule in self._config.rules),
            accounts=self._config.accounts,
            declared=frozenset(self._config.accounts),
            timezone=self._config.settings.timezone,
        ).read(document.data["tests"])
        if report.failed:
            raise PermanentError(f"the test that was made can't be read: {report.problems[0].message}")
        return read


def dump(tests: Sequence[Mapping[str, Any]]) -> str:
    """Tests as YAML, to be pasted."""
    return yaml_nodes.dump({"tests": _plain(list(tests))}) + "\n"


def _plain(data: Any) -> Any:
    """Numbers and truth values as the plain scalars that they are in the file."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_plain(value) for value in data]
    if isinstance(data, bool):
        return Plain("true" if data else "false")
    return Plain(data) if isinstance(data, int) else data


def facts_of(message: Message) -> dict[str, Any]:
    """What a server, the journal and scripts said of a message, as the form has it."""
    known = {fact: value for fact, value in message.facts.items() if not isinstance(value, Unavailable)}
    found: dict[str, Any] = {}
    for kind in ("search", "gmail"):
        asked = {str(fact.argument): value for fact, value in known.items() if fact.kind == kind}
        if asked:
            found[kind] = frozenset(expression for expression, selected in asked.items() if selected)
    if GMAIL_LABELS in known:
        found["gmail_labels"] = known[GMAIL_LABELS]
    if WRITTEN_TO in known:
        found["replied_to"] = bool(known[WRITTEN_TO])
    if ANSWER in known:
        found["unanswered"] = known[ANSWER] is None
    if SIGHTINGS in known:
        seen: Sightings = known[SIGHTINGS]
        found["duplicate"] = seen.seen - seen.earlier.seen if seen.earlier else seen.seen - seen.seen
    statuses = {value.status for fact, value in known.items() if fact.kind == "script" and not value.problem}
    if len(statuses) == 1:
        found["script"] = statuses.pop()
    return found


def of_server(house: House, account: str, mailbox: str, uid: int) -> Fixture:
    """The message of this UID, as it is, with all that its server, the journal and scripts say of it."""
    [found] = explain_on_server(house, accounts=[account], mailboxes=[mailbox], uid=uid)
    known = facts_of(found.message) if found.message is not None else {}
    connection = house.connect(account)
    try:
        connection.open()
        box = connection.select(mailbox, read_only=True)
        raw = box.raw(uid, limit=_LARGEST)
        told = box.fetch([uid], [FLAGS, INTERNALDATE, SIZE], body_limit=0)[uid]
    finally:
        connection.close()
    # No condition asks for \Recent and its like.
    flags = frozenset(flag for flag in told[FLAGS] if not flag.startswith("\\") or _flag(flag) != flag)
    return Fixture(
        raw=raw, account=account, mailbox=mailbox, flags=flags, received=told[INTERNALDATE],
        size=told[SIZE], **known,
    )  # fmt: skip


# -- pieces ---------------------------------------------------------------------------------------------
def _flatten(trace: Trace, path: tuple[str, ...], found: Outcomes) -> None:
    """The outcome of a condition and of all under it, by its place."""
    found[path] = trace.matched
    for place, child in enumerate(trace.children):
        _flatten(child, (*path, f"{place} {child.condition}"), found)
    if not trace.children and len(path) == 1:
        found[(*path, f"0 {trace.condition}")] = trace.matched


def _line(text: str) -> str:
    return " ".join(text.replace("\0", " ").splitlines())


def _person(name: str, address: str) -> str:
    if not name:
        return address
    quoted = _line(name).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>' if address else f'"{quoted}"'


def _stem(name: str) -> tuple[str, str]:
    """A file's name and its ending: what kind of file it is is nobody's secret."""
    stem, dot, end = name.rpartition(".")
    return (stem, dot + end) if dot and end.isalnum() and len(end) <= 5 else (name, "")


def _attached(part: Any) -> Attached:
    return Attached(
        name=_line(part.filename or ""),
        type=part.content_type,
        size=part.decoded_size,
        inline=part.disposition == "inline",
    )


def _auth(message: Message) -> tuple[tuple[str, str], ...]:
    try:
        results = auth_results(message) or {}
    except UnknownFact:
        return ()
    return tuple((method, results[method]) for method in METHODS if method in results)


def _file_data(file: Attached) -> Any:
    told: dict[str, Any] = {"name": file.name} if file.name else {}
    told |= {"type": file.type, "size": file.size}
    return told | ({"inline": True} if file.inline else {})


def _outside(fixture: Fixture) -> dict[str, Any]:
    """What no byte of a message says."""
    found: dict[str, Any] = {}
    if fixture.account is not None:
        found["account"] = fixture.account
    if fixture.mailbox != "INBOX":
        found["mailbox"] = fixture.mailbox
    if fixture.flags:
        found["flags"] = sorted(_flag(flag) for flag in fixture.flags)
    if fixture.received is not None:
        found["received"] = fixture.received.isoformat()
    if fixture.size is not None:
        found["size"] = fixture.size
    for key in ("search", "gmail", "gmail_labels"):
        value = getattr(fixture, key)
        if value is not None:
            found[key] = sorted(value)
    for key in ("replied_to", "unanswered", "script"):
        if getattr(fixture, key) is not None:
            found[key] = getattr(fixture, key)
    if fixture.duplicate is not None:
        seconds = int(fixture.duplicate.total_seconds())
        found["duplicate"] = f"{seconds}s" if seconds else False
    return found


def _flag(flag: str) -> str:
    word = flag.removeprefix("\\").lower()
    return word if flag.startswith("\\") and word in SYSTEM_FLAGS else flag
