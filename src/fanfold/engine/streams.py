"""Maps over iterators of unknown or endless length, in bounded memory.

A streamed map is a sequence of ordinary map runs, over batches that are cut from the iterator. It
is advanced only in the thread of whoever reads, for database cursors belong to threads: by `map`
itself, then by walking over the futures, or by waiting for all. What was walked over is let go of
once it is settled, and only counted; so the driver holds no more than a window.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, overload

from fanfold.engine import reading, waiting, watching
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.futures import FutureList, Futures, MapFuture, TaskFuture, gathered
from fanfold.engine.pulling import Puller
from fanfold.engine.run import Run
from fanfold.engine.sources import From
from fanfold.engine.verdicts import error_of_all, without_value
from fanfold.values.usage import Costs, Usage

R = TypeVar("R")

SMALLEST = 64
"""Elements of the first window: a few per slot, and few are done in vain when a walk is left."""
WINDOW = 16_384
"""Most elements that are started and not walked over, unless `max_in_flight` says otherwise: with
values of 1 kB some 20 MB, and trivial elements are walked at 0.7 million a second. Twice as many
are walked half as fast again, eight times as many twice as fast."""
QUICK_S = 0.5
"""A window that is walked through in less is doubled, one that takes four times as long halved."""

Start = Callable[[list[list[Any]], int, str], MapFuture[Any]]
"""Starts a map over columns of equal length; takes the index of their first row, too, and the id of
the stream that it is a part of, empty if it is all there is."""


class StreamFuture(MapFuture[R]):
    """All calls of a map over an iterator that hasn't ended.

    Walking over it (once) runs the next elements as it goes, and lets go of those behind. Whatever
    wants all elements at once (`result`, `wait`, `failed`, slices, `reduce`) runs what is left of
    the iterator, and then means the elements that weren't walked over. A walk that is left closes
    the stream. Thread-safe, but whoever reads advances the iterator.
    """

    __slots__ = (
        *("__weakref__", "_batch", "_behind", "_callbacks", "_costs", "_folded", "_limit", "_lock"),
        *("_parts", "_position", "_puller", "_refilled", "_start", "_started", "_walked", "id"),
    )

    def __init__(
        self, start: Start, puller: Puller, first: MapFuture[R], max_in_flight: int | None, id: str
    ) -> None:
        super().__init__(first.run, range(0), on_error=first.on_error)
        self.id = id
        self._start = start
        self._puller = puller
        self._limit = max_in_flight
        self._lock = threading.RLock()
        self._started = len(first)
        self._parts = deque([_Part(first, 0, self._started)])
        self._behind: list[MapFuture[Any]] = []
        self._folded: Counter[str] = Counter()
        self._costs = Costs()
        self._callbacks: list[Callable[[Any], object]] = []
        self._position = 0
        self._walked = False
        self._batch = SMALLEST
        self._refilled = time.monotonic()
        # Held there until it has ended: it may be that nobody else holds it.
        self.run.owner.streams[self] = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {label}" for label, count in self.states.items())
        so_far = "" if self._puller.over else ", so far"
        return f"<StreamFuture {self.run.name}: {counts}{so_far}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        """Return the number of elements.

        Raises:
            TypeError: The iterator hasn't ended.
        """
        if not self._puller.over:
            raise TypeError(
                f"The length of {self.run.name} isn't known before its iterator has ended. Walk "
                "over it to the end, or wait() for it, first."
            )
        return self._started

    def __iter__(self) -> Generator[TaskFuture[R], None, None]:
        """Yield the elements in order, from where the last walk stopped."""
        self._walked = True
        try:
            while (part := self._next_part()) is not None:
                run, first = part.future.run, part.first
                for index in range(self._position, min(part.stop, self._low_water())):
                    self._position = index + 1
                    yield TaskFuture(run, index - first)
            self._raise_iterators_error()
        finally:
            self.close()

    @overload
    def __getitem__(self, at: int) -> TaskFuture[R]: ...
    @overload
    def __getitem__(self, at: slice) -> Futures[R]: ...
    def __getitem__(self, at: int | slice) -> TaskFuture[R] | Futures[R]:
        """Return elements by their place in the whole stream, running it as far as needed.

        Raises:
            IndexError: The element was walked over, or there is none.
        """
        if isinstance(at, slice):
            self._drain(None)
            return FutureList(self[index] for index in range(*at.indices(self._started)))
        if at < 0:
            self._drain(None)
            at += self._started
        for future in self._steps(at + 1):
            if future is not None:
                future.wait()
        with self._lock:
            for part in self._parts:
                if max(part.first, self._position) <= at < part.stop:
                    return TaskFuture(part.future.run, at - part.first)
        gone = 0 <= at < self._position
        why = "was walked over and let go of" if gone else "doesn't exist"
        raise IndexError(f"Element {at} of {self.run.name} {why}.")

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self._awaited().__await__()

    @property
    def states(self) -> Counter[str]:
        """How many of the elements that were started are in which state, by name."""
        with self._lock:
            self._fold()
            live = [part.future for part in self._parts]
            return sum((future.states for future in (*self._behind, *live)), self._folded.copy())

    @property
    def usage(self) -> Usage:
        """What the elements that are home needed, each on average."""
        with self._lock:
            costs = replace(self._costs)
            for future in self._held():
                costs.add(future.run.costs)
            return costs.usage()

    @property
    def failed(self) -> FutureList[R]:
        """The elements without value among those that weren't walked over; runs what is left."""
        self.wait()
        return FutureList(
            TaskFuture[R](run, index)
            for run, indices in self.parts()
            for index in without_value(run, indices)
        )

    def done(self) -> bool:
        """Return whether the iterator has ended and all elements are over."""
        with self._lock:
            self._fold()
            live = all(part.future.done() for part in self._parts)
            return self._puller.over and not self._behind and live

    def wait(self, timeout: float | None = None) -> None:
        """Run what is left of the iterator and block until all is over, or for so many seconds."""
        deadline = waiting.deadline_of(timeout)
        self._walked = True
        if self._drain(deadline):
            with self._lock:
                held = self._held()
            for future in held:
                future.wait(waiting.seconds_left(deadline))

    def result(self, timeout: float | None = None, raise_on_failure: bool | None = None) -> list[R]:
        """Return the values of all elements that weren't walked over; see `MapFuture.result`."""
        deadline = waiting.deadline_of(timeout)
        if raise_on_failure is None:
            raise_on_failure = self.on_error == "raise"
        self._walked = True
        drained = self._drain(deadline)
        self._raise_iterators_error()
        pieces = self._pieces()
        if not drained or not all(
            waiting.wait(run, indices, waiting.seconds_left(deadline)) for run, indices in pieces
        ):
            raise TimeoutError(
                f"Not all calls of {self.run.name} are over after {timeout} s; they go on, and can "
                "be waited for again."
            )
        failed = [(run, index) for run, some in pieces for index in without_value(run, some)]
        if failed and raise_on_failure:
            raise error_of_all(failed, sum(len(indices) for _, indices in pieces))
        values: list[R] = []
        for run, indices in pieces:
            values += reading.read(run, indices, waiting.seconds_left(deadline), False)
        return values

    def as_completed(self, timeout: float | None = None) -> Iterator[TaskFuture[R]]:
        """Yield the elements in the order in which they are over, running the next as it goes."""
        return self._as_completed(waiting.deadline_of(timeout))

    def add_done_callback(self, fn: Callable[[MapFuture[R]], object]) -> None:
        """Have a function called once the iterator has ended and all elements are over."""
        with self._lock:
            self._callbacks.append(fn)
            if self._puller.over:
                self._call_back()

    def retry_failed(self) -> Futures[R]:
        """Run the elements without value among those that weren't walked over once more."""
        self.wait()
        tried = [MapFuture[R](run, indices).retry_failed() for run, indices in self._pieces()]
        return FutureList(future for some in tried for future in some)

    def close(self) -> None:
        """Pull nothing more and close the iterator; what nobody walked to doesn't start any more.

        Futures that were handed out stay good, and the elements that share a run with them run.
        """
        with self._lock:
            open_before = not self._puller.over
            self._puller.close()
            ahead = [part.future.run for part in self._parts if part.first >= self._position]
            self._behind += [part.future for part in self._parts]
            self._parts.clear()
            self._position = self._started
            if open_before:
                self._over()
        running = [run for run in ahead if not run.finished]
        if running:
            dispatcher().cancel(running)

    def settle(self) -> None:
        """End it where its flow ends: run it to its end, unless somebody began to walk over it.

        Raises:
            Exception: What the iterator raised.
        """
        if self._walked:
            if not self._puller.over:
                self.close()
            return
        self.wait()
        self._raise_iterators_error()

    async def settle_async(self) -> None:
        """Do the same without blocking the loop; the iterator is advanced in its thread."""
        if not self._walked:
            self._walked = True
            await self._drain_async()
            self._raise_iterators_error()
        elif not self._puller.over:
            self.close()

    def parts(self) -> Iterator[tuple[Run, range]]:
        """Yield the runs of all elements that weren't walked over; runs what is left first."""
        self._walked = True
        self._drain(None)
        yield from self._pieces()

    def source(self) -> From:
        """Return the list of all values that weren't walked over, as an argument."""
        pieces = [MapFuture[Any](run, indices) for run, indices in self.parts()]
        return From(run=gathered(self.run, pieces), indices=range(1), whole=False)

    def _groups(self) -> list[MapFuture[R]]:
        pieces = [MapFuture[R](run, indices) for run, indices in self.parts()]
        return [group for piece in pieces for group in piece._groups()] or [
            MapFuture(self.run, range(0))
        ]

    # How the iterator is advanced.

    @property
    def _window(self) -> int:
        return self._limit or self._batch

    def _low_water(self) -> int:
        """Return where the walk is to look for more: at half of the window, or the next element."""
        if self._puller.over:
            return self._started
        ahead = self._started - self._position
        return max(self._started - self._window // 2, self._position + max(1, ahead // 8))

    def _next_part(self) -> "_Part | None":
        """Let go of what is behind, start more if there is room, return where the walk stands."""
        with self._lock:
            while True:
                while self._parts and self._parts[0].stop <= self._position:
                    self._behind.append(self._parts.popleft().future)
                ahead = self._started - self._position
                if not self._puller.over and ahead <= self._window // 2:
                    self._refill()
                if self._parts or self._puller.over:
                    return self._parts[0] if self._parts else None
                if self._behind and self._window <= self._in_flight():
                    self._behind[0].wait()

    def _refill(self) -> None:
        """Start as many elements as the window has room for; it grows while it is walked fast."""
        now = time.monotonic()
        if self._window > self._in_flight():
            took, self._refilled = now - self._refilled, now
            if took < QUICK_S:
                self._batch = min(self._batch * 2, WINDOW)
            elif took > 4 * QUICK_S:
                self._batch = max(self._batch // 2, SMALLEST)
        room = self._window - self._in_flight()
        if room > 0:
            self._add(room)

    def _in_flight(self) -> int:
        """Return how many elements are started and not both walked over and settled."""
        self._fold()
        count = sum(waiting.open_count(future.run, future.indices) for future in self._behind)
        for part in self._parts:
            walked = max(self._position - part.first, 0)
            count += part.stop - part.first - walked
            if walked:
                count += waiting.open_count(part.future.run, range(walked))
        return count

    def _fold(self) -> None:
        """Count what was walked over and is settled, and let go of it."""
        done = [future for future in self._behind if future.done()]
        if done:
            self._behind = [future for future in self._behind if future not in done]
            for future in done:
                self._folded += future.states
                self._costs.add(future.run.costs)

    def _add(self, most: int) -> None:
        """Start a map over the next rows, at least one if there is one."""
        if len(self._puller) < most:
            self._puller.fill(most)
        columns = self._puller.take(most)
        count = len(columns[0])
        if count:
            future = self._start(columns, self._started, self.id)
            self._parts.append(_Part(future, self._started, self._started + count))
            self._started += count
        if self._puller.over:
            self._over()

    def _over(self) -> None:
        """Take in that the iterator has ended."""
        self.run.owner.streams.pop(self, None)
        self._callbacks.append(lambda _: watching.stream_over(self.id))
        self._call_back()

    def _call_back(self) -> None:
        """Call the callbacks once all that was started is over."""
        callbacks, self._callbacks = self._callbacks, []
        unsettled = [future for future in self._held() if not future.done()]
        if not unsettled:
            for function in callbacks:
                waiting.call_back(self.run, range(0), function, self)
            return
        for function in callbacks:
            last = waiting.Last(len(unsettled), function, self)
            for future in unsettled:
                future.add_done_callback(last)

    def _held(self) -> list[MapFuture[R]]:
        return [*self._behind, *(part.future for part in self._parts)]

    def _pieces(self) -> list[tuple[Run, range]]:
        """Return the runs of what wasn't walked over, and which elements of them that are."""
        with self._lock:
            return [
                (part.future.run, range(max(self._position - part.first, 0), len(part.future)))
                for part in self._parts
                if part.stop > self._position
            ]

    def _raise_iterators_error(self) -> None:
        error = self._puller.error
        if error is not None:
            self._puller.error = None
            error.add_note(
                f"From what {self.run.name} maps over, after {self._started:,} elements."
            )
            raise error

    def _steps(self, wanted: float = float("inf")) -> Iterator[MapFuture[R] | None]:
        """Start elements until so many are started or none are left, at most a window unfinished.

        Yields what is to be waited for before more can start, or None to let others in.
        """
        while True:
            with self._lock:
                busy = [future for future in self._held() if not future.done()]
                if self._puller.over or self._started >= wanted:
                    return
                held = sum(waiting.open_count(one.run, one.indices) for one in busy)
                room = (self._limit or 4 * WINDOW) - held
                if room > 0:
                    # With a limit in small pieces: the next may start when one of them is done.
                    batch = self._batch if self._limit is None else max(1, self._limit // 4)
                    self._batch = min(2 * self._batch, WINDOW)
                    self._add(min(room, batch))
            yield None if room > 0 else busy[0]

    def _drain(self, deadline: float | None) -> bool:
        """Start all that is left of the iterator; return whether that was done in time."""
        for future in self._steps():
            if future is not None:
                future.wait(waiting.seconds_left(deadline))
            if deadline is not None and time.monotonic() > deadline:
                return False
        return True

    async def _drain_async(self) -> None:
        import asyncio  # 10 ms, which only async code needs

        for future in self._steps():
            if future is not None:
                await waiting.settled(future.run, future.indices)
            else:
                await asyncio.sleep(0)

    async def _awaited(self) -> list[R]:
        import asyncio  # 10 ms, which only async code needs

        self._walked = True
        await self._drain_async()
        for run, indices in self._pieces():
            await waiting.settled(run, indices)
        return await asyncio.to_thread(self.result)

    def _as_completed(self, deadline: float | None) -> Generator[TaskFuture[R], None, None]:
        self._walked = True
        arrivals = waiting.Arrivals()
        in_hand = 0
        try:
            while self._more_for(arrivals, in_hand):
                for run, span in arrivals.take(deadline):
                    in_hand += span[1] - span[0]
                    for index in range(*span):
                        yield TaskFuture(run, index)
                        in_hand -= 1
                        if arrivals.left + in_hand <= self._window // 2:
                            self._more_for(arrivals, in_hand)
            self._raise_iterators_error()
        finally:
            arrivals.close()
            self.close()

    def _more_for(self, arrivals: waiting.Arrivals, in_hand: int) -> bool:
        """Start more if there is room and hand it over; return whether anything is under way."""
        with self._lock:
            ahead = arrivals.left + in_hand
            if not self._puller.over and not self._parts and ahead <= self._window // 2:
                self._batch = min(self._batch * 2, WINDOW)
                self._add(self._window - ahead)
            for run, indices in self._pieces():
                arrivals.add(run, indices)
            self._behind += [part.future for part in self._parts]
            self._parts.clear()
            self._position = self._started
            self._fold()
            return bool(arrivals.left)


class _Part(NamedTuple):
    """One of the maps that a stream consists of, and where it stands in the stream."""

    future: MapFuture[Any]
    first: int
    stop: int
