"""Bugs to plant into the history in memory: how it opens runs again that have ended."""

from dataclasses import replace
from typing import Any

from fanfold.values.facts import Batch, FlowRunResumed, Receipt, Refusal
from fanfold.values.records import Lease
from fanfold.values.states import StateName
from tests.histories.planted import Bug


class Resumes(Bug):
    """What these bugs are made of: how a run was before it was resumed, and is then."""

    def record(self, batch: Batch) -> Receipt:
        before = dict(self.tables.flow_runs)
        receipt = super().record(batch)
        refused = {id(refusal.fact) for refusal in receipt.refused}
        for fact in batch.facts:
            if isinstance(fact, FlowRunResumed) and id(fact) not in refused:
                run = fact.flow_run_id
                changes = self.changes(before[run], fact)
                self.tables.flow_runs[run] = replace(self.tables.flow_runs[run], **changes)
        return receipt

    def changes(self, before: Any, fact: FlowRunResumed) -> dict[str, Any]:
        return {}


class KeepsTheHost(Resumes):
    def changes(self, before: Any, fact: FlowRunResumed) -> dict[str, Any]:
        return {"host": before.host}


class CountsOneResume(Resumes):
    def changes(self, before: Any, fact: FlowRunResumed) -> dict[str, Any]:
        return {"resumed": 1}


class KeepsTheWish(Resumes):
    def changes(self, before: Any, fact: FlowRunResumed) -> dict[str, Any]:
        return {"cancel_asked": before.cancel_asked}


class ResumesNoTimedOut(Bug):
    def record(self, batch: Batch) -> Receipt:
        runs = self.tables.flow_runs
        timed_out = tuple(
            fact
            for fact in batch.facts
            if isinstance(fact, FlowRunResumed)
            and fact.flow_run_id in runs
            and runs[fact.flow_run_id].state is StateName.TIMED_OUT
        )
        receipt = super().record(self.facts_of(batch, lambda fact: fact not in timed_out))
        more = tuple(Refusal(fact=fact, reason="no") for fact in timed_out)
        return replace(receipt, refused=receipt.refused + more)


class HidesTheEpoch(Bug):
    def record(self, batch: Batch) -> Receipt:
        receipt = super().record(batch)
        hidden = tuple(replace(refusal, epoch=0) for refusal in receipt.refused)
        return replace(receipt, refused=hidden)


class TakesReapersForDrivers(Bug):
    def reap(self, owner: str, limit: int = 100) -> list[Lease]:
        leases = super().reap(owner, limit)
        for lease in leases:
            run = self.tables.flow_runs.get(lease.name)
            if run is not None:
                self.tables.flow_runs[run.id] = replace(run, driver_epoch=lease.epoch)
        return leases
