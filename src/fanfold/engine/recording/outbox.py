"""The way home for the lines of a chunk in another process: collected, and said together.

A line that comes after a quiet moment is said at once, an error too. What follows is said 0.1 s
later by a thread of the process, or before that when a message is full, and at the latest before
the chunk's report. So a line costs its thread some microseconds, and not a message.

What is more than the process's `Allowance` is counted, by run and level; a line of its own stands
for it, with the counts. That is why they are exact: what isn't in there has come home.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fanfold.engine import settings
from fanfold.engine.recording.allowance import Allowance
from fanfold.engine.recording.bundles import (
    LOGGERS,
    LONGEST_TRACE_BYTES,
    MOST_BYTES,
    Bundle,
    Line,
    Place,
    cut,
    ends,
    place_of,
)
from fanfold.engine.recording.masking import Patterns, mask

if TYPE_CHECKING:
    from fanfold.engine.context import RunContext
    from fanfold.engine.recording.homeward import Homeward

INTERVAL_S = 0.1
"""From a line to its message, at most; nobody who reads a log as it is written sees the difference.
Ray keeps it 0.2 s more before it sends it, and its driver looks every 0.2 s."""
MESSAGES_PER_S = 2_000
"""From all slots together: of many slots each speaks less often, for a scheduler's sake."""
ERROR_EVERY_S = 0.01
"""Errors are said at once; of many that come one after the other, not each."""
GAP_S = 1.0
"""How long dropped lines are counted, at most, until it is said how many they were."""
IDLE_S = 2.0
"""A thread that has had nothing to say for so long ends."""
URGENT = logging.WARNING

_traceback_text = logging.Formatter().formatException


class Outbox:
    """Takes the lines of one chunk. Thread-safe, and may be used in a signal's handler.

    Args:
        say: Sends a message to the driver; never blocks.
        facts: What its runs have to record: said first, so that a run is known before its lines.
        slots: How many slots speak to the driver.
        rounds: Of the process.
    """

    def __init__(
        self,
        say: Callable[[bytes], None],
        *,
        facts: "Homeward | None" = None,
        slots: int = 1,
        rounds: "Rounds | None" = None,
    ) -> None:
        self._say = say
        self._facts = facts
        self._slots = slots
        self._rounds = rounds or ROUNDS
        self._bundle = Bundle()
        self._patterns: Patterns | None = None
        """What is masked in the lines of this bundle."""
        self._gaps: dict[int, _Gap] = {}
        """By id of the run's info, which the gap holds."""

    def __call__(self, message: bytes) -> None:
        """Send a message as it is, after the lines before it."""
        with self._rounds.lock:
            self._flush(self._rounds.clock())
            self._say(message)

    def refuses(self, context: "RunContext", level: int) -> bool:
        """Return whether a line would be dropped, which then counts; 0.5 µs in a flood."""
        rounds = self._rounds
        if not rounds.allowance.shut(now := rounds.clock(), urgent=level >= URGENT):
            return False
        if level < context.info.log_level:
            return False
        with rounds.lock:
            self._drop(context, level, now)
        return True

    def take(self, record: logging.LogRecord, context: "RunContext", message: str) -> None:
        """Take a line.

        Args:
            record: What was logged.
            context: Of the run that it belongs to.
            message: The record's message.
        """
        # Masked here: the driver may not know of secrets that were made in this process.
        patterns = self._patterns
        if patterns is None:  # looked up once for some lines, as that takes 2 µs
            patterns = self._patterns = settings.current().logging_masked
        text = cut(mask(message, patterns))
        traces = _traces(record, patterns)
        more = record.__dict__
        name = more.get("task_run_name")
        own_name = name if name != context.info.name else None
        told = (more.get("map_index"), more.get("attempt"), own_name, traces)
        line = Line(0, 0, record.created, text, *told)
        size = len(text) + (len(traces[0]) + len(traces[1]) if traces else 0)
        level, rounds = record.levelno, self._rounds
        with rounds.lock:
            now = rounds.clock()
            if not self._bundle:
                rounds.share(self._slots)
            if not rounds.allowance.take(size, now, urgent=level >= URGENT):
                self._drop(context, level, now)
                return
            if self._gaps and level < URGENT:
                self._tell_gaps()
            self._bundle.add(context.info, place_of(record), line)
            if self._bundle.size >= MOST_BYTES or rounds.hurries(level, now):
                self._flush(now)
            else:
                rounds.remember(self)

    def flush(self) -> bool:
        """Say what there is; return whether more is to be said later."""
        with self._rounds.lock:
            now = self._rounds.clock()
            if any(now - gap.since >= GAP_S for gap in self._gaps.values()):
                self._tell_gaps()
            self._flush(now)
            return bool(self._gaps)

    def close(self) -> None:
        """Say all there is; what comes later is said later."""
        if not self._bundle and not self._gaps:
            return
        with self._rounds.lock:
            self._tell_gaps()
            self._flush(self._rounds.clock())

    def forget(self) -> None:
        """Say nothing of what there is: in a forked child it is the parent's to say."""
        self._bundle = Bundle()
        self._gaps = {}

    def _flush(self, now: float) -> None:
        bundle = self._bundle
        if not bundle:
            return
        self._bundle, self._patterns = Bundle(), None
        self._rounds.said_at = now
        if self._facts is not None:
            self._facts.send()
        for message in bundle.messages():
            self._say(message)

    def _drop(self, context: "RunContext", level: int, now: float) -> None:
        gap = self._gaps.get(id(context.info))
        if gap is None:
            gap = self._gaps[id(context.info)] = _Gap(context, now)
            self._rounds.remember(self)
        gap.counts[level] = gap.counts.get(level, 0) + 1

    def _tell_gaps(self) -> None:
        """Add lines that stand for those that were dropped."""
        gaps, self._gaps = self._gaps, {}
        for gap in gaps.values():
            line = Line(0, 0, gap.created, "", *gap.element, None, gap.counts)
            self._bundle.add(gap.context.info, gap.place(), line)


class _Gap:
    """Lines of one run that were dropped one after the other."""

    def __init__(self, context: "RunContext", now: float) -> None:
        self.context = context
        self.since = now
        self.created = time.time()
        self.counts: dict[int, int] = {}
        self.element: tuple[int | None, int | None, str | None] = (None, None, None)
        info, element = context.info, context.element
        if element is not None:
            index = None if info.single else info.first + element.index
            self.element = (index, element.run_count, element.name or None)

    def place(self) -> Place:
        level, logger = max(self.counts), LOGGERS[self.context.info.kind]
        return Place(
            *(logger, level, logging.getLevelName(level), __file__, 0, None, os.getpid(), None)
        )


class Rounds:
    """What the outboxes of a process share: a lock, an allowance, and a thread that says things.

    Args:
        clock: Tells the time in seconds; never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.allowance = Allowance(clock())
        self.said_at = float("-inf")
        """When the last message with lines was said."""
        self._error_at = float("-inf")
        self.interval_s = INTERVAL_S
        self._waiting: set[Outbox] = set()
        self._begin()

    def _begin(self) -> None:
        # Reentrant: a handler of signals, or a finalizer, may log while its thread is in here.
        self.lock = threading.RLock()
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None

    def share(self, slots: int) -> None:
        """Take into account how many slots speak to the driver."""
        self.allowance.share(slots)
        self.interval_s = max(INTERVAL_S, slots / MESSAGES_PER_S)

    def hurries(self, level: int, now: float) -> bool:
        """Return whether a line is to be said at once."""
        if level < logging.ERROR:
            return now - self.said_at >= self.interval_s
        before, self._error_at = self._error_at, now
        return now - before >= ERROR_EVERY_S or now - self.said_at >= ERROR_EVERY_S

    def remember(self, outbox: Outbox) -> None:
        """Have an outbox flushed soon; called with the lock held."""
        if outbox in self._waiting:
            return
        self._waiting.add(outbox)
        if self._thread is None:
            self._thread = threading.Thread(target=self._go, name="fanfold-lines", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # No more threads, or the interpreter ends: the end of the chunk says it.
                self._thread = None
        self._bell.set()

    def forget(self) -> None:
        """Start anew in a forked child: no thread is there, and the lines are the parent's."""
        for outbox in self._waiting:
            outbox.forget()
        self._waiting.clear()
        self._begin()

    def _go(self) -> None:
        while self._awaits():
            self._bell.clear()
            time.sleep(self.interval_s)
            with self.lock:
                outboxes = list(self._waiting)
                self._waiting.clear()
            for outbox in outboxes:
                self._flush(outbox)

    def _awaits(self) -> bool:
        """Wait for something to say; False once that took too long, and the thread ends."""
        if self._bell.wait(IDLE_S):
            return True
        with self.lock:
            if not self._waiting:
                self._thread = None
            return bool(self._waiting)

    def _flush(self, outbox: Outbox) -> None:
        try:
            again = outbox.flush()
        except Exception:  # its chunk is over and its worker gone; nobody hears its lines any more
            return
        if again:
            with self.lock:
                self.remember(outbox)


def _traces(record: logging.LogRecord, patterns: Patterns) -> tuple[str, str] | None:
    if record.exc_info and not record.exc_text:
        record.exc_text = _traceback_text(record.exc_info)
    if not record.exc_text and not record.stack_info:
        return None
    exception, stack = record.exc_text or "", record.stack_info or ""
    most = LONGEST_TRACE_BYTES // (2 if exception and stack else 1)
    return ends(mask(exception, patterns), most), ends(mask(stack, patterns), most)


ROUNDS = Rounds()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ROUNDS.forget)
