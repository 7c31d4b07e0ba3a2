"""Bugs to plant into the history in memory: what it answers, its documents, what it removes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fanfold.adapters.history import rules
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.facts import Batch, FlowRunMade, Receipt, Refusal
from fanfold.values.records import (
    Artifacts,
    Chunks,
    Document,
    ElementRecord,
    Elements,
    FailureGroups,
    FlowArguments,
    FlowRunRecord,
    FlowRuns,
    Keys,
    LineRecord,
    Lines,
    Retention,
    States,
    Status,
    TaskRunRecord,
    TaskRuns,
    TaskTotal,
)
from tests.histories.planted import Bug, aside


def asking(kind: type[Any], change: Callable[[Any], Any]) -> type[Bug]:
    """Return a history that takes questions of a kind for others."""

    class Asks(Bug):
        def read(self, query: Any) -> list[Any]:
            return super().read(change(query) if isinstance(query, kind) else query)

    return Asks


def telling(kind: type[Any], **wrong: Any) -> type[Bug]:
    """Return a history that tells records of a kind with a field that is wrong."""

    class Tells(Bug):
        def read(self, query: Any) -> list[Any]:
            return [
                replace(told, **wrong) if isinstance(told, kind) else told
                for told in super().read(query)
            ]

    return Tells


def answering(kind: type[Any], change: Callable[[list[Any]], list[Any]]) -> type[Bug]:
    """Return a history that changes the answers to questions of a kind."""

    class Answers(Bug):
        def read(self, query: Any) -> list[Any]:
            found = super().read(query)
            return change(found) if isinstance(query, kind) else found

    return Answers


LosesTheVersion = telling(FlowRunRecord, version=None)
LosesTheEpoch = telling(FlowRunRecord, epoch=1)
LosesTheStream = telling(TaskRunRecord, stream="")
LosesRetries = telling(TaskTotal, retries=0)
LosesTheLabel = telling(ElementRecord, label="")
LosesTheAttempt = telling(LineRecord, attempt=0)
MixesUpKeys = answering(Keys, lambda found: found[::-1])
CutsArguments = answering(FlowArguments, lambda found: [kept.split(b"\0")[0] for kept in found])
ForgetsEmptyMaps = answering(States, lambda found: [codes for codes in found if codes])
SortsChunks = answering(Chunks, lambda found: sorted(found, key=lambda home: home.chunk))
RepeatsTheLastRun = asking(
    FlowRuns, lambda query: replace(query, before_id=query.before_id and query.before_id + "0")
)
TakesAnyTag = asking(FlowRuns, lambda query: replace(query, tags=query.tags[:1]))
IgnoresOwners = asking(FlowRuns, lambda query: replace(query, owner=""))
RepeatsTheLastTask = asking(TaskRuns, lambda query: replace(query, after_id=query.after_id[:-1]))
ShowsEndedTasks = asking(TaskRuns, lambda query: replace(query, open_only=False))
IgnoresIndices = asking(Elements, lambda query: replace(query, indices=()))
ShowsAllGroups = asking(FailureGroups, lambda query: replace(query, limit=100))
IgnoresLevels = asking(Lines, lambda query: replace(query, level=0))
RepeatsTheLastLine = asking(Lines, lambda query: replace(query, after_id=query.after_id - 1))
ShowsOldVersions = asking(Artifacts, lambda query: replace(query, latest_only=False))


class KnowsNoOpenStates(Bug):
    def read(self, query: Any) -> list[Any]:
        found = super().read(query)
        run = self.tables.task_runs.get(getattr(query, "task_run_id", ""))
        if isinstance(query, States) and run and run.ended is None:
            return [bytes(run.made.count)]
        return found


class AddsUpChunks(Bug):
    def read(self, query: Any) -> list[Any]:
        def seconds(run: TaskRunRecord) -> float:
            chunks = self.tables.task_runs[run.id].chunks.values()
            return sum(chunk.seconds for chunk in chunks) if chunks else run.seconds

        found = super().read(query)
        if isinstance(query, TaskRuns):
            return [replace(run, seconds=seconds(run)) for run in found]
        return found


class WantsWholeWords(Bug):
    def read(self, query: Any) -> list[Any]:
        found = super().read(query)
        if not isinstance(query, Lines) or not rules.words(query.words):
            return found
        last = rules.words(query.words)[-1]
        return [line for line in found if last in rules.words(line.message)]


class LimitsTooSoon(Bug):
    def read(self, query: Any) -> list[Any]:
        if not isinstance(query, Lines) or not query.words:
            return super().read(query)
        found = super().read(replace(query, flow_run_ids=()))
        return [
            line
            for line in found
            if line.flow_run_id in (query.flow_run_ids or (line.flow_run_id,))
        ]


class CountsVersionsPerRun(Bug):
    def read(self, query: Any) -> list[Any]:
        found = super().read(query)
        if not isinstance(query, Artifacts):
            return found
        return [replace(shown, version=1) if shown.version == 3 else shown for shown in found]


class WritesAscii(Bug):
    def put(self, kind: str, name: str, body: str, version: int | None = None) -> Document | None:
        return super().put(kind, name, body.encode("ascii", "ignore").decode(), version)


class GoesOnCounting(Bug):
    def drop(self, kind: str, name: str, version: int | None = None) -> bool:
        old = super().get(kind, name)
        self.at[kind, name] = old.version if old else 0
        return super().drop(kind, name, version)

    def put(self, kind: str, name: str, body: str, version: int | None = None) -> Document | None:
        written = super().put(kind, name, body, version)
        before = self.at.pop((kind, name), 0)
        return replace(written, version=before + 1) if written and before else written


class BelievesHigherVersions(Bug):
    def put(self, kind: str, name: str, body: str, version: int | None = None) -> Document | None:
        old = super().get(kind, name)
        before = old.version if old else 0
        return super().put(kind, name, body, before if version and version > before else version)


class ComparesTooSoon(Bug):
    def put(self, kind: str, name: str, body: str, version: int | None = None) -> Document | None:
        if aside() and version is not None:
            old = super().get(kind, name)
            self.meet(4)
            version = None if version == (old.version if old else 0) else version
        return super().put(kind, name, body, version)


class GivesUpInARace(Bug):
    def put(self, kind: str, name: str, body: str, version: int | None = None) -> Document | None:
        if aside() and version is None:
            old = super().get(kind, name)
            self.meet(4)
            version = old.version if old else 0
        return super().put(kind, name, body, version)


class TakesUnderscoresForAnything(Bug):
    def list(self, kind: str, prefix: str = "") -> Any:
        def begins(name: str) -> bool:
            pairs = zip(prefix, name, strict=False)
            return len(name) >= len(prefix) and all(want in (has, "_") for want, has in pairs)

        return [document for document in super().list(kind) if begins(document.name)]


class DropsAnyVersion(Bug):
    def drop(self, kind: str, name: str, version: int | None = None) -> bool:
        return super().drop(kind, name)


class KeepsALittleLonger(Bug):
    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        return super().prune(retention, now_us - 1, limit)


class LeavesArguments(Bug):
    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        kept = dict(self.tables.arguments)
        gone = super().prune(retention, now_us, limit)
        self.tables.arguments.update(kept)
        return gone


class RemembersWhatIsGone(Bug):
    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        before = set(self.tables.flow_runs)
        gone = super().prune(retention, now_us, limit)
        self.at["gone"] = before - set(self.tables.flow_runs)
        return gone

    def record(self, batch: Batch) -> Receipt:
        gone = self.at.get("gone", ())
        made = [fact for fact in batch.facts if isinstance(fact, FlowRunMade)]
        if any(fact.flow_run_id in gone for fact in made):
            return Receipt(refused=tuple(Refusal(fact=fact, reason="") for fact in batch.facts))
        return super().record(batch)


class RemovesCalledRuns(Bug):
    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        for key, run in self.tables.flow_runs.items():
            self.tables.flow_runs[key] = replace(run, parent_id="")
        return super().prune(retention, now_us, limit)


class WaitsForCallers(Bug):
    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        for key, run in self.tables.flow_runs.items():
            if run.parent_id and run.parent_id not in self.tables.flow_runs:
                self.tables.flow_runs[key] = replace(run, ended_us=None)
        return super().prune(retention, now_us, limit)


class RemovesAll(Bug):
    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        return super().prune(retention, now_us, 1_000)


class KeepsLooseArtifacts(Bug):
    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        kept = {key: shown for key, shown in self.tables.artifacts.items() if not shown.flow_run_id}
        gone = super().prune(retention, now_us, limit)
        self.tables.artifacts.update(kept)
        return gone


class HasNoAge(Bug):
    def status(self) -> Status:
        return replace(super().status(), oldest_us=None)


class UpgradesAgain(Bug):
    def upgrade(self) -> Any:
        return [*super().upgrade(), 1]


class FailsInARace(Bug):
    def read(self, query: Any) -> list[Any]:
        if aside() and self.position > 2:
            raise HistoryUnavailable("The history is being made by another.")
        return super().read(query)


class VacuumsLines(Bug):
    def vacuum(self) -> int:
        freed = super().vacuum()
        self.tables.lines.clear()
        return freed


class EmptiesWhenClosed(Bug):
    def close(self) -> None:
        super().close()
        self.tables.flow_runs.clear()
