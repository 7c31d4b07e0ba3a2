"""What chunks in other processes have logged: handed to the loggers here, in a thread of its own.

Whoever hears a message only puts it into a queue, for a handler of somebody's may take its time. A
chunk's report goes through the same queue, so its lines are there before it. If handlers are too
slow for what comes, lines wait up to a bound and are counted beyond it, warnings as the last.
"""

import atexit
import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial

from fanfold.engine.recording import lines
from fanfold.engine.recording.bundles import Line, Said, opened, record_of

MOST_BYTES = 4 << 20
"""Of messages that wait: some 40,000 lines, which take a second or two."""
IDLE_S = 2.0
"""The thread ends if it has heard nothing for so long."""
EXIT_S = 1.0
"""That the end of the process waits for lines of runs that it has left."""

logger = logging.getLogger("fanfold.engine")


class Ears:
    """Takes messages with lines, and what is to be done after them. Thread-safe."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._queue: deque[tuple[int, Callable[[], None]]] = deque()
        """What is to be done, with the bytes that it holds."""
        self._waiting_bytes = 0
        self._missed: dict[tuple[str | None, ...], _Missed] = {}
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def take(self, chunk_id: str, message: bytes) -> None:
        """Take a message; only enqueues."""
        with self._changed:
            full = self._waiting_bytes >= MOST_BYTES
            full_of_urgent = self._waiting_bytes >= 2 * MOST_BYTES
        if not full:
            self._put(len(message), partial(retell, chunk_id, message))
            return
        said = opened(message)
        kept: list[Line] = []
        missed: list[Line] = []
        for line in said.lines:
            spared = not full_of_urgent and _urgent(said, line)
            (kept if spared else missed).append(line)
        self._miss(said, missed)
        if kept:
            rest = said._replace(lines=kept)
            self._put(sum(len(each.text) for each in kept), partial(hand_over, rest))

    def then(self, call: Callable[[], None]) -> None:
        """Call something once all that was taken before is handed over; now, if it is."""
        with self._changed:
            idle = not self._queue and not self._busy
        if idle:
            call()
        else:
            self._put(0, call)

    def drained(self, timeout_s: float) -> bool:
        """Wait until all that was taken is handed over; return whether that was in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._queue and not self._busy, timeout=timeout_s
            )

    def forget(self) -> None:
        """Start anew in a forked child: what was heard is the parent's to tell."""
        self._begin()

    def _put(self, size: int, call: Callable[[], None]) -> None:
        with self._changed:
            self._queue.append((size, call))
            self._waiting_bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._go, name="fanfold-ears", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _go(self) -> None:
        while self._awaits():
            size, call = self._queue.popleft()
            try:
                call()
            except Exception:  # a message that nobody can read; the next one counts
                logger.exception("Lines of a run could not be read")
            with self._changed:
                self._waiting_bytes -= size
                missed = {}
                if self._waiting_bytes < MOST_BYTES / 2:
                    missed, self._missed = self._missed, {}
            for each in missed.values():
                hand_over(each.told())
            del call

    def _awaits(self) -> bool:
        """Wait for something to do; False once that took too long, and the thread ends."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._queue, timeout=IDLE_S):
                self._thread = None
                return False
            self._busy = True
            return True

    def _miss(self, said: Said, missed: list[Line]) -> None:
        with self._changed:
            for line in missed:
                speaker = said.speakers[line.speaker]
                key = (*speaker.under, *speaker.task)
                level = said.places[line.place].level
                if key not in self._missed:
                    self._missed[key] = _Missed(said, line)
                self._missed[key].counts.update(line.dropped or {level: 1})


class _Missed:
    """Lines of one run that nobody had the time for."""

    def __init__(self, said: Said, first: Line) -> None:
        self._said = Said([said.speakers[first.speaker]], [said.places[first.place]], [])
        self._first = first
        self.counts: Counter[int] = Counter()

    def told(self) -> Said:
        """Return a line that stands for them."""
        level = max(self.counts)
        place = self._said.places[0]._replace(level=level, level_name=logging.getLevelName(level))
        line = self._first._replace(
            speaker=0, place=0, text="", traces=None, dropped=dict(self.counts)
        )
        return self._said._replace(places=[place], lines=[line])


def retell(chunk_id: str, message: bytes) -> None:
    """Log what a chunk said, here and now."""
    hand_over(opened(message))


def hand_over(said: Said) -> None:
    """Log lines here and now."""
    for line in said.lines:
        under = said.speakers[line.speaker].under
        if (dropped := line.dropped) is not None:
            line = line._replace(text=_told(dropped))
            lines.lost(under, sum(dropped.values()))
        record = record_of(said, line)
        taker = logging.getLogger(record.name)
        if not taker.isEnabledFor(record.levelno):
            continue
        try:
            with lines.retelling(under):
                taker.handle(record)
        except Exception:  # a mistake of somebody's handler or filter: the next line counts
            logger.exception("A line of a run could not be told")


def _told(dropped: Mapping[int, int]) -> str:
    count = sum(dropped.values())
    levels = ", ".join(
        f"{each:,} {logging.getLevelName(level)}" for level, each in sorted(dropped.items())
    )
    verb = "lines were" if count != 1 else "line was"
    return f"... {count:,} {verb} dropped here, as so many came at once ({levels})"


def _urgent(said: Said, line: Line) -> bool:
    return line.dropped is None and said.places[line.place].level >= logging.WARNING


EARS = Ears()
atexit.register(EARS.drained, EXIT_S)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=EARS.forget)
