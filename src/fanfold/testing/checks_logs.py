"""Checks of log lines that come home from other processes: live, in order, bounded and counted.

    class TestMine(LogChecks):
        @pytest.fixture
        def runner(self) -> MyTaskRunner:
            return MyTaskRunner(address=...)

For runners that run tasks in processes of this machine.
"""

import logging
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.engine import settings
from fanfold.engine.recording import recorder
from fanfold.engine.telling import get_run_logger
from fanfold.flows import Flow
from fanfold.ports.runner import TaskRunner
from fanfold.runtime import task_run
from fanfold.tasks import Task
from fanfold.testing.ledger import Gate, Latch
from fanfold.values.ids import new_id
from fanfold.values.records import FlowRunRecord, FlowRuns, LineRecord, Lines

FLOOD = 200_000
WARNED_EVERY = 1_000
ALTERNATING = 100
SHORT = 500


class Ears(logging.Handler):
    """Keeps the records whose messages begin with a word, and opens a latch at the last of them."""

    def __init__(self, first: str, last: str = "", latch: Latch | None = None) -> None:
        super().__init__()
        self.records: list[Any] = []
        self._first = first
        self._last = last
        self._latch = latch

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        message = record.getMessage()
        if message.startswith(self._first):
            self.records.append(record)
        if message == self._last and self._latch is not None:
            self._latch.open()

    @property
    def messages(self) -> list[str]:
        """What was heard, in order."""
        return [record.getMessage() for record in self.records]

    @contextmanager
    def listening(self) -> Generator["Ears", None, None]:
        """Hear what runs say."""
        logger = logging.getLogger("fanfold")
        level, propagates = logger.level, logger.propagate
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield self
        finally:
            logger.removeHandler(self)
            logger.setLevel(level)
            logger.propagate = propagates


class LogChecks:
    """All checks of lines from other processes; `runner` is a fixture."""

    deadline_s = 60.0
    """Longest time without any news; only a check that fails takes so long."""
    errors_survive = True
    """Whether a message that was said is on its way at once; if not, what a process has said in its
    last moments may die with it."""

    def test_lines_come_home_in_order_while_the_element_still_runs(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """Prints and records of one element keep their order, and know where they are from."""
        gate = Gate(str(tmp_path / "gate"))
        with (
            gate.kept() as latch,
            Ears("said", f"said {2 * ALTERNATING - 1}", latch).listening() as ears,
        ):
            future = self._in_flow(
                runner,
                lambda: (
                    Task(alternating, log_prints=True, retries=1)
                    .map([gate], timeout_s=self.deadline_s)
                    .result()
                ),
            )

        assert future == [True], "what the element said came home when it was over"
        count = 2 * ALTERNATING
        assert ears.messages == [f"said {number}" for number in range(count)] * 2
        facts = [
            (record.task_name, record.map_index, record.attempt, record.levelname, record.name)
            for record in ears.records
        ]
        kinds = [("INFO", "fanfold.task_runs"), ("WARNING", "fanfold.task_runs")]
        assert facts == [
            ("alternating", 0, 1 + number // count, *kinds[number % 2])
            for number in range(2 * count)
        ]

    def test_lines_of_many_short_elements_are_all_there_before_their_values(
        self, runner: TaskRunner
    ) -> None:
        """Nothing is left behind in a worker when a chunk is over."""
        heard: list[int] = []
        with Ears("said by ").listening() as ears:

            def body() -> None:
                Task(short).map(range(SHORT), chunk_size=5).result()
                heard.append(len(ears.records))

            self._in_flow(runner, body)

        assert sorted(ears.messages) == sorted(f"said by {x}" for x in range(SHORT))
        assert heard == [SHORT]
        assert {(r.map_index, r.getMessage()) for r in ears.records} == {
            (x, f"said by {x}") for x in range(SHORT)
        }

    def test_a_flood_is_bounded_and_counted_and_warnings_get_through(
        self, runner: TaskRunner
    ) -> None:
        """What doesn't come home of a flood is counted to the line, in the history as well."""
        url = f"memory://{new_id()}"
        with settings.temporary({"history.url": url}), Ears("").listening() as ears:
            self._in_flow(runner, lambda: Task(flooding, log_prints=True).submit(FLOOD).result())
            kept = recorder.current()
            assert kept is not None
            assert kept.flush(self.deadline_s)
            (run,) = MemoryHistory(url).read(FlowRuns())
            lines = _all_lines(MemoryHistory(url), run)

        texts = [text for text in ears.messages if text.startswith("flood")]
        numbers = [int(text.split()[1]) for text in texts]
        dropped = sum(getattr(record, "dropped", 0) for record in ears.records)
        assert numbers == sorted(numbers), "lines of one element changed places"
        assert 0 < len(texts) < FLOOD / 2
        assert len(texts) + dropped == FLOOD
        assert len([text for text in ears.messages if text.startswith("careful")]) == (
            FLOOD // WARNED_EVERY
        )
        recorded = [line for line in lines if line.message.startswith("flood")]
        assert len(recorded) + run.lines_dropped == FLOOD
        assert any("lines were dropped" in line.message for line in lines)

    def test_what_a_process_said_last_is_told_though_it_dies(self, runner: TaskRunner) -> None:
        """An error, and what came before it, is home when its process is killed right then."""
        with Ears("last").listening() as ears:
            states = self._in_flow(runner, dying_mapped)

        assert states == {"Crashed": 1}
        last = ["last line", "last word"]
        assert ears.messages == (last if self.errors_survive else last[: len(ears.messages)])

    def _in_flow(self, runner: TaskRunner, body: Any) -> Any:
        return Flow(body, name="logs", task_runner=runner)()


def alternating(gate: Gate, timeout_s: float) -> bool:
    """Print and log in turns, then wait at a gate; do so again once it is open."""
    logger = get_run_logger()
    for number in range(ALTERNATING):
        print("said", 2 * number)
        logger.warning("said %s", 2 * number + 1)
    opened = gate.wait(timeout_s)
    if task_run.run_count == 1:
        raise ValueError("once more")
    return opened


def short(x: int) -> int:
    """Log a line."""
    get_run_logger().info("said by %s", x)
    return x


def flooding(count: int) -> None:
    """Print so many lines, with a warning now and then."""
    logger = get_run_logger()
    for number in range(count):
        print("flood", number)
        if number % WARNED_EVERY == 0:
            logger.warning("careful %s", number)


def dying(x: None) -> None:
    """Say something, and die."""
    print("last line")
    get_run_logger().error("last word")
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def dying_mapped() -> dict[str, int]:
    """Return what becomes of an element that says something and dies."""
    future = Task(dying, infrastructure_retries=0, log_prints=True).map([None])
    future.wait()
    return dict(future.states)


def _all_lines(history: MemoryHistory, run: FlowRunRecord) -> list[LineRecord]:
    return history.read(Lines(flow_run_ids=(run.id,), limit=2 * FLOOD))
