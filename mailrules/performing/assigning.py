"""Who has how much, as the server tells; and whose turn it would be, for plans that are only shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mailrules import clock
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.imap.refusals import NoSuchMailbox
from mailrules.adapters.store import Store
from mailrules.adapters.store.assigning import Assignments, Loads
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.assigned import place_of, undecided
from mailrules.core.decision import Decision
from mailrules.core.errors import PermanentError
from mailrules.core.uidset import UidSet

_ALL = UidSet.of_ranges([(1, 2**32 - 1)])


def loads_of(mailbox: Mailbox, effects: Iterable[PlannedEffect]) -> Loads | None:
    """What everybody has whom `least_loaded` would choose from; None if it is not asked for.

    A keyword is counted in this mailbox, a mailbox as a whole. Raises TransientError.
    """
    wanted: dict[str, str] = {}
    for effect in effects:
        arguments = effect.arguments
        if effect.action == "assign" and undecided(arguments) and arguments["by"] == "least_loaded":
            how = str(arguments["with"])
            wanted.update((place_of(person, how), how) for person in arguments["to"])
    if not wanted:
        return None
    at = clock.now()
    return Loads(at, {place: _load(mailbox, place, how) for place, how in wanted.items()})


def _load(mailbox: Mailbox, place: str, how: str) -> int:
    try:
        if how == "mailbox":
            return mailbox.connection.status(place).messages
        return len(mailbox.search_raw(f"KEYWORD {place} UNDELETED", _ALL))
    except NoSuchMailbox:
        return 0
    except PermanentError:
        return 0  # the server can't say: then by the journal


def whose_turn(
    found: Mapping[int, tuple[Identity, Decision]],
    *,
    store: Store | None,
    mailbox: Mailbox,
    turns: Assignments,
) -> Mapping[int, tuple[Identity, Decision]]:
    """The decisions, by UID, with those named to whom the messages would go now, the first UID first.

    Nothing is used up but in `turns`. `store` None: there is no journal yet.
    """
    effects = [effect for _, decision in found.values() for effect in decision.effects]
    if not any(effect.action == "assign" for effect in effects):
        return found
    loads = loads_of(mailbox, effects)
    told = {}
    for uid, (identity, decision) in sorted(found.items()):
        known = identity.identity
        if store is None:
            chosen = [turns.choose(None, known, effect, loads) for effect in decision.effects]
        else:
            chosen = store.whose_turn(turns, known, decision.effects, loads)
        told[uid] = (identity, replace(decision, effects=tuple(chosen)))
    return told
