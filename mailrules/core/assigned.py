"""How a message that is assigned to somebody is marked: a keyword of theirs, or a mailbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEYWORD = "$Assigned_"
MAILBOX = "Assigned/"


def place_of(person: str, how: str) -> str:
    """The keyword or mailbox of a person. `$Alice` is a keyword, and `Team/Alice` a mailbox, already."""
    if how == "mailbox":
        return person if "/" in person else MAILBOX + person
    return person if person.startswith("$") else KEYWORD + person


def undecided(arguments: Mapping[str, Any]) -> bool:
    """Whether nobody has been chosen yet: `to` lists all who may be."""
    return isinstance(arguments.get("to"), list)


def assigned(arguments: Mapping[str, Any], person: str) -> dict[str, Any]:
    """The arguments once this person has been chosen."""
    how = str(arguments["with"])
    place = place_of(person, how)
    return {**arguments, "to": person} | ({"mailbox": place} if how == "mailbox" else {"flags": [place]})


def is_assigned(action: str, arguments: Mapping[str, Any], *, how: str) -> bool:
    """Whether this is an `assign` of that kind (`keyword`, `mailbox`)."""
    return action == "assign" and arguments.get("with") == how
