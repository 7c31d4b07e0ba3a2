"""Puts what runs log into the history: a handler that hands records to the recorder.

It sits on the logger of Fanfold and on the extra ones. What others see is as if it weren't there.
A line costs the thread that logs some 2 µs: what it takes to make a fact of it is done by the
recorder's thread. A record that goes home from a worker is taken by the driver alone.

A flow run's lines are taken up to a limit, warnings and worse a little further, and counted beyond
it, without a lock: drawing from an `itertools.count` is one step for the interpreter.
"""

import logging
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, Literal

from fanfold.engine import settings
from fanfold.engine.context import current
from fanfold.engine.recording import masking, recorder, sinks
from fanfold.engine.recording.bundles import DROPPED
from fanfold.engine.recording.sending import sink_of
from fanfold.engine.recording.sinks import Sink

LONGEST_LINE = 64 << 10
"""Characters of a message that are kept; a longer one is cut, and says so."""
UNHEARD = "fanfold.history"
"""The recorder's own logger: a line of the history about the history could make another."""
SPARED = 0.1
"""Warnings and worse are recorded beyond the limit: so many more, as a part of it."""
REPORT_EVERY = 1_000
"""Dropped lines are told of about so many at a time."""
RUNS_KEPT = 1_000
"""Flow runs whose lines are counted on after their end, as stragglers may log."""

_ATOMS = frozenset({str, int, float, bool, type(None), bytes, complex})
"""Types of arguments that can't change until a line is formatted in another thread."""
_traceback_text = logging.Formatter().formatException


class RunLines:
    """The lines of one flow run: so many are recorded, the others counted. Thread-safe.

    Args:
        flow_run_id: Under which they are recorded.
        sink: Takes them.
        limit: How many to record.
    """

    def __init__(self, flow_run_id: str, sink: Sink, limit: int) -> None:
        self.flow_run_id = flow_run_id
        self.sink = sink
        self.over = False
        self._put = sink.put
        self._limit = limit
        self._taken = count()
        self._spared = count()
        self._dropped = count()
        self._lost = 0
        self._lock = threading.Lock()
        self._looks = 0
        self._told = 0

    def take(self, record: logging.LogRecord) -> None:
        """Record a line, or count it."""
        if next(self._taken) >= self._limit and not self._spares(record):
            if getattr(record, DROPPED, 0):  # those are counted already
                return
            if next(self._dropped) % REPORT_EVERY == 0 or self.over:
                self.report()
            return
        more = record.exc_info or record.exc_text or record.stack_info
        if more or not _constant(record.msg, record.args):
            # Formatted here and now: an exception would keep all that its frames hold alive.
            self._put(sinks.line, self.flow_run_id, _said(record), _short(_text(record)))
        else:
            self._put(_line_of, self.flow_run_id, record)

    def lost(self, number: int) -> None:
        """Count lines that were dropped before they got here."""
        with self._lock:
            self._lost += number
        self.report()

    def end(self) -> None:
        """Tell how many were dropped; from now on, those that still come are told one by one."""
        self.over = True
        self.report()

    def report(self) -> None:
        """Tell how many were dropped since the last time."""
        with self._lock:
            # Looking draws a number as well.
            dropped = next(self._dropped) - self._looks + self._lost
            self._looks += 1
            more, self._told = dropped - self._told, dropped
        if more:
            self._put(sinks.lines_dropped, self.flow_run_id, more)

    def _spares(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return False
        return next(self._spared) < int(self._limit * SPARED)


class LinesHandler(logging.Handler):
    """Takes the records that are made inside of runs. Takes no lock, so it never waits."""

    def __init__(self) -> None:
        super().__init__()
        self.several = False
        """Whether it sits on several loggers, so that it may be given a record twice."""
        self._last = threading.local()

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record, if it is of a run that is recorded from here."""
        if self.several and self._again(record):
            return True
        run = _retold.get()
        if run is None:
            run = _here()
        if run and record.name != UNHEARD:
            run.take(record)
        if record.levelno >= logging.WARNING:
            self._show_unseen(record)
        return True

    def _again(self, record: logging.LogRecord) -> bool:
        mark = (id(record), record.created)
        if getattr(self._last, "mark", None) == mark:
            return True
        self._last.mark = mark
        return False

    def _show_unseen(self, record: logging.LogRecord) -> None:
        """Do what logging does with warnings where no handler is: without us it would."""
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and not self.others(record.name):
            last.handle(record)

    def others(self, name: str) -> bool:
        """Return whether any other handler gets the records of a logger."""
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


HANDLER = LinesHandler()
_retold: ContextVar[RunLines | Literal[False] | None] = ContextVar("fanfold_retold", default=None)
"""Whose line came home from another process and is logged here; False if it isn't recorded."""
_runs: dict[str, RunLines] = {}
_opening = threading.Lock()


def listen(loggers: Sequence[str]) -> None:
    """Take the records of these loggers from now on; idempotent."""
    for name in loggers:
        logger = logging.getLogger(name)
        if HANDLER not in logger.handlers:
            logger.addHandler(HANDLER)
    if len(loggers) > 1:
        HANDLER.several = True


def begin(flow_run_id: str, sink: Sink) -> RunLines:
    """Have a flow run's lines recorded, up to the limit that holds here; idempotent.

    Called by the first line that is logged in the run's context, if by nobody before.
    """
    with _opening:
        if flow_run_id not in _runs:
            masking.heed(flow_run_id)
            if len(_runs) >= RUNS_KEPT:
                _forget()
            limit = settings.current().history_lines_per_run
            _runs[flow_run_id] = RunLines(flow_run_id, sink, limit)
        return _runs[flow_run_id]


def over(flow_run_id: str) -> None:
    """Tell how many lines of a flow run were dropped, at its end; before its last state is told."""
    run = _runs.get(flow_run_id)
    if run is not None:
        run.end()


def lost(flow_run_ids: Sequence[str], number: int) -> None:
    """Count lines of a flow run that were dropped on their way here.

    Args:
        flow_run_ids: As for `retelling`.
        number: How many.
    """
    run = _from_home(flow_run_ids)
    if run is not None:
        run.lost(number)


@contextmanager
def retelling(flow_run_ids: Sequence[str]) -> Generator[None]:
    """Let what is logged inside be lines of a flow run, not of the code that is around.

    Args:
        flow_run_ids: The run that they are recorded under, then those that called it, from the
            inside out; empty if they aren't recorded.
    """
    token = _retold.set(_from_home(flow_run_ids) or False)
    try:
        yield
    finally:
        _retold.reset(token)


def _here() -> RunLines | None:
    context = current()
    if context is None or context.send is not None:
        return None
    under = context.info.recorded_under
    if not under:
        return None
    run = _runs.get(under)
    if run is None and (sink := sink_of(context)) is not None:
        run = begin(under, sink)
    return run


def _from_home(flow_run_ids: Sequence[str]) -> RunLines | None:
    """Return a run that may be known here only by one that called it."""
    if not flow_run_ids:
        return None
    for known in flow_run_ids:
        run = _runs.get(known)
        if run is not None:
            return run if known == flow_run_ids[0] else begin(flow_run_ids[0], run.sink)
    sink = recorder.current()
    return begin(flow_run_ids[0], sink) if sink is not None else None


def _forget() -> None:
    """Forget runs that are over, or else the oldest ones."""
    known = list(_runs.values())
    for run in [run for run in known if run.over] or known[: RUNS_KEPT // 10]:
        run.end()
        del _runs[run.flow_run_id]


def _constant(message: object, args: Any) -> bool:
    if type(message) is not str:
        return False
    if not args:
        return True
    return type(args) is tuple and _ATOMS.issuperset(map(type, args))


def _line_of(flow_run_id: str, record: logging.LogRecord) -> Any:
    return sinks.line(flow_run_id, _said(record), _short(message(record)))


def _said(record: logging.LogRecord) -> tuple[Any, ...]:
    said = record.__dict__
    return (
        *(said.get("task_run_id"), said.get("map_index"), said.get("attempt")),
        *(record.levelno, record.name, record.created),
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LINE else cut(text)


def cut(text: str) -> str:
    """Return a text that isn't too long to be kept; masked before, so that no secret is halved."""
    text = masking.mask(text)
    left = len(text) - LONGEST_LINE
    return f"{text[:LONGEST_LINE]}... ({left:,} more characters)" if left > 0 else text


def message(record: logging.LogRecord) -> str:
    """Return a record's message; never raises."""
    try:
        return record.getMessage()
    except Exception:  # as it was written is all there is; other handlers tell of the mistake
        return f"{record.msg!s} (with arguments that don't fit)"


def _text(record: logging.LogRecord) -> str:
    """Return the message, and below it the exception and the stack, as logging shows them."""
    parts = [message(record)]
    parts += [record.exc_text or _traceback(record), record.stack_info]
    return "\n".join(part.rstrip("\n") for part in parts if part)


def _traceback(record: logging.LogRecord) -> str:
    info = record.exc_info
    return _traceback_text(info) if isinstance(info, tuple) and info[0] is not None else ""
