"""A chunk: some elements of a map, on their way to a slot and at work there."""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from fanfold.engine import wire
from fanfold.engine.chunking import Batch
from fanfold.engine.failures import capture
from fanfold.engine.hooks import run_here
from fanfold.engine.inputs import Inputs
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.shift import Shift
from fanfold.engine.spec import TaskSpec
from fanfold.engine.yielding import YieldingShift
from fanfold.ports.runner import Site, Values
from fanfold.values.errors import InfrastructureError
from fanfold.values.messages import Detail, Report
from fanfold.values.states import StateName

SPECS_KEPT = 32
"""Tasks that a worker process remembers unpickled."""

_specs: dict[str, TaskSpec] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The engine's Chunk; spec and inputs are live objects, or pickles for a remote runner."""

    id: str
    label: str
    priority: int = 0
    spec_key: str
    spec: TaskSpec | bytes | None
    """None: it is the shared payload."""
    inputs: Inputs | bytes
    batch: Batch
    tries: Mapping[int, int] = field(default_factory=dict)
    """User attempts behind the elements, by position; none where missing."""
    unasked: frozenset[int] = frozenset()
    """Positions of elements whose last try was ended with its process, for its time limit: the
    task's condition is still to be asked about the next."""
    spent: Mapping[int, float] = field(default_factory=dict)
    """Seconds that their calls took so far, by position; where nobody asks, none."""
    budget_s: float | None = None
    remote: bool = False
    slots: int = 1
    """How many there are: chunks share what the driver can hear of their log lines."""
    kills: bool = False
    """Whether the process may be ended to stop an element that overruns its time limit."""
    known: Lookup | None = None
    """What this run has staged so far, where values of it were lost."""
    made: Lookup | None = None
    """What others of this run have made under the keys that its elements may have."""
    held: frozenset[bytes] = frozenset()
    """Keys of its elements for which this run has the lease."""
    rerun: bool = False
    """The cluster may run it again by itself, so it looks for its own segment first."""

    def run(
        self, needs: Sequence[Values], shared: Sequence[Any], site: Site
    ) -> tuple[Report, Values]:
        """Work until all elements are done or the budget is spent."""
        spec = _spec(self, shared)
        if spec.around is not None:
            return spec.around.copy().run(self._run, spec, needs, site)
        return self._run(spec, needs, site)

    def _run(self, spec: TaskSpec, needs: Sequence[Values], site: Site) -> tuple[Report, Values]:
        try:
            shift = Shift(self, spec, needs, site)
        except InfrastructureError:
            raise
        except Exception as error:  # what users' types do when values are put into them
            return self._unfilled(error, site)
        try:
            with shift.entered():
                if spec.is_async:
                    run_here(shift.overlapping())
                elif spec.plain and not self.tries:
                    shift.plainly()
                else:
                    shift.one_by_one()
        finally:
            shift.close()
        return shift.handed_over()

    async def run_async(self, site: Site) -> tuple[Report, Values]:
        """Do the same in the running loop, for a direct call of an async task."""
        shift = Shift(self, _spec(self, ()), (), site)
        shift.meter.share_thread()
        with shift.entered():
            await shift.overlapping()
        return shift.handed_over()

    def run_yielding(
        self, site: Site, end_with: Callable[[tuple[Report, Values]], None]
    ) -> Generator[Any, None, None]:
        """Yield the items of a direct call of a generator task, then hand over."""
        shift = YieldingShift(self, _spec(self, ()), (), site)
        shift.meter.share_thread()
        with suppress(GeneratorExit):  # a consumer that stops early ends the run
            yield from shift.yielding()
        end_with(shift.handed_over())

    async def run_yielding_async(
        self, site: Site, end_with: Callable[[tuple[Report, Values]], None]
    ) -> AsyncGenerator[Any]:
        """Do the same for an async generator."""
        shift = YieldingShift(self, _spec(self, ()), (), site)
        shift.meter.share_thread()
        with suppress(GeneratorExit):
            async with aclosing(shift.yielding_async()) as items:
                async for item in items:
                    yield item
        end_with(shift.handed_over())

    def _unfilled(self, error: Exception, site: Site) -> tuple[Report, Values]:
        """Report that no element has arguments to be called with."""
        count = len(self.batch)
        failure = capture(error, travels=self.remote)
        values: Values = [None] * count
        if self.remote:
            values, _ = wire.dump_list(values)
        report = Report(
            chunk=self.id,
            worker=site.worker,
            reached=count,
            states=((StateName.FAILED, count),),
            details={position: Detail(failure=failure) for position in range(count)},
        )
        return report, values


def _spec(work: Work, shared: Sequence[Any]) -> TaskSpec:
    if isinstance(work.spec, TaskSpec):
        return work.spec
    spec = _specs.get(work.spec_key)
    if spec is None:
        spec = wire.load(shared if work.spec is None else [work.spec])
        while len(_specs) >= SPECS_KEPT:
            _specs.pop(next(iter(_specs)), None)
        _specs[work.spec_key] = spec
    return spec
