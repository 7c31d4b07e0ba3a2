"""What a history in memory answers to each question: everything is looked through, nothing kept."""

from collections.abc import Collection, Iterable
from functools import singledispatch
from typing import Any

from fanfold.adapters.history import rules
from fanfold.adapters.history.memory_tables import Tables, TaskRun
from fanfold.values.facts import ElementTold
from fanfold.values.records import (
    Arguments,
    ArtifactRecord,
    Artifacts,
    ChunkRecord,
    Chunks,
    ElementRecord,
    Elements,
    FailureGroup,
    FailureGroups,
    FlowArguments,
    FlowRunRecord,
    FlowRuns,
    KeyRecord,
    Keys,
    LineRecord,
    Lines,
    Query,
    States,
    TaskRunRecord,
    TaskRuns,
    TaskTotal,
    TaskTotals,
)
from fanfold.values.usage import Costs


@singledispatch
def answer(query: Query[Any], tables: Tables) -> list[Any]:
    """Return the answer to a question."""
    raise TypeError(f"{query!r} is no question that a history knows.")


@answer.register
def _(query: FlowRuns, tables: Tables) -> list[FlowRunRecord]:
    runs = (tables.of_lease(run) for run in tables.flow_runs.values())
    found = [
        run
        for run in runs
        if _among(run.id, query.ids)
        and run.id.startswith(query.id_prefix)
        and query.name in {"", run.name}
        and query.flow in {"", run.flow}
        and _among(run.state, query.states)
        and set(query.tags) <= set(run.tags)
        and query.parent_id in {None, run.parent_id}
        and query.owner in {"", run.owner}
        and (query.since_us is None or run.created_us >= query.since_us)
        and (not query.before_id or run.id < query.before_id)
    ]
    return sorted(found, key=lambda run: run.id, reverse=True)[: query.limit]


@answer.register
def _(query: TaskRuns, tables: Tables) -> list[TaskRunRecord]:
    found = [
        run
        for key, run in tables.task_runs.items()
        if _among(run.made.flow_run_id, query.flow_run_ids)
        and _among(key, query.ids)
        and query.task in {"", run.made.task, _name(run)}
        and (run.ended is None or not query.open_only)
        and key > query.after_id
    ]
    records = [_task_run(run) for run in found]
    return sorted(records, key=lambda run: run.id)[: query.limit]


@answer.register
def _(query: TaskTotals, tables: Tables) -> list[TaskTotal]:
    groups: dict[tuple[str, str], list[TaskRun]] = {}
    for _key, run in sorted(tables.task_runs.items()):
        if run.made.flow_run_id in query.flow_run_ids and run.made.at_us >= query.since_us:
            groups.setdefault((run.made.flow_run_id, run.made.task), []).append(run)
    # Stable: of equal times, the one whose first task run has the lowest id stays in front.
    return sorted(map(_total, groups.values()), key=lambda total: total.first_us)


@answer.register
def _(query: States, tables: Tables) -> list[bytes]:
    run = tables.task_runs.get(query.task_run_id)
    return [run.codes] if run else []


@answer.register
def _(query: Chunks, tables: Tables) -> list[ChunkRecord]:
    run = tables.task_runs.get(query.task_run_id)
    chunks = [] if run is None else list(run.chunks.values())
    return [
        ChunkRecord(
            task_run_id=chunk.task_run_id,
            chunk=chunk.chunk,
            worker=chunk.worker,
            spans=chunk.spans,
            states=chunk.states,
            seconds=chunk.seconds,
            cpu_s=chunk.cpu_s,
            before_bytes=chunk.before_bytes,
            peak_bytes=chunk.peak_bytes,
            at_us=chunk.at_us,
        )
        for chunk in chunks[: query.limit]
    ]


@answer.register
def _(query: Elements, tables: Tables) -> list[ElementRecord]:
    found = [
        _element(told)
        for told in _told(tables)
        if told.task_run_id in query.task_run_ids
        and _among(told.index, query.indices)
        and _among(told.state, query.states)
        and (query.after is None or (told.task_run_id, told.index) > query.after)
    ]
    return found[: query.limit]


@answer.register
def _(query: FailureGroups, tables: Tables) -> list[FailureGroup]:
    groups: dict[tuple[str, ...], list[ElementTold]] = {}
    for told in _told(tables):
        made = tables.task_runs[told.task_run_id].made
        wanted = told.flow_run_id in query.flow_run_ids and made.at_us >= query.since_us
        if wanted and told.state in rules.FAILURES:
            task = made.task
            kind, where = (told.problem.kind, told.problem.where) if told.problem else ("", "")
            key = (told.flow_run_id, task, told.state.label, kind, where)
            groups.setdefault(key, []).append(told)
    # Stable: of equal sizes, the one with the lowest first element stays in front.
    found = sorted(groups.items(), key=lambda group: -len(group[1]))[: query.limit]
    return [_group(key[1], failures) for key, failures in found]


@answer.register
def _(query: Arguments, tables: Tables) -> list[bytes]:
    run = tables.task_runs.get(query.task_run_id)
    told = run.elements.get(query.index) if run else None
    return [told.arguments] if told and told.arguments is not None else []


@answer.register
def _(query: Keys, tables: Tables) -> list[KeyRecord]:
    found = [
        told for mark, told in tables.keys.items() if mark[:2] == (query.flow_run_id, query.of)
    ]
    return sorted(found, key=lambda told: -1 if told.index is None else told.index)


@answer.register
def _(query: FlowArguments, tables: Tables) -> list[bytes]:
    kept = tables.arguments.get(query.flow_run_id)
    return [] if kept is None else [kept]


@answer.register
def _(query: Lines, tables: Tables) -> list[LineRecord]:
    wanted = rules.words(query.words)
    found = [
        line
        for line in tables.lines
        if _among(line.flow_run_id, query.flow_run_ids)
        and _among(line.task_run_id, query.task_run_ids)
        and query.index in {None, line.index}
        and query.attempt in {None, line.attempt}
        and line.level >= query.level
        and f"{line.logger}.".startswith(f"{query.logger}." if query.logger else "")
        and (not wanted or rules.says(line.message, wanted))
        and line.id > query.after_id
    ]
    return found[max(len(found) - query.limit, 0) :] if query.last else found[: query.limit]


@answer.register
def _(query: Artifacts, tables: Tables) -> list[ArtifactRecord]:
    everything = tables.artifacts.values()
    last: dict[str, int] = {}
    for shown in everything:
        last[shown.key] = max(last.get(shown.key, 0), shown.version)
    found = [
        shown
        for shown in everything
        if _among(shown.id, query.ids)
        and query.key in {"", shown.key}
        and query.kind in {"", shown.kind}
        and query.flow_run_id in {"", shown.flow_run_id}
        and (not query.latest_only or shown.version == last[shown.key])
    ]
    latest_first = sorted(found, key=lambda shown: (shown.created_us, shown.id), reverse=True)
    return latest_first[: query.limit]


def _among(value: Any, wanted: Collection[Any]) -> bool:
    return not wanted or value in wanted


def _told(tables: Tables) -> Iterable[ElementTold]:
    """Return the elements that had something to say, by run and index."""
    for _key, run in sorted(tables.task_runs.items()):
        for _index, told in sorted(run.elements.items()):
            yield told


def _name(run: TaskRun) -> str:
    return (run.ended.name if run.ended else "") or run.made.name


def _task_run(run: TaskRun) -> TaskRunRecord:
    made, costs = run.made, run.costs
    return TaskRunRecord(
        id=made.task_run_id,
        flow_run_id=made.flow_run_id,
        task=made.task,
        name=_name(run),
        count=made.count,
        single=made.single,
        first=made.first,
        stream=made.stream,
        parent_id=made.parent_id,
        tags=made.tags,
        entrypoint=made.entrypoint,
        created_us=made.at_us,
        ended_us=run.ended.at_us if run.ended else None,
        seconds=costs.wall_s,
        cpu_s=costs.cpu_s,
        peak_bytes=costs.peak_bytes,
        rise_bytes=costs.rise_bytes,
        counts=rules.counted(run.codes),
    )


def _total(runs: list[TaskRun]) -> TaskTotal:
    ends = [run.ended.at_us for run in runs if run.ended]
    costs = Costs()
    for run in runs:
        costs.add(run.costs)
    return TaskTotal(
        flow_run_id=runs[0].made.flow_run_id,
        task=runs[0].made.task,
        runs=len(runs),
        counts=rules.counted(b"".join(run.codes for run in runs)),
        retries=sum(max(told.attempts - 1, 0) for run in runs for told in run.elements.values()),
        seconds=costs.wall_s,
        cpu_s=costs.cpu_s,
        peak_bytes=costs.peak_bytes,
        rise_bytes=costs.rise_bytes,
        first_us=min(run.made.at_us for run in runs),
        last_us=max(ends) if len(ends) == len(runs) else None,
    )


def _element(told: ElementTold) -> ElementRecord:
    return ElementRecord(
        task_run_id=told.task_run_id,
        index=told.index,
        state=told.state,
        attempts=told.attempts,
        name=told.name,
        label=told.label,
        message=told.message,
        problem=told.problem,
        seconds=told.seconds,
        has_arguments=told.arguments is not None,
        at_us=told.at_us,
    )


def _group(task: str, failures: list[ElementTold]) -> FailureGroup:
    first = failures[0]
    return FailureGroup(
        flow_run_id=first.flow_run_id,
        task=task,
        state=first.state,
        kind=first.problem.kind if first.problem else "",
        where=first.problem.where if first.problem else "",
        count=len(failures),
        message=first.problem.message if first.problem else first.message,
        task_run_id=first.task_run_id,
        index=first.index,
    )
