"""`python -m benchmarks [SCENARIO…]`: measure, print a table, write RESULTS.md."""

from __future__ import annotations

import argparse
import dataclasses

from benchmarks import report
from benchmarks.bench import Bench, Sizes
from benchmarks.scenarios import TABLE


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"all, or some of {', '.join(TABLE)}"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs; writes no page")
    parser.add_argument("--no-page", action="store_true", help="do not write RESULTS.md")
    for field in dataclasses.fields(Sizes):
        if field.name != "slow":
            parser.add_argument(
                f"--{field.name}", type=float if field.name == "seconds" else int, help=f"{field.default}"
            )
    parser.add_argument("--no-slow", action="store_true", help="without the peers that take minutes")
    chosen = parser.parse_args(arguments)
    for name in chosen.scenarios:
        if name not in TABLE:
            parser.error(f"there is no scenario '{name}'. Scenarios: {', '.join(TABLE)}.")
    sizes = Sizes.quick() if chosen.quick else Sizes()
    given = {field.name: getattr(chosen, field.name, None) for field in dataclasses.fields(Sizes)}
    sizes = dataclasses.replace(sizes, **{name: value for name, value in given.items() if value is not None})
    if chosen.no_slow:
        sizes = dataclasses.replace(sizes, slow=False)
    results = []
    with Bench(sizes) as bench:
        for name in chosen.scenarios or TABLE:
            bench.say(f"{name}: {(TABLE[name].__doc__ or '').splitlines()[0]}")
            measured = TABLE[name](bench)
            results += measured
            if not (chosen.quick or chosen.no_page):
                report.keep(measured)
    report.show(results)
    if not (chosen.quick or chosen.no_page):
        report.write(report.remembered(list(TABLE)))


if __name__ == "__main__":
    main()
