"""Writes batches down: each fact becomes a row, or changes one.

What a batch speaks of is looked up at once, judged by the rules, changed here, and written table by
table: a few statements for thousands of facts.
"""

import json
from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Any

from fanfold.adapters.history import columns, rules
from fanfold.adapters.history.sessions import Row, Session
from fanfold.values.facts import (
    ArtifactChanged,
    ArtifactMade,
    Batch,
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
    Receipt,
    TaskRunEnded,
    TaskRunMade,
    now_us,
)
from fanfold.values.states import StateName

FLOW_RUN = (
    *("id", "parent_id", "flow", "name", "state", "created_us", "started_us", "ended_us"),
    *("cancel_asked", "tries", "lines_dropped", "process", "version", "label", "message"),
    *("parent_task_run_id", "retry_of", "entrypoint", "runner", "host", "tags", "parameters"),
    *("problem", "arguments", "driver_epoch", "driver_since_us"),
)
FLOW_RUN_CHANGES = (
    *("name", "state", "started_us", "ended_us", "tries", "lines_dropped", "label", "message"),
    *("parameters", "problem"),
)
"""What of a flow run later facts change; `arguments` are written by themselves, for their size."""
TASK_RUN = (
    *("id", "flow_run_id", "task", "name", "count", "single", "first", "created_us", "ended_us"),
    *("seconds", "counts", "stream", "parent_id", "tags", "entrypoint", "states"),
    *("cpu_s", "peak_bytes", "rise_bytes"),
)
TASK_RUN_CHANGES = (
    *("name", "ended_us", "seconds", "counts", "states", "cpu_s", "peak_bytes", "rise_bytes"),
)
CHUNK = (
    *("flow_run_id", "task_run_id", "chunk", "worker", "seconds", "at_us", "spans", "states"),
    *("cpu_s", "before_bytes", "peak_bytes"),
)
ELEMENT = (
    *("task_run_id", "place", "flow_run_id", "state", "attempts", "at_us", "seconds", "name"),
    *("label", "message", "problem_kind", "problem_where", "problem_message"),
    *("problem_traceback", "arguments"),
)
SHARED = -1
"""Place of what all elements of a call or map share."""
LINE = (*("flow_run_id", "task_run_id", "place", "attempt", "level", "at_us", "logger", "message"),)
ARTIFACT = (
    *("id", "created_us", "key", "kind", "flow_run_id", "latest", "version", "changed_us"),
    *("task_run_id", "place", "description", "data"),
)


def record(session: Session, batch: Batch) -> Receipt:
    """Write a batch down, inside of a transaction."""
    # The writer's row is locked by this, so the same batch from two processes comes once.
    is_new = session.run(
        "insert into writers (writer, number, at_us) values (?, ?, ?)"
        " on conflict (writer) do update set number = excluded.number, at_us = excluded.at_us"
        " where writers.number < excluded.number",
        (batch.writer, batch.number, now_us()),
    )
    if not is_new:
        return Receipt(again=True)
    mentioned = rules.mentioned(batch)
    pages = Pages()
    known = _looked_up(session, mentioned, pages)
    judgement = rules.judged(batch, known)
    for fact in judgement.taken:
        if type(fact) is LogLine:
            pages.lines.append(_line(fact))
        else:
            pages.add(fact, batch.epochs.get(fact.flow_run_id, 1))
    pages.write(session)
    return Receipt(refused=judgement.refused)


def holds_states(batch: Batch) -> bool:
    """Return whether a batch tells more than lines of logs, so that it must survive (H1)."""
    return any(type(fact) not in _MAY_BE_LOST for fact in batch.facts)


_MAY_BE_LOST = {LogLine, LinesDropped}
Changes = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Pages:
    """What is to be written: new rows, and changes of old ones, by table."""

    flow_runs: dict[str, Changes] = field(default_factory=dict[str, Changes])
    """Those that are mentioned: whole rows of new ones, what may change of the others."""
    flow_runs_made: list[str] = field(default_factory=list[str])
    flow_runs_changed: set[str] = field(default_factory=set[str])
    arguments: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    task_runs: dict[str, Changes] = field(default_factory=dict[str, Changes])
    """Likewise."""
    task_runs_made: list[str] = field(default_factory=list[str])
    task_runs_changed: set[str] = field(default_factory=set[str])
    leases: list[Row] = field(default_factory=list[Row])
    ended: list[str] = field(default_factory=list[str])
    """Flow runs whose leases end."""
    resumed: list[Row] = field(default_factory=list[Row])
    """Who drives which flow runs from now on."""
    chunks: list[Row] = field(default_factory=list[Row])
    elements: dict[tuple[str, int], Row] = field(default_factory=dict[tuple[str, int], Row])
    keys: dict[tuple[str, str, int], Row] = field(default_factory=dict[tuple[str, str, int], Row])
    lines: list[Row] = field(default_factory=list[Row])
    artifacts: dict[str, Changes] = field(default_factory=dict[str, Changes])
    artifacts_changed: list[ArtifactChanged] = field(default_factory=list[ArtifactChanged])

    @singledispatchmethod
    def add(self, fact: Fact, epoch: int) -> None:
        """Note what a fact changes, told in an epoch of its flow run's lease."""
        raise TypeError(f"{fact!r} is no fact.")

    @add.register
    def _(self, fact: FlowRunMade, epoch: int) -> None:
        self.leases.append((fact.flow_run_id, fact.owner, epoch))
        self.flow_runs_made.append(fact.flow_run_id)
        self.arguments[fact.flow_run_id] = None
        self.flow_runs[fact.flow_run_id] = {
            "id": fact.flow_run_id,
            "parent_id": fact.parent_id,
            "flow": fact.flow,
            "name": fact.name,
            "state": int(fact.state),
            "created_us": fact.at_us,
            "started_us": None,
            "ended_us": None,
            "cancel_asked": 0,
            "tries": 0,
            "lines_dropped": 0,
            "process": fact.process,
            "version": fact.version,
            "label": "",
            "message": "",
            "parent_task_run_id": fact.parent_task_run_id,
            "retry_of": fact.retry_of,
            "entrypoint": fact.entrypoint,
            "runner": fact.runner,
            "host": fact.host,
            "tags": columns.tags_text(fact.tags),
            "parameters": "{}",
            "problem": None,
            "driver_epoch": epoch,
            "driver_since_us": fact.at_us,
        }

    @add.register
    def _(self, fact: FlowRunResumed, epoch: int) -> None:
        run = self._flow_run(fact.flow_run_id)
        run["state"] = int(StateName.PENDING)
        run["label"] = run["message"] = ""
        run["problem"] = run["ended_us"] = None
        whose = (fact.version, fact.runner, fact.host, fact.process, epoch, fact.at_us)
        self.resumed.append(columns.stored((*whose, fact.flow_run_id)))

    @add.register
    def _(self, fact: FlowRunNamed, epoch: int) -> None:
        run = self._flow_run(fact.flow_run_id)
        run["name"] = fact.name
        run["parameters"] = json.dumps(dict(fact.parameters))
        self.arguments[fact.flow_run_id] = fact.arguments

    @add.register
    def _(self, fact: FlowRunMoved, epoch: int) -> None:
        run = self._flow_run(fact.flow_run_id)
        run["state"] = int(fact.state)
        run["label"] = fact.label
        run["message"] = fact.message
        run["problem"] = columns.problem_text(fact.problem)
        run["tries"] = max(run["tries"], fact.tries)
        if run["started_us"] is None:
            run["started_us"] = rules.started_us(fact)
        if run["ended_us"] is None:
            run["ended_us"] = rules.ended_us(fact)
        if fact.state.final:
            self.ended.append(fact.flow_run_id)

    @add.register
    def _(self, fact: LinesDropped, epoch: int) -> None:
        self._flow_run(fact.flow_run_id)["lines_dropped"] += fact.count

    @add.register
    def _(self, fact: TaskRunMade, epoch: int) -> None:
        self.task_runs_made.append(fact.task_run_id)
        self.task_runs[fact.task_run_id] = {
            "id": fact.task_run_id,
            "flow_run_id": fact.flow_run_id,
            "task": fact.task,
            "name": fact.name,
            "count": fact.count,
            "single": int(fact.single),
            "first": fact.first,
            "created_us": fact.at_us,
            "ended_us": None,
            "seconds": 0.0,
            "counts": None,
            "stream": fact.stream,
            "parent_id": fact.parent_id,
            "tags": columns.tags_text(fact.tags),
            "entrypoint": fact.entrypoint,
            "states": None,
            "cpu_s": 0.0,
            "peak_bytes": 0,
            "rise_bytes": 0,
        }

    @add.register
    def _(self, fact: TaskRunEnded, epoch: int) -> None:
        run = self.task_runs[fact.task_run_id]
        self.task_runs_changed.add(fact.task_run_id)
        run["name"] = fact.name or run["name"]
        run["ended_us"] = fact.at_us
        run["seconds"] = fact.seconds
        run["counts"] = columns.counts_text(rules.counted(fact.states))
        run["states"] = columns.packed(fact.states)
        run["cpu_s"] = fact.cpu_s
        run["peak_bytes"] = fact.peak_bytes
        run["rise_bytes"] = fact.rise_bytes

    @add.register
    def _(self, fact: ChunkDone, epoch: int) -> None:
        row = (fact.flow_run_id, fact.task_run_id, fact.chunk, fact.worker, fact.seconds)
        told = (fact.at_us, json.dumps(fact.spans), json.dumps(fact.states))
        costs = (fact.cpu_s, fact.before_bytes, fact.peak_bytes)
        self.chunks.append(columns.stored(row + told + costs))

    @add.register
    def _(self, fact: ElementTold, epoch: int) -> None:
        why = fact.problem
        problem = (why.kind, why.where, why.message, why.traceback) if why else (None,) * 4
        self.elements[fact.task_run_id, fact.index] = columns.stored(
            (
                *(fact.task_run_id, fact.index, fact.flow_run_id, int(fact.state), fact.attempts),
                *(fact.at_us, fact.seconds, fact.name, fact.label, fact.message),
                *(*problem, fact.arguments),
            )
        )

    @add.register
    def _(self, fact: KeyTold, epoch: int) -> None:
        place = SHARED if fact.index is None else fact.index
        mark = (fact.flow_run_id, fact.of, place)
        self.keys[mark] = columns.stored((*mark, json.dumps(dict(fact.parts))))

    @add.register
    def _(self, fact: ArtifactMade, epoch: int) -> None:
        self.artifacts[fact.artifact_id] = {
            "id": fact.artifact_id,
            "created_us": fact.at_us,
            "key": fact.key,
            "kind": fact.kind,
            "flow_run_id": fact.flow_run_id,
            "latest": 1,
            "version": 1,
            "changed_us": fact.at_us,
            "task_run_id": fact.task_run_id,
            "place": fact.index,
            "description": fact.description,
            "data": fact.data,
        }

    @add.register
    def _(self, fact: ArtifactChanged, epoch: int) -> None:
        self.artifacts_changed.append(fact)

    def write(self, session: Session) -> None:
        """Write everything down."""
        self._write_leases(session)
        self._write_flow_runs(session)
        self._write_task_runs(session)
        _load(session, "chunks", CHUNK, self.chunks)
        if self.elements:
            session.many(_TELL_ELEMENT, list(self.elements.values()))
        if self.keys:
            session.many(_TELL_KEY, list(self.keys.values()))
        self._write_artifacts(session)
        if self.lines:
            session.dialect.write_lines(session, LINE, self.lines)

    def _flow_run(self, flow_run_id: str) -> Changes:
        self.flow_runs_changed.add(flow_run_id)
        return self.flow_runs[flow_run_id]

    def _write_leases(self, session: Session) -> None:
        if self.leases:
            session.many(_LEASE, [columns.stored(row) for row in self.leases])
        if self.ended:
            session.many("update leases set owner = '' where name = ?", [(n,) for n in self.ended])

    def _write_flow_runs(self, session: Session) -> None:
        made = [
            {**self.flow_runs[key], "arguments": self.arguments.pop(key)}
            for key in self.flow_runs_made
        ]
        _load(session, "flow_runs", FLOW_RUN, [_row(run, FLOW_RUN) for run in made])
        changed = self.flow_runs_changed.difference(self.flow_runs_made)
        _update(session, "flow_runs", FLOW_RUN_CHANGES, self.flow_runs, changed)
        if self.resumed:  # not with the other changes: a wish to cancel may come at any time
            session.many(_RESUME, self.resumed)
        kept = [(arguments, key) for key, arguments in self.arguments.items()]
        if kept:
            session.many("update flow_runs set arguments = ? where id = ?", kept)

    def _write_task_runs(self, session: Session) -> None:
        made = [_row(self.task_runs[key], TASK_RUN) for key in self.task_runs_made]
        _load(session, "task_runs", TASK_RUN, made)
        changed = self.task_runs_changed.difference(self.task_runs_made)
        _update(session, "task_runs", TASK_RUN_CHANGES, self.task_runs, changed)

    def _write_artifacts(self, session: Session) -> None:
        for key in sorted({shown["key"] for shown in self.artifacts.values() if shown["key"]}):
            session.dialect.alone(session, f"artifacts {key}")
        for shown in self.artifacts.values():
            if shown["key"]:
                _put_last(session, shown)
            _load(session, "artifacts", ARTIFACT, [_row(shown, ARTIFACT)])
        for fact in self.artifacts_changed:
            changes = (fact.data, fact.description, fact.at_us, fact.artifact_id)
            session.run(_CHANGE_ARTIFACT, columns.stored(changes))


_LEASE = (
    "insert into leases (name, owner, epoch) values (?, ?, ?)"
    " on conflict (name) do update set owner = excluded.owner, epoch = excluded.epoch"
)
_TELL_ELEMENT = (
    f"insert into elements ({', '.join(ELEMENT)}) values ({', '.join('?' * len(ELEMENT))})"
    " on conflict (task_run_id, place) do update set "
    + ", ".join(f"{name} = excluded.{name}" for name in ELEMENT[2:])
)
_TELL_KEY = (
    "insert into key_parts (flow_run_id, subject, place, parts) values (?, ?, ?, ?)"
    " on conflict (flow_run_id, subject, place) do update set parts = excluded.parts"
)
_RESUME = (
    "update flow_runs set version = ?, runner = ?, host = ?, process = ?, driver_epoch = ?,"
    " driver_since_us = ?, resumed = resumed + 1, cancel_asked = 0 where id = ?"
)
_CHANGE_ARTIFACT = (
    "update artifacts set data = ?, description = coalesce(?, description), changed_us = ?"
    " where id = ?"
)


def _looked_up(session: Session, mentioned: rules.Mentioned, pages: Pages) -> rules.Known:
    """Return what is known of what a batch mentions; rows that it may change go to the pages."""
    known = rules.Known()
    if mentioned.flow_runs:
        among, parameters = session.dialect.among("name", mentioned.flow_runs)
        # In one order, and before all else: whoever takes a run over waits for this, or this for
        # him, and nobody waits in a circle.
        lock = f"select name, epoch from leases where {among} order by name"
        known.epochs.update(session.rows(lock + session.dialect.locking, parameters))
        among, parameters = session.dialect.among("id", mentioned.flow_runs)
        names = ", ".join(("id", *FLOW_RUN_CHANGES))
        for row in session.rows(f"select {names} from flow_runs where {among}", parameters):
            run = pages.flow_runs[row[0]] = dict(zip(FLOW_RUN_CHANGES, row[1:], strict=True))
            known.states[row[0]] = StateName(run["state"])
    if mentioned.task_runs:
        among, parameters = session.dialect.among("id", mentioned.task_runs)
        names = ", ".join(("id", *TASK_RUN_CHANGES))
        for row in session.rows(f"select {names} from task_runs where {among}", parameters):
            run = pages.task_runs[row[0]] = dict(zip(TASK_RUN_CHANGES, row[1:], strict=True))
            known.task_runs[row[0]] = None
            if run["states"] is not None and row[0] in mentioned.ended:
                known.task_runs[row[0]] = columns.unpacked(run["states"])
    if mentioned.chunks:
        of_run, runs = session.dialect.among("task_run_id", {run for run, _ in mentioned.chunks})
        among, chunks = session.dialect.among("chunk", {chunk for _, chunk in mentioned.chunks})
        find = f"select task_run_id, chunk from chunks where {of_run} and {among}"
        known.chunks.update((run, chunk) for run, chunk in session.rows(find, runs + chunks))
    if mentioned.artifacts:
        among, parameters = session.dialect.among("id", mentioned.artifacts)
        found = session.rows(f"select id from artifacts where {among}", parameters)
        known.artifacts.update(key for (key,) in found)
    return known


def _put_last(session: Session, shown: Changes) -> None:
    """Make an artifact the last version of its key."""
    key = columns.stored((shown["key"],))
    find = "select coalesce(max(version), 0) + 1 from artifacts where key <> '' and key = ?"
    shown["version"] = session.rows(find, key)[0][0]
    session.run("update artifacts set latest = 0 where key <> '' and key = ? and latest = 1", key)


def _line(fact: LogLine) -> Row:
    return (
        *(fact.flow_run_id, fact.task_run_id, fact.index, fact.attempt, fact.level, fact.at_us),
        *(rules.storable(fact.logger), rules.storable(fact.message)),
    )


def _row(values: Changes, names: tuple[str, ...]) -> Row:
    return columns.stored(values[name] for name in names)


def _load(session: Session, table: str, names: tuple[str, ...], rows: list[Row]) -> None:
    if rows:
        session.load(table, names, rows)


def _update(
    session: Session,
    table: str,
    names: tuple[str, ...],
    values: dict[str, Changes],
    changed: set[str],
) -> None:
    if changed:
        assignments = ", ".join(f"{name} = ?" for name in names)
        rows = [(*_row(values[key], names), key) for key in sorted(changed)]
        session.many(f"update {table} set {assignments} where id = ?", rows)
