"""Who drives a flow run: takes one that has ended or died for this process, and tells who has it.

A run is taken by its lease, which one of those who want it gets. Whoever has it may open the run
again (`FlowRunResumed`), in the lease's epoch; what older drivers say is refused from then on.
"""

from contextlib import suppress

from fanfold.engine.recording.reaping import crash
from fanfold.ports.history import History
from fanfold.values.errors import HistoryError, RunTakenOver
from fanfold.values.facts import Receipt
from fanfold.values.records import FlowRunRecord, FlowRuns, Lease
from fanfold.values.states import RESUMABLE


def take(history: History, owner: str, flow_run_id: str) -> Lease | None:
    """Lease a run that can be resumed; None if another holds it, or there is nothing to resume.

    One whose driver is dead, and that nobody has ended yet, is Crashed by that.

    Raises:
        HistoryUnavailable: It can't be reached.
    """
    lease = history.take(flow_run_id, owner)
    if lease is None:
        return None
    record = recorded(history, flow_run_id)
    if record is not None and not record.state.final:
        crash(history, record, lease)  # which ends the lease, as every end does
        lease = history.take(flow_run_id, owner)
        record = recorded(history, flow_run_id)
    if lease is not None and (record is None or record.state not in RESUMABLE):
        history.release(owner, [flow_run_id])
        return None
    return lease


def recorded(history: History, flow_run_id: str) -> FlowRunRecord | None:
    """Return what is recorded of a run, None if it isn't known.

    Raises:
        HistoryUnavailable: It can't be reached.
    """
    found = history.read(FlowRuns(ids=(flow_run_id,)))
    return found[0] if found else None


def is_driven(record: FlowRunRecord) -> bool:
    """Return whether the process that a record names is the one that drives the run."""
    return not record.state.final and record.driver_epoch == record.epoch


def since_us(record: FlowRunRecord) -> int:
    """Return since when a run's driver drives it."""
    return record.driver_since_us or record.created_us


def taken_over(history: History, receipt: Receipt) -> dict[str, RunTakenOver]:
    """Return which runs others go on with, as what a history refused shows, and who does.

    One that was only taken for dead isn't among them: its driver may as well go on.
    """
    errors: dict[str, RunTakenOver] = {}
    for flow_run_id in {told.fact.flow_run_id for told in receipt.refused if told.epoch}:
        record = None
        with suppress(HistoryError):  # the next batch shows it again
            record = recorded(history, flow_run_id)
        if record is not None and record.resumed:
            whose = (record.host, record.process, since_us(record))
            errors[flow_run_id] = RunTakenOver(flow_run_id, *whose)
    return errors
