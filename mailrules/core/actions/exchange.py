"""What a script is given on its standard input, and what it answers on its standard output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mailrules.core import headers
from mailrules.core.actions.assign import Assign
from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.actions.flags import Flag, Unflag, flag_of
from mailrules.core.actions.labels import Label, label_of
from mailrules.core.actions.mailbox import Copy, Move
from mailrules.core.actions.note import Log
from mailrules.core.actions.script import target_allowed
from mailrules.core.assigned import is_assigned
from mailrules.core.errors import PermanentError, Report
from mailrules.core.message import Message, MessageKey
from mailrules.core.variables import clean

MOST_ANSWERS = 20
_ANSWERS: Mapping[str, type[Action]] = {
    "move": Move,
    "copy": Copy,
    "flag": Flag,
    "unflag": Unflag,
    "label": Label,
    "assign": Assign,
    "log": Log,
}
_NOBODY = Message(MessageKey("", "", 0, 0), datetime(1970, 1, 1, tzinfo=UTC))


def script_input(
    form: str, raw: bytes, *, account: str, mailbox: str, uid: int, rule: str, flags: Sequence[str] = ()
) -> bytes:
    """Standard input for `input: message | headers | json | none`; `raw` is the whole message.

    `json` is one object: account, mailbox, uid, rule, flags, size, and `headers`, which maps each lower-case
    name to the list of its decoded values.
    """
    if form == "none":
        return b""
    if form == "message":
        return raw
    block, end = headers.split_message(headers.normal_lines(raw))
    if form == "headers":
        return raw[:end]
    found = {name: [clean(headers.decode(v)).strip() for v in block.get(name)] for name in block.names()}
    facts = {
        "account": account, "mailbox": mailbox, "uid": uid, "rule": rule, "flags": list(flags),
        "size": len(raw), "headers": found,
    }  # fmt: skip
    return json.dumps(facts, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def parse_answers(
    stdout: bytes, allow: Mapping[str, Sequence[str]], *, leaves_already: bool = False
) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The effects that a script asks for: (action, arguments in long form), in its order.

    `leaves_already`: another effect takes the message out of its mailbox, so that no answer may.
    Raises PermanentError, and then none of them counts: the script is `failed`.
    """
    if not allow:
        return ()
    found: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(filter(None, (line.strip() for line in stdout.split(b"\n"))), start=1):
        if number > MOST_ANSWERS:
            raise PermanentError(f"the script answered more than {MOST_ANSWERS} lines.")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            raise _refused(number, 'it is not a JSON object, such as {"move": "Team/A"}') from None
        if not isinstance(answer, dict) or len(answer) != 1:
            raise _refused(number, "it is not a JSON object with one action")
        [(key, value)] = answer.items()
        if key not in allow or key not in _ANSWERS:
            raise _refused(number, f"the action '{key[:40]}' is not in its `allow`")
        action, arguments = _answer(number, key, value)
        for target in _targets(arguments):
            if not target_allowed(target, _spelled(key, allow[key])):
                raise _refused(number, f"'{target[:80]}' is not in its `allow` for '{key}'")
        if key == "move" or is_assigned(action, arguments, how="mailbox"):
            if leaves_already:
                raise _refused(number, "the message would leave its mailbox twice")
            leaves_already = True
        found.append((action, arguments))
    return tuple(found)


def _answer(number: int, key: str, value: Any) -> tuple[str, dict[str, Any]]:
    report = Report()
    action = _ANSWERS[key].parse(value, path=(), report=report, context=ActionContext(templates=False))
    if action is None:
        raise _refused(number, report.problems[0].message.rstrip("."))
    name, arguments, _ = action.render(_NOBODY, RenderContext(account="", rule=""))
    if "text" in arguments:
        arguments["text"] = clean(arguments["text"], keep="\n\t")
    return name, arguments


def _targets(arguments: Mapping[str, Any]) -> list[str]:
    if "with" in arguments:  # people
        people = arguments["to"]
        return list(people) if isinstance(people, list) else [people]
    if "mailbox" in arguments:
        return [arguments["mailbox"]]
    named = arguments.get("flags") or arguments.get("labels")
    return list(named) if named else [arguments.get("text", "")]


def _spelled(key: str, patterns: Sequence[str]) -> list[str]:
    """Flags and labels in `allow` as IMAP spells them, so that `seen` allows `\\Seen`."""
    spelling = {"flag": flag_of, "unflag": flag_of, "label": label_of}.get(key)
    if spelling is None:
        return list(patterns)
    spelled = []
    for pattern in patterns:
        try:
            spelled.append(spelling(pattern))
        except ValueError:
            spelled.append(pattern)  # a glob
    return spelled


def _refused(number: int, why: str) -> PermanentError:
    return PermanentError(f"line {number} of the script's answer was refused: {why}.")
