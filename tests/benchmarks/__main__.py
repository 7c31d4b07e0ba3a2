"""Measure Fanfold beside what one would do by hand; prints tables, and keeps the figures as JSON.

    python -m tests.benchmarks [--only NAME ...] [--on RUNNER ...] [--quick] [--list]

How to read a row: "Fanfold" and "beside" are medians of the same run, taken in turns with the first
turn dropped; "beside is" says what the second one is, such as the same map cut by hand; "ratio" is
the first over the second, so below 1 Fanfold is ahead. An aim is a promise that the project makes
to itself. On a busy machine ratios still mean something and seconds don't.

Runners come one after the other, each with all its benchmarks, so there are never two clusters at a
time. `.benchmarks/<UTC time>.json` holds the rows and what they were taken on.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.benchmarks import (
    calls,
    durations,
    frames,
    history,
    keys,
    kills,
    machine,
    memory,
    moving,
    observed,
    options,
    recording,
    rows,
    start,
    stored,
    throughput,
)
from tests.benchmarks.grounds import NAMES, opened

BENCHMARKS: dict[str, ModuleType] = {
    "start": start,
    "calls": calls,
    "recording": recording,
    "history": history,
    "keys": keys,
    "options": options,
    "throughput": throughput,
    "observed": observed,
    "durations": durations,
    "moving": moving,
    "memory": memory,
    "stored": stored,
    "frames": frames,
    "kills": kills,
}
"""In the order they run on each runner; `kills` comes last, for it leaves young workers behind."""

FOLDER = Path(".benchmarks")

Found = dict[str, list[rows.Row]]


def main() -> None:
    """Run what was asked for, print it and write it down."""
    # Lines of hundreds of runs would stand between the rows; what they cost is in "options".
    os.environ.setdefault("FANFOLD_LOGGING_LEVEL", "WARNING")
    asked = _asked()
    if asked.list:
        for name, module in BENCHMARKS.items():
            print(f"{name:<12}{(module.__doc__ or '').splitlines()[0]}")
        return
    known = machine.facts()
    began = time.perf_counter()
    found: Found = defaultdict(list)
    try:
        with tempfile.TemporaryDirectory(prefix="fanfold-benchmarks-") as home:
            # Before any worker is started, so that all of them keep results there.
            os.environ["FANFOLD_HOME"] = home
            for ground in asked.on:
                _run(ground, asked.only, asked.quick, found)
    finally:
        # What was measured before something failed or somebody lost patience is still good.
        known["seconds"] = round(time.perf_counter() - began, 1)
        _print(found, known)
        _write(found, known, asked.quick)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=[*BENCHMARKS])
    parser.add_argument("--on", nargs="+", choices=NAMES, default=[*NAMES], help="runners")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer; says little")
    parser.add_argument("--list", action="store_true", help="print the benchmarks and end")
    return parser.parse_args()


def _run(name: str, only: list[str], quick: bool, found: Found) -> None:
    wanted = {key: BENCHMARKS[key] for key in BENCHMARKS if key in only}
    here = {key: module for key, module in wanted.items() if name in module.GROUNDS}
    if not here:
        return
    with opened(name) as ground:
        for key, module in here.items():
            print(f"{key} on {name} ...", end="", flush=True, file=sys.stderr)
            began = time.perf_counter()
            found[key].extend(module.measure(ground, quick))
            print(f" {time.perf_counter() - began:.0f} s", file=sys.stderr)


def _print(found: Found, known: dict[str, Any]) -> None:
    console = rows.console()
    for name in (key for key in BENCHMARKS if key in found):
        rows.show(name, found[name], console)
    verdicts = [row.verdict for some in found.values() for row in some]
    console.print(
        f"{verdicts.count('met')} aims met, {verdicts.count('missed')} missed, "
        f"in {known['seconds']:.0f} s. {machine.sentence(known)}"
    )


def _write(found: Found, known: dict[str, Any], quick: bool) -> None:
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}.json"
    content = {
        "machine": known,
        "quick": quick,
        "benchmarks": {name: [row.plain() for row in some] for name, some in found.items()},
    }
    file.write_text(json.dumps(content, indent=1) + "\n")
    print(f"Figures are in {file}.")


if __name__ == "__main__":
    main()
