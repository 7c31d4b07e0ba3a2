"""Every option of flows does what it says: each test fails where its option is ignored."""

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from fanfold import runtime, task
from fanfold.states import Cancelled, Crashed
from tests.unit.option_effects import Make, effect
from tests.unit.test_option_effects import DELAY_S, Calls, Loud, files, lines, overrun, say


@task
def kept(x: int) -> int:
    return 2 * x


def calls_kept() -> int:
    return kept(3)


def int_of(x: int) -> Any:
    return x


@effect("flow.name")
def test_a_flow_has_its_name(make: Make) -> None:
    assert make.flow(lambda: runtime.flow_run.flow_name, name="other")() == "other"


@effect("flow.version")
def test_a_flow_has_its_version(make: Make) -> None:
    assert make.flow(lambda: runtime.flow_run.flow_version, version="2")() == "2"


@effect("flow.flow_run_name")
def test_a_flows_runs_are_called_by_its_template(make: Make) -> None:
    assert make.flow(lambda x: runtime.flow_run.name, flow_run_name="load-{x}")(3) == "load-3"


@effect("flow.description")
def test_a_flow_has_its_description(make: Make) -> None:
    assert make.flow(say, description="Says it.").description == "Says it."


@effect("flow.tags")
def test_a_flows_runs_have_its_tags(make: Make) -> None:
    assert make.flow(lambda: runtime.flow_run.tags, tags=["one", "two"])() == ["one", "two"]


@effect("flow.retries")
def test_a_flow_is_called_again(make: Make) -> None:
    assert make.flow(Calls(failing=2), retries=2)(3) == 3


@effect("flow.retry_delay_seconds")
def test_a_flows_retry_waits(make: Make) -> None:
    calls = Calls(failing=1)
    make.flow(calls, retries=1, retry_delay_seconds=DELAY_S)()
    assert calls.paused_s >= DELAY_S


@effect("flow.task_runner")
def test_a_flows_tasks_run_on_its_runner(make: Make) -> None:
    where = task(os.getpid)
    assert make.flow(lambda: where.submit().result(), task_runner="processes")() != os.getpid()


@effect("flow.timeout_seconds")
def test_a_flow_has_its_time(make: Make) -> None:
    with pytest.raises(TimeoutError):
        make.flow(overrun, timeout_seconds=DELAY_S)()


@effect("flow.validate_parameters")
def test_a_flow_takes_its_arguments_as_they_are(make: Make) -> None:
    assert make.flow(int_of, validate_parameters=False)("3") == "3"


@effect("flow.cache_result_in_memory")
def test_a_flows_value_stays_where_it_is_kept(make: Make) -> None:
    options: Any = {"persist_result": True, "cache_result_in_memory": False}
    state: Any = make.flow(lambda: [1, 2], **options)(return_state=True)
    assert state.data is None and state.result() == [1, 2]


@effect("flow.persist_result")
def test_a_flow_has_results_kept(make: Make, fanfold_home: Path) -> None:
    make.flow(calls_kept, persist_result=True)()
    assert files(fanfold_home / "results")


@effect("flow.result_storage")
def test_a_flow_has_results_kept_where_it_says(make: Make, tmp_path: Path) -> None:
    make.flow(calls_kept, result_storage=tmp_path / "there")()
    assert files(tmp_path / "there")


@effect("flow.result_serializer")
def test_a_flow_has_results_written_as_it_says(make: Make) -> None:
    serializer = Loud()
    make.flow(calls_kept, result_serializer=serializer)()
    assert serializer.dumped


@effect("flow.log_prints")
def test_prints_of_a_flow_are_lines_of_its_log(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "fanfold"):
        make.flow(say, log_prints=True)()
    assert "said" in lines(caplog)


@effect("flow.on_completion")
def test_a_flows_completion_is_told(make: Make) -> None:
    told: list[Any] = []
    make.flow(Calls(), on_completion=[lambda flow, run, state: told.append(state.name)])()
    assert told == ["Completed"]


@effect("flow.on_failure")
def test_a_flows_failure_is_told(make: Make) -> None:
    told: list[Any] = []
    hook = [lambda flow, run, state: told.append(state.name)]
    make.flow(Calls(failing=1), on_failure=hook)(return_state=True)
    assert told == ["Failed"]


@effect("flow.on_cancellation")
def test_a_flows_cancellation_is_told(make: Make) -> None:
    told: list[Any] = []
    hook = [lambda flow, run, state: told.append(state.name)]
    make.flow(lambda: Cancelled(), on_cancellation=hook)(return_state=True)
    assert told == ["Cancelled"]


@effect("flow.on_crashed")
def test_a_flows_crash_is_told(make: Make) -> None:
    told: list[Any] = []
    hook = [lambda flow, run, state: told.append(state.name)]
    make.flow(lambda: Crashed(), on_crashed=hook)(return_state=True)
    assert told == ["Crashed"]


@effect("flow.on_running")
def test_a_flows_beginning_is_told(make: Make) -> None:
    told: list[Any] = []
    make.flow(Calls(), on_running=[lambda flow, run, state: told.append(state.name)])()
    assert told == ["Running"]


# What runners are made with.


@effect("threads.max_workers")
def test_so_many_threads_run(make: Make) -> None:
    where = task(lambda x: threading.Event().wait(0.01) or threading.get_ident())
    runner = make.runner("threads", max_workers=1)
    used = make.flow(
        lambda: where.with_options(chunk_size=1).map(range(20)).result(), task_runner=runner
    )
    assert len(set(used())) == 1


@effect("processes.max_workers")
def test_so_many_processes_run(make: Make) -> None:
    runner = make.runner("processes", max_workers=3)
    session = runner.open(lambda chunk_id, message: None)
    try:
        assert session.slots().most == 3
    finally:
        session.close()


@effect("processes.preload")
def test_modules_are_loaded_before_processes_begin(make: Make) -> None:
    loaded = task(lambda: "colorsys" in __import__("sys").modules)
    runner = make.runner("processes", preload=("cloudpickle", "fanfold.engine.work", "colorsys"))
    assert make.flow(lambda: loaded.submit().result(), task_runner=runner)()
