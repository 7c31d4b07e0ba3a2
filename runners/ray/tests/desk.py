"""A session on Ray whose news can be waited for."""

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runners.ray.tests import chunks
from runners.ray.tests.chunks import Work

from fanfold.ports.runner import Session
from fanfold.values.messages import Report
from fanfold_ray import RayTaskRunner

DEADLINE_S = 30.0


class Desk:
    """A session, what it heard and what was done, in the order it came."""

    def __init__(self, address: str | None = None) -> None:
        self.news: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.session: Session = RayTaskRunner(address=address).open(self.hear)

    def hear(self, chunk_id: str, message: bytes) -> None:
        self.news.put(("heard", message))

    def submit(self, call: Callable[..., Any], given: Any = None, **inputs: Any) -> Any:
        work = Work(call=call, given=given)
        return self.session.submit(
            work, done=lambda report: self.news.put(("done", report)), **inputs
        )

    def next(self) -> tuple[str, Any]:
        return self.news.get(timeout=DEADLINE_S)

    def report(self) -> Report:
        kind, report = self.next()
        while kind != "done":
            kind, report = self.next()
        return report

    def warm(self, folder: Path, workers: int) -> None:
        """Wait until so many workers have started: Ray does that one after the other."""
        for _ in range(workers):
            self.submit(chunks.meet, (str(folder), workers))
        assert [self.report().error for _ in range(workers)] == [None] * workers

    def run(self, call: Callable[..., Any], given: Any = None, **inputs: Any) -> tuple[Any, Report]:
        ref = self.submit(call, given, **inputs)
        return ref, self.report()
