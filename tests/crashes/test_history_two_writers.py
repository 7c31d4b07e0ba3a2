"""One SQLite history that several processes use at once."""

import sqlite3
from contextlib import ExitStack
from pathlib import Path

import pytest

from fanfold.adapters.history.sqlite import SqliteHistory
from fanfold.engine.recording.reaping import reap
from fanfold.values.records import FlowRuns, Lines, TaskRuns
from tests.crashes.chronicle import BATCHES_PER_RUN, differences
from tests.crashes.programs import Program

WRITERS = ("one", "two")


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_two_processes_write_while_a_third_reads_and_reaps(seconds: int, tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    url = f"sqlite:///{file}"
    history = SqliteHistory(url)
    with ExitStack() as stack:
        stack.callback(history.close)
        programs = [
            stack.enter_context(Program("tests.crashes.dictating", url, name, seconds))
            for name in WRITERS
        ]
        looks = _look_while_running(history, programs)
        # A program fails where the history raises, whatever it says, or refuses a batch.
        acknowledged = [[int(line) for line in program.finish()] for program in programs]

        odd = [
            difference
            for name, numbers in zip(WRITERS, acknowledged, strict=True)
            for difference in differences(history, name, numbers[-1])
        ]

    assert odd == []
    assert looks > 10
    for numbers in acknowledged:
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= BATCHES_PER_RUN * seconds  # nobody was kept out by the others
    assert integrity(file) == "ok"


def _look_while_running(history: SqliteHistory, programs: list[Program]) -> int:
    looks = 0
    owner = history.owner()
    while any(program.running for program in programs):
        assert reap(history, owner) == []
        runs = history.read(FlowRuns(limit=20))
        ids = tuple(run.id for run in runs)
        if ids:
            history.read(TaskRuns(flow_run_ids=ids))
            history.read(Lines(flow_run_ids=ids[:1], words="batch", last=True, limit=50))
        looks += 1
    return looks


def integrity(file: Path) -> str:
    connection = sqlite3.connect(file)
    try:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()
