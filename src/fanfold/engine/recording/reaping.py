"""Sets right what dead processes left: their journals are delivered, their open runs crashed.

Whoever opens a history does this first. It may be done again, and by many at once: a journal is
held by one process, and a lease goes to one reaper.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from fanfold.engine.recording import spool
from fanfold.engine.recording.calls import owned, record
from fanfold.engine.recording.spool import FOLDER, Spool
from fanfold.ports.history import History
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.facts import (
    Batch,
    Fact,
    FlowRunMade,
    FlowRunMoved,
    TaskRunEnded,
    now_us,
)
from fanfold.values.ids import new_id
from fanfold.values.records import (
    FlowRunRecord,
    FlowRuns,
    Lease,
    Lines,
    States,
    TaskRunRecord,
    TaskRuns,
)
from fanfold.values.states import StateName

TASK_RUNS_AT_ONCE = 1_000
LEASES_AT_ONCE = 100

logger = logging.getLogger("fanfold.history")
_ENDED = bytes(code if StateName(code).final else StateName.CRASHED for code in StateName)
_CRASH = _ENDED + bytes([StateName.CRASHED]) * (256 - len(_ENDED))
"""Translates a column: what isn't final has crashed."""


def tend(history: History, url: str, home: Path, reaper: str = "") -> list[FlowRunRecord]:
    """Deliver the journals of dead processes, then reap; so a run that ended isn't crashed.

    Args:
        history: The history.
        url: By which it was opened.
        home: Below which this machine's journals are.
        reaper: For whom leases are taken over. Who looks often gives his own; else one is made.

    Returns:
        The flow runs that are Crashed now, as they were before.

    Raises:
        HistoryUnavailable: It can't be reached; what is left to do is done by whoever comes next.
    """
    left = spool.found(home / FOLDER, url)
    try:
        for journal in left:
            deliver(history, journal)
    finally:
        for journal in left:
            journal.close()
    reaper = reaper or history.owner()
    try:
        return reap(history, reaper)
    except BaseException:
        with suppress(HistoryUnavailable):  # what failed half way is for others to go on with
            history.abandon(reaper)
        raise


def deliver(history: History, journal: Spool) -> None:
    """Have all of a dead process's journal recorded, and remove it.

    Raises:
        HistoryUnavailable: The journal is left as it is.
    """
    dead = ""
    path = journal.path
    batches = refused = 0
    try:
        while (batch := journal.first()) is not None:
            if not dead and any(type(fact) is FlowRunMade for fact in batch.facts):
                dead = history.owner()
            refused += len(record(history, owned(batch, dead)).refused)
            batches += 1
            journal.drop_first()
        journal.remove()
    except ValueError as error:
        logger.warning("The journal %s is left as it is: %s", path, error)
    except OSError as error:
        logger.warning("The journal %s can't be read: %s", path, error)
    finally:
        if dead:  # its runs that aren't over never will be: the next reaper finds them
            history.abandon(dead)
    if refused:
        logger.warning(
            "%s facts of the journal %s came too late: their runs were taken for crashed",
            *(refused, path),
        )
    elif batches:
        logger.info("The journal %s is delivered", path)


def reap(history: History, owner: str) -> list[FlowRunRecord]:
    """Take over the leases of dead processes, and record their flow runs as Crashed.

    Args:
        history: The history.
        owner: For whom they are taken over, for the moment.

    Returns:
        The flow runs that are Crashed now, as they were before, in no order.

    Raises:
        HistoryUnavailable: It can't be reached; what is left to do is done by whoever comes next.
    """
    crashed: list[FlowRunRecord] = []
    while leases := history.reap(owner, LEASES_AT_ONCE):
        runs = history.read(
            FlowRuns(ids=tuple(lease.name for lease in leases), limit=LEASES_AT_ONCE)
        )
        by_id = {run.id: run for run in runs}
        for lease in leases:
            run = by_id.get(lease.name)
            if run is not None and _is_crashed(run.state):
                crash(history, run, lease)
                crashed.append(run)
        history.release(owner, [lease.name for lease in leases])
        if len(leases) < LEASES_AT_ONCE:
            break
    return crashed


def crash(history: History, run: FlowRunRecord, lease: Lease) -> None:
    """Record that a run and all that was open in it have crashed, which ends the lease.

    Args:
        history: The history.
        run: The run, as it is recorded.
        lease: Under which that is written.

    Raises:
        HistoryUnavailable: Some of it isn't recorded; it may be done again.
    """
    writer, number, epochs = new_id(), 0, {run.id: lease.epoch}
    heard_us = max(run.created_us, run.started_us or 0)
    now = now_us()
    for number, task_runs in enumerate(_open_task_runs(history, run.id), start=1):
        heard_us = max(heard_us, *(one.created_us for one in task_runs))
        facts = tuple(_ended(history, one, now) for one in task_runs)
        record(history, Batch(writer=writer, number=number, facts=facts, epochs=epochs))
    last = history.read(Lines(flow_run_ids=(run.id,), limit=1, last=True))
    heard_us = max(heard_us, *(line.at_us for line in last), 0)
    moved = FlowRunMoved(
        flow_run_id=run.id,
        state=StateName.CRASHED,
        message=_reason(run, heard_us),
        tries=run.tries,
        at_us=now,
    )
    record(history, Batch(writer=writer, number=number + 1, facts=(moved,), epochs=epochs))


def _is_crashed(state: StateName) -> bool:
    """Return whether a run in that state is crashed when nobody holds it any more."""
    # A suspended one has no process: somebody takes it up when it is resumed.
    return not state.final and state is not StateName.SUSPENDED


def _open_task_runs(history: History, flow_run_id: str) -> Iterator[list[TaskRunRecord]]:
    after_id = ""
    while task_runs := history.read(
        TaskRuns(
            flow_run_ids=(flow_run_id,),
            open_only=True,
            after_id=after_id,
            limit=TASK_RUNS_AT_ONCE,
        )
    ):
        yield task_runs
        after_id = task_runs[-1].id


def _ended(history: History, task_run: TaskRunRecord, at_us: int) -> Fact:
    known = b"".join(history.read(States(task_run_id=task_run.id)))
    states = known.ljust(task_run.count, bytes([StateName.PENDING])).translate(_CRASH)
    return TaskRunEnded(
        flow_run_id=task_run.flow_run_id,
        task_run_id=task_run.id,
        states=states,
        seconds=task_run.seconds,
        cpu_s=task_run.cpu_s,
        peak_bytes=task_run.peak_bytes,
        rise_bytes=task_run.rise_bytes,
        at_us=at_us,
    )


def _reason(run: FlowRunRecord, heard_us: int) -> str:
    process = f"Process {run.process}" if run.process else "Its process"
    where = f" on {run.host}" if run.host else ""
    heard = datetime.fromtimestamp(heard_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{process}{where} ended without a word; last heard of at {heard}."
