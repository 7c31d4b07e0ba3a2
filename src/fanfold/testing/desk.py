"""A session of the runner port with all that came home over it, for checks of the port itself."""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from fanfold.ports.runner import Chunk, Ref, Session, TaskRunner
from fanfold.values.errors import InfrastructureError
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources


class Desk:
    """Submits chunks and keeps every report by the number of its submit. Thread-safe.

    Args:
        runner: What is opened.
        deadline_s: Longest wait without any news.
    """

    def __init__(self, runner: TaskRunner, deadline_s: float) -> None:
        self.reports: list[list[Report]] = []
        self.heard: list[tuple[str, bytes]] = []
        self._deadline_s = deadline_s
        self._news = threading.Condition()
        self._count = 0
        self.session: Session = runner.open(self._hear)

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
    ) -> Ref:
        """Submit a chunk, whose reports are then kept under the next number."""
        mine: list[Report] = []
        self.reports.append(mine)

        def done(report: Report) -> None:
            with self._news:
                mine.append(report)
                self._count += 1
                self._news.notify_all()

        try:
            return self.session.submit(chunk, needs, shared, want=want, done=done)
        except InfrastructureError:
            self.reports.pop()
            raise

    def run(self, chunk: Chunk, needs: Sequence[Ref] = (), shared: Sequence[Ref] = ()) -> Ref:
        """Submit a chunk, wait for its report and return the handle on its values."""
        ref = self.submit(chunk, needs, shared)
        mine = self.reports[-1]
        self.wait(lambda: bool(mine), f"the report of chunk {chunk.id}")
        assert mine[0].error is None, f"chunk {chunk.id} failed: {mine[0].error!r}"
        return ref

    def wait_for_all(self) -> None:
        """Block until every submit has a report."""
        self.wait(
            lambda: self._count >= len(self.reports) and all(self.reports),
            "a report for each submit",
        )

    def wait_for_word(self, chunk: str, message: bytes) -> None:
        """Block until a chunk was heard to say something."""
        self.wait(lambda: (chunk, message) in self.heard, f"{message!r} from chunk {chunk}")

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        """Block until something is so.

        Raises:
            AssertionError: It isn't, and nothing was heard for as long as the deadline.
        """
        with self._news:
            while not ready():
                if not self._news.wait(self._deadline_s):
                    missing = sum(not mine for mine in self.reports)
                    raise AssertionError(
                        f"{what}: not there, and nothing came for {self._deadline_s} s; "
                        f"{missing} of {len(self.reports)} submits have no report"
                    )

    def values(self, refs: Sequence[Ref]) -> list[list[bytes]]:
        """Fetch values, as lists of bytes."""
        fetched = self.session.fetch(refs, self._deadline_s)
        return [[bytes(part) for part in parts] for parts in fetched]

    def _hear(self, chunk: str, message: bytes) -> None:
        with self._news:
            self.heard.append((chunk, message))
            self._news.notify_all()


@contextmanager
def opened(runner: TaskRunner, deadline_s: float) -> Generator[Desk, None, None]:
    """Open a session on a runner, and close it at the end."""
    desk = Desk(runner, deadline_s)
    try:
        yield desk
    finally:
        desk.session.close()
