"""Migrations are numbered, serve both databases, and leave what is newer alone."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fanfold.adapters.history import schema
from fanfold.adapters.history.dialects import Postgresql, Sqlite
from fanfold.adapters.history.sqlite import SqliteHistory
from fanfold.values.errors import HistoryTooNew
from fanfold.values.records import Chunks, FlowRuns

TEXT = """\
-- A comment.
create table both (
    name {text} primary key
);
-- only sqlite
create index here on both (name);
-- only postgresql
create index there on both (name);
"""


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [migration.number for migration in schema.migrations()]

    assert numbers == list(range(1, schema.latest() + 1))


def test_a_database_gets_what_is_for_all_and_for_itself() -> None:
    for_sqlite = schema.statements(TEXT, "sqlite", {"text": "text"})
    for_postgresql = schema.statements(TEXT, "postgresql", {"text": 'text collate "C"'})

    assert for_sqlite == [
        "create table both (\n    name text primary key\n)",
        "create index here on both (name)",
    ]
    assert for_postgresql == [
        'create table both (\n    name text collate "C" primary key\n)',
        "create index there on both (name)",
    ]


@pytest.mark.parametrize("dialect", [Sqlite(), Postgresql()])
def test_no_type_is_left_open(dialect: Sqlite | Postgresql) -> None:
    for migration in schema.migrations():
        for statement in schema.statements(migration.text, dialect.name, dialect.types):
            assert "{" not in statement


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"create table {schema.TABLE} (number integer primary key)")
        newer.execute(f"insert into {schema.TABLE} values (?)", (schema.latest() + 1,))
        newer.commit()
    before = path.read_bytes()
    history = SqliteHistory(f"sqlite:///{path}")

    with pytest.raises(HistoryTooNew):
        history.read(FlowRuns())
    with pytest.raises(HistoryTooNew):
        history.upgrade()
    status = history.status()
    history.close()

    assert (status.schema, status.latest_schema) == (schema.latest() + 1, schema.latest())
    assert path.read_bytes() == before


def test_an_empty_database_is_brought_up_to_date_once(tmp_path: Path) -> None:
    history = SqliteHistory(f"sqlite:///{tmp_path}/not/yet/history.db")

    before = history.status().schema
    first, second = history.upgrade(), history.upgrade()
    after = history.status().schema
    history.close()

    assert (before, after) == (0, schema.latest())
    assert (first, second) == ([migration.number for migration in schema.migrations()], [])


def test_a_file_of_the_first_version_is_brought_up_to_date_with_what_is_in_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path)) as old:
        old.execute(f"create table {schema.TABLE} (number integer primary key, applied_us bigint)")
        for statement in schema.statements(
            schema.migrations()[0].text, "sqlite", dict(Sqlite().types)
        ):
            old.execute(statement)
        old.execute(f"insert into {schema.TABLE} values (1, 1)")
        old.execute(
            "insert into chunks (flow_run_id, task_run_id, chunk, worker, seconds, at_us, spans,"
            " states) values ('f', 't', 'c', 'w', 0.5, 1, '[[0, 1]]', '[[9, 1]]')"
        )
        old.commit()
    history = SqliteHistory(f"sqlite:///{path}")

    applied = history.upgrade()
    (chunk,) = history.read(Chunks(task_run_id="t"))
    history.close()

    assert applied == list(range(2, schema.latest() + 1))
    assert (chunk.seconds, chunk.cpu_s, chunk.before_bytes, chunk.peak_bytes) == (0.5, 0.0, 0, 0)
