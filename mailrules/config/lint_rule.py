"""Lint of one rule alone: it can never match, it does nothing, it says something else than it means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mailrules.config.accounts import Account
from mailrules.config.lint_view import View
from mailrules.core import implication
from mailrules.core.conditions.base import Condition
from mailrules.core.conditions.correspondence import UnansweredFor
from mailrules.core.conditions.date import OlderThan
from mailrules.core.conditions.flags import Keyword
from mailrules.core.conditions.logic import All, AnyOf, Not, every
from mailrules.core.conditions.size import LargerThan
from mailrules.core.errors import Path, Report
from mailrules.core.implication import Literal
from mailrules.core.text import TextTest

_SHORTEST = 40
"""No message is as short: a Date and a From alone are longer."""
_NEW_MAIL = 86400
"""Seconds; new mail is judged long before it is as old."""
_ANYTHING = re.compile(r"\^?(?:\(\?[a-z]+\))?(?:\.\*)+\$?|\^|\$|")
_REGEX_SIGNS = re.compile(r"\.\*|\\[dwsbDWS]|\[a-z|\[0-9")
_SYSTEM = ("seen", "flagged", "answered", "draft", "deleted", "read", "unread", "unseen")
_LISTS = re.compile(r"^\*[.@]\w|\w\*$")


class Alone:
    """Looks at rules one by one."""

    def __init__(self, accounts: Mapping[str, Account], report: Report, *, lists: Mapping[str, Any]) -> None:
        self._accounts = accounts
        self._report = report
        self._lists = lists

    def look(self, view: View) -> None:
        """Everything that is to be said of this rule alone."""
        self._auth(view)
        self._unanswered(view)
        self._limits(view)
        if view.never is not None:
            self._never(view)
            return
        self._words(view)
        self._age(view)
        self._size(view)
        self._idle(view)
        self._nowhere(view)
        self._to_itself(view)

    def _warn(self, path: Path, words: str, *, key: bool = True) -> None:
        self._report.warning(path, words, at="key" if key else "value")

    # -- what can't match -----------------------------------------------------------------------------
    def _never(self, view: View) -> None:
        clashes = view.never or ()
        if not clashes:  # `unless: always`
            self._warn(view.place("unless", under="unless"), f"the rule '{view.rule.name}' can never match: "
                       "'unless' takes every message out. Remove it.")  # fmt: skip
            return
        one, other = clashes[0]
        last = other or one
        place = view.place(last.condition.key)
        if other is None:
            why = f"nothing fits {_said(one)}{self._empty(one.condition)}"
        else:
            why = f"{_said(one)} and {_said(other)} exclude each other"
        more = "" if len(clashes) == 1 else ", and each other way out is closed, too"
        self._warn(
            place,
            f"the rule '{view.rule.name}' can never match: {why}{more}. Change one, or remove the rule.",
        )

    def _empty(self, condition: Condition) -> str:
        argument = condition.argument()
        named = argument.get("in") if isinstance(argument, dict) else None
        names = named if isinstance(named, list) else [named]
        empty = next(
            (str(name) for name in names if name in self._lists and not self._lists[str(name)]), None
        )
        return f" (the list '{empty}' is empty)" if empty is not None else ""

    # -- what says something else than it means -------------------------------------------------------
    def _words(self, view: View) -> None:
        for condition, path in _conditions(view):
            for test, default, place in _tests(condition, path):
                self._regex(view, condition, test, place)
                if default == "contains":
                    self._contains(test, place)
            if isinstance(condition, Keyword):
                for name in sorted(condition.test.is_ or ()):
                    if name in _SYSTEM:
                        meant = {"read": "seen: true", "unread": "seen: false", "unseen": "seen: false"}
                        self._warn(
                            path, f"'{name}' is looked for as a keyword, which hardly anybody sets. "
                            f"For the flag write {meant.get(name, name + ': true')}.",
                        )  # fmt: skip

    def _regex(self, view: View, condition: Condition, test: TextTest, place: Path) -> None:
        for regex in test.regex or ():
            if _ANYTHING.fullmatch(regex.pattern):
                self._warn(
                    place, f"the regular expression '{regex.pattern}' fits every text: this only asks "
                    "whether there is one. Write {exists: true}, or what to look for.",
                )  # fmt: skip
        for glob in test.glob or ():
            if glob.text and not glob.text.strip("*"):
                self._warn(
                    place, f"the glob '{glob.text}' fits every text: this only asks whether there is one. "
                    "Write {exists: true}, or what to look for.",
                )  # fmt: skip

    def _contains(self, test: TextTest, place: Path) -> None:
        for needle in test.contains or ():
            if _REGEX_SIGNS.search(needle):
                self._warn(
                    place, f"'{needle}' is looked for as it stands. If it is a regular expression, "
                    "write {regex: …}.",
                )  # fmt: skip
            elif needle.count("*") == 1 and _LISTS.search(needle):
                self._warn(
                    place, f"in '{needle}' the * is looked for as it stands: no wildcard is needed to find a "
                    "piece of a text. Leave it out, or write {glob: …} for the whole.",
                )  # fmt: skip

    def _age(self, view: View) -> None:
        """New mail is never that old: without a schedule, only `apply` makes the rule act."""
        if view.rule.schedule is not None or not view.live:
            return
        if all(any(_old(literal) for literal in term) for term in view.live):
            place = view.place("older_than")
            if place[-1] == "older_than":
                self._warn(
                    place, "new mail is hardly ever that old: without a schedule the rule "
                    f"'{view.rule.name}' acts only in `mailrules apply`. Add schedule: {{every: 1d}}.",
                )  # fmt: skip

    def _size(self, view: View) -> None:
        for condition, path in _conditions(view):
            if isinstance(condition, LargerThan) and condition.size < _SHORTEST:
                self._warn(
                    path, f"every message is larger than {condition.size} bytes: a bare number counts bytes. "
                    f"Write {condition.size} KB or {condition.size} MB.",
                )  # fmt: skip

    # -- what does nothing ----------------------------------------------------------------------------
    def _idle(self, view: View) -> None:
        """A flag that the condition itself asks for need not be set."""
        if not view.live:
            return
        for flags, true in ((view.sets, True), (view.clears, False)):
            for name, written in flags.items():
                atom = implication.Is(name) if name.startswith("\\") else implication.keyword_is(name)
                wanted = Literal(atom, true, view.rule.when)
                if all(any(implication.literal_follows(one, wanted) for one in term) for term in view.live):
                    word = "has" if true else "lacks"
                    self._warn(
                        view.place(None, under="then"), f"every message that the rule '{view.rule.name}' "
                        f"matches {word} {written} already: {'setting' if true else 'clearing'} it does "
                        "nothing. Remove the action, or the condition.",
                    )  # fmt: skip

    def _nowhere(self, view: View) -> None:
        """A message is moved to where it is."""
        names = view.rule.mailboxes
        for action, target in view.targets("move"):
            if names is not None and len(names) == 1 and names[0] == target:
                self._warn(
                    place_of(view, action.key), f"the rule '{view.rule.name}' looks at '{target}' alone and "
                    "moves what it matches there, where it is. Change 'mailboxes', or remove the move.",
                )  # fmt: skip

    def _to_itself(self, view: View) -> None:
        """Sending to the account itself is refused when it is to be done: say so before."""
        for action in view.rule.then:
            recipients = {address for one, address in view.recipients() if one is action}
            own = [one for one in view.accounts if (one.address or "").casefold() in recipients]
            if own:
                names = ", ".join(account.name for account in own)
                self._warn(
                    place_of(view, action.key), f"on {names} this sends to the account itself, round in a "
                    f"loop: there the rule '{view.rule.name}' fails. Name under 'accounts' whom it is for.",
                )  # fmt: skip

    # -- what can't be judged, or is not done ---------------------------------------------------------
    def _auth(self, view: View) -> None:
        if not any(condition.key == "auth" for condition, _ in _conditions(view)):
            return
        silent = [account.name for account in view.accounts if not account.trusted_authserv]
        if silent:
            self._report.warning(
                view.path,
                f"'auth' can't be judged on: {', '.join(silent)}. Add trusted_authserv there, "
                "or say under 'accounts' whom the rule is for.",
            )

    def _unanswered(self, view: View) -> None:
        if view.rule.schedule is None and any(isinstance(c, UnansweredFor) for c in every(view.rule.when)):
            self._report.warning(
                view.path,
                "'unanswered_for' is for rules with a schedule: new mail is never old, so on new mail this "
                "never holds. Add schedule: {every: 15m}.",
            )

    def _limits(self, view: View) -> None:
        if view.rule.limits.any and not view.rule.then:
            self._report.warning(
                (*view.path, "limits"),
                "limits count the messages that a rule acts on, and this one does nothing. "
                "Remove them, or write what to do under 'then'.",
                at="key",
            )


def _old(literal: Literal) -> bool:
    condition = literal.condition
    return (
        literal.true
        and isinstance(condition, OlderThan)
        and isinstance(literal.atom, implication.Within)
        and literal.atom.low is not None
        and condition.age.total_seconds() >= _NEW_MAIL
    )


def _said(literal: Literal) -> str:
    """A condition in words."""
    condition = literal.condition
    negated = isinstance(literal.atom, implication.Within) and (
        (condition.key in ("larger_than", "older_than")) is (literal.atom.low is None)
    )
    holds: Any = getattr(condition, "wanted", getattr(getattr(condition, "test", None), "exists", None))
    flipped = literal.true is (holds is False)
    text = f"{condition.key}: {flow(condition.argument())}"
    return f"not '{text}'" if negated or flipped else f"'{text}'"


def flow(value: Any) -> str:
    """Plain data on one line, cut."""
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(flow(item) for item in value[:4]) + (", …]" if len(value) > 4 else "]")
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def place_of(view: View, action: str) -> Path:
    """Where an action stands."""
    for place, entry in enumerate(view.data.get("then") or ()):
        if isinstance(entry, dict) and action in entry:
            return (*view.path, "then", place, action)
    return view.place(None, under="then")


def _conditions(view: View) -> Iterator[tuple[Condition, Path]]:
    """The conditions that are no joints, each with where it stands."""
    for condition in every(view.rule.when):
        if not isinstance(condition, All | AnyOf | Not):
            yield condition, view.place(condition.key)


def _tests(condition: Condition, path: Path) -> Iterator[tuple[TextTest, str, Path]]:
    """The text tests of a condition: test, what a scalar means there, place."""
    test: Any = getattr(condition, "test", None)
    if isinstance(test, TextTest):
        yield test, getattr(condition, "default", "contains"), path
    for _, each in getattr(condition, "tests", ()):
        yield each, "contains", path
    for part, each in getattr(test, "texts", ()):
        yield each, "contains" if part == "name" else "is", path
    for part in ("name", "type"):
        each = getattr(condition, part, None)
        if isinstance(each, TextTest):
            yield each, "glob", path
