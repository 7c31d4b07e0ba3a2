"""Bugs to plant into the history in memory: what is recorded, and who may record it."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.adapters.history.memory_tables import Tables
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.facts import (
    ArtifactChanged,
    Batch,
    ElementTold,
    Fact,
    FlowRunMade,
    FlowRunMoved,
    LinesDropped,
    LogLine,
    Receipt,
    Refusal,
    TaskRunEnded,
    TaskRunMade,
)
from fanfold.values.records import Document, FlowRuns, Lease
from fanfold.values.states import StateName

MET_S = 0.2
"""For threads to meet at the place of a race; longer than that none is waited for."""


of_urls: dict[str, dict[Any, Any]] = {}
"""What the bugs of all objects of one URL share."""


class Bug(MemoryHistory):
    """What the bugs are made of."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.at = of_urls.setdefault(self.url, {"objects": 0})
        self.at["objects"] += 1
        self.position = self.at["objects"]

    @property
    def tables(self) -> Tables:
        return self._store.tables

    def facts_of(self, batch: Batch, keep: Callable[[Fact], bool]) -> Batch:
        return replace(batch, facts=tuple(fact for fact in batch.facts if keep(fact)))

    def meet(self, parties: int) -> None:
        """Wait for other threads at the place of a race; they share all objects of the URL."""
        with self._store.lock:
            barrier = self.at.setdefault("barrier", threading.Barrier(parties))
        with suppress(threading.BrokenBarrierError):
            barrier.wait(MET_S)


def aside() -> bool:
    return threading.current_thread() is not threading.main_thread()


class WritesHalves(Bug):
    def record(self, batch: Batch) -> Receipt:
        if len(batch.facts) != 2 or not all(isinstance(f, FlowRunMade) for f in batch.facts):
            return super().record(batch)
        read = self.at["read"] = threading.Event()
        first = super().record(replace(batch, facts=batch.facts[:1]))
        read.wait(MET_S)
        super().record(replace(batch, writer=f"{batch.writer}-2", facts=batch.facts[1:]))
        return first

    def read(self, query: Any) -> list[Any]:
        found = super().read(query)
        self.at.get("read", threading.Event()).set()
        return found


class LosesWithTheProcess(Bug):
    closed = False
    made: tuple[str, ...] = ()

    def record(self, batch: Batch) -> Receipt:
        self.made += tuple(f.flow_run_id for f in batch.facts if isinstance(f, FlowRunMade))
        return super().record(batch)

    def close(self) -> None:
        self.closed = True
        super().close()

    def __del__(self) -> None:
        if not self.closed:
            for run in self.made:
                self.tables.flow_runs.pop(run, None)


class KnowsTheLastBatchOnly(Bug):
    def record(self, batch: Batch) -> Receipt:
        if batch.number != self.tables.numbers.get(batch.writer):
            self.tables.numbers.pop(batch.writer, None)
        return super().record(batch)


class CountsAllWriters(Bug):
    def record(self, batch: Batch) -> Receipt:
        last = max(self.tables.numbers.values(), default=0)
        if all(isinstance(fact, LogLine) for fact in batch.facts) and batch.number <= last:
            return Receipt(again=True)
        return super().record(batch)


class HearsTwoAtOnce(Bug):
    def record(self, batch: Batch) -> Receipt:
        new = batch.number > self.tables.numbers.get(batch.writer, 0)
        if new and aside() and isinstance(batch.facts[0], LogLine):
            self.meet(2)
            self.tables.numbers.pop(batch.writer, None)
        return super().record(batch)


class DropsTheRest(Bug):
    def record(self, batch: Batch) -> Receipt:
        before = len(self.tables.lines)
        receipt = super().record(batch)
        if any(isinstance(refusal.fact, LogLine) for refusal in receipt.refused):
            del self.tables.lines[before:]
        return receipt


class TakesDropsOfUnknownRuns(Bug):
    def record(self, batch: Batch) -> Receipt:
        made = {fact.flow_run_id for fact in batch.facts if isinstance(fact, FlowRunMade)}
        known = made | set(self.tables.flow_runs)

        def is_kept(fact: Fact) -> bool:
            return not isinstance(fact, LinesDropped) or fact.flow_run_id in known

        return super().record(self.facts_of(batch, is_kept))


class RefusesLooseArtifacts(Bug):
    def record(self, batch: Batch) -> Receipt:
        receipt = super().record(batch)
        loose = tuple(
            Refusal(fact=fact, reason="no run")
            for fact in batch.facts
            if isinstance(fact, ArtifactChanged) and not fact.flow_run_id
        )
        return replace(receipt, refused=receipt.refused + loose)


class IgnoresEpochs(Bug):
    def record(self, batch: Batch) -> Receipt:
        epochs = {name: held.epoch for name, held in self.tables.leases.items()}
        return super().record(replace(batch, epochs=epochs))


class NeverResumes(Bug):
    def record(self, batch: Batch) -> Receipt:
        def resumes(fact: Fact) -> bool:
            return isinstance(fact, FlowRunMoved) and fact.state is StateName.RESUMING

        receipt = super().record(self.facts_of(batch, lambda fact: not resumes(fact)))
        more = tuple(Refusal(fact=fact, reason="no") for fact in batch.facts if resumes(fact))
        return replace(receipt, refused=receipt.refused + more)


class ForgetsEnds(Bug):
    def record(self, batch: Batch) -> Receipt:
        for fact in batch.facts:
            run = self.tables.flow_runs.get(fact.flow_run_id)
            if run and isinstance(fact, FlowRunMoved) and run.state is StateName.FAILED:
                self.tables.flow_runs[run.id] = replace(run, state=StateName.RUNNING)
        return super().record(batch)


class TakesRepeatsForMoves(Bug):
    def record(self, batch: Batch) -> Receipt:
        receipt = super().record(batch)
        for fact in batch.facts:
            run = self.tables.flow_runs.get(fact.flow_run_id)
            if run and isinstance(fact, FlowRunMoved) and run.state is fact.state and fact.tries:
                self.tables.flow_runs[run.id] = replace(run, tries=fact.tries)
        return receipt


class KeepsTheLease(Bug):
    def record(self, batch: Batch) -> Receipt:
        before = {name: held.owner for name, held in self.tables.leases.items()}
        receipt = super().record(batch)
        for name, owner in before.items():
            self.tables.leases[name].owner = owner
        return receipt


class EndsTaskRunsAgain(Bug):
    def record(self, batch: Batch) -> Receipt:
        receipt = super().record(batch)
        if [fact for fact in batch.facts if not isinstance(fact, TaskRunEnded)]:
            return receipt
        return replace(receipt, refused=())


class TakesChunksTwice(Bug):
    def record(self, batch: Batch) -> Receipt:
        receipt = super().record(batch)
        kept = [r for r in receipt.refused if "Chunk" not in r.reason]
        return replace(receipt, refused=tuple(kept))


class KeepsTheFirstOfAnElement(Bug):
    def record(self, batch: Batch) -> Receipt:
        def is_new(fact: Fact) -> bool:
            run = self.tables.task_runs.get(getattr(fact, "task_run_id", ""))
            return not (isinstance(fact, ElementTold) and run and fact.index in run.elements)

        return super().record(self.facts_of(batch, is_new))


class DropsElementsOfUnknownRuns(Bug):
    def record(self, batch: Batch) -> Receipt:
        made = {f.flow_run_id for f in batch.facts if isinstance(f, FlowRunMade)}
        tasks = {f.task_run_id for f in batch.facts if isinstance(f, TaskRunMade)}

        def is_lost(fact: Fact) -> bool:
            unknown = isinstance(fact, ElementTold) and fact.task_run_id not in tasks
            return unknown and fact.flow_run_id in made

        return super().record(self.facts_of(batch, lambda fact: not is_lost(fact)))


class ReadsOnce(Bug):
    answers: Any = None

    def record(self, batch: Batch) -> Receipt:
        self.answers = None
        return super().record(batch)

    def prune(self, *args: Any) -> int:
        self.answers = None
        return super().prune(*args)

    def read(self, query: Any) -> list[Any]:
        if query != FlowRuns():
            return super().read(query)
        if self.answers is None:
            self.answers = super().read(query)
        return list(self.answers)


class SeesItsOwnRuns(Bug):
    made: tuple[str, ...] = ()

    def record(self, batch: Batch) -> Receipt:
        self.made += tuple(f.flow_run_id for f in batch.facts if isinstance(f, FlowRunMade))
        return super().record(batch)

    def read(self, query: Any) -> list[Any]:
        found = super().read(query)
        if not self.made or not isinstance(query, FlowRuns):
            return found
        return [run for run in found if run.id in self.made]


class HidesOutages(Bug):
    def get(self, kind: str, name: str) -> Document | None:
        with suppress(HistoryUnavailable):
            return super().get(kind, name)
        return None


class CutsAtNul(Bug):
    def record(self, batch: Batch) -> Receipt:
        facts = [
            replace(fact, message=fact.message.split("\0")[0])
            if isinstance(fact, LogLine)
            else fact
            for fact in batch.facts
        ]
        return super().record(replace(batch, facts=tuple(facts)))


class KnowsOneThread(Bug):
    writer: int | None = None

    def record(self, batch: Batch) -> Receipt:
        if all(isinstance(fact, FlowRunMade) for fact in batch.facts):
            self.writer = self.writer or threading.get_ident()
            if self.writer != threading.get_ident():
                return Receipt()
        return super().record(batch)


class MovesTheStart(Bug):
    def record(self, batch: Batch) -> Receipt:
        receipt = super().record(batch)
        for fact in batch.facts:
            if isinstance(fact, FlowRunMoved) and fact.state is StateName.RETRYING:
                run = self.tables.flow_runs[fact.flow_run_id]
                self.tables.flow_runs[run.id] = replace(run, started_us=fact.at_us)
        return receipt


class DropsDescriptions(Bug):
    def record(self, batch: Batch) -> Receipt:
        receipt = super().record(batch)
        for fact in batch.facts:
            if isinstance(fact, ArtifactChanged) and fact.artifact_id in self.tables.artifacts:
                shown = self.tables.artifacts[fact.artifact_id]
                described = replace(shown, description=fact.description or "")
                self.tables.artifacts[shown.id] = described
        return receipt


class NamesOwnersTwice(Bug):
    def owner(self) -> str:
        made = super().owner()
        return self._owners[0] if self.position > 1 and len(self._owners) == 3 else made


class CutsNames(Bug):
    def take(self, name: str, owner: str) -> Lease | None:
        return super().take(name.split()[0], owner)


class YieldsToOthers(Bug):
    def take(self, name: str, owner: str) -> Lease | None:
        contested = self.at.setdefault("contested", set())
        if name in contested:
            self.tables.leases[name].owner = ""
        lease = super().take(name, owner)
        if lease is None and not aside() and self.tables.leases[name].owner not in self._owners:
            contested.add(name)
        return lease


class LeasesToAll(Bug):
    def take(self, name: str, owner: str) -> Lease | None:
        if aside() and name not in self.tables.leases:
            self.meet(4)
            self.tables.leases.pop(name, None)
        return super().take(name, owner)


class KeepsTheEpoch(Bug):
    def take(self, name: str, owner: str) -> Lease | None:
        last = self.at.setdefault("last", {})
        held = self.tables.leases.get(name)
        if held and held.owner == "" and last.get(name) == owner:
            held.owner = owner
        last[name] = owner
        return super().take(name, owner)


class ReleasesForOthers(Bug):
    def release(self, owner: str, names: Any = None) -> None:
        super().release(owner, names)
        for name in names or ():
            if name in self.tables.leases:
                self.tables.leases[name].owner = ""


class NeverRenews(Bug):
    def renew(self, owner: str) -> None:
        """Do nothing."""


class ReapsItsOwn(Bug):
    def reap(self, owner: str, limit: int = 100) -> list[Lease]:
        reaped = self.at.setdefault("reaped", {})
        again = list(reaped.get(owner, []))
        reaped[owner] = super().reap(owner, limit)
        return again + reaped[owner]


class WaitsForReapers(Bug):
    def take(self, name: str, owner: str) -> Lease | None:
        held = self.tables.leases.get(name)
        if held and held.owner not in {"", owner} and "gone" not in held.owner:
            return None
        return super().take(name, owner)


class SeesDeathTooSoon(Bug):
    def __del__(self) -> None:
        for owner in self._owners:
            self._store.until.pop(owner, None)


class TrustsStrangers(Bug):
    def _is_gone(self, owner: str) -> bool:
        known = owner in self._store.until or "gone" in owner
        return known and super()._is_gone(owner)


class ReapsAll(Bug):
    def reap(self, owner: str, limit: int = 100) -> list[Lease]:
        return super().reap(owner)


class ReapsForAll(Bug):
    def reap(self, owner: str, limit: int = 100) -> list[Lease]:
        if not aside():
            return super().reap(owner, limit)
        found = [name for name, held in self.tables.leases.items() if self._is_gone(held.owner)]
        self.meet(3)
        return [Lease(name=name, owner=owner, epoch=2) for name in found]


class ReapsOnce(Bug):
    def reap(self, owner: str, limit: int = 100) -> list[Lease]:
        seen = self.at.setdefault("seen", set())
        found = [lease for lease in super().reap(owner, limit) if lease.name not in seen]
        seen |= {lease.name for lease in found}
        return found


class OnlyReleases(Bug):
    def abandon(self, owner: str) -> None:
        self.release(owner)


class TellsItselfAlone(Bug):
    asked: tuple[str, ...] = ()

    def cancel(self, flow_run_id: str) -> bool:
        self.asked += (flow_run_id,)
        return super().cancel(flow_run_id)

    def cancelled(self, owner: str) -> list[str]:
        return [run for run in super().cancelled(owner) if run in self.asked]


class ForgetsToCancel(Bug):
    def record(self, batch: Batch) -> Receipt:
        for fact in batch.facts:
            run = self.tables.flow_runs.get(fact.flow_run_id)
            if run and isinstance(fact, FlowRunMoved):
                self.tables.flow_runs[run.id] = replace(run, cancel_asked=False)
        return super().record(batch)


class CancelsWhatIsOver(Bug):
    def cancel(self, flow_run_id: str) -> bool:
        return super().cancel(flow_run_id) or flow_run_id in self.tables.flow_runs


class KeepsLeasesWhenClosed(Bug):
    def close(self) -> None:
        """Do nothing."""
