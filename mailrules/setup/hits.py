"""`check --hits`: rules that matched nothing for long, as the journal remembers it."""

from __future__ import annotations

from datetime import datetime, timedelta

from mailrules.adapters.store import Store
from mailrules.config import Config, Finding
from mailrules.config.yaml_nodes import Place


def quiet(config: Config, store: Store, *, now: datetime, within: timedelta) -> list[Finding]:
    """A warning for each enabled rule that matched no message `within` that time, in the order of the file.

    Dry runs are no hits. A journal that is younger than that knows nothing of before: then nothing is said
    of rules that never matched.
    """
    last = {hits.rule: hits.last_at for hits in store.rule_hits()}
    began = store.first_run()
    found = []
    for rule in config.rules:
        if not rule.enabled or rule.dry_run:
            continue
        matched = last.get(rule.name)
        if matched is None:
            if began is None or now - began < within:
                continue
            since = f"has matched nothing since the journal began on {began:%Y-%m-%d}"
        elif now - matched >= within:
            since = f"has matched nothing since {matched:%Y-%m-%d}"
        else:
            continue
        source = rule.source
        place = Place(str(source["file"]), int(source["line"]), int(source["column"]))
        message = (
            f"the rule '{rule.name}' {since}. Remove it, or see with `mailrules explain` why mail that you "
            "mean is not matched."
        )
        found.append(Finding(place, message, "warning"))
    return found
