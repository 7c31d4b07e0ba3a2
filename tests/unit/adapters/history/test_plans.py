"""Questions about one run look at what belongs to it, not at all that there is."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fanfold.adapters.history.answering import answer
from fanfold.adapters.history.database import TABLES
from fanfold.adapters.history.dialects import Sqlite
from fanfold.adapters.history.sqlite import SqliteHistory
from fanfold.values.records import (
    Arguments,
    Artifacts,
    Chunks,
    Elements,
    FailureGroups,
    FlowArguments,
    FlowRuns,
    Lines,
    Query,
    States,
    TaskRuns,
    TaskTotals,
)
from fanfold.values.states import StateName

QUESTIONS: list[Query[Any]] = [
    FlowRuns(ids=("a", "b")),
    FlowRuns(id_prefix="a"),
    FlowRuns(parent_id="a"),
    FlowRuns(owner="a"),
    TaskRuns(flow_run_ids=("a", "b")),
    TaskRuns(ids=("a",)),
    TaskRuns(task="a"),
    TaskRuns(open_only=True, flow_run_ids=("a",)),
    TaskTotals(flow_run_ids=("a", "b")),
    States(task_run_id="a"),
    Chunks(task_run_id="a"),
    Elements(task_run_ids=("a",), states=(StateName.FAILED,)),
    Elements(task_run_ids=("a", "b"), indices=(1, 2), after=("a", 1)),
    FailureGroups(flow_run_ids=("a", "b")),
    Arguments(task_run_id="a"),
    FlowArguments(flow_run_id="a"),
    Lines(flow_run_ids=("a", "b"), level=30, last=True),
    Lines(task_run_ids=("a",), index=1),
    Lines(flow_run_ids=("a",), words="one two"),
    Artifacts(flow_run_id="a"),
    Artifacts(ids=("a",)),
]


class Planning:
    """A session that notes how each statement will be carried out."""

    dialect = Sqlite()

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.steps: list[str] = []

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        plan = self._connection.execute(f"explain query plan {statement}", parameters)
        self.steps += [step for *_, step in plan]
        return self._connection.execute(statement, parameters).fetchall()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Planning]:
    SqliteHistory(f"sqlite:///{tmp_path}/history.db").upgrade()
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
        yield Planning(connection)


@pytest.mark.parametrize("query", QUESTIONS, ids=repr)
def test_a_question_about_one_run_is_answered_by_indexes(
    query: Query[Any], session: Planning
) -> None:
    answer(query, session)  # type: ignore[arg-type]

    whole = [
        step for step in session.steps if step.startswith("SCAN") and step.split()[1] in TABLES
    ]
    assert session.steps
    assert whole == []
