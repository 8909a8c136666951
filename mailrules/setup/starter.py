"""The first rules.yaml: one account, and three rules that fit what is there. Only text is made here.

Every rule begins as `dry_run`: it says what it would do until its owner has seen that and takes the line out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailrules.adapters.autoconfig import Endpoint

NEWEST = 500
"""Messages that are looked at to choose the rules."""
_PORTS = {"tls": 993, "starttls": 143, "none": 143}
_SMTP_PORTS = {"tls": 465, "starttls": 587, "none": 25}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A rule that many people want. `search`: what the server is asked, to see how much mail it may concern,
    and `counted`: what that is in words, for it is less than the rule asks.

    `needs`: the special use without which it makes no sense; `instead`: what is done where `then`'s
    mailbox is not there.
    """

    name: str
    search: str
    counted: str
    why: str
    when: str
    then: str
    needs: str = ""
    instead: str = ""


PATTERNS = (
    Pattern(
        "newsletters",
        'HEADER List-Id ""',
        "with a List-Id",
        "Mailing lists and newsletters, each into a mailbox of its own.",
        "{list_id: {exists: true}}",
        "move: Lists/{{ message.list_id }}",
    ),
    Pattern(
        "notices",
        "HEADER Auto-Submitted auto",
        "with Auto-Submitted: auto-…",
        "What machines have written.",
        "{is_auto: true, flagged: false}",
        "archive",
        needs="\\Archive",
        instead="mark: read",
    ),
    Pattern(
        "invoices",
        "OR SUBJECT invoice OR SUBJECT receipt OR SUBJECT rechnung SUBJECT facture",
        "with one of these words in the subject, attachment or not",
        "Invoices stand out.",
        "{subject: [invoice, receipt, rechnung, facture], has_attachment: true}",
        "flag: flagged",
    ),
    Pattern(
        "marked as spam",
        "HEADER X-Spam-Flag YES",
        "with X-Spam-Flag: YES",
        "What the server's own filter has marked and left in the inbox.",
        '{header: {X-Spam-Flag: {is: "YES"}}}',
        "junk",
        needs="\\Junk",
    ),
)


@dataclass(frozen=True, slots=True)
class Start:
    """What is known when the file is written. `password`: (source, argument) as in `password: {…}`.

    `found`: how many of the newest messages each pattern concerns, by its name; without those that nobody has
    counted.
    """

    account: str
    address: str
    username: str
    imap: Endpoint
    password: tuple[str, str | tuple[str, ...]]
    smtp: Endpoint | None = None
    provider: str | None = None
    oauth: bool = False
    client_id: str = ""
    special_use: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, int] = field(default_factory=dict)
    looked_at: int = 0
    schema: str = ""


def chosen(start: Start) -> tuple[Pattern, ...]:
    """Three patterns: those that concern most of the mail, in the order of the table."""
    fitting = [p for p in PATTERNS if not p.needs or p.instead or p.needs in start.special_use]
    by_use = sorted(fitting, key=lambda pattern: -start.found.get(pattern.name, 0))
    return tuple(pattern for pattern in PATTERNS if pattern in by_use[:3])


def rules_file(start: Start) -> str:
    """The whole file."""
    lines = []
    if start.schema:
        lines.append(f"# yaml-language-server: $schema=./{start.schema}")
    lines += [
        "# As long as dry_run stands there, a rule only says what it would do: see `mailrules plan`.",
        "# Take the line out of a rule you like, then `mailrules apply`, and `mailrules run` from then on.",
        "",
        "accounts:",
        f"  {scalar(start.account)}:",
        *(f"    {line}" for line in _account(start)),
        "",
        "rules:",
    ]
    for pattern in chosen(start):
        lines += [f"  {line}".rstrip() for line in _rule(pattern, start)]
    return "\n".join(lines).rstrip() + "\n"


def _account(start: Start) -> list[str]:
    lines = []
    if start.provider:
        lines.append(f"provider: {scalar(start.provider)}")
    else:
        lines.append(f"host: {scalar(start.imap.host)}")
        if start.imap.port != _PORTS[start.imap.security]:
            lines.append(f"port: {start.imap.port}")
        if start.imap.security != "tls":
            lines.append(f"security: {start.imap.security}")
    lines.append(f"username: {scalar(start.username)}")
    if start.username != start.address:
        lines.append(f"address: {scalar(start.address)}")
    source, argument = start.password
    shown = (
        json.dumps(list(argument), ensure_ascii=False) if isinstance(argument, tuple) else scalar(argument)
    )
    if start.oauth:
        lines.append("auth: oauth")
        if start.client_id:
            lines.append(f"oauth: {{client_id: {scalar(start.client_id)}}}")
    what = "where the tokens are kept" if start.oauth else "where it is kept; it never stands in this file"
    lines.append(f"password: {{{source}: {shown}}}   # {what}")
    if not start.provider and start.smtp is not None:
        parts = [f"host: {scalar(start.smtp.host)}"]
        if start.smtp.port != _SMTP_PORTS[start.smtp.security]:
            parts.append(f"port: {start.smtp.port}")
        if start.smtp.security != "tls":
            parts.append(f"security: {start.smtp.security}")
        lines.append(f"smtp: {{{', '.join(parts)}}}   # for rules that forward, redirect or reply")
    lines.append("mailboxes: [INBOX]   # what is watched")
    return lines


def _rule(pattern: Pattern, start: Start) -> list[str]:
    then, where = pattern.then, ""
    if pattern.needs:
        if pattern.needs in start.special_use:
            where = f"   # here: {start.special_use[pattern.needs]}"
        else:
            then = pattern.instead
    lines = [f"# {pattern.why}"]
    if start.looked_at and pattern.name in start.found:
        count = start.found[pattern.name]
        lines.append(f"# Among your newest {start.looked_at} messages: {count} {pattern.counted}.")
    return [
        *lines,
        f"- name: {pattern.name}",
        f"  when: {pattern.when}",
        "  then:",
        f"    - {then}{where}",
        "  dry_run: true",
        "",
    ]


def scalar(text: str) -> str:
    """Text as YAML reads it back: plain where that is safe, else quoted."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_@+./-]*", text):
        return text
    return json.dumps(text, ensure_ascii=False)
