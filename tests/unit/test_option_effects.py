"""Every option of tasks does what it says: each test fails where its option is ignored."""

import itertools
import logging
import random
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from fanfold import INPUTS, flow, runtime
from fanfold.testing import Exit, Faults
from fanfold.transactions import transaction
from fanfold.values.errors import ResourcesUnavailable, UsageError
from tests.unit.option_effects import Make, effect

DELAY_S = 0.2
"""So long that a busy machine isn't taken for a delay."""
OVERRUN_S = 0.5
DEADLINE_S = 20.0


class Calls:
    """A function that counts its calls, and fails the first ones."""

    def __init__(self, failing: int = 0) -> None:
        self.count = 0
        self.failing = failing
        self.times: list[float] = []
        self.__name__ = "calls"

    @property
    def paused_s(self) -> float:
        """Seconds between the first call and the last."""
        return self.times[-1] - self.times[0]

    def __call__(self, x: int = 0) -> int:
        self.count += 1
        self.times.append(time.monotonic())
        if self.count <= self.failing:
            raise OSError("gone")
        return x


class Loud:
    """A serializer that counts."""

    def __init__(self) -> None:
        self.dumped = 0

    def dumps(self, value: Any) -> bytes:
        self.dumped += 1
        return str(value).encode()

    def loads(self, data: bytes) -> Any:
        return int(data)


class Big:
    """A value that can be watched."""


def overrun() -> None:
    until = time.monotonic() + OVERRUN_S
    while time.monotonic() < until:
        threading.Event().wait(0.01)


def say() -> None:
    print("said")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


# What it is called.


@effect("task.name")
def test_a_task_has_its_name(make: Make) -> None:
    assert make.task(lambda: runtime.task_run.task_name, name="other")() == "other"


@effect("task.description")
def test_a_task_has_its_description(make: Make) -> None:
    assert make.task(say, description="Says it.").description == "Says it."


@effect("task.version")
def test_a_task_has_its_version(make: Make) -> None:
    assert make.task(say, version="2").version == "2"


@effect("task.tags")
def test_a_tasks_runs_have_its_tags(make: Make) -> None:
    assert make.task(lambda: runtime.task_run.tags, tags=["one", "two"])() == ["one", "two"]


@effect("task.task_run_name")
def test_a_tasks_runs_are_called_by_its_template(make: Make) -> None:
    assert make.task(lambda x: runtime.task_run.name, task_run_name="load-{x}")(3) == "load-3"


# How often it is called.


@effect("task.retries")
def test_a_task_is_called_again(make: Make) -> None:
    assert make.task(Calls(failing=2), retries=2)(3) == 3


@effect("task.retry_delay_seconds")
def test_a_retry_waits(make: Make) -> None:
    calls = Calls(failing=1)
    make.task(calls, retries=1, retry_delay_seconds=DELAY_S)()
    assert calls.paused_s >= DELAY_S


@effect("task.retry_jitter_factor")
def test_a_retry_waits_longer_by_chance(make: Make) -> None:
    random.seed(0)  # 0.84 is the first number
    calls = Calls(failing=1)
    make.task(calls, retries=1, retry_delay_seconds=DELAY_S / 2, retry_jitter_factor=9.0)()
    assert calls.paused_s >= 3 * DELAY_S


@effect("task.retry_condition_fn")
def test_a_retry_is_asked_for(make: Make) -> None:
    with pytest.raises(OSError, match="gone"):
        make.task(Calls(failing=1), retries=1, retry_condition_fn=lambda *_: False)()


@effect("task.infrastructure_retries")
def test_a_call_whose_worker_died_is_not_run_again_if_it_may_not(
    make: Make, tmp_path: Path
) -> None:
    faults = Faults(tmp_path, {3: [Exit()]})
    once = make.task(faults.into(abs), infrastructure_retries=0)
    found: list[Any] = []
    flow(lambda: found.append(once.submit(3, return_state=True)), task_runner="processes")()

    assert (found[0].name, faults.calls(3)) == ("Crashed", 1)


@effect("task.timeout_seconds")
def test_a_call_has_its_time(make: Make) -> None:
    with pytest.raises(TimeoutError):
        make.task(overrun, timeout_seconds=DELAY_S)()


# What it says.


@effect("task.log_prints")
def test_prints_of_a_task_are_lines_of_its_log(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "fanfold"):
        make.task(say, log_prints=True)()
    assert "said" in lines(caplog)


# What is kept of it.


@effect("task.cache_policy")
def test_equal_calls_share_a_result_by_a_policy(make: Make) -> None:
    counted: list[int] = []
    work = make.task(lambda x: counted.append(x), cache_policy=INPUTS)
    assert (work(1), work(1), counted) == (None, None, [1])


@effect("task.cache_key_fn")
def test_equal_calls_share_a_result_by_a_function(make: Make) -> None:
    fn = Calls()
    work = make.task(fn, cache_key_fn=lambda context, arguments: "always")
    assert (work(1), work(2), fn.count) == (1, 1, 1)


@effect("task.cache_expiration")
def test_a_result_is_used_until_it_expires(make: Make) -> None:
    fn = Calls()
    work = make.task(
        fn,
        cache_key_fn=lambda context, arguments: "always",
        cache_expiration=timedelta(microseconds=1),
    )
    assert (work(1), work(2), fn.count) == (1, 2, 2)


@effect("task.isolation")
def test_calls_with_equal_keys_claim_them(make: Make, fanfold_home: Path) -> None:
    make.task(say, cache_policy=INPUTS, isolation="serializable")()
    assert files(fanfold_home / "results" / "claims")
    with pytest.raises(UsageError, match="READ_COMMITTED and SERIALIZABLE"):
        make.task(say, isolation="snapshot")


@effect("task.refresh_cache")
def test_a_cache_is_written_anew(make: Make) -> None:
    counted: list[int] = []
    work = make.task(lambda x: counted.append(x), cache_policy=INPUTS, refresh_cache=True)
    assert (work(1), work(1), counted) == (None, None, [1, 1])


@effect("task.persist_result")
def test_a_tasks_result_is_kept(make: Make, fanfold_home: Path) -> None:
    make.task(Calls(), persist_result=True)()
    assert files(fanfold_home / "results")


@effect("task.result_storage")
def test_a_tasks_result_is_kept_where_it_says(make: Make, tmp_path: Path) -> None:
    make.task(Calls(), persist_result=True, result_storage=tmp_path / "there")()
    assert files(tmp_path / "there")


@effect("task.result_storage_key")
def test_a_tasks_result_is_kept_by_the_name_it_says(make: Make, fanfold_home: Path) -> None:
    make.task(Calls(), persist_result=True, result_storage_key="named-{parameters[x]}")(3)
    assert [path.name for path in files(fanfold_home) if path.name == "named-3"]


@effect("task.result_serializer")
def test_a_tasks_result_is_written_as_it_says(make: Make) -> None:
    serializer = Loud()
    make.task(Calls(), persist_result=True, result_serializer=serializer)(3)
    assert serializer.dumped


@effect("task.cache_result_in_memory")
def test_a_result_that_is_stored_need_not_stay_in_memory(make: Make) -> None:
    made: list[Any] = []

    def big() -> Big:
        value = Big()
        made.append(ref(value))
        return value

    work = make.task(big, persist_result=True, cache_result_in_memory=False)

    @flow
    def around() -> tuple[bool, Any]:
        future = work.submit()
        future.wait()
        # The thread that ran it lets go of it a moment after it has said that it is over.
        deadline = time.monotonic() + 1
        while made[0]() is not None and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        return made[0]() is None, type(future.result())

    assert around() == (True, Big)


# Where it runs, and how many at a time.


@effect("task.resources")
def test_what_a_runner_cannot_give_is_refused(make: Make) -> None:
    work = make.task(Calls(), resources={"gpu": 1})
    with pytest.raises(ResourcesUnavailable):
        flow(lambda: work.submit(3).result())()


@effect("map.resources")
def test_what_a_runner_cannot_give_for_one_map_is_refused(make: Make) -> None:
    work = make.task(Calls())
    with pytest.raises(ResourcesUnavailable):
        flow(lambda: work.map([3], **make.keywords("map", resources={"gpu": 1})).result())()


@effect("submit.resources")
def test_what_a_runner_cannot_give_for_one_call_is_refused(make: Make) -> None:
    work = make.task(Calls())
    with pytest.raises(ResourcesUnavailable):
        flow(lambda: work.submit(3, **make.keywords("submit", resources={"gpu": 1})).result())()


@effect("task.speculative")
def test_a_silent_worker_is_not_waited_for_if_the_task_says_so(make: Make) -> None:
    work = make.task(Calls(), speculative=True)

    def around() -> bool:
        futures = work.map(range(3))
        futures.wait()
        return futures.run.call.patience.speculative

    assert flow(around)()


@effect("task.chunk_size")
def test_so_many_elements_travel_together(make: Make) -> None:
    assert chunks_made(make.task(Calls(), chunk_size=1)) == 50


@effect("map.chunk_size")
def test_so_many_elements_of_one_map_travel_together(make: Make) -> None:
    assert chunks_made(make.task(Calls()), **make.keywords("map", chunk_size=1)) == 50


def chunks_made(work: Any, **options: Any) -> int:
    def around() -> int:
        futures = work.map(range(50), **options)
        futures.wait()
        return futures.run.chunks_made

    return flow(around, task_runner="inline")()


@effect("task.max_in_flight")
def test_so_many_elements_are_started_before_others_are_over(make: Make) -> None:
    assert most_ahead(make.task(Calls(), max_in_flight=3)) <= 3


@effect("map.max_in_flight")
def test_so_many_elements_of_one_map_are_started_before_others_are_over(make: Make) -> None:
    assert most_ahead(make.task(Calls()), **make.keywords("map", max_in_flight=3)) <= 3


def most_ahead(work: Any, **options: Any) -> int:
    """Return how many elements were taken from an endless iterator before they were walked."""
    taken = itertools.count()
    last = 0

    def numbers() -> Iterator[int]:
        nonlocal last
        while True:
            last = next(taken)
            yield last

    def around() -> int:
        ahead = 0
        for walked, future in enumerate(work.map(numbers(), **options)):
            future.result()
            ahead = max(ahead, last - walked)
            if walked == 20:
                return ahead
        return ahead

    return flow(around)()


@effect("task.on_error")
def test_failures_of_a_map_are_collected(make: Make) -> None:
    work = make.task(Calls(failing=1), on_error="collect")
    results = flow(lambda: work.map([1, 2]).result(), task_runner="inline")()
    assert [type(result) for result in results] == [OSError, int]


@effect("map.on_error")
def test_failures_of_one_map_are_collected(make: Make) -> None:
    work, options = make.task(Calls(failing=1)), make.keywords("map", on_error="collect")
    results = flow(lambda: work.map([1, 2], **options).result(), task_runner="inline")()
    assert [type(result) for result in results] == [OSError, int]


# Whom it tells.


@effect("task.on_completion")
def test_a_tasks_completion_is_told(make: Make) -> None:
    told: list[Any] = []
    make.task(Calls(), on_completion=[lambda task, run, state: told.append(state.name)])()
    assert told == ["Completed"]


@effect("task.on_failure")
def test_a_tasks_failure_is_told(make: Make) -> None:
    told: list[Any] = []
    hook = told.append
    make.task(Calls(failing=1), on_failure=[lambda task, run, state: hook(state.name)])(
        return_state=True
    )
    assert told == ["Failed"]


@effect("task.on_running")
def test_a_tasks_beginning_is_told(make: Make) -> None:
    told: list[Any] = []
    make.task(Calls(), on_running=[lambda task, run, state: told.append(state.name)])()
    assert told == ["Running"]


@effect("task.on_commit")
def test_a_tasks_commit_is_told(make: Make) -> None:
    told: list[Any] = []
    with transaction():
        make.task(Calls(), on_commit=[told.append])()
        assert told == []
    assert len(told) == 1


@effect("task.on_rollback")
def test_a_tasks_rollback_is_told(make: Make) -> None:
    told: list[Any] = []
    with pytest.raises(ValueError, match="back"), transaction():
        make.task(Calls(), on_rollback=[told.append])()
        raise ValueError("back")
    assert len(told) == 1
