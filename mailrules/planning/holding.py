"""What `apply` keeps of a mailbox until its brake has seen all that would leave it (SPEC section 7)."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from mailrules.adapters.imap.identity import Identity
from mailrules.core.brakes import takes_most
from mailrules.core.decision import Decision
from mailrules.planning.planned import Planned

MANY = 500
"""Messages that are packed together: much of one is in the others, too."""

_PLANNED = tuple(f.name for f in fields(Planned) if f.name not in ("identity", "decision"))
_place_of = attrgetter(*_PLANNED)
_told_of = attrgetter(*(f.name for f in fields(Identity)))


@dataclass(slots=True)
class Brake:
    """Whether a mailbox of so many messages may lose those that leave it. `off`: a person wants it."""

    there: int
    off: bool = False
    leaving: int = 0

    def count(self, planned: Planned) -> None:
        """One message more."""
        self.leaving += planned.leaves

    def may_trip(self, *, to_come: int) -> bool:
        """Whether it stops what leaves, if all of those that are still to be judged leave, too."""
        return not self.off and takes_most(leaving=self.leaving + to_come, there=self.there)


@dataclass(slots=True)
class Held:
    """Planned messages in their order: a hundred bytes each instead of two thousand."""

    _packed: list[bytes] = field(default_factory=list)
    _loose: list[Planned] = field(default_factory=list)

    def add(self, planned: Planned) -> None:
        """One more, which is likely to be taken soon."""
        self._loose.append(planned)

    def pack(self) -> None:
        """They will be here for long."""
        loose = self._loose
        whole = len(loose) - len(loose) % MANY
        self._packed += [_pack(loose[at : at + MANY]) for at in range(0, whole, MANY)]
        del loose[:whole]

    def take(self) -> Iterator[Planned]:
        """Each of them, and they are not held any more."""
        packed, self._packed = self._packed, []
        loose, self._loose = self._loose, []
        packed.reverse()
        loose.reverse()
        while packed:
            yield from _unpack(packed.pop())
        while loose:
            yield loose.pop()


def _pack(many: Sequence[Planned]) -> bytes:
    # What a rule does is mostly the same for all its messages: it goes in once. Pickle takes its time for
    # dataclasses, and little for tuples.
    alike: dict[tuple[str, ...], Decision] = {}
    rows = []
    for planned in many:
        decision = planned.decision
        known = alike.setdefault(decision.matched, decision)
        if known != decision:
            alike[decision.matched] = known = decision
        rows.append((_place_of(planned), _told_of(planned.identity), known))
    return zlib.compress(pickle.dumps(rows, protocol=5), level=1)


def _unpack(packed: bytes) -> Iterator[Planned]:
    rows: list[tuple[Any, Any, Decision]] = pickle.loads(zlib.decompress(packed))  # noqa: S301 - our own
    for place, told, decision in rows:
        yield Planned(**dict(zip(_PLANNED, place, strict=True)), identity=Identity(*told), decision=decision)
