"""Every setting does what it says: each test fails where its setting is ignored."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fanfold import INPUTS, flow, task
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
        began = time.monotonic()
        task(Calls(failing=1), retries=1, retry_delay_seconds=DELAY_S)()
        flow(Calls(failing=1), retries=1, retry_delay_seconds=DELAY_S)()
        assert time.monotonic() - began < 2 * DELAY_S


@effect("settings.tasks.default_retries")
def test_tasks_are_called_again(make: Make) -> None:
    with make.settings(tasks__default_retries=2):
        assert task(Calls(failing=2))(3) == 3


@effect("settings.tasks.default_retry_delay_seconds")
def test_retries_of_tasks_wait(make: Make) -> None:
    with make.settings(tasks__default_retry_delay_seconds=DELAY_S):
        began = time.monotonic()
        task(Calls(failing=1), retries=1)()
        assert time.monotonic() - began >= DELAY_S


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
        began = time.monotonic()
        flow(Calls(failing=1), retries=1)()
        assert time.monotonic() - began >= DELAY_S


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


@effect("settings.results.default_serializer")
def test_results_are_written_by_the_serializer(make: Make, fanfold_home: Path) -> None:
    with make.settings(results__default_serializer="json"):
        task(double, persist_result=True, result_storage_key="named")(3)
    (named,) = (path for path in files(fanfold_home) if path.name == "named")
    assert json.loads(named.read_bytes()) is not None


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
