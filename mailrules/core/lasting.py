"""Rules that say of a message for ever what they say of it once.

IMAP fixes header, text, structure, size and INTERNALDATE under a UID (RFC 3501 section 2.3.1.1). What such a
rule did not match needs no second look, while the rule, what it is judged by and this program are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from mailrules.core.conditions.logic import every
from mailrules.core.rule import Rule

JUDGING = 1
"""To be raised with whatever changes what conditions say of the same message: what was found out before means
nothing then."""

FIXED = frozenset({"header", "body", "structure", "size", "internaldate"})
"""Kinds of facts that never change."""
_ITS_OWN = FIXED | {"flags", "gmail_labels"}
"""Kinds of facts that the server tells of the message itself, and that telling changes nothing."""


def lasts(rule: Rule) -> bool:
    """Whether what the rule says of a message never changes."""
    return (
        bool(rule.revision)
        and all(condition.lasting for condition in every(rule.when))
        and all(fact.kind in FIXED for fact in rule.when.facts())
    )


def asks_only_its_own(rule: Rule) -> bool:
    """Whether its condition may be judged once more than needed: no script runs, nothing is noted."""
    return all(fact.kind in _ITS_OWN for fact in rule.when.facts())


def fingerprint(rules: Iterable[Rule], *beside: object) -> str:
    """Another one means that these rules may say something else. `beside`: by what else they are judged, as
    plain data."""
    content = json.dumps([JUDGING, beside, [rule.revision for rule in rules]], default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
