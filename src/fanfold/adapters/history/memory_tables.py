"""What a history in memory holds, and how each fact changes it."""

from dataclasses import dataclass, field, replace
from functools import singledispatchmethod

from fanfold.adapters.history import rules
from fanfold.values.facts import (
    ArtifactChanged,
    ArtifactMade,
    ChunkDone,
    ElementTold,
    Fact,
    FlowRunMade,
    FlowRunMoved,
    FlowRunNamed,
    FlowRunResumed,
    KeyTold,
    LinesDropped,
    LogLine,
    TaskRunEnded,
    TaskRunMade,
)
from fanfold.values.records import (
    ArtifactRecord,
    Document,
    FlowRunRecord,
    KeyRecord,
    LineRecord,
    Retention,
)
from fanfold.values.states import StateName
from fanfold.values.usage import Costs


@dataclass(slots=True, kw_only=True)
class TaskRun:
    """A call or a map, as the facts that were told of it."""

    made: TaskRunMade
    chunks: dict[str, ChunkDone] = field(default_factory=dict[str, ChunkDone])
    elements: dict[int, ElementTold] = field(default_factory=dict[int, ElementTold])
    ended: TaskRunEnded | None = None

    @property
    def codes(self) -> bytes:
        """The states of its elements, as far as they are known."""
        if self.ended is not None:
            return self.ended.states
        told = ((chunk.spans, chunk.states) for chunk in self.chunks.values())
        return bytes(rules.column(self.made.count, told))

    @property
    def costs(self) -> Costs:
        """What its elements needed together, so far."""
        costs = Costs()
        if (ended := self.ended) is not None:
            costs.wall_s, costs.cpu_s = ended.seconds, ended.cpu_s
            costs.peak_bytes, costs.rise_bytes = ended.peak_bytes, ended.rise_bytes
            return costs
        for chunk in self.chunks.values():
            costs.add_chunk(chunk)
        return costs


@dataclass(slots=True, kw_only=True)
class Held:
    """A lease, or a free one whose last epoch is remembered."""

    owner: str
    """Empty if it is free."""
    epoch: int


@dataclass(slots=True, kw_only=True)
class Tables:
    """All that a history knows; not thread-safe by itself."""

    numbers: dict[str, int] = field(default_factory=dict[str, int])
    """The last batch of each writer."""
    flow_runs: dict[str, FlowRunRecord] = field(default_factory=dict[str, FlowRunRecord])
    """Without what their leases say: `of_lease` adds that."""
    arguments: dict[str, bytes] = field(default_factory=dict[str, bytes])
    task_runs: dict[str, TaskRun] = field(default_factory=dict[str, TaskRun])
    keys: dict[tuple[str, str, int | None], KeyRecord] = field(
        default_factory=dict[tuple[str, str, int | None], KeyRecord]
    )
    """By flow run, call or code, and element."""
    lines: list[LineRecord] = field(default_factory=list[LineRecord])
    artifacts: dict[str, ArtifactRecord] = field(default_factory=dict[str, ArtifactRecord])
    leases: dict[str, Held] = field(default_factory=dict[str, Held])
    documents: dict[tuple[str, str], Document] = field(
        default_factory=dict[tuple[str, str], Document]
    )
    last_line: int = 0

    def known(self, mentioned: rules.Mentioned) -> rules.Known:
        """Return what the rules judge a batch by."""
        flow_runs = mentioned.flow_runs & self.flow_runs.keys()
        task_runs = {
            key: self.task_runs[key] for key in mentioned.task_runs & self.task_runs.keys()
        }
        return rules.Known(
            states={key: self.flow_runs[key].state for key in flow_runs},
            epochs={
                name: self.leases[name].epoch for name in mentioned.flow_runs & self.leases.keys()
            },
            task_runs={
                key: run.ended.states if run.ended else None for key, run in task_runs.items()
            },
            chunks={(key, chunk) for key, run in task_runs.items() for chunk in run.chunks},
            artifacts=set(mentioned.artifacts & self.artifacts.keys()),
        )

    def of_lease(self, run: FlowRunRecord) -> FlowRunRecord:
        """Return a flow run together with what its lease says."""
        held = self.leases[run.id]
        return replace(run, owner="" if run.state.final else held.owner, epoch=held.epoch)

    @singledispatchmethod
    def write(self, fact: Fact, epoch: int) -> None:
        """Write down a fact that breaks no rule, told in an epoch of its flow run's lease."""
        raise TypeError(f"{fact!r} is no fact.")

    @write.register
    def _(self, fact: FlowRunMade, epoch: int) -> None:
        self.leases[fact.flow_run_id] = Held(owner=fact.owner, epoch=epoch)
        self.flow_runs[fact.flow_run_id] = FlowRunRecord(
            id=fact.flow_run_id,
            flow=fact.flow,
            name=fact.name,
            version=fact.version,
            state=fact.state,
            label="",
            message="",
            problem=None,
            tries=0,
            parent_id=fact.parent_id,
            parent_task_run_id=fact.parent_task_run_id,
            retry_of=fact.retry_of,
            tags=fact.tags,
            parameters={},
            entrypoint=fact.entrypoint,
            runner=fact.runner,
            host=fact.host,
            process=fact.process,
            owner="",
            epoch=0,
            cancel_asked=False,
            created_us=fact.at_us,
            started_us=None,
            ended_us=None,
            lines_dropped=0,
            driver_epoch=epoch,
            driver_since_us=fact.at_us,
        )

    @write.register
    def _(self, fact: FlowRunResumed, epoch: int) -> None:
        run = self.flow_runs[fact.flow_run_id]
        self.flow_runs[run.id] = replace(
            run,
            state=StateName.PENDING,
            label="",
            message="",
            problem=None,
            version=fact.version,
            runner=fact.runner,
            host=fact.host,
            process=fact.process,
            cancel_asked=False,
            ended_us=None,
            resumed=run.resumed + 1,
            driver_epoch=epoch,
            driver_since_us=fact.at_us,
        )

    @write.register
    def _(self, fact: FlowRunNamed, epoch: int) -> None:
        run = self.flow_runs[fact.flow_run_id]
        changed = replace(run, name=fact.name, parameters=dict(fact.parameters))
        self.flow_runs[run.id] = changed
        self.arguments.pop(run.id, None)
        if fact.arguments is not None:
            self.arguments[run.id] = fact.arguments

    @write.register
    def _(self, fact: FlowRunMoved, epoch: int) -> None:
        run = self.flow_runs[fact.flow_run_id]
        first = {"started_us": rules.started_us(fact), "ended_us": rules.ended_us(fact)}
        self.flow_runs[run.id] = replace(
            run,
            state=fact.state,
            label=fact.label,
            message=rules.storable(fact.message),
            problem=fact.problem,
            tries=max(run.tries, fact.tries),
            **{name: at for name, at in first.items() if getattr(run, name) is None},
        )
        if fact.state.final:
            self.leases[run.id].owner = ""

    @write.register
    def _(self, fact: TaskRunMade, epoch: int) -> None:
        self.task_runs[fact.task_run_id] = TaskRun(made=fact)

    @write.register
    def _(self, fact: ChunkDone, epoch: int) -> None:
        self.task_runs[fact.task_run_id].chunks[fact.chunk] = fact

    @write.register
    def _(self, fact: ElementTold, epoch: int) -> None:
        self.task_runs[fact.task_run_id].elements[fact.index] = fact

    @write.register
    def _(self, fact: TaskRunEnded, epoch: int) -> None:
        self.task_runs[fact.task_run_id].ended = fact

    @write.register
    def _(self, fact: KeyTold, epoch: int) -> None:
        parts = {rules.storable(name): rules.storable(text) for name, text in fact.parts.items()}
        told = KeyRecord(of=fact.of, index=fact.index, parts=parts)
        self.keys[fact.flow_run_id, fact.of, fact.index] = told

    @write.register
    def _(self, fact: LogLine, epoch: int) -> None:
        self.last_line += 1
        self.lines.append(
            LineRecord(
                id=self.last_line,
                flow_run_id=fact.flow_run_id,
                task_run_id=fact.task_run_id,
                index=fact.index,
                attempt=fact.attempt,
                level=fact.level,
                logger=fact.logger,
                message=rules.storable(fact.message),
                at_us=fact.at_us,
            )
        )

    @write.register
    def _(self, fact: LinesDropped, epoch: int) -> None:
        run = self.flow_runs[fact.flow_run_id]
        self.flow_runs[run.id] = replace(run, lines_dropped=run.lines_dropped + fact.count)

    @write.register
    def _(self, fact: ArtifactMade, epoch: int) -> None:
        of_key = [a.version for a in self.artifacts.values() if fact.key and a.key == fact.key]
        self.artifacts[fact.artifact_id] = ArtifactRecord(
            id=fact.artifact_id,
            kind=fact.kind,
            key=fact.key,
            version=max(of_key, default=0) + 1,
            data=fact.data,
            description=fact.description,
            flow_run_id=fact.flow_run_id,
            task_run_id=fact.task_run_id,
            index=fact.index,
            created_us=fact.at_us,
            changed_us=fact.at_us,
        )

    @write.register
    def _(self, fact: ArtifactChanged, epoch: int) -> None:
        old = self.artifacts[fact.artifact_id]
        description = old.description if fact.description is None else fact.description
        self.artifacts[old.id] = replace(
            old, data=fact.data, description=description, changed_us=fact.at_us
        )

    def ask_to_cancel(self, flow_run_id: str) -> bool:
        """Note that somebody wants a flow run to be cancelled; return whether it is still open."""
        run = self.flow_runs.get(flow_run_id)
        if run is None or run.state.final:
            return False
        self.flow_runs[run.id] = replace(run, cancel_asked=True)
        return True

    def outermost(self, flow_run_id: str) -> str:
        """Return the id of the flow run that called it in the end, through others or itself."""
        while (parent := self.flow_runs[flow_run_id].parent_id) in self.flow_runs:
            flow_run_id = parent
        return flow_run_id

    def stale(self, retention: Retention, now_us: int) -> list[str]:
        """Return the ids of outermost flow runs that were kept long enough, the oldest first."""
        return sorted(
            run.id
            for run in self.flow_runs.values()
            if run.parent_id not in self.flow_runs
            and run.ended_us is not None
            and now_us - run.ended_us >= kept_us(retention, run.state)
        )

    def remove(self, outermost: set[str]) -> None:
        """Remove flow runs, with all that belongs to them."""
        gone = {key for key in self.flow_runs if self.outermost(key) in outermost}
        for key in gone:
            del self.flow_runs[key]
            self.arguments.pop(key, None)
            self.leases.pop(key, None)
        self.task_runs = {
            key: run for key, run in self.task_runs.items() if run.made.flow_run_id not in gone
        }
        self.keys = {mark: told for mark, told in self.keys.items() if mark[0] not in gone}
        self.lines = [line for line in self.lines if line.flow_run_id not in gone]
        self.artifacts = {
            key: shown for key, shown in self.artifacts.items() if shown.flow_run_id not in gone
        }

    def remove_artifacts(self, retention: Retention, now_us: int) -> None:
        """Remove artifacts of no flow run that were kept long enough."""
        keep_us = kept_us(retention, StateName.COMPLETED)
        self.artifacts = {
            key: shown
            for key, shown in self.artifacts.items()
            if shown.flow_run_id or now_us - shown.changed_us < keep_us
        }


def kept_us(retention: Retention, state: StateName) -> int:
    """Return how long a flow run that ended in a state is kept."""
    return retention.by_state.get(state, retention.keep_us)
