"""Removes what was kept long enough: outermost flow runs with all that belongs to them."""

from fanfold.adapters.history.conditions import Conditions
from fanfold.adapters.history.sessions import Condition, Session
from fanfold.values.facts import now_us as clock_us
from fanfold.values.records import Retention
from fanfold.values.states import FINAL, StateName

WRITERS_KEPT_US = 30 * 24 * 3_600 * 1_000_000
"""Last batch numbers of writers are kept for 30 days, for journals that are delivered late."""
AT_ONCE = 20_000
"""Lines, or elements, that go in one transaction: some 0.2 s, while others who write wait."""
_OF_FLOW_RUN = ("chunks", "key_parts", "task_runs")


def stale(session: Session, retention: Retention, now_us: int, limit: int) -> list[str]:
    """Return ids of outermost flow runs that were kept long enough, the lowest first."""
    ended, parameters = _ended_long_ago(retention, now_us)
    rows = session.rows(
        f"select id from flow_runs as run where ended_us is not null and ({ended})"
        # The caller may never have been recorded, or be gone.
        " and (parent_id = '' or not exists"
        " (select 1 from flow_runs as caller where caller.id = run.parent_id))"
        " order by id limit ?",
        (*parameters, limit),
    )
    return [id_ for (id_,) in rows]


def remove(session: Session, outermost: list[str]) -> bool:
    """Remove flow runs, those that they called, and all that belongs to them.

    Returns:
        Whether all is removed; otherwise only some of what there is much of, to be called again.
    """
    gone = _with_called(session, outermost)
    among, parameters = session.dialect.among("flow_run_id", gone)
    found = session.rows(f"select id from lines where {among} limit ?", (*parameters, AT_ONCE))
    session.dialect.forget_lines(session, [number for (number,) in found])
    told = session.run(
        "delete from elements where (task_run_id, place) in"
        f" (select task_run_id, place from elements where {among} limit ?)",
        (*parameters, AT_ONCE),
    )
    if len(found) == AT_ONCE or told == AT_ONCE:
        return False
    for table in _OF_FLOW_RUN:
        session.run(f"delete from {table} where {among}", parameters)
    _remove_artifacts(session, among, parameters)
    among, parameters = session.dialect.among("name", gone)
    session.run(f"delete from leases where {among}", parameters)
    among, parameters = session.dialect.among("id", gone)
    session.run(f"delete from flow_runs where {among}", parameters)
    return True


def remove_rest(session: Session, retention: Retention, now_us: int) -> None:
    """Remove artifacts of no flow run that were kept long enough, and writers' last numbers."""
    keep_us = retention.by_state.get(StateName.COMPLETED, retention.keep_us)
    _remove_artifacts(session, "flow_run_id = '' and changed_us <= ?", (now_us - keep_us,))
    session.run("delete from writers where at_us < ?", (clock_us() - WRITERS_KEPT_US,))


def _ended_long_ago(retention: Retention, now_us: int) -> Condition:
    times: dict[int, list[int]] = {}
    for state in sorted(FINAL):
        keep_us = retention.by_state.get(state, retention.keep_us)
        times.setdefault(now_us - keep_us, []).append(int(state))
    expressions = [
        f"ended_us <= ? and state in ({', '.join(map(str, states))})" for states in times.values()
    ]
    return " or ".join(expressions), tuple(times)


def _with_called(session: Session, outermost: list[str]) -> list[str]:
    """Return flow runs with those that they called, and those that these called."""
    gone = list(outermost)
    layer = outermost
    while layer:
        conditions = Conditions(session.dialect)
        conditions.add("parent_id <> ''")
        conditions.among("parent_id", layer)
        found = session.rows(f"select id from flow_runs{conditions}", conditions.parameters)
        layer = [id_ for (id_,) in found]
        gone += layer
    return gone


def _remove_artifacts(session: Session, expression: str, parameters: tuple[object, ...]) -> None:
    """Remove artifacts; where the last version of a key goes, the one before becomes the last."""
    last = session.rows(
        f"select key from artifacts where {expression} and latest = 1 and key <> ''", parameters
    )
    session.run(f"delete from artifacts where {expression}", parameters)
    for (key,) in last:
        session.run(
            "update artifacts set latest = 1 where key <> '' and key = ? and version ="
            " (select max(version) from artifacts where key <> '' and key = ?)",
            (key, key),
        )
