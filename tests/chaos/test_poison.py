"""One element of many that ends every process it runs in, each time in the same way.

Memory runs out in four ways: the kernel kills a process that outgrows its control group, Dask's
nanny ends its worker at a limit, Ray's monitor ends one at a share of the machine's memory, and a
C++ library finds no more under an address space limit, and aborts.
"""

import ctypes
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

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
GROUP_BYTES = 400 << 20
"""More than a worker of either cluster needs, and less than where Dask's nanny steps in."""
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


def outgrow() -> Poison:
    group = _group(GROUP_BYTES)

    def take() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        taken: list[bytes] = []
        for _ in range(400):
            taken.append(b"x" * (10 << 20))

    return take


def _group(limit_bytes: int) -> Path:
    """Return the folder of a control group whose processes get so much memory together.

    Where this process may make none there is nothing to install, so that isn't CI's fault either.
    """
    old = Path("/sys/fs/cgroup/memory")
    group = (old if old.is_dir() else old.parent) / f"fanfold-{os.getpid()}"
    try:
        group.mkdir(exist_ok=True)
        (group / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")).write_text(
            str(limit_bytes)
        )
    except OSError as error:
        pytest.skip(f"no memory control group can be made here: {error}")
    return group


@pytest.fixture(scope="module", autouse=True)
def _tidy() -> Iterator[None]:
    """Remove the control group, once its processes are dead."""
    yield
    for parent in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        group = Path(parent, f"fanfold-{os.getpid()}")
        if group.is_dir():
            group.rmdir()


KILLED, LEFT, BY_KERNEL = (
    r"SIGSEGV",
    r"code 3\b",
    r"by the (operating )?system for its memory \(OOM\)",
)
POISONS = [
    (processes, segfault, KILLED),
    (processes, leave, LEFT),
    (processes, outgrow, BY_KERNEL),
    (processes, abort, r"SIGABRT"),
    (dask, segfault, KILLED),
    (dask, leave, LEFT),
    (dask, outgrow, BY_KERNEL),
    (dask, grow, r"nanny for its memory"),
    (ray, segfault, KILLED),
    (ray, leave, LEFT),
    (ray, outgrow, BY_KERNEL),
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
