"""The recorder: takes what happens from any thread, and has it written to the history.

Whoever tells it something pays for an append to a queue. All else is done by the writer's thread:
it makes facts of what it was told, collects them to batches, and has the history record them by a
second thread, as a call to a database may hang. What to do next is decided in `course`.
"""

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from fanfold.engine import registry, settings
from fanfold.engine.settings.kinds import OFF
from fanfold.values.errors import HistoryUnavailable

if TYPE_CHECKING:
    from fanfold.engine.recording.writer import Stopper, Writer
    from fanfold.ports.history import History
    from fanfold.values.records import Lease

CLOSE_S = 2.0
"""How long the end of a process waits for its history."""
IDLE_S = 30.0
"""A recorder that was told nothing for so long lets go of its history, until it is told more."""
TAKE_S = 30.0
"""How long somebody who wants to resume a run waits for the history, at most."""
ITEMS_AT_ONCE = 5_000
"""That facts are made of before the writer looks at anything else."""

logger = logging.getLogger("fanfold.history")


class Recorder:
    """Writes to one history. Thread-safe; its threads start when it is told something.

    Args:
        url: Of the history.
        home: Below which its journal is kept.
        keep: How long runs are kept: `history.keep_days` and `history.keep_days_by_state`.
        load: Makes the history; called in a thread of the recorder.
    """

    def __init__(
        self,
        url: str,
        home: Path,
        *,
        keep: tuple[float, tuple[str, ...]],
        load: "Callable[[], History] | None" = None,
    ) -> None:
        self.url = url
        self._home = home
        self._keep = keep
        self._load = load or partial(registry.history, url)
        self._begin()

    def _begin(self) -> None:
        self._writer: Writer | None = None
        self._queue: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._watched: dict[str, Stopper] = {}
        self._asleep = True
        """Whether the writer has to be woken, or started, for what is put."""
        self._bell = threading.Lock()  # rung by a release: safe even in a signal's handler
        self._bell.acquire()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._replaced = False
        self._hurries_at = 0.0
        self._closes_at: float | None = None

    def put(self, make: Callable[..., Any], *args: Any) -> None:
        """Tell something. Never blocks, never raises; well under 1 µs.

        Args:
            make: Returns a fact, several, or None; called later in another thread.
            *args: For it: light, and not to be changed any more.
        """
        self._queue.append((make, args))
        if self._asleep:
            self._wake()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was put before is recorded, or in the journal on the disk.

        Returns:
            Whether it is, in time.
        """
        if self._thread is None and not self._queue:
            return True
        passed = threading.Event()
        self._queue.append((_mark, (passed.set,)))
        self._wake()
        return passed.wait(timeout_s)

    def take(self, flow_run_id: str) -> "Lease | None":
        """Lease a run that has ended or died to this process; None if that can't be.

        What is put for it from then on is recorded in the lease's epoch.

        Raises:
            HistoryError: The history doesn't let that be known.
        """
        self.flush(TAKE_S)  # it may have ended here, a moment ago
        answers: SimpleQueue[Lease | Exception | None] = SimpleQueue()
        self._queue.append((_claim, (flow_run_id, answers.put)))
        self._wake()
        try:
            answer = answers.get(timeout=TAKE_S)
        except Empty:
            raise HistoryUnavailable(f"The history doesn't answer within {TAKE_S:g} s.") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def watch(self, flow_run_id: str, stop: "Stopper") -> None:
        """Have a function called, once, soon after a run is to be stopped.

        That is when somebody asks for it to be cancelled, or goes on with it elsewhere.

        Args:
            flow_run_id: A run that was put.
            stop: Called in a thread of the recorder; must not block for long.
        """
        self._watched[flow_run_id] = stop
        self._wake()

    def unwatch(self, flow_run_id: str) -> None:
        """Call nothing for that run any more."""
        self._watched.pop(flow_run_id, None)

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Have all written, and let go of the history; it opens again when told more.

        What isn't recorded after half of the time goes to the journal. Leases of runs that aren't
        over are given up, so that whoever looks next finds them crashed.

        Returns:
            Whether that was done in time.
        """
        thread = self._thread
        if thread is None:
            return True
        now = time.monotonic()
        self._hurries_at, self._closes_at = now + timeout_s / 2, now + timeout_s
        self._ring()
        thread.join(timeout_s + 0.1)
        return not thread.is_alive()

    def retire(self) -> None:
        """Let go of the history as soon as nothing is left to be written and no run is open."""
        self._replaced = True
        self._ring()

    def forget(self) -> None:
        """Start anew in a forked child: what isn't written is the parent's to write."""
        if self._writer is not None:
            # Kept for ever, as its connection mustn't be closed here, which would end it there.
            _parents.append(self._writer)
            self._writer.forget()
        self._begin()

    def _wake(self) -> None:
        self._asleep = self._replaced = False
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._start()
        self._ring()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it was rung, and not heard yet
            self._bell.release()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._live, name="fanfold-history", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter ends
            self._thread = None
            self._asleep = True

    def _live(self) -> None:
        """Write, until there has been nothing to write for a while; what the thread does."""
        # Imported here, in no flow's time.
        from fanfold.engine.recording.pruning import retention_of
        from fanfold.engine.recording.writer import Writer

        kept = retention_of(*self._keep)
        while True:
            writer = Writer(self.url, self._home, load=self._load, kept=kept, rang=self._ring)
            self._writer = writer
            try:
                self._write(writer)
            except Exception:  # told, and what it had in memory too; what is put then is written
                logger.exception("The writer of the history failed")
            closes_at, self._closes_at = self._closes_at, None
            writer.end(closes_at or time.monotonic() + CLOSE_S)
            self._writer = None
            with self._starting:
                self._asleep = True
                if not self._queue:
                    self._thread = None
                    return
            self._asleep = False

    def _write(self, writer: "Writer") -> None:
        heard_at = time.monotonic()
        while True:
            now = time.monotonic()
            if self._take_in(writer, now):
                heard_at = now
            closes_at = self._closes_at
            if closes_at is not None:
                writer.course.hurry(self._hurries_at)
            until = writer.step(now, self._watched, closing=closes_at is not None)
            if self._queue or (until is not None and until <= now):
                continue
            leaves_at = self._leaves_at(writer, heard_at)
            if closes_at is not None and (writer.settled() or now >= closes_at):
                return
            if leaves_at is not None and now >= leaves_at:
                return
            times = [time for time in (until, leaves_at, closes_at) if time is not None]
            self._sleep(writer, min(times) - now if times else -1)

    def _leaves_at(self, writer: "Writer", heard_at: float) -> float | None:
        if writer.open or self._watched or not writer.course.idle:
            return None
        return heard_at if self._replaced else heard_at + IDLE_S

    def _sleep(self, writer: "Writer", seconds: float) -> None:
        self._asleep = not writer.course.collecting
        if not self._queue:
            self._bell.acquire(timeout=seconds)
        self._asleep = False

    def _take_in(self, writer: "Writer", now: float) -> bool:
        """Make facts of what was put; return whether anything was."""
        for taken in range(ITEMS_AT_ONCE):
            try:
                make, args = self._queue.popleft()
            except IndexError:
                return taken > 0
            if make is _mark:
                writer.course.mark(*args)
            elif make is _claim:
                writer.claim(*args)
            else:
                writer.take(make, args, now)
        return True


def current() -> Recorder | None:
    """Return the recorder for the settings that hold now; None where nothing is to be recorded.

    Costs some µs at most: one per history and process, started when it is told something.

    Raises:
        UsageError: What a variable or a file says about settings isn't understood.
        UnknownHistory: No history of the kind that it names is installed.
    """
    url = _settings.history_url
    recorder = _recorders.get(url)
    if recorder is None and url != OFF:
        return _made(url)
    return recorder


@contextmanager
def closing_current() -> Generator[None]:
    """Close the recorder for the settings that hold at the end of the block, and forget it."""
    try:
        yield
    finally:
        recorder = _recorders.pop(_settings.history_url, None)
        if recorder is not None:
            recorder.close()


def close_all(timeout_s: float = CLOSE_S) -> bool:
    """Close all recorders of this process, and forget them; return whether that was in time."""
    with _making:
        recorders = list(_recorders.values())
        _recorders.clear()
    deadline = time.monotonic() + timeout_s
    return all([one.close(max(0.0, deadline - time.monotonic())) for one in recorders])


def _made(url: str) -> Recorder:
    with _making:
        recorder = _recorders.get(url)
        if recorder is None:
            registry.check_history(url)
            for other in _recorders.values():
                other.retire()
            # What holds for who asks, not in the writer's thread.
            keep = (_settings.history_keep_days, _settings.history_keep_days_by_state)
            recorder = Recorder(url, _settings.home, keep=keep)
            _recorders[url] = recorder
        return recorder


def _mark() -> None:
    """Stand in the queue for a `flush`."""


def _claim() -> None:
    """Stand in the queue for a `take`."""


def _forget() -> None:
    """Start anew in a forked child: no thread is there, and the connections are the parent's."""
    global _making
    _making = threading.Lock()
    for recorder in _recorders.values():
        recorder.forget()


_settings = settings.current()
_recorders: dict[str, Recorder] = {}
_making = threading.Lock()
_parents: list[object] = []
"""What a forked child mustn't touch."""
atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
