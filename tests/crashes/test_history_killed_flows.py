"""Scripts whose flows are recorded, and who are killed (SIGKILL) at random moments."""

import random
import time
from pathlib import Path

import pytest

from fanfold.adapters.history.sqlite import SqliteHistory
from fanfold.engine.recording.reaping import tend
from fanfold.values.records import FlowRunRecord, FlowRuns, TaskRuns
from fanfold.values.states import StateName
from tests.crashes.programs import Program
from tests.crashes.test_history_two_writers import integrity

SEED = 7
PAGE = 200


@pytest.mark.parametrize("kills", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_one_look_after_a_kill_all_runs_are_over(kills: int, fanfold_home: Path) -> None:
    source = random.Random(SEED)
    printed: set[str] = set()
    for number in range(kills):
        flows, later_s = source.randint(0, 12), source.uniform(0, 0.05)
        runner = source.choice(["threads", "threads", "processes"])
        with Program("tests.crashes.flowing", runner) as program:
            program.wait_for(flows)
            time.sleep(later_s)  # the random moment itself; nothing is waited for
            killed = program.kill()
        moment = f"seed {SEED}, kill {number}: {later_s:.4f} s after flow {flows} on {runner}"
        printed |= {line.split()[0] for line in killed}

        found = _looked(fanfold_home)

        unfinished = [run for run in found.values() if not run.state.final]
        assert unfinished == [], moment
        lost = [id for id in printed if id not in found]
        assert lost == [], moment
        assert {found[id].state for id in printed} <= {StateName.COMPLETED}, moment
        dead = [run for run in found.values() if run.state is StateName.CRASHED]
        assert all("ended without a word" in run.message for run in dead), moment
    assert integrity(fanfold_home / "history.db") == "ok", f"seed {SEED}"


def _looked(home: Path) -> dict[str, FlowRunRecord]:
    """Return all runs as somebody sees them who has just come."""
    url = f"sqlite:///{home / 'history.db'}"
    history = SqliteHistory(url)
    try:
        tend(history, url, home)
        found: dict[str, FlowRunRecord] = {}
        page = history.read(FlowRuns(limit=PAGE))
        while page:
            found |= {run.id: run for run in page}
            page = history.read(FlowRuns(limit=PAGE, before_id=page[-1].id))
        assert history.read(TaskRuns(flow_run_ids=tuple(found), open_only=True)) == []
        return found
    finally:
        history.close()
