"""Play maps on modelled clusters of up to 10,000 workers; prints a table and draws pictures.

    python -m tests.benchmarks.simulate_cluster              half a minute
    python -m tests.benchmarks.simulate_cluster --sweep      other defaults of the planner; minutes
    python -m tests.benchmarks.simulate_cluster --calibrate  measure what real clusters cost
    python -m tests.benchmarks.simulate_cluster --check      foretell real maps, then measure them

The planner and the runs are the real ones; only the cluster is modelled, with costs that were
measured (tests/benchmarks/simulation/costs.py). `--check` fails if a figure is not within a fifth.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from tests.benchmarks import machine, rows
from tests.benchmarks.simulation import calibration, figures, plots, roles, sweeps, verification
from tests.benchmarks.simulation.cluster import Growth, Losses
from tests.benchmarks.simulation.costs import DASK, RAY, Costs
from tests.benchmarks.simulation.durations import Drawn, Durations, Even
from tests.benchmarks.simulation.trial import Outcome, Trial

FOLDER = Path(".benchmarks")
KNOWN = {"dask": DASK, "ray": RAY}

IDEAL_S = 60.0
EACH = 1_000
"""Elements per worker."""
WORKERS = (2, 10, 100, 1_000)
MOST = 10_000

T = TypeVar("T")


def main() -> int:
    """Do what was asked for."""
    os.environ.setdefault("FANFOLD_LOGGING_LEVEL", "WARNING")
    asked = _asked()
    console = rows.console()
    if asked.calibrate or asked.check:
        with tempfile.TemporaryDirectory(prefix="fanfold-benchmarks-") as home:
            os.environ["FANFOLD_HOME"] = home
            return max(_real(name, check=asked.check) for name in asked.on)
    costs = KNOWN[asked.on[0]]
    if asked.sweep:
        tried = sweeps.situations(costs, large=asked.large)
        names = [situation.name for situation in tried]
        figures.show_sweep(names, _noted(sweeps.sweep(tried, asked.only)), console)
        return 0
    outcomes = list(_played(costs, asked.large))
    figures.show(outcomes, console)
    file = FOLDER / f"clusters-{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}.png"
    plain = [one for what, one in outcomes if what == one.trial.durations.name]
    if plots.draw(plain, file):
        print(f"Pictures are in {file}.")
    else:
        print("Without matplotlib there are no pictures.")
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulate_cluster",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--on", nargs="+", choices=KNOWN, default=["dask"], help="whose costs")
    parser.add_argument("--large", action="store_true", help="more on 10,000 workers; minutes")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--sweep", action="store_true", help="try other defaults of the planner")
    doing.add_argument("--calibrate", action="store_true", help="measure what clusters cost")
    doing.add_argument("--check", action="store_true", help="compare with real clusters")
    parser.add_argument(
        "--only", nargs="+", choices=sweeps.OTHERS, default=list(sweeps.OTHERS), help="of --sweep"
    )
    return parser.parse_args()


def _played(costs: Costs, large: bool) -> Iterator[tuple[str, Outcome]]:
    for what, trial in _noted(_trials(costs, large)):
        yield what, trial.play()


def _trials(costs: Costs, large: bool) -> Iterator[tuple[str, Trial]]:
    """Yield what is played, the clusters from small to large."""

    def trial(workers: int, durations: Durations, each: int = EACH) -> Trial:
        elements = workers * each
        return Trial(
            workers=workers, elements=elements, durations=durations, costs=costs, weighs=True
        )

    mean = IDEAL_S / EACH
    kinds: list[Durations] = [Even(mean), Drawn(mean, sigma=1.5), Drawn(mean, shape=1.5)]
    for workers in WORKERS:
        for durations in kinds:
            yield durations.name, trial(workers, durations)
    for durations in kinds if large else kinds[:1]:
        yield durations.name, trial(MOST, durations)
    yield "a hundred million", trial(MOST, Even(mean / 10), each=10 * EACH)
    yield "40 of 1,000 die and come back", _with(trial(1_000, Even(mean)), _LOSSES)
    for known in (True, False):
        growth = Growth(start_s=10.0, known=known)
        what = "from 0 workers" if known else "from 0 workers, end unknown"
        yield what, _with(trial(100, Even(mean)), growth)


_LOSSES = Losses(each_s=1_500.0, back_s=20.0)


def _with(trial: Trial, more: Losses | Growth) -> Trial:
    return replace(trial, **{"losses" if isinstance(more, Losses) else "growth": more})


def _noted(found: Iterator[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Say on the way what is done, for it takes its time."""
    for what, one in found:
        print(what, file=sys.stderr, flush=True)
        yield what, one


def _real(name: str, *, check: bool) -> int:
    """Measure on a real cluster; return what the process should exit with."""
    console = rows.console()
    with roles.opened(name) as opened:
        costs = calibration.measure(opened)
        print(f"{name.upper()} = Costs(")
        for field, value in asdict(costs).items():
            print(f"    {field}={f'{value:.3g}' if isinstance(value, float) else repr(value)},")
        print(f")\n{machine.sentence(machine.facts())}")
        found = list(verification.rows(opened, costs)) if check else []
    if found:
        rows.show("foretold and measured", found, console, "foretold", "measured")
    return int(any(row.verdict == "missed" for row in found))


if __name__ == "__main__":
    sys.exit(main())
