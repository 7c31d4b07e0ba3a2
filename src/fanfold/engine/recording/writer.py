"""Carries out what `course` decides: has batches recorded, kept in the journal, and delivered."""

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fanfold.engine.recording import reaping, taking
from fanfold.engine.recording.calls import Caller, Link, Outcome
from fanfold.engine.recording.chores import ASK_S, PRUNE_S, Chore, Chores
from fanfold.engine.recording.course import Course, Deliver, Keep, Record, Rest, facts_of
from fanfold.engine.recording.masking import masked
from fanfold.engine.recording.pruning import Pruning
from fanfold.engine.recording.spool import FOLDER, Spool
from fanfold.engine.recording.trouble import Trouble
from fanfold.ports.history import History
from fanfold.values.errors import HistoryError, HistoryUnavailable, RunTakenOver
from fanfold.values.facts import Batch, FlowRunMade, FlowRunMoved, Receipt, now_us
from fanfold.values.ids import new_id
from fanfold.values.records import Lease, Retention

RECORD, DELIVER, TAKE = "record", "deliver", "take"

logger = logging.getLogger("fanfold.history")


class Stopper(Protocol):
    """Stops a flow run's code, from any thread, without waiting for its end."""

    def __call__(self, error: RunTakenOver | None = None, /) -> None:
        """Stop it: None where somebody asked for it to be cancelled."""
        ...


Watched = dict[str, Stopper]
Answer = Callable[[Lease | Exception | None], None]


class Writer:
    """Writes for as long as its recorder's thread lives. For that thread.

    Args:
        url: Of the history.
        home: Below which the journal is.
        load: Makes the history.
        kept: How long runs are kept.
        rang: Called, in any thread, when `step` is to be called.
    """

    def __init__(
        self,
        url: str,
        home: Path,
        *,
        load: Callable[[], History],
        kept: Retention,
        rang: Callable[[], None],
    ) -> None:
        self.course = Course(new_id())
        self.open: set[str] = set()
        """Runs that were made and aren't over."""
        self._url = url
        self._home = home
        self._pruning = Pruning(kept)
        self._link = Link(url, load)
        self._caller = Caller("fanfold-history-calls", rang)
        self._spool = Spool(home / FOLDER, url)
        self._chores = Chores()
        self._trouble = Trouble(url, self._spool)
        self._asked: deque[tuple[str, Answer]] = deque()
        """Runs that this process wants to drive, and who is told whether it may."""
        self._taken_over: dict[str, RunTakenOver] = {}
        """What the last batch showed to be driven by others by now."""

    def take(self, make: Callable[..., Any], args: tuple[Any, ...], now: float) -> None:
        """Make facts of what was put."""
        try:
            facts = tuple(masked(fact) for fact in facts_of(make(*args)))
        except Exception:  # told; all else that was put is recorded
            logger.warning("Something that happened can't be recorded", exc_info=True)
            return
        for fact in facts:
            if type(fact) is FlowRunMade:
                self.open.add(fact.flow_run_id)
            elif type(fact) is FlowRunMoved and fact.state.final:
                self.open.discard(fact.flow_run_id)
        self.course.add(facts, now)

    def claim(self, flow_run_id: str, answer: Answer) -> None:
        """Lease a run to this process that has ended or died, as soon as the history is free.

        Args:
            flow_run_id: The run.
            answer: Called with the lease, None if another has it, or what failed.
        """
        self._asked.append((flow_run_id, answer))

    def step(self, now: float, watched: Watched, *, closing: bool) -> float | None:
        """Do the next thing, which takes no longer than a write to a disk.

        Args:
            now: On the clock of `time.monotonic`.
            watched: What to call for which runs when they are to be cancelled.
            closing: Nothing is to be begun that can be left to others.

        Returns:
            When to be called again, at the latest; None: when something happens.
        """
        outcome = self._caller.take()
        if outcome is not None:
            self._over(outcome, now, watched)
        match self.course.next(now):
            case Record(batch=batch):
                self._caller.start(RECORD, lambda: self._record(batch))
            case Keep(batch=batch):
                self._keep(batch, now)
            case Deliver():
                self._deliver(now)
            case Rest(until=until):
                return self._chore(now, until, watched, closing)
        return now

    def settled(self) -> bool:
        """Return whether there is nothing left that is worth waiting for."""
        return not self.course.in_memory and (self.course.idle or not self.course.well)

    def end(self, deadline: float) -> None:
        """Let go of everything; what is in memory is lost, and told."""
        if self.course.in_memory:
            self._trouble.lost(self.course.in_memory)
        if not self.course.calling and self._link.opened:
            self._caller.start("close", lambda: self._link.close(abandoned=bool(self.open)))
            outcome = self._caller.wait(max(0.0, deadline - time.monotonic()))
            error = outcome.error if outcome is not None else None
            if error is not None and not isinstance(error, HistoryError):  # those were told before
                logger.info("The history can't be closed as it should", exc_info=error)
        self._caller.end()
        self._spool.close()

    def forget(self) -> None:
        """Touch nothing of the parent's in a forked child."""
        self._spool.forget()

    def _over(self, outcome: Outcome, now: float, watched: Watched) -> None:
        """Take in what became of a call."""
        error, what = outcome.error, outcome.what
        if what == TAKE:
            self._taken(outcome)
        if error is not None:
            self._trouble.why = str(error) or type(error).__name__
            if what in (RECORD, DELIVER) or isinstance(error, HistoryUnavailable):
                self.course.failed(now)
                return
            logger.warning("The history can't be looked after", exc_info=error)
        if what in (RECORD, DELIVER):  # told before those who wait for it go on
            self._trouble.refused(outcome.value)
            _stop(self._taken_over, watched)
        self.course.done(delivered=what == DELIVER)
        match what:
            case "record" | "deliver":
                self._chores.recorded(now)
                if what == DELIVER:
                    self._delivered()
                if not self.course.kept:
                    self._trouble.over()
            case "cancelled":
                _cancel(outcome.value or [], watched)
                self._chores.done(what, now, ASK_S)
            case "renew":
                self._chores.done(what, now, self._link.renewal_s)
            case "prune":
                self._chores.done(what, now, 0.0 if outcome.value else PRUNE_S)
            case "tend":
                self._chores.done(what, now, None)
            case _:
                pass

    def _record(self, batch: Batch) -> Receipt:
        receipt = self._link.record(batch)
        if receipt.refused:
            self._taken_over = taking.taken_over(self._link.history(), receipt)
        return receipt

    def _take(self, flow_run_id: str) -> Lease | None:
        if flow_run_id in self.open:  # its lease is this process's, which would be given it
            return None
        return taking.take(self._link.history(), self._link.owner(), flow_run_id)

    def _taken(self, outcome: Outcome) -> None:
        """Tell who asked for a run whether it is this process's now."""
        flow_run_id, answer = self._asked.popleft()
        lease = outcome.value
        if lease is not None:
            self.open.add(flow_run_id)
            self.course.epochs[flow_run_id] = lease.epoch
        answer(outcome.error or lease)

    def _keep(self, batch: Batch, now: float) -> None:
        if self.course.hangs:
            self._trouble.why = "it doesn't answer"
        try:
            self._spool.append(batch)
        except OSError as error:
            self.course.not_kept(now)
            self._trouble.not_kept(error)
        else:
            self.course.was_kept()
            self._trouble.kept()

    def _deliver(self, now: float) -> None:
        try:
            batch = self._spool.first()
        except OSError as error:
            self._trouble.why = str(error)
            self.course.failed(now)
            return
        if batch is None:
            self.course.emptied()
            self._spool.remove()
            return
        self._caller.start(DELIVER, lambda: self._link.record(batch))

    def _delivered(self) -> None:
        self._spool.drop_first()
        if not self.course.kept:
            self._spool.remove()

    def _chore(
        self, now: float, until: float | None, watched: Watched, closing: bool
    ) -> float | None:
        """Do what isn't about batches, if it is time for something; return when to come again."""
        if self._asked and not (self.course.calling or self.course.in_memory):
            flow_run_id = self._asked[0][0]
            self.course.begin(now)
            self._caller.start(TAKE, lambda: self._take(flow_run_id))
            return now
        if not self._link.opened or not self.course.reachable(now):
            return until
        renewing = self._link.renewal_s is not None and bool(self.open)
        self._chores.plan(now, renewing=renewing, watching=bool(watched))
        chore = self._chores.due(now, closing=closing)
        if chore is None:
            ends = (until, self._chores.next(closing=closing))
            return min((end for end in ends if end is not None), default=None)
        self.course.begin(now)
        self._caller.start(chore, self._call(chore))
        return now

    def _call(self, chore: Chore) -> Callable[[], Any]:
        link = self._link
        match chore:
            case "tend":
                return lambda: reaping.tend(link.history(), self._url, self._home)
            case "renew":
                return link.renew
            case "cancelled":
                return link.cancelled
            case "prune":
                return lambda: self._pruning.some(link.history(), now_us())


def _stop(taken_over: dict[str, RunTakenOver], watched: Watched) -> None:
    """Stop runs that others go on with, and tell them so."""
    while taken_over:
        flow_run_id, error = taken_over.popitem()
        stop = watched.pop(flow_run_id, None)
        if stop is None:
            continue
        logger.error("%s", error)
        stop(error)


def _cancel(flow_run_ids: list[str], watched: Watched) -> None:
    for flow_run_id in flow_run_ids:
        cancel = watched.pop(flow_run_id, None)
        if cancel is None:
            continue
        try:
            cancel()
        except Exception:  # told; the history goes on
            logger.warning("Flow run %s can't be cancelled", flow_run_id, exc_info=True)
