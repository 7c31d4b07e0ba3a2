"""Sums over many runs and elements: what became of each task, and which failures look alike.

The database groups; what comes here are groups. A run that isn't over has no counts yet: those are
made of its chunks.
"""

import json
from collections import Counter
from dataclasses import dataclass, field

from fanfold.adapters.history import columns, rules
from fanfold.adapters.history.sessions import Row, Session
from fanfold.values.records import FailureGroup, FailureGroups, TaskTotal, TaskTotals
from fanfold.values.states import StateName
from fanfold.values.usage import Costs


@dataclass(frozen=True, slots=True, kw_only=True)
class SoFar:
    """What the chunks of a run that isn't over told."""

    codes: bytes
    """The states of its elements."""
    costs: Costs


def told_so_far(session: Session, counts: dict[str, int]) -> dict[str, SoFar]:
    """Return what chunks told of task runs that aren't over; those without chunks are left out.

    Args:
        session: Where to read.
        counts: How many elements each of them has, by id.
    """
    if not counts:
        return {}
    among, parameters = session.dialect.among("task_run_id", list(counts))
    rows = session.rows(
        "select task_run_id, spans, states, seconds, cpu_s, before_bytes, peak_bytes from chunks"
        f" where {among} order by number",
        parameters,
    )
    chunks: dict[str, list[Row]] = {}
    for run, *told in rows:
        chunks.setdefault(run, []).append(tuple(told))
    return {run: _so_far(counts[run], told) for run, told in chunks.items()}


def _so_far(count: int, told: list[Row]) -> SoFar:
    costs = Costs()
    for _, _, seconds, cpu_s, before, peak in told:
        costs.add(Costs(wall_s=seconds, cpu_s=cpu_s, peak_bytes=peak, rise_bytes=peak - before))
    states = ((json.loads(spans), json.loads(to)) for spans, to, *_ in told)
    return SoFar(codes=bytes(rules.column(count, states)), costs=costs)


@dataclass(slots=True, kw_only=True)
class _Sum:
    """All that is known of one task in one flow run."""

    first: tuple[int, str]
    """When the first of its runs was made, and that run's id."""
    runs: int = 0
    counts: Counter[StateName] = field(default_factory=Counter[StateName])
    retries: int = 0
    costs: Costs = field(default_factory=Costs)
    last_us: int = 0
    open: bool = False


def task_totals(session: Session, query: TaskTotals) -> list[TaskTotal]:
    """Return the sums over all runs of each task of some flow runs."""
    if not query.flow_run_ids:
        return []
    sums: dict[tuple[str, str], _Sum] = {}
    _add_ended(session, query, sums)
    _add_open(session, query, sums)
    among, parameters = session.dialect.among("flow_run_id", query.flow_run_ids)
    retries = session.rows(
        "select task_runs.flow_run_id, task, cast(sum(more) as bigint) from ("
        "select task_run_id, sum(attempts - 1) as more from elements"
        f" where {among} and attempts > 1 group by task_run_id"
        ") as tried join task_runs on id = task_run_id where created_us >= ?"
        " group by task_runs.flow_run_id, task",
        (*parameters, query.since_us),
    )
    for flow_run_id, task, more in retries:
        sums[flow_run_id, task].retries = more
    found = sorted(sums.items(), key=lambda item: item[1].first)
    return [
        TaskTotal(
            flow_run_id=flow_run_id,
            task=task,
            runs=total.runs,
            counts={state: count for state, count in sorted(total.counts.items()) if count},
            retries=total.retries,
            seconds=total.costs.wall_s,
            cpu_s=total.costs.cpu_s,
            peak_bytes=total.costs.peak_bytes,
            rise_bytes=total.costs.rise_bytes,
            first_us=total.first[0],
            last_us=None if total.open else total.last_us,
        )
        for (flow_run_id, task), total in found
    ]


def _add_ended(session: Session, query: TaskTotals, sums: dict[tuple[str, str], _Sum]) -> None:
    among, parameters = session.dialect.among("flow_run_id", query.flow_run_ids)
    rows = session.rows(
        "select flow_run_id, task, counts, count(*), sum(seconds), min(created_us), min(id),"
        " max(ended_us), sum(cpu_s), max(peak_bytes), max(rise_bytes) from task_runs"
        f" where {among} and ended_us is not null and created_us >= ?"
        " group by flow_run_id, task, counts",
        (*parameters, query.since_us),
    )
    for flow_run_id, task, counts, runs, seconds, first_us, first_id, last_us, *costs in rows:
        total = _sum(sums, (flow_run_id, task), (first_us, first_id))
        total.runs += runs
        for state, count in columns.counts_of(counts).items():
            total.counts[state] += count * runs
        cpu_s, peak, rise = costs
        total.costs.add(Costs(wall_s=seconds, cpu_s=cpu_s, peak_bytes=peak, rise_bytes=rise))
        total.last_us = max(total.last_us, last_us)


def _add_open(session: Session, query: TaskTotals, sums: dict[tuple[str, str], _Sum]) -> None:
    among, parameters = session.dialect.among("flow_run_id", query.flow_run_ids)
    rows = session.rows(
        "select id, flow_run_id, task, count, created_us from task_runs"
        f" where {among} and ended_us is null and created_us >= ?",
        (*parameters, query.since_us),
    )
    told = told_so_far(session, {row[0]: row[3] for row in rows})
    for id_, flow_run_id, task, count, created_us in rows:
        total = _sum(sums, (flow_run_id, task), (created_us, id_))
        total.open = True
        total.runs += 1
        if id_ in told:
            total.counts.update(rules.counted(told[id_].codes))
            total.costs.add(told[id_].costs)
        else:
            total.counts[StateName.PENDING] += count


def _sum(sums: dict[tuple[str, str], _Sum], key: tuple[str, str], first: tuple[int, str]) -> _Sum:
    total = sums.setdefault(key, _Sum(first=first))
    total.first = min(total.first, first)
    return total


def failure_groups(session: Session, query: FailureGroups) -> list[FailureGroup]:
    """Return failures that look alike, the most frequent first."""
    if not query.flow_run_ids:
        return []
    failures = ", ".join(str(int(state)) for state in sorted(rules.FAILURES))
    among, parameters = session.dialect.among("elements.flow_run_id", query.flow_run_ids)
    # Places with leading zeros, so that the lowest run and place are the lowest text.
    rows = session.rows(
        "select alike.flow_run_id, task, state, kind, place, cast(sum(times) as bigint) as total,"
        " min(task_run_id || ':' || substr(cast(1000000000000 + lowest_place as text), 2))"
        " as lowest"
        " from (select elements.flow_run_id, state, coalesce(problem_kind, '') as kind,"
        " coalesce(problem_where, '') as place, task_run_id, count(*) as times,"
        " min(elements.place) as lowest_place from elements"
        f" where {among} and state in ({failures})"
        " group by elements.flow_run_id, state, coalesce(problem_kind, ''),"
        " coalesce(problem_where, ''), task_run_id"
        ") as alike join task_runs on id = task_run_id where created_us >= ?"
        " group by alike.flow_run_id, task, state, kind, place"
        " order by total desc, lowest limit ?",
        (*parameters, query.since_us, query.limit),
    )
    return [_group(session, row) for row in rows]


def _group(session: Session, row: Row) -> FailureGroup:
    flow_run_id, task, state, kind, where, times, lowest = row
    task_run_id, _, place = lowest.rpartition(":")
    first = session.rows(
        "select coalesce(problem_message, message) from elements"
        " where task_run_id = ? and place = ?",
        (task_run_id, int(place)),
    )
    return FailureGroup(
        flow_run_id=flow_run_id,
        task=task,
        state=StateName(state),
        kind=kind,
        where=where,
        count=times,
        message=first[0][0] if first else "",
        task_run_id=task_run_id,
        index=int(place),
    )
