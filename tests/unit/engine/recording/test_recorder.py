"""The recorder takes what happens from any thread, and never loses or delays it."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.engine.recording import spool
from fanfold.engine.recording.recorder import Recorder, close_all, current
from fanfold.engine.recording.spool import FOLDER
from fanfold.engine.settings import temporary
from fanfold.ports.history import History
from fanfold.values.errors import HistoryTooNew, HistoryUnavailable
from fanfold.values.records import Retention
from fanfold.values.states import StateName
from tests.unit.engine.recording.making import (
    PATIENCE_S,
    Faulty,
    Poisoned,
    a_url,
    line,
    lines,
    made,
    moved,
    runs,
    same,
)

Start = Callable[..., Recorder]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that makes recorders, which are closed after the test."""
    recorders: list[Recorder] = []

    def starts(history: History, home: Path = tmp_path) -> Recorder:
        made = Recorder(getattr(history, "url"), home, keep=(0.0, ()), load=lambda: history)  # noqa: B009
        recorders.append(made)
        return made

    yield starts
    for one in recorders:
        one.close()


def journals(home: Path) -> list[Path]:
    return list((home / FOLDER).glob("*"))


def test_what_was_put_from_many_threads_is_recorded_under_one_owner(start: Start) -> None:
    history = MemoryHistory(a_url())
    recorder = start(history)
    recorder.put(same, made("a"))

    threads = [
        threading.Thread(target=lambda: [recorder.put(same, line("a", "x")) for _ in range(100)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert recorder.flush(PATIENCE_S)
    assert len(lines(history.url, "a")) == 400
    (run,) = runs(history.url)
    assert run.owner


def test_makers_may_make_several_facts_or_none_and_may_fail(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    history = MemoryHistory(a_url())
    recorder = start(history)

    recorder.put(lambda: [made("a"), line("a", "one")])
    recorder.put(lambda: None)
    recorder.put(lambda: 1 / 0)
    recorder.put(lambda: (line("a", word) for word in ("two", "three")))

    assert recorder.flush(PATIENCE_S)
    assert [one.message for one in lines(history.url, "a")] == ["one", "two", "three"]
    assert "ZeroDivisionError" in caplog.text


def test_an_outage_is_told_once_noted_and_made_good(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = Faulty(a_url(), ["fail", "half"])
    recorder = start(history)
    recorder.put(same, made("a"))
    recorder.put(same, line("a", "first"))

    safe = recorder.flush(PATIENCE_S)
    recorder.put(same, line("a", "second"))
    noted = recorder.flush(PATIENCE_S)
    delivered = history.wait_for(lambda: len(lines(history.url, "a")) == 2)
    closed = recorder.close(PATIENCE_S)

    assert (safe, noted, delivered, closed) == (True, True, True, True)
    assert [one.message for one in lines(history.url, "a")] == ["first", "second"]
    assert journals(tmp_path) == []
    told = [record.getMessage() for record in caplog.records if record.name == "fanfold.history"]
    assert "can't be reached (It is out, as the script says): runs are noted in" in told[0]
    assert "is well again" in told[1]
    assert len(told) == 2


def test_what_a_closed_recorder_left_is_delivered_by_the_next(start: Start, tmp_path: Path) -> None:
    url = a_url()
    history = Faulty(url, ["fail"] * 1_000)
    recorder = start(history)
    for fact in (made("a"), moved("a", StateName.RUNNING), moved("a", StateName.COMPLETED)):
        recorder.put(same, fact)
    recorder.put(same, made("b"))
    recorder.flush(PATIENCE_S)
    recorder.close()
    left = journals(tmp_path)

    following = start(MemoryHistory(url))
    following.put(same, made("c"))
    closed = following.close(PATIENCE_S)

    assert closed and len(left) == 1 and journals(tmp_path) == []
    assert {run.id: run.state for run in runs(url)} == {
        "a": StateName.COMPLETED,
        "b": StateName.CRASHED,  # its process ended while it was open
        "c": StateName.PENDING,
    }


def test_a_history_that_hangs_holds_up_neither_flush_nor_the_journal(
    start: Start, tmp_path: Path
) -> None:
    history = Faulty(a_url(), ["hang"])
    recorder = start(history)
    recorder.put(same, made("a"))
    assert history.hangs.wait(PATIENCE_S)

    recorder.close(0.4)
    while_it_hung = journals(tmp_path)
    history.go.set()

    assert len(while_it_hung) == 1
    (journal,) = spool.found(tmp_path / FOLDER, history.url)
    kept = journal.first()
    journal.remove()
    assert kept is not None and kept.facts[0].flow_run_id == "a"


def test_states_wait_in_memory_where_no_disk_takes_them(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = Faulty(a_url(), ["fail", "fail"])
    (tmp_path / FOLDER).write_text("no folder")
    recorder = start(history)

    recorder.put(same, made("a"))
    safe = recorder.flush(PATIENCE_S)

    assert safe
    assert [run.id for run in runs(history.url)] == ["a"]
    assert "nor can runs be noted on the disk" in caplog.text


def test_a_refused_fact_is_told_once_for_its_run(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = start(MemoryHistory(a_url()))

    recorder.put(lambda: [line("unknown", "x")] * 3)
    recorder.flush(PATIENCE_S)
    recorder.put(same, line("unknown", "x"))
    recorder.flush(PATIENCE_S)

    assert caplog.text.count("doesn't take all of flow run unknown") == 1


def test_a_fact_that_the_history_chokes_on_harms_no_other(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    history = Poisoned(a_url())
    recorder = start(history)

    recorder.put(lambda: [made("a"), line("a", "one"), line("a", "poison"), line("a", "two")])
    recorder.put(same, moved("a", StateName.RUNNING))

    assert recorder.flush(PATIENCE_S)
    assert [one.message for one in lines(history.url, "a")] == ["one", "two"]
    assert runs(history.url)[0].state is StateName.RUNNING
    assert "ValueError: poison" in caplog.text


def test_a_history_of_a_newer_version_loses_nothing(start: Start, tmp_path: Path) -> None:
    class TooNew(MemoryHistory):
        def owner(self) -> str:
            raise HistoryTooNew("here", 9, 1)

    recorder = start(TooNew(a_url()))

    recorder.put(same, made("a"))

    assert recorder.flush(PATIENCE_S)
    assert len(journals(tmp_path)) == 1


def test_who_watches_a_run_is_called_once_when_it_is_to_be_cancelled(start: Start) -> None:
    history = MemoryHistory(a_url())
    recorder = start(history)
    called: list[str] = []
    heard = threading.Event()

    def cancel() -> None:
        called.append("a")
        heard.set()

    recorder.put(same, made("a"))
    recorder.put(same, moved("a", StateName.RUNNING))
    recorder.watch("a", cancel)
    recorder.flush(PATIENCE_S)
    history.cancel("a")

    assert heard.wait(PATIENCE_S)
    assert called == ["a"]


def test_that_a_run_is_to_be_cancelled_is_heard_after_an_outage(start: Start) -> None:
    class Deaf(MemoryHistory):
        asked = 0

        def cancelled(self, owner: str) -> list[str]:
            self.asked += 1
            if self.asked == 1:
                raise HistoryUnavailable("It is out")
            return super().cancelled(owner)

    history = Deaf(a_url())
    recorder = start(history)
    heard = threading.Event()
    recorder.put(lambda: [made("a"), moved("a", StateName.RUNNING)])
    recorder.watch("a", heard.set)
    recorder.flush(PATIENCE_S)

    history.cancel("a")

    assert heard.wait(PATIENCE_S)
    assert history.asked >= 2


def test_closing_ends_soon_whatever_else_is_due(tmp_path: Path) -> None:
    class Endless(MemoryHistory):
        def prune(self, retention: Retention, now_us: int, limit: int) -> int:
            return limit

    history = Endless(a_url())
    recorder = Recorder(history.url, tmp_path, keep=(1.0, ()), load=lambda: history)
    recorder.put(same, made("a"))
    recorder.watch("a", lambda: None)

    assert recorder.flush(PATIENCE_S)
    assert recorder.close(PATIENCE_S)


def test_a_recorder_that_is_replaced_lets_go_once_its_runs_are_over(
    start: Start, tmp_path: Path
) -> None:
    history = Faulty(a_url())
    recorder = start(history)
    recorder.put(same, made("a"))
    recorder.flush(PATIENCE_S)

    recorder.retire()
    recorder.flush(PATIENCE_S)
    open_still = history.closed.is_set()
    recorder.put(lambda: [moved("a", StateName.RUNNING), moved("a", StateName.COMPLETED)])
    recorder.flush(PATIENCE_S)
    recorder.retire()

    assert history.closed.wait(PATIENCE_S)
    assert not open_still


def test_a_closed_recorder_opens_again_when_it_is_told_more(start: Start) -> None:
    history = MemoryHistory(a_url())
    recorder = start(history)
    recorder.put(same, made("a"))
    recorder.close(PATIENCE_S)

    recorder.put(same, made("b"))

    assert recorder.flush(PATIENCE_S)
    assert {run.id for run in runs(history.url)} == {"a", "b"}


def test_runs_that_are_open_when_a_recorder_closes_are_given_up(start: Start) -> None:
    url = a_url()
    recorder = start(MemoryHistory(url))
    recorder.put(same, made("a"))
    recorder.flush(PATIENCE_S)
    recorder.close(PATIENCE_S)

    history = MemoryHistory(url)
    leases = history.reap(history.owner())

    assert [lease.name for lease in leases] == ["a"]


def test_there_is_one_recorder_for_a_url_and_none_where_it_is_off() -> None:
    url = a_url()
    with temporary({"history.url": url}):
        first, second = current(), current()
    with temporary({"history.url": a_url()}):
        other = current()
    with temporary({"history.url": "off"}):
        off = current()
    close_all()

    assert first is second
    assert other is not first
    assert off is None


def test_many_homes_leave_no_threads_behind(tmp_path: Path) -> None:
    before = threading.active_count()

    for number in range(5):
        with temporary({"home": str(tmp_path / str(number))}):
            recording = current()
            assert recording is not None
            recording.put(same, made("a"))
            assert recording.flush(PATIENCE_S)
            recording.put(lambda: [moved("a", StateName.RUNNING), moved("a", StateName.FAILED)])
    assert close_all(PATIENCE_S)

    gc.collect()
    assert threading.active_count() <= before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4"]


def test_a_forked_child_has_a_recorder_of_its_own(tmp_path: Path) -> None:
    program = """
import os, sys
from fanfold.engine.recording.recorder import current
from tests.unit.engine.recording.making import made, moved, same
from fanfold.values.states import StateName
recorder = current()
recorder.put(same, made("parent"))
assert recorder.flush(20)
recorder.put(same, moved("parent", StateName.RUNNING))
child = os.fork()
if child == 0:
    recorder = current()
    recorder.put(same, made("child"))
    recorder.put(same, moved("child", StateName.FAILED))
    sys.exit(0 if recorder.flush(20) else 1)
assert os.waitpid(child, 0)[1] == 0
recorder.put(same, moved("parent", StateName.COMPLETED))
"""
    home = tmp_path / "home"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "FANFOLD_HOME": str(home), "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    with temporary({"home": str(home)}):
        states = recorded_states()
    assert states == {"parent": StateName.COMPLETED, "child": StateName.FAILED}


def test_the_end_of_a_program_waits_for_its_history(tmp_path: Path) -> None:
    program = """
from fanfold.engine.recording.recorder import current
from tests.unit.engine.recording.making import made, moved, same
from fanfold.values.states import StateName
recorder = current()
recorder.put(lambda: [made("a"), moved("a", StateName.RUNNING), moved("a", StateName.COMPLETED)])
"""
    home = tmp_path / "home"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "FANFOLD_HOME": str(home), "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    with temporary({"home": str(home)}):
        states = recorded_states()
    assert states == {"a": StateName.COMPLETED}


def recorded_states() -> dict[str, StateName]:
    from fanfold.engine import registry, settings
    from fanfold.values.records import FlowRuns

    history = registry.history(settings.current().history_url)
    try:
        return {run.id: run.state for run in history.read(FlowRuns())}
    finally:
        history.close()
