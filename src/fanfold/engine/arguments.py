"""What stands in arguments for something that another run makes: futures, states, marks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from fanfold.engine.calls import Call
from fanfold.engine.context import RunInfo, current
from fanfold.engine.dataflow import substitute
from fanfold.engine.failures import capture
from fanfold.engine.futures import Future, MapFuture, TaskFuture
from fanfold.engine.here import HERE
from fanfold.engine.marks import BaseAnnotation, allow_failure, opaque, quote
from fanfold.engine.readiness import lacking
from fanfold.engine.reading import read
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Sources
from fanfold.engine.spec import Layout, TaskSpec
from fanfold.engine.waiting import wait
from fanfold.values.errors import UpstreamFailed
from fanfold.values.ids import new_id
from fanfold.values.messages import Detail
from fanfold.values.states import WITH_VALUE, State, StateName

FOUND = (Future, State, BaseAnnotation)
"""What is looked for in arguments."""

Place = Callable[[From], Any]
"""Returns what stands in the place of something that another run makes."""


def placed(value: Any, place: Place, failures: bool = False) -> Any:
    """Return a value with all that other runs make replaced, and the marks taken off.

    Args:
        value: What may hold futures, states and marks, however deep.
        place: Called with each of them, as a source.
        failures: Whether it stands inside `allow_failure`.
    """
    return substitute(value, FOUND, lambda found: _visited(found, place, failures))


def resolved(value: Any) -> Any:
    """Return arguments with futures and states inside replaced by their values, waiting for them.

    Marks are followed and taken off: `allow_failure` puts exceptions in the places of missing
    values, `quote` leaves alone what is inside.

    Raises:
        UpstreamFailed: One has no value; names what failed first.
        ValueError: One is the run that this is called in.
    """

    def place(source: From) -> Any:
        values = settle(source)
        if values is None:
            raise UpstreamFailed(lacking(source))
        return values if source.whole else values[0]

    return placed(value, place)


def settled(wait_for: Iterable[Any] | None) -> str | None:
    """Wait until all futures and states inside are over.

    Returns:
        Why a call that waits for them can't go: what failed first, of the first that has no value
        and isn't marked by `allow_failure`; None if it can.

    Raises:
        ValueError: One is the run that this is called in.
    """
    sources = list(dependencies_in(wait_for or ()))
    for source in sources:
        settle(source)
    return next(filter(None, map(lacking, sources)), None)


def settle(source: From) -> list[Any] | None:
    """Wait for elements; return their values, None if some has none and isn't allowed to.

    What is only waited for has no values either.

    Raises:
        ValueError: They are of the run that this is called in.
    """
    run, around = source.run, current()
    inside = around is not None and around.info.id.partition("-")[0] == run.id
    if inside and not run.settled(source.indices):
        raise ValueError(
            f"{run.name} would wait for its own future: a deadlock. Don't give a task its own "
            "future, nor those of other elements of its own map."
        )
    wait(run, source.indices, None)
    if not source.value or lacking(source) is not None:
        return None
    return read(run, source.indices, None, raise_on_failure=False)


def dependencies_in(wait_for: Iterable[Any] | Future | State) -> Iterator[From]:
    """Yield what a call waits for without its values, neighbouring elements of a run together."""
    wanted: dict[tuple[Run, bool], set[int]] = {}

    def place(source: From) -> None:
        wanted.setdefault((source.run, source.failures), set()).update(source.indices)

    items = [wait_for] if isinstance(wait_for, FOUND) else list(wait_for)
    placed(_shortened(list(map(_shortened, items))), place)
    for (run, failures), indices in wanted.items():
        for start, stop in _stretches(sorted(indices)):
            yield From(run=run, indices=range(start, stop), failures=failures, value=False)


def consecutive(items: Sequence[Any]) -> MapFuture[Any] | None:
    """Return the slice of a map that these are the futures or states of, one after another.

    None if they aren't.
    """
    head = _future_of(items[0]) if len(items) else None
    if not isinstance(head, TaskFuture):
        return None
    run, start = head.run, head.index
    for offset, item in enumerate(items):
        future = _future_of(item)
        if (
            type(future) is not TaskFuture
            or future.run is not run
            or future.index != start + offset
        ):
            return None
    return MapFuture(run, range(start, start + len(items)))


def _visited(found: Any, place: Place, failures: bool) -> Any:
    if isinstance(found, State):
        return _state(found, place, failures)
    if isinstance(found, Future):
        return place(replace(found.source(), failures=failures))
    if isinstance(found, quote):
        return cast(Any, found.value)
    if isinstance(found, opaque):
        held = cast(Any, found.value)
        return _visited(held, place, failures) if isinstance(held, FOUND) else held
    return placed(found.value, place, failures or isinstance(found, allow_failure))


def _state(state: State, place: Place, failures: bool) -> Any:
    """Return what stands for a state: what stands for its future, what it holds, its failure."""
    if isinstance(state.source, Future):
        return _visited(state.source, place, failures)
    if state.is_completed():
        return state.result()
    return place(replace(_failed(state), failures=failures))


def _failed(state: State) -> From:
    """Return a source that is over and has no value, for a state that nobody's run is in."""
    info = RunInfo(kind="Task run", id=new_id(), name="a state that was given")
    spec = TaskSpec(fn=_never_called, layout=Layout(), info=info)
    run = Run(Call(spec=spec, sources=Sources(), count=1), HERE)
    over = state.is_final() and state.code not in WITH_VALUE
    run.states[0] = state.code if over else StateName.FAILED
    run.details[0] = Detail(failure=capture(state.failure(), travels=False))
    run.left = 0
    run.finished = True
    return From(run=run, indices=range(1), whole=False)


def _never_called() -> None:
    """Stand where a task's function stands."""


def _shortened(items: Any) -> Any:
    """Return a map's future for the list of its elements' futures, else the same."""
    return (isinstance(items, list) and consecutive(cast(list[Any], items))) or items


def _stretches(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield neighbouring numbers as spans."""
    start = 0
    for place, index in enumerate(indices, 1):
        if place == len(indices) or indices[place] != index + 1:
            yield indices[start], index + 1
            start = place


def _future_of(item: Any) -> Any:
    return item.source if isinstance(item, State) else item
