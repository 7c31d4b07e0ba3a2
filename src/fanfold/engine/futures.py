"""What a caller holds of runs: views on columns, made when they are asked for."""

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce as fold
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from fanfold.engine import reading, waiting
from fanfold.engine.attempt import retry_delay_s
from fanfold.engine.calls import Call
from fanfold.engine.marks import Future as Future
from fanfold.engine.reading import ABSENT
from fanfold.engine.retrying import try_again
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import Hole, Layout, Mapped, TaskSpec
from fanfold.engine.verdicts import error_of, error_of_all, without_value
from fanfold.values.cards import WithCard
from fanfold.values.ids import new_id
from fanfold.values.messages import Detail
from fanfold.values.states import WITH_VALUE, State, StateName, StateType
from fanfold.values.usage import Usage

R = TypeVar("R")

OnError = Literal["raise", "collect"]

_NOTHING_SAID = Detail()

FOLDED_AT_ONCE = 64
"""Values, or groups of values, that one call of a reduce takes."""


_NEVER_CALLED = {StateName.CACHED, StateName.UPSTREAM_FAILED, StateName.CANCELLED}


class TaskFuture(Future, Generic[R]):
    """One call of a task that was handed out, or one element of a map.

    Two of the same element are equal. It can be awaited, which gives its value. Thread-safe.
    """

    __slots__ = ("index", "run")

    def __init__(self, run: Run, index: int = 0) -> None:
        self.run = run
        self.index = index

    def __repr__(self) -> str:
        return f"<TaskFuture {self.run.label(self.index)} {self.state.name}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskFuture):
            return NotImplemented
        return self.run is other.run and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self.run), self.index))

    def __await__(self) -> Generator[Any, None, R]:
        return _awaited(self, self.run, self._only).__await__()

    @property
    def task_run_id(self) -> str:
        """Id of the task run; of an element the map run's, a hyphen and its index."""
        return self.run.call.spec.info.element_id(self.index)

    @property
    def state(self) -> State:
        """Where the call is now; doesn't block and brings no value home."""
        code = StateName(self.run.states[self.index])
        failure = self.run.error(self.index)
        detail = self.run.details.get(self.index) or _NOTHING_SAID
        failed = code.final and code not in WITH_VALUE and failure is not None
        told = f"{failure.kind}: {failure.message}" if failed and failure else ""
        return State(
            code=code,
            label=detail.label,
            message=detail.message or told,
            error=error_of(self.run, self.index) if failed else None,
            source=self if code.final else None,
        )

    @property
    def history(self) -> list[str]:
        """The names of the states that the call went through, in order, up to where it is now."""
        run, code = self.run, StateName(self.run.states[self.index])
        detail, spec = run.details.get(self.index), run.call.spec
        called = code.type is not StateType.PENDING and code not in _NEVER_CALLED
        attempts = detail.attempts if detail is not None else int(called)
        names = [StateName.PENDING.label]
        for nth in range(attempts):
            if nth and retry_delay_s(spec.retries, spec.delays_s, nth):
                names.append(StateName.AWAITING_RETRY.label)
            names.append((StateName.RETRYING if nth else StateName.RUNNING).label)
        last = self.state.name
        return names if last == names[-1] else [*names, last]

    @property
    def usage(self) -> Usage:
        """What it needed so far; of an element of a map what each of them did, on average."""
        return self.run.costs.usage()

    def done(self) -> bool:
        """Return whether the call is over."""
        with self.run.changed:
            return self.run.settled(self._only)

    def wait(self, timeout: float | None = None) -> None:
        """Block until the call is over, or for so many seconds; raises nothing of the task's."""
        waiting.wait(self.run, self._only, timeout)

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
        # A walk over a million futures mostly finds its value here, without a lock.
        start, stop, values = self.run.window
        if start <= self.index < stop:
            value = values[self.index - start]
            if value is not ABSENT:
                return value
        return reading.read(self.run, self._only, timeout, raise_on_failure)[0]

    def add_done_callback(self, fn: "Callable[[TaskFuture[R]], object]") -> None:
        """Have a function called with this future once the call is over.

        It is called once: at once and in this thread if the call is over already, otherwise in a
        thread that calls all callbacks, one after the other. What it raises is logged.
        """
        waiting.call_back(self.run, self._only, fn, self)

    def source(self) -> From:
        """Return it as an argument of another run: one value."""
        return From(run=self.run, indices=self._only, whole=False)

    @property
    def _only(self) -> range:
        return range(self.index, self.index + 1)


class MapFuture(Future, Generic[R]):
    """All calls of a map, or a slice of them. It can be awaited, which gives its list of values.

    Args:
        run: The map's run.
        indices: Which of its elements; all if not given.
        on_error: What `result` does about calls without a value, unless it is told: "raise", or
            "collect" their exceptions in the places of the values.
    """

    __slots__ = ("indices", "on_error", "run")

    def __init__(
        self, run: Run, indices: range | None = None, *, on_error: OnError = "raise"
    ) -> None:
        self.run = run
        self.indices = range(run.count) if indices is None else indices
        self.on_error: OnError = on_error

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {label}" for label, count in self.states.items())
        return f"<MapFuture {self.run.name}: {counts or 'empty'}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MapFuture):
            return NotImplemented
        return self.run is other.run and self.indices == other.indices

    def __hash__(self) -> int:
        return hash((id(self.run), self.indices))

    def __await__(self) -> Generator[Any, None, list[R]]:
        return _awaited(self, self.run, self.indices).__await__()

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, at: int) -> TaskFuture[R]: ...
    @overload
    def __getitem__(self, at: slice) -> "Futures[R]": ...
    def __getitem__(self, at: int | slice) -> "TaskFuture[R] | Futures[R]":
        if isinstance(at, slice):
            return MapFuture(self.run, self.indices[at], on_error=self.on_error)
        return TaskFuture(self.run, self.indices[at])

    def __iter__(self) -> Iterator[TaskFuture[R]]:
        run, new = self.run, object.__new__
        # Without the call of __init__ a walk over a million takes a quarter less.
        for index in self.indices:
            future: TaskFuture[R] = new(TaskFuture)
            future.run = run
            future.index = index
            yield future

    @property
    def states(self) -> Counter[str]:
        """How many of the calls are in which state, by name."""
        codes = self.run.codes(self.indices)
        counts = {state.label: codes.count(state) for state in StateName}
        return Counter({label: count for label, count in counts.items() if count})

    @property
    def usage(self) -> Usage:
        """What the calls of the whole map that are home needed, each on average."""
        return self.run.costs.usage()

    @property
    def failed(self) -> "FutureList[R]":
        """The calls that are over and have no value; doesn't block."""
        failed = without_value(self.run, self.indices)
        return FutureList(TaskFuture[R](self.run, index) for index in failed)

    def done(self) -> bool:
        """Return whether all calls are over."""
        with self.run.changed:
            return self.run.settled(self.indices)

    def wait(self, timeout: float | None = None) -> None:
        """Block until all calls are over, or for so many seconds; raises nothing of the task's."""
        waiting.wait(self.run, self.indices, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool | None = None) -> list[R]:
        """Return all values in the order of the inputs, waiting for them.

        Args:
            timeout: Seconds to wait at most.
            raise_on_failure: False puts the exceptions in the places of the missing values; None
                does what `on_error` says.

        Raises:
            TimeoutError: Not all are over yet; they go on.
            MapError: Several calls have no value; it is an instance of what the first raised, too.
            Exception: What the only failed call raised.
            RunError: The only call without a value has none for another reason.
        """
        if raise_on_failure is None:
            raise_on_failure = self.on_error == "raise"
        return reading.read(self.run, self.indices, timeout, raise_on_failure)

    def as_completed(self, timeout: float | None = None) -> Iterator[TaskFuture[R]]:
        """Yield the calls in the order in which they are over; see `as_completed`."""
        return as_completed(self, timeout)

    def add_done_callback(self, fn: "Callable[[MapFuture[R]], object]") -> None:
        """Have a function called with this future once all calls are over; see `TaskFuture`."""
        waiting.call_back(self.run, self.indices, fn, self)

    def retry_failed(self) -> "Futures[R]":
        """Run the calls without a value once more, with the same inputs; return them as a map.

        Blocks until all calls are over. It is a new run with states of its own, and this future
        shows its outcomes as they come; values that are there are left alone.

        Raises:
            SessionClosed: The flow that it belongs to is over.
        """
        self.wait()
        failed = without_value(self.run, self.indices)
        if not failed:
            return self[:0]
        return MapFuture(try_again(self.run, failed), on_error=self.on_error)

    def reduce(self, function: Callable[[R, R], R], *initial: R) -> TaskFuture[R]:
        """Fold the values into one where they are, and return a future of it at once.

        It is `functools.reduce(function, values, *initial)`, but neighbours are folded in groups
        first, so the function must be associative. The values don't come to the driver.

        Args:
            function: Takes two values and returns one; a task's function is taken from a task.
            initial: Stands before the first value; without it there must be at least one value.
        """
        plain = getattr(function, "fn", function)
        name = f"{self.run.name}.reduce({getattr(plain, '__name__', 'function')})"
        groups = self._groups()
        while len(groups) > 1:
            partial = MapFuture[Any](folded(self.run, name, _folded, plain, groups, ()))
            groups = partial._groups() if len(partial) > FOLDED_AT_ONCE else [partial]
        return TaskFuture(folded(self.run, name, _folded, plain, groups, initial))

    def _groups(self) -> "list[MapFuture[R]]":
        """Return pieces of it that are folded each by itself; one if it is small."""
        if len(self) <= FOLDED_AT_ONCE:
            return [self]
        size = -(-len(self) // FOLDED_AT_ONCE)
        pieces = range(0, len(self.indices), size)
        return [MapFuture(self.run, self.indices[at : at + size]) for at in pieces]

    def parts(self) -> Iterator[tuple[Run, range]]:
        """Yield the runs that its elements belong to, and which they are."""
        yield self.run, self.indices

    def source(self) -> From:
        """Return it as an argument of another run: a column, or a list of values."""
        return From(run=self.run, indices=self.indices)


class FutureList(WithCard, list[TaskFuture[R]]):
    """Some futures, of any runs, that can be waited for together."""

    @property
    def states(self) -> Counter[str]:
        """How many of them are in which state, by name."""
        return Counter(StateName(future.run.states[future.index]).label for future in self)

    @property
    def failed(self) -> "FutureList[R]":
        """Those that are over and have no value."""
        return FutureList(f for f in self if without_value(f.run, range(f.index, f.index + 1)))

    def done(self) -> bool:
        """Return whether all are over."""
        return all(future.done() for future in self)

    def wait(self, timeout: float | None = None) -> None:
        """Block until all are over, or for so many seconds; raises nothing of the tasks'."""
        wait(self, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Return all values in order, waiting for them; see `MapFuture.result`."""
        if wait(self, timeout).not_done:
            waiting_for = sum(1 for future in self if not future.done())
            raise TimeoutError(f"{waiting_for} (of {len(self)}) futures unfinished")
        failed = [(future.run, future.index) for future in self.failed]
        if failed and raise_on_failure:
            raise error_of_all(failed, len(self))
        return [future.result(raise_on_failure=False) for future in self]

    def as_completed(self, timeout: float | None = None) -> Iterator[TaskFuture[R]]:
        """Yield them in the order in which they are over; see `as_completed`."""
        return as_completed(self, timeout)


Futures = MapFuture[R] | FutureList[R]


class DoneAndNotDoneFutures(NamedTuple):
    """What `wait` returns: which futures are over, and which aren't."""

    done: set[TaskFuture[Any]]
    not_done: set[TaskFuture[Any]]


Waitable = Iterable[TaskFuture[R] | MapFuture[R]] | MapFuture[R]
"""Futures to wait for; a map stands for its elements."""


def wait(futures: Waitable[Any], timeout: float | None = None) -> DoneAndNotDoneFutures:
    """Block until all futures are over, or for so many seconds; raises nothing of the tasks'.

    Args:
        futures: Futures, and maps, which stand for their elements; each counts once.
        timeout: Seconds to wait at most.

    Raises:
        ValueError: The timeout is negative.
    """
    deadline = waiting.deadline_of(timeout)
    pieces = list(_pieces(_listed(futures)))
    for run, indices in pieces:
        if not waiting.wait(run, indices, waiting.seconds_left(deadline)):
            break
    single = {TaskFuture[Any](run, index) for run, indices in pieces for index in indices}
    done = {future for future in single if future.done()}
    return DoneAndNotDoneFutures(done, single - done)


def as_completed(futures: Waitable[R], timeout: float | None = None) -> Iterator[TaskFuture[R]]:
    """Return an iterator over the futures in the order in which they are over.

    Args:
        futures: Futures, and maps, which stand for their elements; each comes once.
        timeout: Seconds that all may take together, from now.

    Raises:
        TimeoutError: Not all are over in time; raised while iterating.
        ValueError: The timeout is negative.
    """
    if isinstance(futures, MapFuture) and type(futures) is not MapFuture:
        return futures.as_completed(timeout)
    deadline = waiting.deadline_of(timeout)
    by_run: dict[Run, list[range]] = {}
    for run, indices in _pieces(_listed(futures)):
        by_run.setdefault(run, []).append(indices)
    arrivals = waiting.Arrivals()
    for run, ranges in by_run.items():
        together = {i for r in ranges for i in r} if len(ranges) > 1 else ranges[0]
        arrivals.add(run, together)
    return (TaskFuture(run, i) for run, indices in arrivals.walk(deadline) for i in indices)


def _listed(futures: Waitable[R]) -> Collection[TaskFuture[R] | MapFuture[R]]:
    return [futures] if isinstance(futures, MapFuture) else list(futures)


def _pieces(
    futures: Iterable[TaskFuture[Any] | MapFuture[Any]],
) -> Iterator[tuple[Run, range]]:
    for future in futures:
        if isinstance(future, TaskFuture):
            yield future.run, range(future.index, future.index + 1)
        else:
            yield from future.parts()


async def _awaited(future: Any, run: Run, indices: range) -> Any:
    """Return a future's result; a read that may block is done in a thread of the loop's pool."""
    await waiting.settled(run, indices)
    return await result_later(future, run)


async def result_later(future: Any, run: Run) -> Any:
    """Return the result of a future that is over, without blocking the loop."""
    at_hand = not run.remote and run.call.spec.cache is None
    if at_hand or (isinstance(future, TaskFuture) and reading.in_window(run, future.index)):
        return future.result()
    import asyncio  # 10 ms, which only async code needs

    return await asyncio.to_thread(future.result)


def folded(
    run: Run,
    name: str,
    how: Callable[..., Any],
    function: Any,
    groups: Sequence[MapFuture[Any]],
    initial: tuple[Any, ...],
) -> Run:
    """Start a run beside another that calls `how(function, values, *initial)` for each group."""
    info = replace(run.call.spec.info, id=new_id(), name=name)
    spec = TaskSpec(fn=how, layout=Layout(args=(function, Mapped(0), *initial)), info=info)
    sources = Sources(
        columns=(Given(items=[Hole(number) for number in range(len(groups))], holes=True),),
        fills={number: group.source() for number, group in enumerate(groups)},
        of={number: (number,) for number in range(len(groups))},
    )
    return run.owner.start(Call(spec=spec, sources=sources, count=len(groups)))


def gathered(run: Run, pieces: Sequence[MapFuture[Any]]) -> Run:
    """Start a run beside another that makes one list of the values of some maps."""
    numbers = range(len(pieces))
    info = replace(run.call.spec.info, id=new_id(), name=f"{run.name}.gathered")
    layout = Layout(args=tuple(map(Hole, numbers)), holes=bool(pieces))
    fills = {number: piece.source() for number, piece in enumerate(pieces)}
    sources = Sources(fills=fills, common=frozenset(numbers))
    spec = TaskSpec(fn=_concatenated, layout=layout, info=info)
    return run.owner.start(Call(spec=spec, sources=sources, count=1))


def _concatenated(*lists: list[Any]) -> list[Any]:
    return [value for values in lists for value in values]


def _folded(function: Any, values: list[Any], *initial: Any) -> Any:
    return fold(function, values, *initial)
