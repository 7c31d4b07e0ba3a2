"""The harness: a place of their own for users' tests, of which nothing stays."""

import doctest
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import fanfold.testing.harnesses
from fanfold import flow, runtime, task
from fanfold.engine import settings
from fanfold.engine.settings import temporary
from fanfold.testing import Harness, Ledger, Raise, harness

DEADLINE_S = 10.0


@task
def thread_of(x: int) -> str:
    return threading.current_thread().name


@task(persist_result=True)
def kept(x: int) -> int:
    return x


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have temporary files made where they can be counted."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def threads_of_a_map() -> set[str]:
    return set(flow(lambda: thread_of.map(range(50), chunk_size=1).result())())


def test_the_example_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    found = doctest.testmod(fanfold.testing.harnesses)

    assert (found.attempted > 3, found.failed) == (True, 0), capsys.readouterr().out


def test_results_are_kept_below_its_home_and_go_with_it(scratch: Path) -> None:
    with harness() as here:
        flow(lambda: kept.map([1, 2]).result())()

        assert settings.home() == here.home
        assert any(path.is_file() for path in (here.home / "results").rglob("*"))

    assert list(scratch.iterdir()) == []


def test_a_setting_of_the_callers_does_not_send_results_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("FANFOLD_RESULTS_DEFAULT_STORAGE", str(elsewhere))

    with harness() as here:
        flow(lambda: kept(1))()

        assert any(path.is_file() for path in (here.home / "results").rglob("*"))
    assert not elsewhere.exists()


def test_one_thread_runs_everything_unless_another_runner_is_asked_for() -> None:
    with harness():
        assert len(threads_of_a_map()) == 1
        assert len(set(thread_of.map(range(50), chunk_size=1).result())) == 1
        assert settings.current().default_runner == "inline"
    with harness(runner="threads"):
        assert settings.current().default_runner == "threads"


@pytest.mark.parametrize("retry_delays", [False, True])
def test_retries_wait_only_where_they_are_asked_to(retry_delays: bool) -> None:
    delay_s = 0.2

    @task(retries=1, retry_delay_seconds=delay_s)
    def unsteady_task() -> None:
        if runtime.task_run.run_count == 1:
            raise OSError("gone")

    @flow(retries=1, retry_delay_seconds=delay_s)
    def unsteady_flow() -> None:
        if runtime.flow_run.run_count == 1:
            raise OSError("gone")
        unsteady_task()
        unsteady_task.submit().result()

    with harness(retry_delays=retry_delays):
        began = time.monotonic()
        unsteady_flow()
        took_s = time.monotonic() - began

    assert (took_s >= 3 * delay_s) is retry_delays


def test_harnesses_may_be_used_inside_each_other_and_give_all_back(scratch: Path) -> None:
    before = dict(os.environ)

    with harness() as outer:
        thread_of.map(range(3)).result()
        with harness(runner="threads") as inner:
            assert (settings.home(), settings.current().default_runner) == (inner.home, "threads")
            thread_of.map(range(3)).result()
        assert (settings.home(), settings.current().default_runner) == (outer.home, "inline")
        assert len(thread_of.map(range(3)).result(DEADLINE_S)) == 3

    assert dict(os.environ) == before
    assert list(scratch.iterdir()) == []


def test_all_is_given_back_when_the_test_fails(scratch: Path) -> None:
    before = dict(os.environ)

    with pytest.raises(ValueError, match="so"), harness():
        raise ValueError("so")

    assert dict(os.environ) == before
    assert list(scratch.iterdir()) == []


def test_a_profile_that_holds_outside_is_not_looked_for_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FANFOLD_PROFILE", "staging")

    with harness():
        assert settings.current().tasks_default_retries == 0


def test_no_thread_stays(scratch: Path) -> None:
    def threads() -> set[threading.Thread]:
        return {one for one in threading.enumerate() if one.name.startswith("fanfold")}

    def work() -> None:
        threads_of_a_map()
        thread_of.map(range(50), chunk_size=1).result()

    with harness(runner="threads"):
        work()
    before = threads()
    with harness(runner="threads"):
        work()
    deadline = time.monotonic() + DEADLINE_S
    for thread in threads() - before:
        thread.join(deadline - time.monotonic())

    assert threads() - before == set()


def test_what_was_submitted_outside_of_flows_is_over_at_the_end(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))

    @task
    def noted(x: int) -> None:
        ledger.note("began", x)
        threading.Event().wait(0.05)
        ledger.note("ended", x)

    with harness():
        futures = noted.map(range(4), chunk_size=1)
        futures[0].wait(DEADLINE_S)

    assert futures.done()
    assert ledger.counts("began") == ledger.counts("ended")


def test_a_thread_of_the_tests_is_in_the_harness_too() -> None:
    homes: list[Any] = []
    with harness() as here:
        thread = threading.Thread(target=lambda: homes.append(settings.home()))
        thread.start()
        thread.join(DEADLINE_S)

    assert homes == [here.home]


def test_temporary_settings_have_their_say_inside() -> None:
    with harness(), temporary({"default_runner": "threads"}):
        assert settings.current().default_runner == "threads"


def test_it_makes_faults_and_ledgers_of_its_own() -> None:
    with harness() as here:
        assert isinstance(here, Harness)
        one, other = here.ledger(), here.ledger()
        one.note("word", 1)
        assert other.lines("word") == []
        faults = here.faults({1: [Raise(OSError("gone"))]}, by=lambda x: x % 2)
        with pytest.raises(OSError, match="gone"):
            faults.into(abs)(3)
