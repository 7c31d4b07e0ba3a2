"""Tries failed elements of a map once more: in a run of their own, whose outcomes it takes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fanfold.engine.chunking import Span
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import Hole
from fanfold.engine.waiting import Pending, wait
from fanfold.values.ids import new_id

T = TypeVar("T")


def try_again(run: Run, indices: Sequence[int]) -> Run:
    """Start a run of some elements of a run, which takes over their outcomes as they come.

    Blocks while elements that they need are being tried again themselves.

    Args:
        run: One whose elements `indices` are settled, without value.
        indices: Which, in order.

    Raises:
        SessionClosed: The flow that the run belongs to is over.
    """
    sources = run.inputs_of_failed or run.call.sources
    for upstream in sources.upstream():
        wait(upstream, range(upstream.count), None)
    spec = replace(run.call.spec, info=replace(run.call.spec.info, id=new_id()))
    call = replace(run.call, spec=spec, sources=part(sources, indices), count=len(indices))
    with run.changed:
        run.again.update(indices)
    try:
        again = run.owner.start(call)
    except BaseException:
        with run.changed:
            run.again.difference_update(indices)
        raise
    adoption = _Adoption(run, again, indices)
    with again.changed:
        again.watchers.append(adoption)
    adoption(None)
    return again


def part(sources: Sources, indices: Sequence[int]) -> Sources:
    """Return what some of the elements are called with, numbered anew."""
    fills = dict(sources.fills)
    of = {at: sources.of[index] for at, index in enumerate(indices) if index in sources.of}
    columns: list[Given | From] = []
    for column in sources.columns:
        if isinstance(column, Given):
            columns.append(replace(column, items=_picked(column.items, indices)))
        elif (together := _as_range([column.indices[index] for index in indices])) is not None:
            columns.append(replace(column, indices=together))
        else:
            holes = [Hole(max(fills, default=-1) + 1 + at) for at in range(len(indices))]
            for at, (index, hole) in enumerate(zip(indices, holes, strict=True)):
                source = column.indices[index]
                one = range(source, source + 1)
                fills[hole.number] = replace(column, indices=one, whole=False)
                of[at] = (*of.get(at, ()), hole.number)
            columns.append(Given(items=holes, holes=True))
    return replace(sources, columns=tuple(columns), fills=fills, of=of)


class _Adoption:
    """Takes the outcomes of a second try over into the columns of the first; a watcher of it."""

    def __init__(self, old: Run, new: Run, indices: Sequence[int]) -> None:
        self._old = old
        self._new = new
        self._indices = indices
        self._pending = Pending(new, range(new.count))

    def __call__(self, spans: Sequence[Span] | None) -> None:
        """Take over what is settled."""
        old, new = self._old, self._new
        with old.changed:
            for span in self._pending.settled(spans):
                self._take(*span)
            old.window = (0, 0, [])
            old.changed.notify_all()
            watchers = list(old.watchers)
        if not self._pending.left:
            with new.changed:
                if self in new.watchers:
                    new.watchers.remove(self)
        for watch in watchers:
            watch(None)

    def _take(self, low: int, high: int) -> None:
        old, new = self._old, self._new
        for at in range(low, high):
            index = self._indices[at]
            old.states[index] = new.states[at]
            old.details.pop(index, None)
            if at in new.details:
                old.details[index] = new.details[at]
            old.again.discard(index)
        for stretch in list(new.locations.find(low, high)):
            for offset in range(stretch.count):
                index = self._indices[stretch.first + offset]
                old.locations.put(index, 1, stretch.ref, stretch.slot + offset)


def _picked(items: Sequence[T], indices: Sequence[int]) -> Sequence[T]:
    together = _as_range(indices)
    if together is not None and len(together):
        # Arrays stay arrays, ranges ranges.
        stop = together[-1] + (1 if together.step > 0 else -1)
        return items[slice(together[0], stop if stop >= 0 else None, together.step)]
    return [items[index] for index in indices]


def _as_range(indices: Sequence[int]) -> range | None:
    """Return the range that holds exactly these, None if there is none."""
    if len(indices) < 2:
        return range(indices[0], indices[0] + 1) if indices else range(0)
    step = indices[1] - indices[0]
    if not step:
        return None
    whole: Any = range(indices[0], indices[-1] + (1 if step > 0 else -1), step)
    return whole if len(whole) == len(indices) and all(map(int.__eq__, whole, indices)) else None
