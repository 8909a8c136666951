"""Twenty times the rules over the same mail."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.contenders import Mailrules, Runs
from benchmarks.report import COLUMNS, Result, at_most, compared
from benchmarks.rules import fifty, many


def many_rules(bench: Bench) -> list[Result]:
    """The fifty rules, and with them as many as there are to be that nothing matches."""
    count, rules = bench.sizes.messages, bench.sizes.rules
    few, more = Mailrules(name="mailrules, 50 rules"), Mailrules(name=f"mailrules, {rules:,} rules")
    runs = Runs()
    for _ in range(bench.sizes.repeat):
        for contender, said in ((few, fifty()), (more, many(rules))):
            each, _second = bench.compete((contender,), messages=count, rules=said, turns=1)
            runs.add(each.median(contender.name))
    pairs = zip(runs.runs[more.name], runs.runs[few.name], strict=True)
    ratio = [one.client / other.client for one, other in pairs]
    targets = (at_most(f"{rules:,} rules ≤ 3x the client CPU of 50", ratio, 3),)
    title = f"{rules:,} rules against 50 on the same {count:,} messages"
    return [Result("rules", title, COLUMNS, compared(runs, floor=few.name), targets)]
