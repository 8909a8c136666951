"""`tests`: what is judged, and what is expected of it. `mailrules test` runs them (testing.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from mailrules.config.accounts import Account
from mailrules.config.reader import Section, suggest
from mailrules.config.yaml_nodes import Document, Place
from mailrules.core.actions import parse_action
from mailrules.core.actions.base import Action, ActionContext
from mailrules.core.conditions.auth import METHODS, RESULTS
from mailrules.core.conditions.header import read_name
from mailrules.core.conditions.reading import as_written, read_scalars
from mailrules.core.errors import Path, Report
from mailrules.core.fixture import ADDRESS_HEADERS, TEXT_HEADERS, Attached, Fixture
from mailrules.core.values import describe, parse_size

TEST_KEYS = ("name", "message", "file", "expect", "at", "rule")
SYSTEM_FLAGS = ("seen", "flagged", "answered", "draft", "deleted")
OUTSIDE = (
    "account", "mailbox", "flags", "keywords", "received", "size", "search", "gmail", "gmail_labels",
    "returned", "replied_to", "duplicate", "unanswered", "script",
)  # fmt: skip
"""What no byte of a message says."""
MESSAGE_KEYS = (
    *ADDRESS_HEADERS, *TEXT_HEADERS, "date", "headers", "body", "html", "attachments", "auth",
    *OUTSIDE, "file",
)  # fmt: skip
_ALIASES = {"header": "headers", "text": "body", "sent": "date", "gmail_label": "gmail_labels"}
_LARGEST_FILE = 50_000_000


@dataclass(frozen=True, slots=True)
class Expected:
    """One action that is expected: as the file writes it, and what it means."""

    written: Any
    action: Action


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One entry of `tests`. `rules` and `actions`: None where nothing is said of them.

    `rule`: judged as a run of that scheduled rule. `problem`: why it can't be run, or "".
    """

    name: str
    message: Fixture
    place: Place
    rules: tuple[str, ...] | None = None
    actions: tuple[Expected, ...] | None = None
    at: datetime | None = None
    rule: str | None = None
    problem: str = ""
    written: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Tests:
    """Reads the tests of one document. What is wrong is reported at its place."""

    def __init__(
        self,
        document: Document,
        report: Report,
        *,
        rules: frozenset[str],
        accounts: Mapping[str, Account],
        declared: frozenset[str],
        timezone: tzinfo | None,
    ) -> None:
        """`rules`: the names of all; `declared`: of the accounts, also of those that are wrong."""
        self._document = document
        self._report = report
        self._rules = rules
        self._accounts = accounts
        self._declared = declared
        self._zone = timezone
        self._names: set[str] = set()

    def read(self, data: list[Any]) -> tuple[RuleTest, ...]:
        found = [self._test(value, ("tests", index)) for index, value in enumerate(data)]
        return tuple(test for test in found if test is not None)

    def _test(self, value: Any, path: Path) -> RuleTest | None:
        section = Section(value, path=path, report=self._report, known=TEST_KEYS, what="a test")
        if not isinstance(value, dict):
            return None
        name = section.text("name")
        if section.lacks("name"):
            section.missing("this test has no 'name'. Write '- name: …'.")
        elif name is not None and name in self._names:
            section.error("name", f"there is a test '{name}' already. Rename one of them.")
        self._names.add(name or "")
        if ("message" in section) == ("file" in section):
            section.missing("a test needs exactly one of 'message' and 'file': what is judged. Write one.")
        rule = section.text("rule")
        if rule is not None and rule not in self._rules:
            section.error("rule", self._unknown_rule(rule))
        at = self._time(section, "at")
        problem = ""
        if "file" in section:
            raw, problem = self._file(section)
            message = Fixture(raw=raw)
        else:
            message, problem = self._message(section.data.get("message"), (*path, "message"))
        rules, actions = self._expect(section)
        return RuleTest(
            name=name or "", message=message, place=self._document.position(path), rules=rules,
            actions=actions, at=at, rule=rule, problem=problem, written=value,
        )  # fmt: skip

    # -- what is expected ---------------------------------------------------------------------------------
    def _expect(self, test: Section) -> tuple[tuple[str, ...] | None, tuple[Expected, ...] | None]:
        if "expect" not in test:
            if test.lacks("expect"):
                test.missing("this test expects nothing. Write expect: {rules: […], actions: […]}.")
            return None, None
        path = (*test.path, "expect")
        known = ("rules", "actions")
        expect = Section(test.data["expect"], path=path, report=self._report, known=known, what="expect")
        for key in known:
            items = expect.data.get(key)
            if items is not None and not isinstance(items, list):
                expect.error(key, f"{key} must be a list, not {describe(items)}. Write [] for none.")
        rules = self._expected_rules(expect.data.get("rules"), (*path, "rules"))
        actions = self._expected_actions(expect.data.get("actions"), (*path, "actions"))
        if isinstance(test.data["expect"], dict) and not expect.data:
            expect.missing("this test expects nothing. Write expect: {rules: […], actions: […]}.")
        return rules, actions

    def _expected_rules(self, data: Any, path: Path) -> tuple[str, ...] | None:
        if not isinstance(data, list):
            return None
        for place, rule in enumerate(data):
            if not isinstance(rule, str):
                self._report.error(
                    (*path, place), f"expected the name of a rule, found {describe(rule)}. Write its name."
                )
            elif rule not in self._rules:
                self._report.error((*path, place), self._unknown_rule(rule))
        return tuple(str(rule) for rule in data)

    def _expected_actions(self, data: Any, path: Path) -> tuple[Expected, ...] | None:
        if not isinstance(data, list):
            return None
        node = self._document.node(path)
        context = ActionContext(
            base_dir=str(node.source.directory) if node is not None else ".", templates=False
        )
        found = []
        for place, entry in enumerate(data):
            where = (*path, place)
            if "{{" in str(entry):
                self._report.error(
                    where, "what is expected is what comes out: write the value in place of '{{ … }}'."
                )
                continue
            action = parse_action(entry, path=where, report=self._report, context=context)
            if action is not None:
                found.append(Expected(as_written(entry), action))
        return tuple(found)

    def _unknown_rule(self, rule: str) -> str:
        return f"unknown rule '{rule}'. {suggest(rule, sorted(self._rules), what='Rules')}".strip()

    # -- what is judged -----------------------------------------------------------------------------------
    def _file(self, section: Section) -> tuple[bytes, str]:
        """The bytes of the file, or why it can't be read: a sample that is missing stops no worker."""
        name = section.text("file")
        if name is None:
            return b"", ""
        node = self._document.node((*section.path, "file"))
        try:
            path = (node.source.directory if node is not None else self._document.source.directory) / name
            with path.expanduser().open("rb") as file:
                raw = file.read(_LARGEST_FILE + 1)
        except (OSError, ValueError, RuntimeError) as error:
            problem = f"'{name}' can't be read: {getattr(error, 'strerror', None) or error}."
        else:
            if len(raw) <= _LARGEST_FILE:
                return raw, ""
            problem = f"'{name}' is larger than 50 MB."
        self._report.warning((*section.path, "file"), f"{problem} The test fails. Check the path.")
        return b"", problem

    def _message(self, data: Any, path: Path) -> tuple[Fixture, str]:
        if isinstance(data, dict):
            data = {_ALIASES.get(key, key): value for key, value in data.items()}
        form = Section(data, path=path, report=self._report, known=MESSAGE_KEYS, what="message")
        facts = self._outside(form)
        if "file" in form:
            for key in form.data:
                if key not in (*OUTSIDE, "file"):
                    form.error(key, f"'{key}' is in the file already. Remove it, or 'file'.", at="key")
            raw, problem = self._file(form)
            return Fixture(raw=raw, **facts), problem
        headers: list[tuple[str, str]] = []
        for key, header in (*ADDRESS_HEADERS.items(), *TEXT_HEADERS.items()):
            values = self._lines(form, key)
            if key == "list_id":
                values = [value if "<" in value else f"<{value}>" for value in values]
            joined = [", ".join(values)] if key in ADDRESS_HEADERS and values else values
            headers += [(header, value) for value in joined]
        headers += self._headers(form)
        without = {str(name).lower() for name, value in form.mapping("headers").items() if value is None}
        date: datetime | str | None = ""
        if "date" in form.data:
            date = None if form.data["date"] is None else self._date(form)
        account = facts["account"]
        trusted = self._accounts[account].trusted_authserv if account in self._accounts else None
        if account is None:
            trusted = next((one.trusted_authserv for one in self._accounts.values()), None)
        auth = self._auth(form)
        if auth and trusted is not None and not trusted:
            form.error("auth", "the account trusts nobody's word on this. Add trusted_authserv to it.")
        return Fixture(
            headers=tuple(headers), date=date, body=self._text(form, "body"), html=self._text(form, "html"),
            attachments=self._attachments(form), auth=auth, without=frozenset(without), **facts,
        ), ""  # fmt: skip

    def _outside(self, form: Section) -> dict[str, Any]:
        account = form.text("account")
        if account is not None and account not in self._declared:
            hint = suggest(account, sorted(self._declared), what="Accounts")
            form.error("account", f"unknown account '{account}'. {hint or 'There are no accounts.'}")
        flags = [self._flag(form, text, where) for key in ("flags", "keywords")
                 for text, where in self._texts(form, key)]  # fmt: skip
        mailbox = form.text("mailbox", "INBOX") or "INBOX"
        return {
            "account": account,
            "mailbox": "INBOX" if mailbox.upper() == "INBOX" else mailbox,
            "flags": frozenset(flags),
            "received": self._time(form, "received"),
            "size": self._size(form.data.get("size"), (*form.path, "size")),
            "returned": form.boolean("returned", False),
            "replied_to": form.boolean("replied_to", False) if "replied_to" in form else None,
            "unanswered": form.boolean("unanswered", False) if "unanswered" in form else None,
            "script": form.integer("script", None, low=0, high=255),
            "duplicate": self._duplicate(form),
            **{
                key: frozenset(text for text, _ in self._texts(form, key)) if key in form.data else None
                for key in ("search", "gmail", "gmail_labels")
            },
        }

    def _duplicate(self, form: Section) -> timedelta | None:
        if "duplicate" not in form:
            return None
        if str(form.data["duplicate"]).lower() == "false":
            return timedelta()
        return form.duration("duplicate", timedelta(), low="1s")

    def _flag(self, form: Section, text: str, where: Path) -> str:
        name = text.removeprefix("\\").lower()
        if name in SYSTEM_FLAGS:
            return "\\" + name.capitalize()
        if text.startswith("\\"):
            hint = suggest(name, SYSTEM_FLAGS, what="Flags")
            self._report.error(where, f"there is no system flag '{text}'. {hint}")
        return text

    def _texts(self, form: Section, key: str) -> list[tuple[str, Path]]:
        if form.data.get(key) in (None, []):
            return []
        return read_scalars(form.data[key], (*form.path, key), self._report, what=key) or []

    def _text(self, form: Section, key: str) -> str | None:
        return "\n".join(text for text, _ in self._texts(form, key)) if key in form else None

    def _lines(self, form: Section, key: str) -> list[str]:
        """Values of a header: on one line each, since a line break would begin another header."""
        return [self._line(text, where) for text, where in self._texts(form, key)]

    def _line(self, text: str, where: Path) -> str:
        if any(c in text for c in "\r\n\0"):
            self._report.error(where, "a header stands on one line here. Put the text on one line.")
            return ""
        return text

    def _headers(self, form: Section) -> list[tuple[str, str]]:
        found = []
        for name, value in form.mapping("headers").items():
            where = (*form.path, "headers", name)
            if read_name(name, where, self._report) is None or value in (None, []):
                continue
            scalars = read_scalars(value, where, self._report, what=f"header {name}") or []
            found += [(str(name), self._line(text, place)) for text, place in scalars]
        return found

    def _auth(self, form: Section) -> tuple[tuple[str, str], ...]:
        data = form.mapping("auth")
        path = (*form.path, "auth")
        section = Section(data, path=path, report=self._report, known=METHODS, what="auth")
        return tuple(
            (method, section.choice(method, RESULTS, "none")) for method in METHODS if method in section
        )

    def _attachments(self, form: Section) -> tuple[Attached, ...]:
        data = form.data.get("attachments")
        path = (*form.path, "attachments")
        listed = data if isinstance(data, list) else [] if data is None else [data]
        found = []
        for place, item in enumerate(listed):
            where = (*path, place) if isinstance(data, list) else path
            if not isinstance(item, dict):
                names = read_scalars(item, where, self._report, what="an attachment") or []
                found += [Attached(name=self._line(name, at)) for name, at in names]
                continue
            known = ("name", "type", "size", "text", "inline")
            one = Section(item, path=where, report=self._report, known=known, what="an attachment")
            if not item:
                one.missing("an attachment needs a name or a type. Write {name: invoice.pdf}.")
            found.append(
                Attached(
                    name=one.text("name") or "",
                    type=(one.text("type") or "").lower(),
                    size=self._size(item.get("size"), (*where, "size"), most=_LARGEST_FILE),
                    text=self._text(one, "text") or "",
                    inline=one.boolean("inline", False),
                )
            )
        return tuple(found)

    def _size(self, value: Any, path: Path, *, most: int | None = None) -> int | None:
        if value is None:
            return None
        try:
            size = parse_size(value)
        except ValueError as error:
            self._report.error(path, f"{error}")
            return None
        if most is not None and size > most:
            self._report.error(path, "an attachment of a test is at most 50 MB. Write a smaller one.")
            return None
        return size

    def _time(self, section: Section, key: str) -> datetime | None:
        text = section.text(key)
        if text is None:
            return None
        moment = read_time(text, self._zone)
        if moment is None:
            section.error(key, f"'{text}' is not a time. Write it as 2026-03-01T10:00:00+01:00.")
        return moment

    def _date(self, form: Section) -> datetime | str:
        text = form.text("date") or ""
        return read_time(text, self._zone) or text


def read_time(text: str, zone: tzinfo | None) -> datetime | None:
    """An ISO time, or a day for its midnight; without an offset in this zone (None: the system's)."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is not None:
            moment.astimezone(UTC)  # what no calendar holds is no time
            return moment
        return moment.replace(tzinfo=zone) if zone is not None else moment.astimezone()
    except (ValueError, OverflowError, OSError):
        return None
