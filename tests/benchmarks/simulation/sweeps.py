"""What other defaults of the planner would mean, on clusters of different sizes.

One default is changed at a time, and the same maps are played as with all of them as they are: a
figure is the time over that, so above 1 the other value is worse.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

from fanfold.engine import chunking
from tests.benchmarks.simulation.cluster import Growth
from tests.benchmarks.simulation.costs import DASK, Costs
from tests.benchmarks.simulation.durations import Drawn, Durations, Even
from tests.benchmarks.simulation.trial import Trial

OTHERS: dict[str, tuple[float, ...]] = {
    "BUDGET_S": (0.1, 0.2, 0.6, 1.2),
    "CHUNKS_PER_SECOND": (50.0, 100.0, 400.0, 600.0),
    "BURST_PER_SECOND": (200.0, 350.0, 700.0, 1e6),
    "PER_SLOT": (2, 3, 8),
    "FEWEST_IN_FLIGHT": (4, 16, 32),
    "FIRST_CHUNK": (4, 8, 64),
    "SHORTEST_S": (0.002, 0.005, 0.02, 0.05),
    "SHARES": (1, 1.5, 3, 4),
    "ASKED_S": (0.0, 5.0, 20.0),
}
"""By the constant's name: values to try beside the one that it has."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Some maps whose mean counts."""

    name: str
    trials: tuple[Trial, ...]

    def took_s(self) -> float:
        """Return what the maps take on average."""
        return fmean(trial.play().took_s for trial in self.trials)


def situations(costs: Costs = DASK, *, large: bool = True) -> Sequence[Situation]:
    """Return what the defaults are tried on.

    Args:
        costs: What the clusters cost.
        large: Clusters of 10,000 workers too, for which each figure takes ten seconds.
    """

    def trial(workers: int, each: int, durations: Durations, growth: Growth | None = None) -> Trial:
        return Trial(
            workers=workers,
            elements=workers * each,
            durations=durations,
            costs=costs,
            cores=2 if workers == 2 else float("inf"),
            growth=growth,
        )

    def drawn(mean_s: float, seeds: int, sleeps: bool = False) -> list[Durations]:
        return [Drawn(mean_s, sigma=1.5, seed=seed, sleeps=sleeps) for seed in range(seeds)]

    few = [trial(2, 200, each) for each in drawn(0.025, 6, sleeps=True)]
    found = [
        Situation("2: x + 1", (trial(2, 50_000, Even(0.0)), trial(2, 500_000, Even(0.0)))),
        Situation("2: uneven", tuple(few)),
        Situation("16: uneven", tuple(trial(16, 500, each) for each in drawn(0.02, 6))),
        Situation("100: even", (trial(100, 1_000, Even(0.02)), trial(100, 100, Even(0.2)))),
        Situation("100: uneven", tuple(trial(100, 1_000, each) for each in drawn(0.02, 3))),
        Situation("1,000: even", (trial(1_000, 1_000, Even(0.06)),)),
        Situation("1,000: uneven", tuple(trial(1_000, 1_000, each) for each in drawn(0.06, 2))),
        Situation("0 to 100", (trial(100, 1_000, Even(0.06), Growth(start_s=10.0)),)),
    ]
    if large:
        found.append(Situation("10,000: even", (trial(10_000, 1_000, Even(0.06)),)))
    return found


@contextmanager
def planned(**constants: float) -> Generator[None, None, None]:
    """Let the planner have other defaults."""
    before = {name: getattr(chunking, name) for name in constants}
    try:
        for name, value in constants.items():
            setattr(chunking, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(chunking, name, value)


def sweep(
    tried: Sequence[Situation], names: Sequence[str] = tuple(OTHERS)
) -> Iterator[tuple[str, list[float]]]:
    """Yield what each other value does: its name, and the ratio for each situation."""
    usual = [situation.took_s() for situation in tried]
    yield "as it is, seconds", usual
    for name in names:
        for value in OTHERS[name]:
            with planned(**{name: value}):
                found = [situation.took_s() for situation in tried]
            ratios = [new / was for new, was in zip(found, usual, strict=True)]
            yield f"{name} {value:g}, not {getattr(chunking, name):g}", ratios
