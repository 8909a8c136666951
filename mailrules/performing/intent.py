"""The arrow to `intent`: what is about to be done is written first (RELIABILITY 1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailrules import clock
from mailrules.adapters.store import EffectRow, Fenced, State, Store


def intend(
    store: Store,
    rows: list[EffectRow],
    evidence: Mapping[str, Any],
    changes: Mapping[int, Mapping[str, Any]],
    *,
    hand: str,
) -> list[EffectRow]:
    """Write that these are about to be done; rows that a person took from us meanwhile fall out.

    Where an earlier try was going to put them stays written: its copy may still show. They are in `hand`
    then.
    """
    if not rows:
        return []
    frm: tuple[State, ...] = ("planned", "later", "intent", "copied", "commit")
    nothing: Mapping[str, Any] = {}
    going = {"destination": dict(evidence)} if evidence else nothing
    detail: dict[int, Mapping[str, Any]]
    detail = {row.id: nothing if "destination" in row.detail else going for row in rows}
    detail |= {row.id: changes[row.id] for row in rows if row.id in changes}
    try:
        return store.advance(
            [row.id for row in rows], frm=frm, to="intent", at=clock.now(), detail=detail,
            hand=hand, known=rows,
        )  # fmt: skip
    except Fenced:
        if len(rows) == 1:
            return []
        return [mine for row in rows for mine in intend(store, [row], evidence, changes, hand=hand)]
