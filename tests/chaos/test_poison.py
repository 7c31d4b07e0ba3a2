"""One element of many that ends every process it runs in, each time in the same way.

What no test may do is to let the kernel kill for memory: that takes a memory cgroup to which this
process may be moved, or the whole machine. So memory runs out in three other real ways: a nanny of
Dask ends its worker at a limit, Ray's monitor ends one at a share of the machine's memory, and on
processes of this machine a C++ library finds no more under an address space limit, and aborts.
"""

import ctypes
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Callable

import psutil
import pytest

from fanfold import flow, task
from fanfold.ports.runner import TaskRunner
from fanfold.task_runners import ProcessTaskRunner
from fanfold.values.errors import Crashed
from fanfold_dask import DaskTaskRunner
from fanfold_ray import RayTaskRunner

pytestmark = pytest.mark.slow

COUNT, AT = 500, 137
ROOM_BYTES = 3 << 29
"""What may be taken of the machine's memory beyond what is in use, before Ray's monitor acts."""
Poison = Callable[[], None]


def segfault() -> Poison:
    return lambda: ctypes.string_at(0) and None


def leave() -> Poison:
    return lambda: os._exit(3)


def abort() -> Poison:
    def allocate() -> None:
        used = psutil.Process().memory_info().vms
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), most))
        ctypes.CDLL("libstdc++.so.6")._Znwm(ctypes.c_size_t(1 << 30))

    return allocate


def grow() -> Poison:
    def take() -> None:
        taken: list[bytes] = []
        for _ in range(400):
            taken.append(b"x" * (10 << 20))
            time.sleep(0.01)

    return take


def processes() -> TaskRunner:
    return ProcessTaskRunner(2)


def dask() -> TaskRunner:
    limits = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "512MiB"}
    return DaskTaskRunner(cluster_kwargs=limits)


def ray() -> TaskRunner:
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + ROOM_BYTES) / memory.total
    monitor = {"memory_usage_threshold": round(threshold, 3), "memory_monitor_refresh_ms": 100}
    return RayTaskRunner(address="local", init_kwargs={"num_cpus": 2, "_system_config": monitor})


KILLED, LEFT = r"SIGSEGV", r"code 3\b"
POISONS = [
    (processes, segfault, KILLED),
    (processes, leave, LEFT),
    (processes, abort, r"SIGABRT"),
    (dask, segfault, KILLED),
    (dask, leave, LEFT),
    (dask, grow, r"nanny for its memory"),
    (ray, segfault, KILLED),
    (ray, leave, LEFT),
    (ray, grow, r"memory"),
]


@pytest.mark.parametrize(
    ("runner", "poison", "cause"),
    POISONS,
    ids=[f"{r.__name__}-{p.__name__}" for r, p, _ in POISONS],
)
def test_a_poison_element_is_found_and_told_with_what_it_did(
    runner: Callable[[], TaskRunner], poison: Callable[[], Poison], cause: str
) -> None:
    strike, at = poison(), AT

    @task
    def works(x: int, *, note: str) -> int:
        if x == at:
            strike()
        return x + 1

    @flow(task_runner=runner())
    def mapped() -> list[object]:
        futures = works.map(range(COUNT), note="to be seen")
        futures.wait()
        states.extend(future.state.name for future in futures)
        return futures.result(raise_on_failure=False)

    states: list[str] = []
    values = mapped()

    error = values.pop(AT)
    assert Counter(states) == {"Completed": COUNT - 1, "Crashed": 1}
    assert values == [x + 1 for x in range(COUNT) if x != AT]
    assert isinstance(error, Crashed)
    told = str(error)
    assert f"works[{AT}]" in told
    assert f"called with {AT}, note='to be seen'" in told
    assert re.search(cause, told), told
