"""The rows of the table of targets, in its order."""

from benchmarks.bench import Scenario
from benchmarks.scenarios import bulk, commands, rules, watch

TABLE: dict[str, Scenario] = {
    "sort": bulk.sort,
    "link": bulk.link,
    "bytes": bulk.wire,
    "rules": rules.many_rules,
    "idle": watch.idle,
    "latency": watch.latency,
    "sustained": watch.sustained,
    "commands": commands.answers,
}
