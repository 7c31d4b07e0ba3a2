"""One map on one modelled cluster: what is given, and what comes out."""

import gc
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from fanfold.engine.chunking import Limits
from fanfold.values.states import StateName
from tests.benchmarks.simulation.agenda import Agenda
from tests.benchmarks.simulation.cluster import Cluster, Growth, Losses
from tests.benchmarks.simulation.costs import Costs
from tests.benchmarks.simulation.driver import Driver
from tests.benchmarks.simulation.durations import Durations
from tests.benchmarks.simulation.items import Padded
from tests.benchmarks.simulation.lines import Cores


class Unfinished(Exception):
    """Nothing happens any more, but the map isn't over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A map on a cluster."""

    workers: int
    """Slots that there are, or that the cluster can grow to."""
    elements: int
    durations: Durations
    costs: Costs
    cores: float = math.inf
    """Of the one machine that driver, scheduler and workers share; else each has its own."""
    limits: Limits = field(default_factory=Limits)
    bytes_each: int = 0
    """Of an element's argument, pickled; 0 for what is too small to count."""
    losses: Losses | None = None
    growth: Growth | None = None
    fetches: bool = False
    """Somebody wants all values at the end: what died with its worker is made again."""
    seed: int = 0
    weighs: bool = False
    """Look how many bytes the run takes; walks over all its objects."""

    def play(self) -> "Outcome":
        """Return how it went.

        Raises:
            Unfinished: The map never ends, such as because no worker is left.
        """
        agenda = Agenda()
        cores = Cores(agenda, self.cores)
        driver = Driver(
            agenda,
            self.costs,
            cores,
            Padded(self.elements, self.bytes_each) if self.bytes_each else range(self.elements),
            self.limits,
            bytes_each=self.bytes_each,
            fetches=self.fetches,
        )
        cluster = Cluster(
            agenda,
            self.costs,
            self.durations,
            cores,
            driver.heard,
            driver.spoke,
            workers=self.workers,
            bytes_each=self.bytes_each,
            losses=self.losses,
            growth=self.growth,
            seed=self.seed,
        )
        began = time.perf_counter()
        driver.begin(cluster)
        agenda.play(driver.over)
        if not driver.over():
            raise Unfinished(f"{driver.run.left:,} elements are left after {agenda.now:,.0f} s")
        return self._outcome(driver, cluster, agenda.now, time.perf_counter() - began)

    def _outcome(self, driver: Driver, cluster: Cluster, took_s: float, real_s: float) -> "Outcome":
        run, total = driver.run, self.durations.total(self.elements)
        return Outcome(
            trial=self,
            took_s=took_s,
            ideal_s=max(total / self.workers, self.durations.longest(self.elements)),
            chunks=driver.submits,
            most_out=driver.most_out,
            driver_busy=driver.line.busy_s / took_s,
            scheduler_busy=cluster.line.busy_s / took_s,
            worked_s=sum(worker.busy_s for worker in cluster.workers),
            all_began_s=max((w.first for w in cluster.workers if w.first < math.inf), default=0.0),
            peak=cluster.peak,
            deaths=cluster.deaths,
            copies=driver.copies,
            thinking_s=driver.thinking_s,
            real_s=real_s,
            states={state.label: n for state in StateName if (n := run.states.count(state))},
            published=driver.published,
            weight=weight(run, (run.call, run.session)) if self.weighs else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a map went on a modelled cluster."""

    trial: Trial
    took_s: float
    ideal_s: float
    """All the work over all workers, or the longest element."""
    chunks: int
    """Handed out, those that were lost too."""
    most_out: int
    """Most chunks that were out at a time."""
    driver_busy: float
    """Share of the time that the driver was at work."""
    scheduler_busy: float
    worked_s: float
    """What all workers spent on chunks that came to their end."""
    all_began_s: float
    """When the last worker that got any work began."""
    peak: int
    """Most workers that were there."""
    deaths: int
    copies: int
    """Chunks whose elements came home in a copy, for they were silent."""
    thinking_s: float
    """What the real decisions took here, all together."""
    real_s: float
    """What playing it took here."""
    states: dict[str, int]
    """How many elements ended how."""
    published: int
    """Elements that became final, counted each time that they did."""
    weight: int
    """Bytes of the run's columns at the end."""

    @property
    def efficiency(self) -> float:
        """Share of the ideal."""
        return self.ideal_s / self.took_s

    @property
    def chunks_per_s(self) -> float:
        """Chunks that the scheduler carries."""
        return self.chunks / self.took_s


_LIGHT = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)


def weight(thing: Any, without: Sequence[Any] = ()) -> int:
    """Return the bytes of all objects that something refers to, but for types and functions."""
    seen = {id(one) for one in without}
    total, waiting = 0, [thing]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _LIGHT):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return total
