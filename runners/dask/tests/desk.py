"""A driver for tests: a session, and what comes home over it."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from runners.dask.tests.chunks import Call

from fanfold.ports.runner import Ref, Session
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources
from fanfold_dask import DaskTaskRunner

DEADLINE_S = 20.0

OWN = DaskTaskRunner(cluster_kwargs={"n_workers": 2})
LONE = DaskTaskRunner(cluster_kwargs={"n_workers": 1})
QUIET: dict[str, Any] = {
    "threads_per_worker": 1,
    "dashboard_address": None,
    "silence_logs": 50,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
}
"""Arguments of a LocalCluster that stays on loopback."""


class Driver:
    """A session, and what came home over it."""

    def __init__(self, runner: DaskTaskRunner) -> None:
        self.said: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.reports: queue.Queue[Report] = queue.Queue()
        self.session: Session = runner.open(lambda chunk, message: self.said.put((chunk, message)))

    def submit(
        self,
        chunk: Call,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        want: Resources = PLAIN,
    ) -> Ref:
        return self.session.submit(chunk, needs, shared, want=want, done=self.reports.put)

    def report(self) -> Report:
        return self.reports.get(timeout=DEADLINE_S)

    def run(self, chunk: Call, needs: Sequence[Ref] = (), shared: Sequence[Ref] = ()) -> Ref:
        ref = self.submit(chunk, needs, shared)
        report = self.report()
        assert report.error is None
        assert report.chunk == chunk.id
        return ref

    def value(self, ref: Ref) -> list[bytes]:
        return [bytes(part) for part in self.session.fetch([ref], DEADLINE_S)[0]]

    def pid(self) -> int:
        """Return the process id that a `stay` says."""
        return int(self.said.get(timeout=DEADLINE_S)[1])


@contextmanager
def opened(runner: DaskTaskRunner) -> Iterator[Driver]:
    driver = Driver(runner)
    try:
        yield driver
    finally:
        driver.session.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "It didn't happen in time."
        threading.Event().wait(0.01)


def runs(folder: Path, name: str) -> int:
    return len(list(folder.glob(f"{name}.*")))


def kill_and_wait(pid: int) -> None:
    process = psutil.Process(pid)
    process.kill()
    process.wait(DEADLINE_S)


def task_names(dask_scheduler: Any) -> list[str]:
    return sorted(map(str, dask_scheduler.tasks))


def topic_names(dask_scheduler: Any) -> list[str]:
    """Return the topics of sessions; Dask makes others for its own events whenever they come."""
    return sorted(t for t in dask_scheduler._broker._topics if t.startswith("fanfold-"))


def group_names(dask_scheduler: Any) -> list[str]:
    return sorted(dask_scheduler.task_prefixes)


@contextmanager
def warned() -> Iterator[list[logging.LogRecord]]:
    """Collect what this package logs, whether or not a display has taken it over."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("fanfold.runners")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
