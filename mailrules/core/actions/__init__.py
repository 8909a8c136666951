"""What rules do. One class for each action, and the table that names them."""

from __future__ import annotations

from typing import Any

from mailrules.core.actions.assign import Assign
from mailrules.core.actions.base import Action, ActionContext
from mailrules.core.actions.flags import Flag, Mark, Unflag
from mailrules.core.actions.labels import Label, Unlabel
from mailrules.core.actions.mailbox import Archive, Copy, Delete, Junk, Move, Trash
from mailrules.core.actions.note import Keep, Log
from mailrules.core.actions.reply import Reply
from mailrules.core.actions.save import Save
from mailrules.core.actions.script import Script
from mailrules.core.actions.send import Forward, Redirect
from mailrules.core.actions.webhook import Webhook
from mailrules.core.errors import Path, Report, did_you_mean
from mailrules.core.values import describe

TABLE: dict[str, type[Action]] = {
    "move": Move,
    "copy": Copy,
    "archive": Archive,
    "trash": Trash,
    "junk": Junk,
    "delete": Delete,
    "flag": Flag,
    "unflag": Unflag,
    "mark": Mark,
    "label": Label,
    "unlabel": Unlabel,
    "forward": Forward,
    "redirect": Redirect,
    "reply": Reply,
    "script": Script,
    "webhook": Webhook,
    "save": Save,
    "assign": Assign,
    "log": Log,
    "keep": Keep,
}


def parse_then(data: Any, *, path: Path, report: Report, context: ActionContext) -> tuple[Action, ...]:
    """The actions of one rule from the data under `then`; problems, also conflicts, go to the report.

    `path` is the path of the list (it ends with `then`).
    """
    if not isinstance(data, list):
        report.error(path, f"expected a list of actions, such as '- move: Archive', found {describe(data)}.")
        return ()
    if not data:
        report.error(path, "the list of actions is empty. Leave 'then' out, or say '- keep'.")
    found: list[tuple[Path, Action]] = []
    for index, entry in enumerate(data):
        where = (*path, index)
        action = parse_action(entry, path=where, report=report, context=context)
        if action is None:
            continue
        place = where if isinstance(entry, str) else (*where, *entry)
        for _, earlier in found:
            conflict = _conflict(earlier, action)
            if conflict:
                report.error(place, conflict, at="key")
                break
        found.append((place, action))
    return tuple(action for _, action in found)


def parse_action(entry: Any, *, path: Path, report: Report, context: ActionContext) -> Action | None:
    """One action as `then` lists it: a bare word, or a mapping of one key."""
    where = path
    if isinstance(entry, str):
        key, value, place = str(entry), None, where
    elif isinstance(entry, dict) and len(entry) == 1:
        [(key, value)] = entry.items()
        key, place = str(key), (*where, key)
    elif isinstance(entry, dict) and entry:
        report.error(where, f"one action each: give '{list(entry)[1]}' its own line, beginning with '- '.")
        return None
    else:
        report.error(
            where, f"expected an action, such as 'move: Archive' or 'keep', found {describe(entry)}."
        )
        return None
    kind = TABLE.get(key)
    if kind is None:
        report.error(place, f"unknown action '{key}'.{did_you_mean(key, TABLE)}", at="key")
        return None
    if kind.bare and value is not None:
        report.error(place, f"'{key}' takes no value. Write '- {key}'.")
        return None
    return kind.parse(value, path=place, report=report, context=context)


def _conflict(earlier: Action, action: Action) -> str | None:
    if earlier.leaves and action.leaves:
        return (
            f"'{earlier.key}' and '{action.key}' in one rule: each takes the message out of its mailbox,"
            " and only one can. To have it in two places, 'copy' to one of them."
        )
    return earlier.conflicts_with(action) or action.conflicts_with(earlier)
