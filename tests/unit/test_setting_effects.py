"""Every setting does what it says: each test fails where its setting is ignored."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fanfold import INPUTS, flow, task
from fanfold.adapters.history.memory import MemoryHistory
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.patience import Patience
from fanfold.engine.recording import pruning, recorder
from fanfold.engine.settings import temporary
from fanfold.values.facts import Batch, FlowRunMade, FlowRunMoved
from fanfold.values.ids import new_id
from fanfold.values.records import FlowRuns, Lines
from fanfold.values.states import StateName
from tests.unit.option_effects import Make, effect
from tests.unit.test_option_effects import DELAY_S, Calls, files, lines, say

PROGRAM = "from fanfold import flow; flow(print)('through')"


def double(x: int) -> int:
    return 2 * x


def results(home: Path) -> list[Path]:
    return files(home / "results")


@effect("settings.home")
def test_all_is_kept_below_the_home(make: Make, tmp_path: Path) -> None:
    with make.settings(home=str(tmp_path / "other")):
        task(double, persist_result=True)(3)
    assert results(tmp_path / "other")


@effect("settings.default_runner")
def test_flows_that_name_no_runner_have_the_default(make: Make) -> None:
    where = task(os.getpid)
    with make.settings(default_runner="processes"):
        assert flow(lambda: where.submit().result())() != os.getpid()


@effect("settings.retry_delays")
def test_no_retry_waits(make: Make) -> None:
    with make.settings(retry_delays=False):
        one, other = Calls(failing=1), Calls(failing=1)
        task(one, retries=1, retry_delay_seconds=DELAY_S)()
        flow(other, retries=1, retry_delay_seconds=DELAY_S)()
        assert max(one.paused_s, other.paused_s) < DELAY_S


@effect("settings.tasks.default_retries")
def test_tasks_are_called_again(make: Make) -> None:
    with make.settings(tasks__default_retries=2):
        assert task(Calls(failing=2))(3) == 3


@effect("settings.tasks.default_retry_delay_seconds")
def test_retries_of_tasks_wait(make: Make) -> None:
    with make.settings(tasks__default_retry_delay_seconds=DELAY_S):
        calls = Calls(failing=1)
        task(calls, retries=1)()
        assert calls.paused_s >= DELAY_S


@effect("settings.tasks.default_persist_result")
def test_results_of_tasks_are_kept(make: Make, fanfold_home: Path) -> None:
    with make.settings(tasks__default_persist_result=True):
        task(double)(3)
    assert results(fanfold_home)


@effect("settings.tasks.refresh_cache")
def test_all_caches_are_written_anew(make: Make) -> None:
    counted: list[int] = []
    work = task(lambda x: counted.append(x), cache_policy=INPUTS)
    with make.settings(tasks__refresh_cache=True):
        work(1)
        work(1)
    assert counted == [1, 1]


@effect("settings.tasks.disable_caching")
def test_nothing_is_cached(make: Make, fanfold_home: Path) -> None:
    with make.settings(tasks__disable_caching=True):
        task(double, cache_policy=INPUTS)(3)
    assert not results(fanfold_home)


@effect("settings.flows.default_retries")
def test_flows_are_called_again(make: Make) -> None:
    with make.settings(flows__default_retries=2):
        assert flow(Calls(failing=2))(3) == 3


@effect("settings.flows.default_retry_delay_seconds")
def test_retries_of_flows_wait(make: Make) -> None:
    with make.settings(flows__default_retry_delay_seconds=DELAY_S):
        calls = Calls(failing=1)
        flow(calls, retries=1)()
        assert calls.paused_s >= DELAY_S


@effect("settings.results.persist_by_default")
def test_all_results_are_kept(make: Make, fanfold_home: Path) -> None:
    with make.settings(results__persist_by_default=True):
        task(double)(3)
    assert results(fanfold_home)


@effect("settings.results.default_storage")
def test_results_are_kept_in_the_storage(make: Make, tmp_path: Path) -> None:
    with make.settings(results__default_storage=str(tmp_path / "there")):
        task(double, persist_result=True)(3)
    assert files(tmp_path / "there")


@effect("settings.results.storage_options")
def test_storages_at_urls_have_the_options(make: Make, tmp_path: Path) -> None:
    inside = json.dumps({"dir": {"path": str(tmp_path / "inside")}})
    with make.settings(results__storage_options=inside):
        task(double, persist_result=True, result_storage=f"dir::file://{tmp_path}")(3)
    assert files(tmp_path / "inside")


@effect("settings.results.default_serializer")
def test_results_are_written_by_the_serializer(make: Make, fanfold_home: Path) -> None:
    with make.settings(results__default_serializer="json"):
        task(double, persist_result=True, result_storage_key="named")(3)
    (named,) = (path for path in files(fanfold_home) if path.name == "named")
    assert json.loads(named.read_bytes()) is not None


@effect("settings.results.signing_keys")
def test_results_on_shared_storage_are_signed_with_the_first_key(
    make: Make, tmp_path: Path
) -> None:
    store = FsspecStore(str(tmp_path))
    tmp_path.chmod(0o777)
    with make.settings(results__signing_keys=f"new={'ab' * 32},old={'cd' * 32}"):
        task(double, persist_result=True, result_storage=store)(3)
    (index,) = (path for path in files(tmp_path / "tasks") if path.parent.name == "index")
    assert index.read_bytes()[6:22] == b"new".ljust(16, b"\0")


@effect("settings.results.accepted_codecs")
def test_what_is_not_accepted_is_not_kept(make: Make, fanfold_home: Path) -> None:
    with make.settings(results__accepted_codecs="npy,arrow"):
        task(double, persist_result=True)(3)
    assert not results(fanfold_home)


@effect("settings.runner.thread_pool_max_workers")
def test_so_many_threads_run_by_default(make: Make) -> None:
    where = task(lambda x: threading.Event().wait(0.01) or threading.get_ident(), chunk_size=1)
    with make.settings(runner__thread_pool_max_workers=1):
        used = flow(lambda: where.map(range(20)).result(), task_runner="threads")()
    assert len(set(used)) == 1


@effect("settings.runner.process_pool_max_workers")
def test_so_many_processes_run_by_default(make: Make) -> None:
    where = task(lambda x: threading.Event().wait(0.1) or os.getpid(), chunk_size=1)
    with make.settings(runner__process_pool_max_workers=1):
        used = flow(lambda: where.map(range(4)).result(), task_runner="processes")()
    assert len(set(used)) == 1


@effect("settings.logging.level")
def test_lines_of_less_weight_are_not_shown(make: Make) -> None:
    # In a program of its own: pytest has configured logging, which takes the say from the setting.
    variables = make.keywords("settings", **{"logging.level": "WARNING"})
    named = {f"FANFOLD_{name.replace('.', '_').upper()}": v for name, v in variables.items()}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **named},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert (run.stdout, run.stderr) == ("through\n", "")


@effect("settings.logging.log_prints")
def test_all_prints_are_lines_of_the_log(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fanfold"), make.settings(logging__log_prints=True):
        task(say)()
    assert "said" in lines(caplog)


@effect("settings.logging.extra_loggers")
def test_lines_of_other_loggers_come_home(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    def speak() -> None:
        logging.getLogger("users_library").warning("spoken")

    def around() -> Any:
        return task(speak).submit().result()

    with make.settings(logging__extra_loggers=["users_library"]):
        flow(around, task_runner="processes")()
    assert "spoken" in lines(caplog)


@contextmanager
def history_of_lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """Record in a history of its own; gives what returns the messages of its lines."""
    url = f"memory://{new_id()}"

    def messages() -> list[str]:
        kept = recorder.current()
        assert kept is not None
        assert kept.flush(20.0)
        told = MemoryHistory(url).read(Lines(logger="fanfold.flow_runs"))
        return [line.message for line in told]

    with caplog.at_level(logging.INFO, "fanfold"), temporary({"history.url": url}):
        yield messages


@effect("settings.logging.masked")
def test_what_the_patterns_match_is_not_recorded(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with history_of_lines(caplog) as messages, make.settings(logging__masked=[r"key-\d+"]):
        flow(lambda: print("with key-123"), log_prints=True)()
        assert "with ********" in messages()


@effect("settings.history.lines_per_run")
def test_so_many_lines_are_recorded(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with history_of_lines(caplog) as messages, make.settings(history__lines_per_run=2):
        flow(lambda: [print(number) for number in range(5)] and None, log_prints=True)()
        assert len(messages()) == 2


@effect("settings.history.url")
def test_runs_are_recorded_there(make: Make) -> None:
    url = f"memory://{new_id()}"
    with make.settings(history__url=url):
        flow(double)(3)
        kept = recorder.current()
    assert kept is not None and kept.flush(20.0)
    assert [run.flow for run in MemoryHistory(url).read(FlowRuns())] == ["double"]


def left_of_runs(days: int) -> list[str]:
    """Return the states of the runs that are left so long after a completed and a failed one."""
    history = MemoryHistory(f"memory://{new_id()}")
    for state in (StateName.COMPLETED, StateName.FAILED):
        run = new_id()
        facts = (
            FlowRunMade(flow_run_id=run, flow="f", name="n", owner="", at_us=1),
            FlowRunMoved(flow_run_id=run, state=StateName.RUNNING, at_us=1),
            FlowRunMoved(flow_run_id=run, state=state, at_us=1),
        )
        history.record(Batch(writer=new_id(), number=1, facts=facts))
    pruning.Pruning(pruning.retention()).some(history, days * pruning.DAY_US)
    return [run.state.label for run in history.read(FlowRuns())]


@effect("settings.history.keep_days")
def test_runs_that_are_older_are_removed(make: Make) -> None:
    with make.settings(history__keep_days=10):
        assert left_of_runs(11) == []


@effect("settings.history.keep_days_by_state")
def test_runs_in_some_states_are_removed_sooner(make: Make) -> None:
    with make.settings(history__keep_days_by_state="completed=10"):
        assert left_of_runs(11) == ["Failed"]


@effect("settings.cluster.timeout_seconds")
def test_so_long_a_task_waits_for_a_worker(make: Make) -> None:
    with make.settings(cluster__timeout_seconds=3.0):
        assert patience().worker_s == 3.0


@effect("settings.cluster.silence_seconds")
def test_so_long_a_worker_may_be_silent(make: Make) -> None:
    with make.settings(cluster__silence_seconds=3.0):
        assert patience().word_s == 3.0


def patience() -> Patience:
    """Return what a map on a runner is given."""
    return flow(lambda: task(double).map([1]).run.call.patience)()
