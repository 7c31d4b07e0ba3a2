"""Clusters of two workers whose driver, scheduler and workers are processes of their own."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import psutil

from fanfold.ports.runner import TaskRunner
from tests.benchmarks.grounds import SLOTS

SETTLE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Seconds of a core, by role."""

    wall: float
    driver: float
    scheduler: float
    workers: float

    def per(self, count: float) -> "Used":
        """Return what each of so many took."""
        return Used(
            wall=self.wall / count,
            driver=self.driver / count,
            scheduler=self.scheduler / count,
            workers=self.workers / count,
        )

    def less(self, other: "Used") -> "Used":
        """Return what it took more than another."""
        return Used(
            wall=self.wall - other.wall,
            driver=self.driver - other.driver,
            scheduler=self.scheduler - other.scheduler,
            workers=self.workers - other.workers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """A cluster that is up, and who is who there."""

    name: str
    runner: TaskRunner
    schedulers: Sequence[int]
    """Ids of processes."""
    workers: Sequence[int]
    settle: Callable[[], None]
    """Returns once nothing is left of what ran before."""

    def meter(self, run: Callable[[], Any]) -> Used:
        """Return what something took, all that came of it included."""
        self.settle()
        before, began = self._used(), time.perf_counter()
        run()
        wall = time.perf_counter() - began
        # Whatever the cluster has still to tidy up counts too, but not as waiting.
        self.settle()
        driver, scheduler, workers = (
            after - was for after, was in zip(self._used(), before, strict=True)
        )
        return Used(wall=wall, driver=driver, scheduler=scheduler, workers=workers)

    def _used(self) -> tuple[float, float, float]:
        return (
            time.process_time(),
            sum(map(_cpu_s, self.schedulers)),
            sum(map(_cpu_s, self.workers)),
        )


def _cpu_s(pid: int) -> float:
    """Return what a process has used, to the nanosecond."""
    # Linux numbers the clocks of processes so; psutil knows hundredths of a second alone.
    return time.clock_gettime(((~pid) << 3) | 2)


@contextmanager
def opened(name: str) -> Generator[Roles, None, None]:
    """Start a cluster, and end it on leaving."""
    with {"dask": _dask, "ray": _ray}[name]() as roles:
        yield roles


@contextmanager
def _dask() -> Generator[Roles, None, None]:
    distributed: Any = import_module("distributed")
    subprocesses: Any = import_module("distributed.deploy.subprocess")
    runners: Any = import_module("fanfold_dask")
    with (
        subprocesses.SubprocessCluster(
            n_workers=SLOTS,
            threads_per_worker=1,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            worker_class="distributed.Worker",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster.scheduler_address) as client,
    ):
        client.wait_for_workers(SLOTS)
        yield Roles(
            name="dask",
            runner=runners.DaskTaskRunner(client=client),
            schedulers=[client.run_on_scheduler(os.getpid)],
            workers=list(client.run(os.getpid).values()),
            settle=lambda: client.run_on_scheduler(_emptied),
        )


async def _emptied(dask_scheduler: Any) -> None:
    """Wait, on the scheduler, until it knows of no task any more."""
    async with asyncio.timeout(SETTLE_S):
        while dask_scheduler.tasks:
            await asyncio.sleep(0.01)


@contextmanager
def _ray() -> Generator[Roles, None, None]:
    on_ray: Any = import_module("tests.benchmarks.grounds.on_ray")
    with on_ray.started() as ground:
        below = psutil.Process().children(recursive=True)
        named = {process.pid: process.name() for process in below}
        yield Roles(
            name="ray",
            runner=ground.runner,
            schedulers=[pid for pid, kind in named.items() if kind in ("raylet", "gcs_server")],
            workers=[pid for pid, kind in named.items() if kind.startswith("ray::")],
            settle=ground.settle,
        )
