"""Answers questions about runs: each becomes one or a few statements, its rows become records.

The sums over tasks and failures are in `sums`, lines in `line_questions`.
"""

import json
from collections.abc import Iterable
from functools import singledispatch
from typing import Any

from fanfold.adapters.history import columns, rules, sums
from fanfold.adapters.history.conditions import Conditions
from fanfold.adapters.history.line_questions import answer_lines
from fanfold.adapters.history.sessions import Row, Session
from fanfold.adapters.history.writing import SHARED
from fanfold.values.facts import Problem
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
from fanfold.values.states import FINAL, StateName


@singledispatch
def answer(query: Query[Any], session: Session) -> list[Any]:
    """Return the answer to a question."""
    raise TypeError(f"{query!r} is no question that a history knows.")


@answer.register
def _(query: FlowRuns, session: Session) -> list[FlowRunRecord]:
    inner = Conditions(session.dialect)
    inner.among("id", query.ids)
    inner.begins("id", query.id_prefix)
    inner.given("name = ?", query.name)
    inner.given("flow = ?", query.flow)
    inner.among("state", [int(state) for state in query.states])
    for tag in query.tags:
        inner.add(session.dialect.contains("tags"), columns.tags_text((tag,)))
    if query.parent_id:
        inner.add("parent_id <> ''")  # lets the small index of such runs be used
    if query.parent_id is not None:
        inner.add("parent_id = ?", query.parent_id)
    if query.owner:
        held = "select name from leases where owner <> '' and owner = ?"
        inner.add(f"id in ({held}) and ended_us is null", query.owner)
    inner.given("created_us >= ?", query.since_us)
    inner.given("id < ?", query.before_id)
    # First the ids, from an index that has all of that, then the rows.
    rows = session.rows(
        f"select {_FLOW_RUN} from flow_runs left join leases on leases.name = flow_runs.id"
        f" where id in (select id from flow_runs{inner} order by id desc limit ?)"
        " order by id desc",
        (*inner.parameters, query.limit),
    )
    return [_flow_run(row) for row in rows]


@answer.register
def _(query: TaskRuns, session: Session) -> list[TaskRunRecord]:
    inner = Conditions(session.dialect)
    inner.among("flow_run_id", query.flow_run_ids)
    inner.among("id", query.ids)
    inner.given("id > ?", query.after_id)
    if query.open_only:
        inner.add("ended_us is null")
    if query.task and (query.flow_run_ids or query.ids):
        inner.add("(task = ? or name = ?)", query.task, query.task)
        rows = _task_runs(session, f"{inner} order by id limit ?", (*inner.parameters, query.limit))
    elif query.task:
        # Of all runs that there are: the first of each of two indexes.
        inner.add("{} = ?", query.task)
        part = f"select id from (select id from task_runs{inner} order by id limit ?) as {{}}"
        parts = " union ".join(part.format(name, f"by_{name}") for name in ("task", "name"))
        parameters = (*inner.parameters, query.limit)
        rows = _task_runs(
            session,
            f" where id in ({parts}) order by id limit ?",
            (*parameters, *parameters, query.limit),
        )
    else:
        rows = _task_runs(session, f"{inner} order by id limit ?", (*inner.parameters, query.limit))
    told = sums.told_so_far(session, {row[0]: row[4] for row in rows if row[8] is None})
    return [_task_run(row, told) for row in rows]


@answer.register
def _(query: TaskTotals, session: Session) -> list[TaskTotal]:
    return sums.task_totals(session, query)


@answer.register
def _(query: FailureGroups, session: Session) -> list[FailureGroup]:
    return sums.failure_groups(session, query)


@answer.register
def _(query: Lines, session: Session) -> list[LineRecord]:
    return answer_lines(session, query)


@answer.register
def _(query: States, session: Session) -> list[bytes]:
    found = session.rows("select count, states from task_runs where id = ?", (query.task_run_id,))
    if not found:
        return []
    count, states = found[0]
    if states is not None:
        return [columns.unpacked(states)]
    told = sums.told_so_far(session, {query.task_run_id: count})
    return [told[query.task_run_id].codes if told else bytes(count)]


@answer.register
def _(query: Chunks, session: Session) -> list[ChunkRecord]:
    rows = session.rows(
        "select task_run_id, chunk, worker, spans, states, seconds, cpu_s, before_bytes,"
        " peak_bytes, at_us from chunks"
        " where task_run_id = ? order by number limit ?",
        (query.task_run_id, query.limit),
    )
    return [
        ChunkRecord(
            task_run_id=run,
            chunk=chunk,
            worker=worker,
            spans=_pairs(spans),
            states=_pairs(states),
            seconds=seconds,
            cpu_s=cpu_s,
            before_bytes=before,
            peak_bytes=peak,
            at_us=at_us,
        )
        for run, chunk, worker, spans, states, seconds, cpu_s, before, peak, at_us in rows
    ]


@answer.register
def _(query: Elements, session: Session) -> list[ElementRecord]:
    if not query.task_run_ids:
        return []
    conditions = Conditions(session.dialect)
    conditions.among("task_run_id", query.task_run_ids)
    conditions.among("place", query.indices)
    conditions.among("state", [int(state) for state in query.states])
    if query.after is not None:
        conditions.add("(task_run_id, place) > (?, ?)", *query.after)
    rows = session.rows(
        f"select {_ELEMENT} from elements{conditions} order by task_run_id, place limit ?",
        (*conditions.parameters, query.limit),
    )
    return [_element(row) for row in rows]


@answer.register
def _(query: Arguments, session: Session) -> list[bytes]:
    find = "select arguments from elements where task_run_id = ? and place = ?"
    return _kept(session.rows(find, (query.task_run_id, query.index)))


@answer.register
def _(query: Keys, session: Session) -> list[KeyRecord]:
    rows = session.rows(
        "select place, parts from key_parts where flow_run_id = ? and subject = ? order by place",
        (query.flow_run_id, query.of),
    )
    return [
        KeyRecord(of=query.of, index=None if place == SHARED else place, parts=json.loads(parts))
        for place, parts in rows
    ]


@answer.register
def _(query: FlowArguments, session: Session) -> list[bytes]:
    return _kept(session.rows("select arguments from flow_runs where id = ?", (query.flow_run_id,)))


@answer.register
def _(query: Artifacts, session: Session) -> list[ArtifactRecord]:
    inner = Conditions(session.dialect)
    inner.among("id", query.ids)
    if query.key:
        inner.add("key <> '' and key = ?", query.key)
    inner.given("kind = ?", query.kind)
    inner.given("flow_run_id = ?", query.flow_run_id)
    if query.latest_only:
        inner.add("latest = 1")
    order = "order by created_us desc, id desc"
    rows = session.rows(
        "select id, kind, key, version, data, description, flow_run_id, task_run_id, place,"
        " created_us, changed_us from artifacts"
        f" where id in (select id from artifacts{inner} {order} limit ?) {order}",
        (*inner.parameters, query.limit),
    )
    return [ArtifactRecord(**dict(zip(_ARTIFACT, row, strict=True))) for row in rows]


_FLOW_RUN = (
    "id, flow, flow_runs.name, version, state, label, message, problem, tries, parent_id,"
    " parent_task_run_id, retry_of, tags, parameters, entrypoint, runner, host, process,"
    " leases.owner, leases.epoch, cancel_asked, created_us, started_us, ended_us, lines_dropped,"
    " resumed, driver_epoch, driver_since_us"
)
_TASK_RUN = (
    "id, flow_run_id, task, name, count, single, first, created_us, ended_us, seconds, counts,"
    " stream, parent_id, tags, entrypoint, cpu_s, peak_bytes, rise_bytes"
)
_ELEMENT = (
    "task_run_id, place, state, attempts, name, label, message, seconds, at_us,"
    " arguments is not null, problem_kind, problem_where, problem_message, problem_traceback"
)
_ARTIFACT = (
    *("id", "kind", "key", "version", "data", "description", "flow_run_id", "task_run_id"),
    *("index", "created_us", "changed_us"),
)


def _flow_run(row: Row) -> FlowRunRecord:
    (id_, flow, name, version, code, label, message, problem, tries, parent, parent_task) = row[:11]
    (retry_of, tags, parameters, entrypoint, runner, host, process, owner, epoch) = row[11:20]
    (cancel_asked, created_us, started_us, ended_us, lines_dropped) = row[20:25]
    resumed, driver_epoch, driver_since_us = row[25:]
    state = StateName(code)
    return FlowRunRecord(
        id=id_,
        flow=flow,
        name=name,
        version=version,
        state=state,
        label=label,
        message=message,
        problem=columns.problem_of(problem),
        tries=tries,
        parent_id=parent,
        parent_task_run_id=parent_task,
        retry_of=retry_of,
        tags=columns.tags_of(tags),
        parameters=json.loads(parameters),
        entrypoint=entrypoint,
        runner=runner,
        host=host,
        process=process,
        owner="" if state in FINAL else owner or "",
        epoch=epoch or 0,
        cancel_asked=bool(cancel_asked),
        created_us=created_us,
        started_us=started_us,
        ended_us=ended_us,
        lines_dropped=lines_dropped,
        resumed=resumed,
        driver_epoch=driver_epoch,
        driver_since_us=driver_since_us,
    )


def _task_runs(session: Session, rest: str, parameters: tuple[Any, ...]) -> list[Row]:
    return session.rows(f"select {_TASK_RUN} from task_runs{rest}", parameters)


def _task_run(row: Row, told: dict[str, sums.SoFar]) -> TaskRunRecord:
    (id_, flow_run_id, task, name, count, single, first, created_us, ended_us) = row[:9]
    (seconds, counts, stream, parent_id, tags, entrypoint, cpu_s, peak_bytes, rise_bytes) = row[9:]
    so_far = told.get(id_)
    if so_far is not None:
        costs, states = so_far.costs, rules.counted(so_far.codes)
        seconds, cpu_s = costs.wall_s, costs.cpu_s
        peak_bytes, rise_bytes = costs.peak_bytes, costs.rise_bytes
    elif counts is not None:
        states = columns.counts_of(counts)
    else:
        states = {StateName.PENDING: count} if count else {}
    return TaskRunRecord(
        id=id_,
        flow_run_id=flow_run_id,
        task=task,
        name=name,
        count=count,
        single=bool(single),
        first=first,
        stream=stream,
        parent_id=parent_id,
        tags=columns.tags_of(tags),
        entrypoint=entrypoint,
        created_us=created_us,
        ended_us=ended_us,
        seconds=seconds,
        cpu_s=cpu_s,
        peak_bytes=peak_bytes,
        rise_bytes=rise_bytes,
        counts=states,
    )


def _element(row: Row) -> ElementRecord:
    (run, place, state, attempts, name, label, message, seconds, at_us, has_arguments) = row[:10]
    kind, where, said, traceback = row[10:]
    problem = None
    if kind is not None:
        problem = Problem(kind=kind, message=said, where=where, traceback=traceback)
    return ElementRecord(
        task_run_id=run,
        index=place,
        state=StateName(state),
        attempts=attempts,
        name=name,
        label=label,
        message=message,
        problem=problem,
        seconds=seconds,
        has_arguments=bool(has_arguments),
        at_us=at_us,
    )


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((one, other) for one, other in json.loads(text))


def _kept(rows: Iterable[Row]) -> list[bytes]:
    return [kept for (kept,) in rows if kept is not None]
