"""A history in PostgreSQL whose server is restarted again and again while flows run."""

import random
import signal
import threading
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import pytest

from fanfold.engine import registry
from fanfold.engine.recording.reaping import tend
from fanfold.ports.history import History
from fanfold.testing.postgresql import programs, server
from fanfold.values.records import FlowRuns, Lines, States, TaskRuns
from fanfold.values.states import StateName
from tests.crashes import flowing
from tests.crashes.programs import Program

SEED = 15
MODES = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
UP_S = (0.3, 1.2)
"""The server is up for so long between restarts, from and to."""


@pytest.mark.parametrize("restarts", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_nothing_is_lost_or_doubled_by_restarts_of_the_server(
    restarts: int,
    require: Callable[..., None],
    fanfold_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require("postgresql", "to be restarted", present=programs() is not None)
    source = random.Random(SEED)
    nobody = threading.Event()
    with server(durable=True) as postgresql:
        url = postgresql.database()
        monkeypatch.setenv("FANFOLD_HISTORY_URL", url)
        with Program("tests.crashes.flowing", "threads") as program:
            for mode in islice(cycle(MODES), restarts):
                program.wait_for(len(program.lines) + 1)
                nobody.wait(source.uniform(*UP_S))  # the random moment itself
                postgresql.stop(MODES[mode])
                program.wait_for(len(program.lines) + 1)  # flows go on meanwhile
                postgresql.start()
            printed = [line.split() for line in program.finish()]

        history = registry.history(url)
        # What wasn't recorded at the program's end is in its journal.
        tend(history, url, fanfold_home)
        odd = [what for id, number in printed for what in _odd(history, id, int(number))]
        parents = history.read(FlowRuns(parent_id="", limit=1_000_000))
        all_ids = [run.id for run in history.read(FlowRuns(limit=1_000_000))]
        history.close()

    assert odd == [], f"seed {SEED}"
    assert {run.id for run in parents} == {id for id, _ in printed}, f"seed {SEED}"
    assert len(set(all_ids)) == len(all_ids)
    assert not list((fanfold_home / "history-journal").glob("*")), f"seed {SEED}"


def _odd(history: History, id: str, number: int) -> list[str]:
    """Return what isn't as one of the program's flow runs was."""
    found: list[str] = []
    states = [run.state for run in history.read(FlowRuns(ids=(id,)))]
    if states != [StateName.COMPLETED]:
        found.append(f"{id} is {states}")
    tasks = history.read(TaskRuns(flow_run_ids=(id,)))
    expected = bytearray([StateName.COMPLETED]) * flowing.ELEMENTS
    expected[flowing.FAILS] = StateName.FAILED
    columns = [history.read(States(task_run_id=task.id)) for task in tasks]
    if columns != [[bytes(expected)]] or tasks[0].ended_us is None:
        found.append(f"{id} has {len(tasks)} maps, or others")
    lines = [line.message for line in history.read(Lines(flow_run_ids=(id,), words="says line"))]
    said = [f"flow {number} says line {line}" for line in range(flowing.LINES)]
    if lines != said:
        found.append(f"{id} has {len(lines)} lines, or others")
    children = history.read(FlowRuns(parent_id=id))
    if [run.state for run in children] != [StateName.COMPLETED] * (number % 3 == 0):
        found.append(f"{id} called {len(children)} flows")
    return found
