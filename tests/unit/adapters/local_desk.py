"""A session of a local runner with all that it told, for the tests of these runners."""

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fanfold.ports.runner import Ref, Session, TaskRunner
from fanfold.values.messages import Report
from tests.unit.adapters.local_chunks import DEADLINE_S, Chunk


class Desk:
    """A session, and everything that it told."""

    def __init__(self, runner: TaskRunner) -> None:
        self.reports: list[Report] = []
        self.messages: list[tuple[str, bytes]] = []
        self._news = threading.Condition()
        self.session: Session = runner.open(self._hear)

    def submit(self, chunk: Chunk, needs: Any = (), shared: Any = ()) -> Ref:
        return self.session.submit(chunk, needs, shared, done=self._done)

    def run(self, chunk: Chunk, needs: Any = (), shared: Any = ()) -> bytes:
        """Run a chunk to its end and return the single buffer of its values."""
        ref = self.submit(chunk, needs, shared)
        ((buffer,),) = self.session.fetch([ref], DEADLINE_S)
        return bytes(buffer)

    def wait_for_reports(self, count: int) -> list[Report]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.reports) >= count, DEADLINE_S)
            return list(self.reports)

    def wait_for_report(self, chunk: str) -> Report:
        def told() -> list[Report]:
            return [report for report in self.reports if report.chunk == chunk]

        with self._news:
            assert self._news.wait_for(told, DEADLINE_S)
            (report,) = told()
            return report

    def wait_for_start(self, chunk: str) -> None:
        self.wait_for_word(chunk, b"started")

    def wait_for_word(self, chunk: str, word: bytes) -> None:
        with self._news:
            assert self._news.wait_for(lambda: (chunk, word) in self.messages, DEADLINE_S)

    def _done(self, report: Report) -> None:
        with self._news:
            self.reports.append(report)
            self._news.notify_all()

    def _hear(self, chunk: str, message: bytes) -> None:
        with self._news:
            self.messages.append((chunk, message))
            self._news.notify_all()


@contextmanager
def opened(runner: TaskRunner) -> Iterator[Desk]:
    desk = Desk(runner)
    try:
        yield desk
    finally:
        desk.session.close()


class Pipe:
    """Holds up `Blocked` chunks until it is released."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(path)
        self._end: int | None = None

    def release(self) -> None:
        """Let go of all that wait now or come later."""
        if self._end is None:
            self._end = os.open(self.path, os.O_RDWR)

    def close(self) -> None:
        self.release()
        assert self._end is not None
        os.close(self._end)


def wait_for_end(pid: int) -> None:
    """Wait until a process that is no child of ours has ended."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], DEADLINE_S)[0]
    finally:
        os.close(process)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
