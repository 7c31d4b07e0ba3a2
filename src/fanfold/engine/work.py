"""A chunk: some elements of a map, on their way to a slot and at work there."""

import pickle
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Thread
from typing import Any

from fanfold.engine import segments, wire
from fanfold.engine.attempt import Call, Effect, Find, Keep, Known, Outcome, attempt
from fanfold.engine.chunking import Batch
from fanfold.engine.context import RunContext, running
from fanfold.engine.drive import drive, drive_async
from fanfold.engine.failures import capture
from fanfold.engine.inputs import Inputs, Needs
from fanfold.engine.prints import logged
from fanfold.engine.segments import Index, Lookup, Segment, Stored
from fanfold.engine.spec import TaskSpec
from fanfold.ports.runner import Site, Values
from fanfold.values.errors import KeyNotStable
from fanfold.values.ids import new_id
from fanfold.values.messages import Detail, Report
from fanfold.values.states import StateName

BLOCK_S = 0.001
"""The fast path looks at the clock and at `stopping` about this often."""
ASYNC_WIDTH = 32
"""Async elements of one chunk that run at a time."""
SPECS_KEPT = 32
"""Tasks that a worker process remembers unpickled."""

_COMPLETED = bytes([StateName.COMPLETED])
_OTHER: dict[int, re.Pattern[bytes]] = {
    code: re.compile(b"[^" + re.escape(bytes([code])) + b"]") for code in StateName
}
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
    budget_s: float | None = None
    remote: bool = False
    known: Lookup | None = None
    """What this run has staged so far, where values of it were lost."""
    rerun: bool = False
    """The cluster may run it again by itself, so it looks for its own segment first."""

    def run(
        self, needs: Sequence[Values], shared: Sequence[Any], site: Site
    ) -> tuple[Report, Values]:
        """Work until all elements are done or the budget is spent."""
        shift = _Shift(self, needs, shared, site)
        with shift.entered():
            if shift.spec.is_async:
                _run_loop(shift.overlapping())
            elif shift.spec.plain and not self.tries:
                shift.plainly()
            else:
                shift.one_by_one()
        return shift.handed_over()

    async def run_async(self, site: Site) -> tuple[Report, Values]:
        """Do the same in the running loop, for a direct call of an async task."""
        shift = _Shift(self, (), (), site)
        with shift.entered():
            await shift.overlapping()
        return shift.handed_over()


class _Shift:
    """One execution of a chunk: what was done so far."""

    def __init__(
        self, work: Work, needs: Sequence[Values], shared: Sequence[Any], site: Site
    ) -> None:
        self.work = work
        self.site = site
        self.began = time.perf_counter()
        spec = _spec(work, shared)
        inputs = _inputs(work)
        values = Needs(needs, work.remote)
        fills = {number: values.fill(taken) for number, taken in inputs.fills.items()}
        self.columns = [values.column(column, fills) for column in inputs.columns]
        self.spec = replace(spec, layout=spec.layout.filled(fills)) if fills else spec
        self.count = len(work.batch)
        self.call, self.rows = self.spec.layout.call(self.spec.fn, self.columns, self.count)
        self.values: list[Any] = []
        self.states = bytearray()
        self.details: dict[int, Detail] = {}
        self.warnings: list[str] = []
        self.segment = Segment()
        self.staged: dict[str, bytes] = {}
        self.repeated = self._own_segments()
        self.done_before = len(Index(tables=self.staged))
        """Elements that an earlier try of this chunk got done; this one stops behind them."""
        self.performers: dict[type, Callable[[Any], Any]] = {
            Call: self._called,
            Find: self._found,
            Keep: self._kept,
        }

    @contextmanager
    def entered(self) -> Generator[None, None, None]:
        """Make this the run that prints and context look-ups belong to."""
        context = RunContext(info=self.spec.info, tell=self._tell)
        with running(context), logged(self.spec.info.log_prints):
            yield

    def plainly(self) -> None:
        """Call the function at the speed of `map`: nothing is done per element in Python.

        `extend` keeps what came before an exception, so the list's length names the element that
        raised; a list that is too short without an exception means a StopIteration.
        """
        results, out, block = map(self.call, *self.rows), self.values, 1
        while len(out) < self.count and not self._spent():
            have, began = len(out), time.perf_counter()
            wanted = min(block, self.count - have)
            error: BaseException | None = None
            try:
                out.extend(islice(results, wanted))
                if len(out) < have + wanted:
                    error = _stop_iteration()
            except BaseException as raised:  # becomes the element's outcome below
                error = raised
            self.states.extend(_COMPLETED * (len(out) - have))
            if error is not None:
                self._again_by_the_book(error)
            took = time.perf_counter() - began
            block = block * 2 if took < BLOCK_S / 2 else max(1, int(wanted * BLOCK_S / took))

    def one_by_one(self) -> None:
        """Take every element through its story."""
        for position, row in enumerate(zip(*self.rows, strict=False)):
            if self._spent():
                break
            tries = self.work.tries.get(position, 0)
            self._place(position, drive(attempt(self.spec, row, tries=tries), self._perform))

    async def overlapping(self) -> None:
        """Take async elements through their stories, some at a time."""
        import asyncio  # 10 ms, which only async tasks need

        free = asyncio.Semaphore(ASYNC_WIDTH)
        tasks: list[asyncio.Task[None]] = []
        for position, row in enumerate(zip(*self.rows, strict=False)):
            await free.acquire()
            if self._spent():
                break
            self.values.append(None)
            self.states.append(StateName.RUNNING)
            task = asyncio.ensure_future(self._one_async(position, row))
            task.add_done_callback(lambda _: free.release())
            tasks.append(task)
        await asyncio.gather(*tasks)

    async def _one_async(self, position: int, row: tuple[Any, ...]) -> None:
        tries = self.work.tries.get(position, 0)
        story = attempt(self.spec, row, tries=tries)
        self._place(position, await drive_async(story, self._perform))

    def handed_over(self) -> tuple[Report, Values]:
        """Return the report and the values, pickled where they travel."""
        self._stage()
        values: Values = self.values
        if self.work.remote:
            values, errors = wire.dump_list(self.values)
            for position, error in errors.items():
                self._cannot_travel(position, error)
        report = Report(
            chunk=self.work.id,
            worker=self.site.worker,
            reached=len(self.states),
            states=_run_lengths(self.states),
            seconds=time.perf_counter() - self.began,
            details=self.details,
            staged=self.staged,
            warnings=tuple(self.warnings),
        )
        return report, values

    def _spent(self) -> bool:
        if not self.states:
            return False
        if self.repeated is not None and not self.done_before:
            return True
        if self.site.stopping():
            return True
        budget = self.work.budget_s
        return budget is not None and time.perf_counter() - self.began > budget

    def _again_by_the_book(self, error: BaseException) -> None:
        """Take the element that raised in the fast path through the rest of its story."""
        position = len(self.values)
        row = self.spec.layout.row(self.columns, position)
        self._place(position, drive(attempt(self.spec, row, error=error), self._perform))

    def _place(self, position: int, outcome: Outcome) -> None:
        if position == len(self.values):
            self.values.append(outcome.value)
            self.states.append(outcome.state)
        else:
            self.values[position] = outcome.value
            self.states[position] = outcome.state
        if outcome.error is not None or outcome.tries > 1:
            error = outcome.error
            self.details[position] = Detail(
                attempts=outcome.tries,
                failure=capture(error, travels=self.work.remote) if error else None,
                again_in_s=outcome.again_in_s,
            )

    def _perform(self, effect: Effect) -> Any:
        return self.performers[type(effect)](effect)

    def _called(self, effect: Call) -> Any:
        if self.spec.is_async:
            return self._awaited(self.call(*effect.row))
        try:
            return self.call(*effect.row), None
        except StopIteration:
            return None, _stop_iteration()
        except BaseException as error:  # the story decides what becomes of it
            return None, error

    async def _awaited(self, called: Awaitable[Any]) -> tuple[Any, BaseException | None]:
        try:
            return await called, None
        except BaseException as error:  # the story decides what becomes of it
            return None, error

    def _found(self, effect: Find) -> tuple[bytes | None, Stored | Known | None]:
        cache = self.spec.cache
        assert cache is not None
        try:
            key = cache.key(self.spec, self.spec.layout.bind(self.spec.fn, effect.row))
        except KeyNotStable as error:
            self._warn(f"{self.spec.info.name} runs uncached: {error}.")
            return None, None
        except Exception as error:  # the call goes on, only without a key
            told = f"its key could not be made: {type(error).__name__}: {error}"
            self._warn(f"{self.spec.info.name} runs uncached: {told}.")
            return None, None
        if key is None:
            return None, None
        now = time.time()
        mine = self.repeated.find(key, now) if self.repeated is not None else None
        if mine is not None:
            self.done_before -= 1
        elif self.work.known is not None:
            mine = self.work.known.find(key, now)
        return key, Known(mine) if mine is not None else cache.lookup.find(key, now)

    def _kept(self, effect: Keep) -> None:
        cache = self.spec.cache
        assert cache is not None
        try:
            payload = segments.pack(effect.value)
        except Exception as error:  # the value goes home all the same, only the copy is missing
            self._warn(f"A result of {self.spec.info.name} isn't kept: {error}.")
            return
        expiry = time.time() + cache.expires_in_s
        self.segment.append(effect.key, payload, expiry=expiry, state=StateName.COMPLETED)

    def _stage(self) -> None:
        """Write what is to be kept under a name of this try's own."""
        cache = self.spec.cache
        if cache is None or not len(self.segment):
            return
        name = segments.segment_name(cache.folder, self.spec.info.id, self.work.id, new_id())
        try:
            cache.store.write(name, self.segment.parts())
        except Exception as error:  # the run has its values, only the copies are missing
            self._warn(f"Results of {self.spec.info.name} aren't kept: {error}.")
            return
        self.staged[name] = self.segment.packed

    def _own_segments(self) -> Lookup | None:
        """Return what an earlier try of this very chunk staged; it counts, and isn't done again.

        The elements behind it were handed to other chunks when that try's report was home.
        """
        cache = self.spec.cache
        if cache is None or not self.work.rerun:
            return None
        prefix = segments.segment_prefix(cache.folder, self.spec.info.id, self.work.id)
        self.staged = {
            name: segments.staged(cache.store, name) for name in cache.store.names(prefix)
        }
        return Lookup.merge(cache.store, [Index(tables=self.staged)]) if self.staged else None

    def _cannot_travel(self, position: int, error: Exception) -> None:
        failure = capture(
            wire.not_picklable(f"A result of {self.spec.info.name}", error), travels=True
        )
        self.states[position] = StateName.FAILED
        self.details[position] = Detail(failure=failure)

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def _tell(self, line: str) -> None:
        self.site.say(pickle.dumps((self.spec.info, line), protocol=5))


def _spec(work: Work, shared: Sequence[Any]) -> TaskSpec:
    if isinstance(work.spec, TaskSpec):
        return work.spec
    spec = _specs.get(work.spec_key)
    if spec is None:
        spec = pickle.loads(shared[0] if work.spec is None else work.spec)
        while len(_specs) >= SPECS_KEPT:
            _specs.pop(next(iter(_specs)), None)
        _specs[work.spec_key] = spec
    return spec


def _inputs(work: Work) -> Inputs:
    return work.inputs if isinstance(work.inputs, Inputs) else pickle.loads(work.inputs)


def _run_lengths(states: bytearray) -> tuple[tuple[int, int], ...]:
    """Return (state, count) pairs; a million equal states take less than a millisecond."""
    runs: list[tuple[int, int]] = []
    at = 0
    while at < len(states):
        code = states[at]
        other = _OTHER[code].search(states, at)
        end = other.start() if other else len(states)
        runs.append((code, end - at))
        at = end
    return tuple(runs)


def _run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run async work to its end, in another thread where this one is inside a loop already."""
    import asyncio  # 10 ms, which only async tasks need

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    thread = Thread(target=copy_context().run, args=(asyncio.run, work), daemon=True)
    thread.start()
    thread.join()


def _stop_iteration() -> RuntimeError:
    return RuntimeError("The task raised StopIteration, which would end any loop around it.")
