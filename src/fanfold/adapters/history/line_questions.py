"""Answers questions for lines of logs.

Lines of several runs are asked for run by run, each at most as many as are wanted: all of them at
once would have to be sorted, and there may be millions.
"""

from collections.abc import Sequence
from typing import Any

from fanfold.adapters.history import rules
from fanfold.adapters.history.conditions import Conditions
from fanfold.adapters.history.sessions import Condition, Row, Session
from fanfold.values.records import LineRecord, Lines

_RUNS_BY_THEMSELVES = 50
"""More runs than that are asked for at once: a statement has its limits."""
_WARNING = 30


def answer_lines(session: Session, query: Lines) -> list[LineRecord]:
    """Return the answer to a question for lines."""
    wanted = rules.words(query.words)
    column = "task_run_id" if query.task_run_ids else "flow_run_id"
    runs = query.task_run_ids or query.flow_run_ids
    parts: Sequence[tuple[str, ...]] = [runs]
    if 1 < len(runs) <= _RUNS_BY_THEMSELVES:
        parts = [(run,) for run in runs]
    order = "order by id desc" if query.last else "order by id"
    statements: list[str] = []
    parameters: list[Any] = []
    for number, part in enumerate(parts):
        conditions = _conditions(session, query)
        if part:
            conditions.among(column, part)
        if wanted:
            within = _numbers(session, query, column, part)
            expression, of_words = session.dialect.saying(wanted, within)
            conditions.add(expression, *of_words)
        found = f"select id from lines{conditions} {order} limit ?"
        statements.append(f"select id from ({found}) as part_{number}")
        parameters += [*conditions.parameters, query.limit]
    rows = session.rows(
        f"select {_LINE} from lines where id in ({' union all '.join(statements)}) {order} limit ?",
        (*parameters, query.limit),
    )
    return [_line(row) for row in (reversed(rows) if query.last else rows)]


_LINE = "id, flow_run_id, task_run_id, place, attempt, level, logger, message, at_us"


def _conditions(session: Session, query: Lines) -> Conditions:
    conditions = Conditions(session.dialect)
    if query.task_run_ids:
        conditions.add("task_run_id <> ''")  # lets the index of such lines be used
        conditions.among("flow_run_id", query.flow_run_ids)
    conditions.given("place = ?", query.index)
    conditions.given("attempt = ?", query.attempt)
    if query.level >= _WARNING:
        conditions.add(f"level >= {_WARNING}")  # likewise
    conditions.given("level >= ?", query.level or None)
    if query.logger:
        below = f"{query.logger}."
        conditions.add(
            "(logger = ? or logger >= ? and logger < ?)", query.logger, below, f"{query.logger}/"
        )
    conditions.given("id > ?", query.after_id or None)
    return conditions


def _numbers(session: Session, query: Lines, column: str, part: Row) -> Condition:
    """Return within which numbers the lines are: the index of words knows them by numbers alone.

    A run's lines stand close together, so that leaves out nearly all lines of other runs.
    """
    number = session.dialect.numbered
    if not part:
        return f"{number} > ?", (query.after_id,)
    among, parameters = session.dialect.among(column, part)
    lowest, highest = (f"(select {end}(id) from lines where {among})" for end in ("min", "max"))
    bounds = f"{number} > ? and {number} >= {lowest} and {number} <= {highest}"
    return bounds, (query.after_id, *parameters, *parameters)


def _line(row: Row) -> LineRecord:
    id_, flow_run_id, task_run_id, place, attempt, level, logger, message, at_us = row
    return LineRecord(
        id=id_,
        flow_run_id=flow_run_id,
        task_run_id=task_run_id,
        index=place,
        attempt=attempt,
        level=level,
        logger=logger,
        message=message,
        at_us=at_us,
    )
