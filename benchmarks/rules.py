"""The rules of the benchmark, and how each contender says them.

Fifty rules, the first that matches wins: 18 ask for a part of From, 12 for a part of Subject, 10 for a
regex of List-Id, 10 for a regex of Subject. About a fifth of the mails match, and go to ten mailboxes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MAILBOXES = tuple(f"F{number}" for number in range(10))


@dataclass(frozen=True, slots=True)
class Rule:
    """`header` contains `pattern`, or matches it as a regex; `literal`: what every match contains."""

    name: str
    kind: Literal["contains", "regex"]
    header: Literal["From", "Subject", "List-Id"]
    pattern: str
    mailbox: str
    literal: str = ""


_SUBJECTS = (
    (r"^Re: \[proj-2[0-4]\] (report|invoice)", "proj-2"),
    (r"order #\d+", "order #"),
    (r"ticket-\d{4,}", "ticket-"),
    (r"^(Fwd|FW): ", "fw"),
    (r"invoice no\. \d+", "invoice no. "),
    (r"payment (received|failed)$", "payment "),
    (r"quarterly budget plan", "quarterly budget plan"),
    (r"^security review ", "security review "),
    (r"backup .* incident$", " incident"),
    (r"survey.*training.*lunch", "training"),
)


def fifty() -> list[Rule]:
    """The rules of most scenarios."""
    rules = []
    for n in range(8):
        pattern = f"@vendor{n * 5:02d}.example" if n < 4 else f"nosuch{n}@vendor{n:02d}.example"
        rules.append(Rule(f"from {n}", "contains", "From", pattern, MAILBOXES[n % 10]))
    for n in range(10):
        rules.append(
            Rule(f"rare {n}", "contains", "From", f"rare{n}@vendor{n + 10:02d}.example", MAILBOXES[n])
        )
    for n in range(12):
        pattern = f"[proj-{n}]" if n < 8 else f"urgent escalation {n}"
        rules.append(Rule(f"subject {n}", "contains", "Subject", pattern, MAILBOXES[n % 10]))
    for n in range(10):
        pattern = (
            rf"<list{n * 3:02d}\.lists\.example\.(org|net)>" if n < 3 else rf"<nolist{n}\.lists\.[a-z]+\.org>"
        )
        literal = f"list{n * 3:02d}" if n < 3 else f"nolist{n}"
        rules.append(Rule(f"list {n}", "regex", "List-Id", pattern, MAILBOXES[n], literal))
    for n, (pattern, literal) in enumerate(_SUBJECTS):
        rules.append(Rule(f"regex {n}", "regex", "Subject", pattern, MAILBOXES[n], literal))
    return rules


def many(count: int) -> list[Rule]:
    """The fifty, and before them rules of the same kinds that nothing matches: `count` in all."""
    rules = fifty()
    more = []
    for n in range(count - len(rules)):
        kind = n % 5
        if kind < 2:
            more.append(
                Rule(
                    f"more {n}", "contains", "From", f"person{n}@nowhere{n % 300}.example", MAILBOXES[n % 10]
                )
            )
        elif kind < 3:
            more.append(Rule(f"more {n}", "contains", "Subject", f"no such words {n}", MAILBOXES[n % 10]))
        elif kind < 4:
            more.append(
                Rule(f"more {n}", "regex", "List-Id", rf"<none{n}\.lists\.[a-z]+\.org>", MAILBOXES[n % 10])
            )
        else:
            more.append(
                Rule(f"more {n}", "regex", "Subject", rf"case {n}-\d+ (open|closed)", MAILBOXES[n % 10])
            )
    return more + rules


# -- mailrules ------------------------------------------------------------------------------------
_CONDITION = {"From": "from: {%s}", "Subject": "subject: {%s}", "List-Id": "header: {List-Id: {%s}}"}


def for_mailrules(rules: Sequence[Rule]) -> str:
    """The `rules:` part of a rules.yaml."""
    lines = ["rules:"]
    for rule in rules:
        condition = _CONDITION[rule.header] % f"{rule.kind}: {_yaml(rule.pattern)}"
        lines += [
            f"  - name: {rule.name}",
            f"    when: {{{condition}}}",
            f"    then: [{{move: {rule.mailbox}}}]",
            "    stop: true",
        ]
    return "\n".join(lines) + "\n"


def _yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# -- imapfilter -----------------------------------------------------------------------------------
def for_imapfilter(rules: Sequence[Rule], *, user: str, password: str, port: int, tuned: bool) -> str:
    """A config.lua. Idiomatic as its manual shows it; `tuned` lets SEARCH narrow what `match_` fetches."""
    lines = [
        "options.timeout = 3600", "options.subscribe = false", "options.create = true",
        "options.starttls = false", "options.certificates = false", "options.limit = 5000",
        f"a = IMAP {{ server = '127.0.0.1', port = {port}, username = '{user}', password = '{password}' }}",
    ]  # fmt: skip
    for rule in rules:
        if rule.kind == "contains":
            lines.append(f"r = a.INBOX:{_contains(rule.header, rule.pattern)}")
        else:
            source = f"a.INBOX:{_contains(rule.header, rule.literal)}" if tuned else "a.INBOX"
            lines.append(f"r = {source}:match_field('{rule.header}', {_lua('(?i)' + rule.pattern)})")
        lines.append(f"r:move_messages(a.{rule.mailbox})")
    return "\n".join(lines) + "\n"


def _contains(header: str, words: str) -> str:
    if header == "List-Id":
        return f"contain_field('List-Id', {_lua(words)})"
    return f"contain_{header.lower()}({_lua(words)})"


def _lua(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# -- imapautofiler --------------------------------------------------------------------------------
def for_imapautofiler(rules: Sequence[Rule], *, user: str, password: str, port: int) -> str:
    """Its configuration; JSON is YAML."""
    said = [
        {
            "headers": [
                {"name": rule.header.lower(), "substring": rule.pattern}
                if rule.kind == "contains"
                else {"name": rule.header.lower(), "regex": "(?i)" + rule.pattern}
            ],
            "action": {"name": "move", "dest-mailbox": rule.mailbox},
        }
        for rule in rules
    ]
    server = {"hostname": "127.0.0.1", "port": port, "username": user, "password": password, "ssl": False}
    return json.dumps({"server": server, "mailboxes": [{"name": "INBOX", "rules": said}]}, indent=1)


def pattern_of(rule: Rule) -> re.Pattern[str]:
    """For the floor, which has no rule language."""
    return re.compile(re.escape(rule.pattern) if rule.kind == "contains" else rule.pattern, re.IGNORECASE)
