"""Waiting for elements: threads that block, loops that must not, and functions called afterwards.

The dispatcher tells watchers of a run what became final. A watcher only enqueues, so no user code
ever runs in the dispatcher's thread, and nothing here costs a thread per element.
"""

import contextvars
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from fanfold.engine.chunking import Span
from fanfold.engine.context import current
from fanfold.engine.masks import both, ones
from fanfold.engine.run import Run
from fanfold.engine.single import OnePerProcess
from fanfold.values.states import FINAL

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

logger = logging.getLogger("fanfold.engine")

Post = Callable[[Callable[[], None]], None]
"""Takes a function to where it is to be called."""

_IS_FINAL = bytes(code in FINAL for code in range(256))


def wait(run: Run, indices: range, timeout: float | None) -> bool:
    """Block until these elements are final and committed; return whether they are.

    Raises:
        ValueError: The timeout is negative.
    """
    check_timeout(timeout)

    def over() -> bool:
        return run.settled(indices) or (run.finished and not run.again)

    with run.changed:
        if over():
            return True
    with slot_free(run), run.changed:
        return run.changed.wait_for(over, timeout)


def slot_free(run: Run) -> AbstractContextManager[None]:
    """Return what is entered while the caller waits for a run: an element gives its slot back."""
    context = current()
    nest = context.nest if context is not None else None
    return nest.waiting() if nest is not None and nest.holds_up(run) else nullcontext()


def check_timeout(timeout: float | None) -> None:
    """Refuse a negative timeout.

    Raises:
        ValueError: It is negative.
    """
    if timeout is not None and timeout < 0:
        raise ValueError(f"A timeout can't be negative: {timeout}")


def deadline_of(timeout: float | None) -> float | None:
    """Return when a timeout that starts now is over, on the monotonic clock."""
    check_timeout(timeout)
    return None if timeout is None else time.monotonic() + timeout


def seconds_left(deadline: float | None) -> float | None:
    """Return the seconds until a deadline, at least 0."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def final_count(run: Run, indices: range) -> int:
    """Return how many of these elements are final."""
    return run.codes(indices).translate(_IS_FINAL).count(1)


def open_count(run: Run, indices: range) -> int:
    """Return how many of these elements aren't final."""
    return len(indices) - final_count(run, indices)


class Pending:
    """Elements of a run that weren't seen settled yet: a byte each. Not thread-safe."""

    def __init__(self, run: Run, indices: Iterable[int] = ()) -> None:
        self.run = run
        self._mask = bytearray(run.count)
        self.left = 0
        self.add(indices)

    def add(self, indices: Iterable[int]) -> None:
        """Take in more elements; ones that are in already change nothing."""
        if isinstance(indices, range) and len(indices) > 1:
            upwards = indices if indices.step > 0 else indices[::-1]
            marks = b"\x01" * len(indices)
            self._mask[upwards[0] : upwards[-1] + 1 : upwards.step] = marks
        else:
            for index in indices:
                self._mask[index] = 1
        self.left = self._mask.count(1)

    def settled(self, spans: Sequence[Span] | None) -> list[Span]:
        """Take out those that are settled, of these spans or of all, and return them in order."""
        found: list[Span] = []
        with self.run.changed:
            for start, stop in [(0, self.run.count)] if spans is None else spans:
                final = self.run.states[start:stop].translate(_IS_FINAL)
                for low, high in ones(both(final, self._mask[start:stop])):
                    found += self._taken_out(start + low, start + high)
        return found

    def _taken_out(self, low: int, high: int) -> list[Span]:
        """Return the span, or its settled elements where some wait for a commit."""
        if high - low > 1 and not self.run.settled(range(low, high)):
            return [span for at in range(low, high) for span in self._taken_out(at, at + 1)]
        if not self.run.settled(range(low, high)):
            return []
        self._mask[low:high] = bytes(high - low)
        self.left -= high - low
        return [(low, high)]


class Arrivals:
    """Hands out elements in the order in which they are over; for one reader."""

    def __init__(self) -> None:
        self._news: SimpleQueue[tuple[Pending, Sequence[Span] | None]] = SimpleQueue()
        self._watched: list[tuple[Pending, Callable[..., None]]] = []
        self.total = 0
        self.left = 0

    def add(self, run: Run, indices: Iterable[int]) -> None:
        """Wait for these elements too."""
        pending = Pending(run, indices)
        if not pending.left:
            return
        self.total += pending.left
        self.left += pending.left

        def watch(spans: Sequence[Span] | None) -> None:
            self._news.put((pending, spans))

        with run.changed:
            run.watchers.append(watch)
        self._watched.append((pending, watch))
        watch(None)

    def take(self, deadline: float | None) -> list[tuple[Run, Span]]:
        """Block until something is over and return it.

        Raises:
            TimeoutError: Nothing was over in time.
        """
        while True:
            pending, spans = self._next(deadline)
            found = pending.settled(spans)
            if found:
                self.left -= sum(high - low for low, high in found)
                self._unwatch(lambda watched: not watched.left)
                return [(pending.run, span) for span in found]

    def _next(self, deadline: float | None) -> tuple[Pending, Sequence[Span] | None]:
        with suppress(Empty):
            return self._news.get_nowait()
        watched = self._watched[0][0].run if self._watched else None
        try:
            with slot_free(watched) if watched is not None else nullcontext():
                return self._news.get(timeout=seconds_left(deadline))
        except Empty:
            left, total = self.left, self.total
            raise TimeoutError(f"{left} (of {total}) futures unfinished") from None

    def walk(self, deadline: float | None) -> Generator[tuple[Run, range], None, None]:
        """Yield what is over until nothing is left.

        Raises:
            TimeoutError: Something wasn't over in time.
        """
        try:
            while self.left:
                for run, span in self.take(deadline):
                    yield run, range(*span)
        finally:
            self.close()

    def close(self) -> None:
        """Hear nothing more."""
        self._unwatch(lambda _: True)

    def _unwatch(self, which: Callable[[Pending], bool]) -> None:
        for pending, watch in [pair for pair in self._watched if which(pair[0])]:
            with pending.run.changed:
                pending.run.watchers.remove(watch)
            self._watched.remove((pending, watch))


class Callbacks:
    """Functions that are called once elements of a run are settled, each once, where `post` says.

    Thread-safe. It is a watcher of its run for as long as it has something to wait for.
    """

    def __init__(self, run: Run, place: Any, post: Post) -> None:
        self._run = run
        self._post = post
        self.place = place
        """Which thread or loop `post` leads to."""
        self._single: dict[int, list[Callable[[], None]]] = defaultdict(list)
        self._many: list[tuple[range, Callable[[], None]]] = []
        self._pending = Pending(run)

    def __call__(self, spans: Sequence[Span] | None) -> None:
        """Hear what became final; the run's watcher."""
        self._post(partial(self._look, spans))

    def add(self, indices: range, call: Callable[[], None]) -> None:
        """Have a function called; with the run's lock held."""
        if len(indices) == 1:
            self._single[indices[0]].append(call)
            self._pending.add(indices)
        else:
            self._many.append((indices, call))

    def _look(self, spans: Sequence[Span] | None) -> None:
        calls: list[Callable[[], None]] = []
        with self._run.changed:
            for low, high in self._pending.settled(spans):
                for index in range(low, high):
                    calls += self._single.pop(index)
            for indices, call in list(self._many):
                if self._run.settled(indices):
                    self._many.remove((indices, call))
                    calls.append(call)
            if not self._single and not self._many and self in self._run.watchers:
                self._run.watchers.remove(self)
        for call in calls:
            call()


def when_settled(
    run: Run, indices: range, place: Any, post: Post, call: Callable[[], None]
) -> bool:
    """Have a function called at a place once elements are settled; False if they are already."""
    with run.changed:
        if run.settled(indices) or (run.finished and not run.again):
            return False
        for watcher in run.watchers:
            if isinstance(watcher, Callbacks) and watcher.place is place:
                watcher.add(indices, call)
                return True
        callbacks = Callbacks(run, place, post)
        callbacks.add(indices, call)
        run.watchers.append(callbacks)
    return True


def call_back(run: Run, indices: range, function: Callable[[Any], object], future: Any) -> None:
    """Call a user's function with a future once elements are settled, in their context.

    At once and in this thread if they are already, otherwise in one thread for all callbacks.
    """
    context = contextvars.copy_context()

    def call() -> None:
        try:
            context.run(function, future)
        except Exception:  # told in the log; the other callbacks are called all the same
            logger.exception("A callback of %r failed", future)

    if not when_settled(run, indices, _caller, lambda posted: _caller().put(posted), call):
        call()


class Last:
    """Calls a function when it was called so many times itself."""

    def __init__(self, times: int, function: Callable[[Any], object], future: Any) -> None:
        self._left = times
        self._function = function
        self._future = future
        self._lock = threading.Lock()

    def __call__(self, _: Any) -> None:
        """Count one call."""
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            self._function(self._future)


def callbacks_called(runs: Iterable[Run]) -> None:
    """Block until the callbacks of these runs, which are over, have been called.

    Returns at once inside a callback, which can't wait for itself.
    """
    waiting = [
        watcher
        for run in runs
        for watcher in list(run.watchers)
        if isinstance(watcher, Callbacks) and watcher.place is _caller
    ]
    if not _caller.made and not waiting:
        return
    for watcher in waiting:
        watcher(None)
    if threading.current_thread().name != _CALLER:
        called = threading.Event()
        _caller().put(called.set)
        called.wait()


_CALLER = "fanfold-callbacks"


@OnePerProcess
def _caller() -> SimpleQueue[Callable[[], None]]:
    """Return the queue of the thread that calls users' callbacks, started at first use."""
    calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def serve() -> None:
        while True:
            calls.get()()

    threading.Thread(target=serve, name=_CALLER, daemon=True).start()
    return calls


async def settled(run: Run, indices: range) -> None:
    """Return once elements are settled, without blocking the loop."""
    import asyncio  # 10 ms, which only async code needs

    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def set_done() -> None:
        if not done.done():
            done.set_result(None)

    if when_settled(run, indices, loop, partial(_post_to, loop), set_done):
        with slot_free(run):
            await done


def _post_to(loop: "AbstractEventLoop", call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # a loop that was closed has nobody left who waits
        loop.call_soon_threadsafe(call)
