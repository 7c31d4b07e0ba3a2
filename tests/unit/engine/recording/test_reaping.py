"""What dead processes left is set right by whoever looks next, once."""

import threading
from pathlib import Path

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.engine.recording.reaping import reap, tend
from fanfold.engine.recording.spool import FOLDER, Spool
from fanfold.values.facts import Batch, ChunkDone, Fact, FlowRunMade, TaskRunMade
from fanfold.values.ids import new_id
from fanfold.values.records import FlowRunRecord, States, TaskRuns
from fanfold.values.states import StateName
from tests.unit.engine.recording.making import BEGAN_US, Faulty, a_url, line, made, moved, runs

CODES = bytes([StateName.COMPLETED] * 2 + [StateName.PENDING] * 2)


def a_map(flow_run_id: str, task_run_id: str) -> list[Fact]:
    """Return a map of four elements, of which two are home."""
    return [
        TaskRunMade(
            flow_run_id=flow_run_id,
            task_run_id=task_run_id,
            task="parse",
            name="parse",
            count=4,
            single=False,
            at_us=BEGAN_US,
        ),
        ChunkDone(
            flow_run_id=flow_run_id,
            task_run_id=task_run_id,
            chunk="c",
            spans=((0, 2),),
            states=((StateName.COMPLETED, 2),),
            at_us=BEGAN_US,
        ),
    ]


def died(url: str, *facts: Fact) -> None:
    """Record facts for a process that died then."""
    history = MemoryHistory(url)
    owner = history.owner()
    owned = tuple(
        made(fact.flow_run_id, owner) if isinstance(fact, FlowRunMade) else fact for fact in facts
    )
    history.record(Batch(writer=new_id(), number=1, facts=owned))
    history.abandon(owner)


def crashed(url: str) -> list[FlowRunRecord]:
    history = MemoryHistory(url)
    return reap(history, history.owner())


def test_open_runs_crash_with_the_reason_and_all_that_was_open_in_them() -> None:
    url = a_url()
    died(url, made("a"), moved("a", StateName.RUNNING), *a_map("a", "m"), line("a", "last"))

    found = crashed(url)

    assert [(run.id, run.state) for run in found] == [("a", StateName.RUNNING)]
    (run,) = runs(url)
    assert (run.state, run.owner) == (StateName.CRASHED, "")
    assert run.message.startswith("Process 7 on here ended without a word; last heard of at 20")
    history = MemoryHistory(url)
    assert history.read(TaskRuns(flow_run_ids=("a",), open_only=True)) == []
    assert history.read(States(task_run_id="m")) == [
        CODES.replace(bytes([StateName.PENDING]), bytes([StateName.CRASHED]))
    ]


def test_runs_that_live_or_are_over_or_suspended_are_left_as_they_are() -> None:
    url = a_url()
    history = MemoryHistory(url)
    history.record(
        Batch(writer=new_id(), number=1, facts=(made("lives", owner := history.owner()),))
    )
    died(url, made("over"), moved("over", StateName.RUNNING), moved("over", StateName.FAILED))
    died(url, made("waits"), moved("waits", StateName.RUNNING), moved("waits", StateName.SUSPENDED))

    assert crashed(url) == []
    assert {run.id: (run.state, run.owner) for run in runs(url)} == {
        "lives": (StateName.PENDING, owner),
        "over": (StateName.FAILED, ""),
        "waits": (StateName.SUSPENDED, ""),
    }


def test_many_who_reap_at_once_crash_each_run_once() -> None:
    url = a_url()
    for number in range(30):
        died(url, made(f"{number:02}"))
    found: list[FlowRunRecord] = []
    begin = threading.Barrier(4)

    def look() -> None:
        begin.wait()
        found.extend(crashed(url))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(run.id for run in found) == [f"{number:02}" for number in range(30)]
    assert {run.state for run in runs(url)} == {StateName.CRASHED}
    assert crashed(url) == []


def test_who_fails_half_way_leaves_the_rest_to_others(tmp_path: Path) -> None:
    url = a_url()
    died(url, made("a"))

    try:
        tend(Faulty(url, ["fail"]), url, tmp_path)
    except Exception as error:
        failed = str(error)
    found = tend(MemoryHistory(url), url, tmp_path)

    assert "as the script says" in failed
    assert [run.id for run in found] == ["a"]
    assert runs(url)[0].state is StateName.CRASHED


def test_journals_are_delivered_before_anything_is_taken_for_crashed(tmp_path: Path) -> None:
    url = a_url()
    died(url, made("over"), made("open"))
    left(tmp_path, url, moved("over", StateName.RUNNING), moved("over", StateName.COMPLETED))
    left(tmp_path, url, made("new"), moved("new", StateName.RUNNING))

    found = tend(MemoryHistory(url), url, tmp_path)
    again = tend(MemoryHistory(url), url, tmp_path)

    assert {run.id for run in found} == {"open", "new"}
    assert again == []
    assert {run.id: run.state for run in runs(url)} == {
        "over": StateName.COMPLETED,
        "open": StateName.CRASHED,
        "new": StateName.CRASHED,
    }
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_journal_that_cannot_be_delivered_waits_for_the_next(tmp_path: Path) -> None:
    url = a_url()
    died(url, made("over"))
    left(tmp_path, url, moved("over", StateName.RUNNING))

    try:
        tend(Faulty(url, ["fail"]), url, tmp_path)
    except Exception as error:
        failed = str(error)
    waiting = len(list((tmp_path / FOLDER).iterdir()))
    state = runs(url)[0].state
    tend(MemoryHistory(url), url, tmp_path)

    assert "as the script says" in failed
    assert (waiting, state) == (1, StateName.PENDING)
    assert list((tmp_path / FOLDER).iterdir()) == []


def left(home: Path, url: str, *facts: Fact) -> None:
    """Leave a journal, as a process that died."""
    journal = Spool(home / FOLDER, url)
    journal.append(Batch(writer=new_id(), number=1, facts=facts))
    journal.close()
