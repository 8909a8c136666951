"""What an editor says of each word of the file when the cursor is on it.

Conditions and actions have their manual (schema.py); here are the words beside and below them. Every
property gets `description`, and `markdownDescription`, which VS Code prefers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

WORDS: dict[str, str] = {
    # -- the file
    "accounts": "The logins, each by a name of its own.",
    "defaults": "Anything an account may say, for all accounts.",
    "lists": "Lists of values, for `in: NAME`: here, or one a line in a file.",
    "rules": "The rules, from top to bottom.",
    "tests": "What the rules must do with certain messages: `mailrules test` runs them.",
    "settings": "What concerns the whole program.",
    "lists.file": "A file with one value a line, # before comments; read again on reload.",
    # -- settings
    "settings.dry_run": "All rules only say what they would do. Default: false.",
    "log_retention": "How long the run log is kept. Default: 400d.",
    "body_limit": "How much decoded text of a message is judged. Default: 1MB.",
    "create_mailboxes": "Whether missing mailboxes are created. Default: true.",
    "settings.log": "The program's own log.",
    "pii": "Whether addresses and subjects stand in the program's own log. Default: false.",
    "format": "auto, text or json. Default: auto.",
    # -- accounts
    "port": "Default: 993 for tls, 143 for starttls; of smtp: 465, 587.",
    "username": "The name to log in with.",
    "password": "Where the password is kept. It never stands in the file itself.",
    "connections": "At most so many connections to this account's server, 1 to 15. Default: 3.",
    "special_use": "Only where the server does not say.",
    "special_use.all": "The mailbox that shows all messages.",
    "special_use.archive": "Where `archive` moves to.",
    "special_use.drafts": "The mailbox of drafts.",
    "special_use.flagged": "The mailbox that shows flagged messages.",
    "special_use.junk": "Where `junk` moves to.",
    "special_use.sent": "Where sent messages are: `replied_to` and `unanswered_for` look there.",
    "special_use.trash": "Where `trash` moves to.",
    "client_secret": "The secret of the client id, if it has one: where it is kept.",
    # -- values
    "contains": "These words stand somewhere in it; case and runs of blanks don't matter.",
    "is": "It is exactly this; case and runs of blanks don't matter.",
    "starts_with": "It begins with this.",
    "ends_with": "It ends with this.",
    "glob": "All of it is like this: `*` is anything, `?` one character; `\\` before them takes that away.",
    "regex": "It has this RE2 pattern in it. Named groups go to templates as `match.NAME`.",
    "in": "The name of a list under `lists`: any of its entries.",
    "exists": "Whether it is there at all.",
    "case_sensitive": "Whether case matters. Default: false.",
    "address": "The whole address, a `@domain`, or a domain with its subdomains; `*` and `?` are wildcards.",
    "domain": "A domain or one below it.",
    "localpart": "What stands before the `@`.",
    "user": "What stands before the `+` of the local part.",
    "detail": "What stands behind the `+` of the local part.",
    "name": "The display name. It can be forged.",
    "attachment.name": "The file's name.",
    "attachment.type": "The media type, such as `application/pdf`.",
    "attachment.larger_than": "The attachment's decoded size.",
    "attachment.smaller_than": "The attachment's decoded size.",
    "since": "That day or later.",
    "before": "Earlier than that day.",
    "on": "That day.",
    "weekday": "`mon` to `sun`, one or a list; over midnight, the day on which `between` starts.",
    "between": "`18:00-08:00`: the start is in it, the end is not.",
    "dmarc": "`pass`, `fail`, `none`, … as a server of `trusted_authserv` says.",
    "spf": "`pass`, `fail`, `softfail`, `none`, … as a server of `trusted_authserv` says.",
    "dkim": "`pass`, `fail`, `none`, … as a server of `trusted_authserv` says.",
    # -- rules
    "when": "All of these must hold; a list: any of them; `always` matches every message.",
    "unless": "The rule does not match where this holds.",
    "enabled": "Whether the rule is in force. Default: true.",
    "on_unknown": "What to do when it can't be known whether mail was sent: `hold` (default) or `retry`.",
    "on_return": "For messages that come back to where a rule took them from: `leave` (default) or `apply`.",
    "every": "How long from run to run, such as `1h`.",
    "cron": "Minute, hour, day, month, weekday: `0 3 * * mon`. 1 is Monday, 0 and 7 Sunday.",
    "schedule.on_new": "Also when a message is new. Default: false.",
    "per_run": "At most so many messages in one run; then the rule is paused.",
    "per_hour": "At most so many messages in an hour; then the rule is paused.",
    # -- actions
    "run": "The program and its arguments. There is no shell.",
    "input": "What it reads on stdin: `message` (default), `headers`, `json` or `none`.",
    "timeout": "How long it may take. Default: 60s.",
    "env": "Environment variables for it.",
    "allow": "Which effects its answers may ask for, with their targets.",
    "allow.move": "Mailboxes, globs allowed.",
    "allow.copy": "Mailboxes, globs allowed.",
    "allow.flag": "Flags and keywords, globs allowed.",
    "allow.unflag": "Flags and keywords, globs allowed.",
    "allow.label": "Gmail's labels, globs allowed.",
    "allow.unlabel": "Gmail's labels, globs allowed.",
    "allow.assign": "Whom it may name.",
    "allow.log": "Texts for the run log, globs allowed.",
    "to": "Where it goes: one, or a list.",
    "mode": "`attach` (default): the original is attached; `inline`: it is quoted.",
    "subject": "The subject of the new message.",
    "text": "The text of the new message.",
    "only": "The addresses and domains that a recipient may be chosen from.",
    "once_every": "Nobody is answered more often by this rule. Default: 7d.",
    "addresses": "More addresses that are yours: mail to them is answered, too.",
    "url": "Where it is sent. Scheme, host and port are literal.",
    "method": "POST (default), PUT, PATCH, GET or DELETE.",
    "headers": "Headers of the request.",
    "json": "The body, with templates inside.",
    "idempotent": "Whether the server knows an Idempotency-Key: then a doubtful request is sent again.",
    "private": "Whether addresses of this machine and this network may be asked.",
    "what": "`attachments` (default), or the whole `message`.",
    "save.name": "Only attachments of this name, globs allowed.",
    "save.to": "The directory.",
    "assign.to": "The people, or the mailboxes.",
    "by": "`round_robin` (default) or `least_loaded`.",
    "with": "How it is marked: by a `keyword` or by a `mailbox`.",
    # -- tests
    "expect.rules": "The names of the rules that match, all of them.",
    "expect.actions": "The actions, all of them, in order.",
}
"""By name; `parent.name` where a word means something else there."""


def explained(schema: Schema) -> Schema:
    """The same with words for every property that has none, and all of them as Markdown, too."""
    found: Schema = _walk(schema, "")
    return found


def _walk(schema: Any, parent: str) -> Any:
    if isinstance(schema, list):
        return [_walk(item, parent) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            found[key] = {name: _property(name, entry, parent) for name, entry in value.items()}
        elif key == "$defs":
            found[key] = {name: _walk(entry, name) for name, entry in value.items()}
        else:
            found[key] = _walk(value, parent)
    if "description" in found:
        found["markdownDescription"] = markdown(found["description"])
    return found


def _property(name: str, schema: Mapping[str, Any], parent: str) -> Schema:
    words = schema.get("description") or WORDS.get(f"{parent}.{name}") or WORDS.get(name)
    known: Schema = {"description": words} if words else {}
    result: Schema = _walk({**schema, **known}, name)
    return result


def markdown(text: str) -> str:
    """A manual as Markdown: what is indented at its end is YAML, if it has no fences of its own."""
    if "```" in text:
        return text.replace("\n---\n", "\n```\n\n```yaml\n")
    return re.sub(
        r"(?m)(?:^(?: {4}.*|---)?\n?)+\Z",
        lambda match: _fenced(match[0]) if match[0].strip() else "",
        text,
    ).rstrip()


def _fenced(example: str) -> str:
    lines = [line.removeprefix("    ") for line in example.strip("\n").splitlines() if line != "---"]
    return "\n```yaml\n" + "\n".join(lines).strip("\n") + "\n```"
