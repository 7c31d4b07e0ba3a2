"""What a caller holds of runs: views on columns, made when they are asked for."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce as fold
from itertools import repeat
from typing import Any, Generic, TypeVar, overload

from fanfold.engine import wire
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.failures import restore
from fanfold.engine.inputs import load_stored
from fanfold.engine.locations import Stretch
from fanfold.engine.run import Call, Run
from fanfold.engine.sources import From, Given, Sources, spans_of
from fanfold.engine.spec import Hole, Layout, Mapped, TaskSpec
from fanfold.ports.runner import Ref
from fanfold.values.errors import ValuesLost
from fanfold.values.ids import new_id
from fanfold.values.states import WITH_VALUE, State, StateName

R = TypeVar("R")

AT_A_TIME = 32
"""Chunks whose values are fetched together."""
FOLDED_AT_ONCE = 64
"""Values, or groups of values, that one call of a reduce takes."""
KEPT = 2
"""Chunks that are kept unpickled for readers that go one by one."""


class Future:
    """Something that another run makes; may stand in arguments, however deep."""

    __slots__ = ()

    def source(self) -> From:
        """Return it as an argument of another run."""
        raise NotImplementedError


class TaskFuture(Future, Generic[R]):
    """One call of a task that was handed out, or one element of a map."""

    __slots__ = ("index", "run")

    def __init__(self, run: Run, index: int = 0) -> None:
        self.run = run
        self.index = index

    def __repr__(self) -> str:
        return f"<TaskFuture {self.run.label(self.index)} {self.state.name}>"

    @property
    def state(self) -> State:
        """Where the call is now; doesn't block and brings no value home."""
        code = StateName(self.run.states[self.index])
        failure = self.run.error(self.index)
        if code.final and code not in WITH_VALUE and failure is not None:
            return State(
                code=code, message=f"{failure.kind}: {failure.message}", error=restore(failure)
            )
        return State(code=code)

    def done(self) -> bool:
        """Return whether the call is over."""
        return self.run.settled(range(self.index, self.index + 1))

    def wait(self, timeout: float | None = None) -> None:
        """Block until the call is over, or for so many seconds; raises nothing of the task's."""
        wait(self.run, range(self.index, self.index + 1), timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Return the call's value, waiting for it.

        Args:
            timeout: Seconds to wait at most.
            raise_on_failure: False returns the exception instead.

        Raises:
            TimeoutError: It isn't over yet; it goes on.
            Exception: What the task raised.
            RunError: The call has no value for another reason.
        """
        return read(self.run, range(self.index, self.index + 1), timeout, raise_on_failure)[0]

    def source(self) -> From:
        """Return it as an argument of another run: one value."""
        return From(run=self.run, indices=range(self.index, self.index + 1), whole=False)


class MapFuture(Future, Generic[R]):
    """All calls of a map, or a slice of them."""

    __slots__ = ("indices", "run")

    def __init__(self, run: Run, indices: range | None = None) -> None:
        self.run = run
        self.indices = range(run.count) if indices is None else indices

    def __repr__(self) -> str:
        return f"<MapFuture {self.run.name} {dict(self.states)}>"

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, at: int) -> TaskFuture[R]: ...
    @overload
    def __getitem__(self, at: slice) -> "MapFuture[R]": ...
    def __getitem__(self, at: int | slice) -> "TaskFuture[R] | MapFuture[R]":
        if isinstance(at, slice):
            return MapFuture(self.run, self.indices[at])
        return TaskFuture(self.run, self.indices[at])

    def __iter__(self) -> Iterator[TaskFuture[R]]:
        run = self.run
        return (TaskFuture(run, index) for index in self.indices)

    @property
    def states(self) -> Counter[str]:
        """How many of the calls are in which state, by name."""
        codes = self.run.codes(self.indices)
        counts = {state.label: codes.count(state) for state in StateName}
        return Counter({label: count for label, count in counts.items() if count})

    def done(self) -> bool:
        """Return whether all calls are over."""
        return self.run.settled(self.indices)

    def wait(self, timeout: float | None = None) -> None:
        """Block until all calls are over, or for so many seconds; raises nothing of the task's."""
        wait(self.run, self.indices, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Return all values in the order of the inputs, waiting for them.

        Args:
            timeout: Seconds to wait at most.
            raise_on_failure: False puts the exceptions in the places of the missing values.

        Raises:
            TimeoutError: Not all are over yet; they go on.
            Exception: What the first failed call raised.
            RunError: The first call without a value has none for another reason.
        """
        return read(self.run, self.indices, timeout, raise_on_failure)

    def reduce(self, function: Callable[[Any, Any], Any], *initial: Any) -> TaskFuture[Any]:
        """Fold the values into one where they are, and return a future of it at once.

        It is `functools.reduce(function, values, *initial)`, but neighbours are folded in groups
        first, so the function must be associative. The values don't come to the driver.

        Args:
            function: Takes two values and returns one; a task's function is taken from a task.
            initial: Stands before the first value; without it there must be at least one value.
        """
        plain = getattr(function, "fn", function)
        name = f"{self.run.name}.reduce({getattr(plain, '__name__', 'function')})"
        whole: MapFuture[Any] = self
        if len(self) > FOLDED_AT_ONCE:
            whole = MapFuture(self._fold(name, plain, self._groups(), ()))
        return TaskFuture(self._fold(name, plain, [whole], initial))

    def _groups(self) -> list["MapFuture[R]"]:
        size = -(-len(self) // FOLDED_AT_ONCE)
        return [self[start : start + size] for start in range(0, len(self), size)]

    def _fold(
        self, name: str, function: Any, groups: Sequence["MapFuture[Any]"], initial: tuple[Any, ...]
    ) -> Run:
        info = replace(self.run.call.spec.info, id=new_id(), name=name)
        spec = TaskSpec(fn=_folded, layout=Layout(args=(function, Mapped(0), *initial)), info=info)
        sources = Sources(
            columns=(Given(items=[Hole(number) for number in range(len(groups))], holes=True),),
            fills={number: group.source() for number, group in enumerate(groups)},
            of={number: (number,) for number in range(len(groups))},
        )
        return self.run.owner.start(Call(spec=spec, sources=sources, count=len(groups)))

    def source(self) -> From:
        """Return it as an argument of another run: a column, or a list of values."""
        return From(run=self.run, indices=self.indices)


def _folded(function: Any, values: list[Any], *initial: Any) -> Any:
    return fold(function, values, *initial)


def wait(run: Run, indices: range, timeout: float | None) -> bool:
    """Block until these elements are final and committed; return whether they are.

    Raises:
        ValueError: The timeout is negative.
    """
    if timeout is not None and timeout < 0:
        raise ValueError(f"A timeout can't be negative: {timeout}")
    if run.settled(indices):
        return True
    with run.changed:
        return run.changed.wait_for(lambda: run.finished or run.settled(indices), timeout)


def read(run: Run, indices: range, timeout: float | None, raise_on_failure: bool) -> list[Any]:
    """Return the values of elements; see `MapFuture.result`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not wait(run, indices, left):
            waiting = sum(1 for i in indices if not StateName(run.states[i]).final)
            raise TimeoutError(
                f"{waiting} of {len(indices)} calls of {run.name} aren't over after {timeout} s; "
                "they go on, and can be waited for again."
            )
        try:
            values = _values(run, indices, left)
        except _Gone as gone:
            dispatcher().lost(run, gone.refs)
            with run.changed:
                run.changed.wait_for(lambda: not run.settled(indices), 1.0)
            continue
        return _with_errors(run, indices, values, raise_on_failure)


def _with_errors(run: Run, indices: range, values: list[Any], raise_on_failure: bool) -> list[Any]:
    if not run.details:
        return values
    for place, index in (
        enumerate(indices) if len(indices) < len(run.details) else _failed(run, indices)
    ):
        if run.states[index] not in WITH_VALUE:
            failure = run.error(index)
            assert failure is not None
            error = restore(failure)
            if raise_on_failure:
                raise error
            values[place] = error
    return values


def _failed(run: Run, indices: range) -> list[tuple[int, int]]:
    return [(indices.index(index), index) for index in sorted(run.details) if index in indices]


def _values(run: Run, indices: range, timeout: float | None) -> list[Any]:
    """Bring values home, some chunks at a time.

    Raises:
        _Gone: Some can't be had any more.
    """
    with run.changed:
        stretches = [s for span in spans_of(indices) for s in run.locations.find(*span)]
        ahead = _following(run, stretches) if len(indices) == 1 else []
    lists = _lists(run, [stretch.ref for stretch in stretches], ahead, timeout)
    values = _joined(indices, zip(stretches, lists, strict=True))
    return load_stored(values) if run.call.spec.cache is not None else values


def _joined(indices: range, pairs: Iterable[tuple[Stretch, list[Any]]]) -> list[Any]:
    """Return the values in the order of the indices, None where a stretch is missing."""
    if indices.step != 1:
        by_index = {s.first + k: found[s.slot + k] for s, found in pairs for k in range(s.count)}
        return [by_index.get(index) for index in indices]
    values: list[Any] = []
    at = indices.start
    for stretch, found in pairs:
        values.extend(repeat(None, stretch.first - at))
        whole = stretch.slot == 0 and stretch.count == len(found)
        values += found if whole else found[stretch.slot : stretch.slot + stretch.count]
        at = stretch.first + stretch.count
    values.extend(repeat(None, len(indices) - len(values)))
    return values


def _following(run: Run, stretches: list[Stretch]) -> list[Ref]:
    """Return what a reader that goes one by one will want next."""
    if not stretches or not run.remote:
        return []
    end = stretches[0].first + stretches[0].count
    return [stretch.ref for stretch in run.locations.find(end, end + 1)]


def _lists(
    run: Run,
    refs: list[Ref],
    ahead: list[Ref],
    timeout: float | None,
) -> Iterator[list[Any]]:
    """Yield the unpickled results behind refs, in order."""
    found = dict(run.read)
    for start in range(0, len(refs), AT_A_TIME):
        batch = refs[start : start + AT_A_TIME]
        missing = [ref for ref in dict.fromkeys(batch) if ref not in found]
        if missing:
            more = [ref for ref in ahead if ref not in found and ref not in missing]
            found = {ref: found[ref] for ref in batch if ref in found}
            found.update(_fetch(run, missing + more, timeout))
        for ref in batch:
            yield found[ref]
    if ahead:
        run.read = dict(list(found.items())[-KEPT:])


def _fetch(run: Run, refs: list[Ref], timeout: float | None) -> dict[Ref, list[Any]]:
    try:
        fetched = run.session.fetch(refs, timeout)
    except ValuesLost as gone:
        raise _Gone([refs[at] for at in gone.lost]) from gone
    return {
        ref: wire.load(values) if run.remote else values
        for ref, values in zip(refs, fetched, strict=True)
    }


class _Gone(Exception):
    """Some values are gone from the cluster; holds their refs."""

    def __init__(self, refs: list[Ref]) -> None:
        super().__init__(refs)
        self.refs = refs
