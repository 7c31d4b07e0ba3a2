"""What a chunk needs: CPU time of its threads, and how high the memory of its process rose."""

import asyncio
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fanfold import flow, task
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.engine.limits.deadlines import Limiter
from fanfold.engine.meter import OTHERS, Meter, told_apart
from fanfold.values.usage import Usage

RUNNERS = {"threads": "threads", "processes": ProcessTaskRunner(max_workers=1)}
ON_EACH = pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
BURNT_S = 0.05
BIG_BYTES = 128 << 20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the mark can't be reset")


def burn(seconds: float = BURNT_S) -> None:
    """Take so much CPU time of this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def usage_of(runner: Any, fn: Callable[..., Any], *columns: Any, **options: Any) -> Usage:
    """Return what elements needed, each by itself on average."""

    def measuring() -> Usage:
        future = task(**options)(fn).map(*columns)
        future.wait()
        assert set(future.states) == {"Completed"}
        return future.usage

    return flow(measuring, task_runner=runner)()


def test_other_threads_count_once_they_need_more_than_a_runners_own() -> None:
    few = told_apart(1.0, 1.0 + 0.5 * OTHERS, 1.0)
    many = told_apart(1.0, 1.0 + 2 * OTHERS, 1.0)

    assert (few, many) == (1.0, 1.0 + 2 * OTHERS)


@ON_EACH
def test_cpu_time_is_that_of_the_elements(runner: Any) -> None:
    usage = usage_of(runner, lambda x: burn(), range(4))

    assert usage.elements == 4
    assert BURNT_S <= usage.cpu_s <= usage.wall_s + 0.01
    assert usage.cpu_s < 2 * BURNT_S


@ON_EACH
def test_whoever_waits_needs_no_cpu(runner: Any) -> None:
    usage = usage_of(runner, lambda x: threading.Event().wait(BURNT_S), range(4))

    assert usage.cpu_s < BURNT_S / 4
    assert usage.wall_s >= BURNT_S


@ON_EACH
def test_async_elements_that_overlap_share_what_their_loop_needed(runner: Any) -> None:
    async def work(x: int) -> None:
        await asyncio.sleep(BURNT_S)
        burn(BURNT_S / 5)

    usage = usage_of(runner, work, range(10))

    assert BURNT_S / 5 <= usage.cpu_s < BURNT_S


@ON_EACH
def test_helper_threads_of_time_limits_count(runner: Any) -> None:
    usage = usage_of(runner, lambda x: burn(), range(3), timeout_seconds=60)

    assert BURNT_S <= usage.cpu_s < 2 * BURNT_S


def test_a_limited_call_in_a_thread_tells_its_chunk_what_it_needed() -> None:
    from fanfold.engine.context import TASK_RUN, RunContext, RunInfo, running

    found: list[float] = []

    def body() -> None:
        meter = Meter(apart=False)
        info = RunInfo(kind=TASK_RUN, id="t", name="t")
        with running(RunContext(info=info, meter=meter)):
            limiter = Limiter(60, name="t")
            limiter.call(burn)
            limiter.close()
        found.append(meter.cpu_s(1.0))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()

    assert BURNT_S <= found[0] < 2 * BURNT_S


def test_threads_that_an_element_starts_in_a_worker_process_count() -> None:
    def work(x: int) -> None:
        threads = [threading.Thread(target=burn, args=(2 * BURNT_S,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    usage = usage_of(RUNNERS["processes"], work, range(2))

    assert 6 * BURNT_S <= usage.cpu_s < 9 * BURNT_S


def test_in_another_thread_than_it_began_in_nothing_is_told() -> None:
    meter = Meter(apart=False)
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(meter.cpu_s(1.0)))
    thread.start()
    thread.join()

    assert found == [0.0]


@LINUX
def test_memory_is_the_highest_of_the_chunk_and_not_of_the_process() -> None:
    @task
    def work(size: int) -> int:
        return len(bytearray(size))

    @flow(task_runner=RUNNERS["processes"])
    def measuring() -> list[Usage]:
        found: list[Usage] = []
        for size in (1, BIG_BYTES, 1):
            future = work.submit(size)
            future.wait()
            found.append(future.usage)
        return found

    before, big, after = measuring()

    assert big.rise_bytes > BIG_BYTES * 0.9
    assert big.peak_bytes >= before.peak_bytes + BIG_BYTES * 0.9
    assert after.peak_bytes < big.peak_bytes - BIG_BYTES / 2
    assert after.rise_bytes < BIG_BYTES / 2


@LINUX
def test_a_chunk_beside_another_takes_nothing_from_what_that_one_reached() -> None:
    """In a process of its own, as the mark is the process's."""
    program = (
        "from fanfold.engine.meter import Meter\n"
        "first = Meter(apart=True)\n"
        f"big = bytearray({BIG_BYTES})\n"
        "del big\n"
        "second = Meter(apart=True)\n"
        "print(first.end() - first.before_bytes, second.end() - second.before_bytes)\n"
        "print(first.crowded, second.crowded, Meter(apart=True).crowded)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    rises, crowded = ran.stdout.splitlines()
    first, second = map(int, rises.split())
    assert first > BIG_BYTES * 0.9
    assert second < BIG_BYTES * 0.1
    assert crowded == "True True False"


@LINUX
def test_what_was_there_before_exec_is_not_taken_for_its_own() -> None:
    """A program's `ru_maxrss` begins with what its parent had; what is told doesn't."""
    program = (
        "import pickle, sys\n"
        "from fanfold.engine.meter import Meter\n"
        "sys.stdout.buffer.write(pickle.dumps(Meter(apart=True).end()))\n"
    )
    big = bytearray(os.urandom(1 << 20) * (2 * BIG_BYTES >> 20))

    # With a function to call in between, Python forks instead of taking a shorter way.
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        timeout=60,
        preexec_fn=os.getpid,
    )

    assert pickle.loads(ran.stdout) < len(big)


def test_of_a_stream_it_is_told_what_those_needed_that_are_home() -> None:
    @flow
    def measuring() -> tuple[Usage, Usage]:
        future = task(lambda x: burn(0.001)).map(iter(range(200)))
        for one in future:
            one.wait()
        walked = future.usage
        future.wait()
        return walked, future.usage

    walked, waited = measuring()

    assert 0 < walked.elements <= 200
    assert waited.elements == 200
    assert waited.cpu_s >= 0.001


def test_of_a_direct_call_of_an_async_task_no_cpu_is_told() -> None:
    """Its loop is the caller's, who does other things meanwhile."""
    meter = Meter(apart=False)
    meter.share_thread()
    burn(0.01)

    assert meter.cpu_s(1.0) == 0.0
