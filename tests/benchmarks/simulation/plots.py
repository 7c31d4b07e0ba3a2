"""The same figures as pictures, where matplotlib is installed."""

from collections import defaultdict
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.benchmarks.simulation.trial import Outcome

SIZE = (15.0, 4.5)
"""Of the picture, in inches."""


def draw(outcomes: Sequence[Outcome], file: Path) -> bool:
    """Draw efficiency, chunks a second and bytes an element; False if nothing can be drawn here."""
    try:
        matplotlib: Any = import_module("matplotlib")
    except ImportError:
        return False
    matplotlib.use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=SIZE, layout="constrained")
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.trial.durations.name.split(",")[0].split(" ")[0]].append(outcome)
    for kind, some in by_kind.items():
        workers = [outcome.trial.workers for outcome in some]
        left.plot(workers, [outcome.efficiency * 100 for outcome in some], "o-", label=kind)
        middle.plot(workers, [outcome.chunks_per_s for outcome in some], "o-", label=kind)
        elements = [outcome.trial.elements for outcome in some]
        weights = [outcome.weight / outcome.trial.elements for outcome in some]
        right.plot(elements, weights, "o-", label=kind)
    costs = outcomes[0].trial.costs
    per_chunk = costs.arrive_s + costs.assign_s + costs.finish_s
    middle.axhline(1 / per_chunk, color="grey", linestyle="--", label="scheduler's most")
    middle.axhline(
        1 / (costs.submit_s + costs.report_s), color="grey", linestyle=":", label="driver's most"
    )
    _finish(left, "workers", "% of the ideal schedule", bottom=0.0)
    _finish(middle, "workers", "chunks a second", bottom=1.0, log=True)
    _finish(right, "elements", "bytes an element at the driver", bottom=0.5, log=True)
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
    return True


def _finish(axes: Any, x: str, y: str, *, bottom: float, log: bool = False) -> None:
    axes.set_xscale("log")
    if log:
        axes.set_yscale("log")
    axes.set_ylim(bottom=bottom)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
