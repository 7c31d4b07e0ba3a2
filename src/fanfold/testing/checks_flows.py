"""Checks of flows and tasks over a runner: nested work, async ones, retries that wait."""

import asyncio
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fanfold.engine.context import current, tagged
from fanfold.flows import Flow
from fanfold.ports.runner import TaskRunner
from fanfold.tasks import Task
from fanfold.testing import faults
from fanfold.testing.faults import Raise
from fanfold.testing.ground import Ground
from fanfold.testing.ledger import Gate, Latch, Ledger, pause
from fanfold.values.resources import Traits

NESTED, DEPTH = 2, 3
SIBLINGS = 2
OVERLAPPING_PER_SLOT = 64
BEATING = 20_000
BEAT_S = 0.002
BLOCKED_S = 0.05
"""Longest time for which a loop may not be blocked."""
LIMIT_S = 0.2
OVERRUN_S = 1.0
"""What runs into a limit takes so long, where C code goes on to its end."""
ENDLESS_S = 30.0
"""The same where whatever it is can be ended."""
MATES = 6
BEAT_TRIES = 3
"""A busy machine holds a loop up now and then; what blocks it does so each time."""


class FlowChecks(Ground):
    """Checks 22 to 25, 30 and 31."""

    def test_22_nested_work_needs_no_slot(self, narrow_runner: TaskRunner) -> None:
        """Elements that submit and map, three levels deep, end where they take all slots."""

        def nesting(traits: Traits) -> list[int]:
            future = Task(faults.nested).map(range(NESTED), DEPTH, self.deadline_s)
            self._settle(future)
            return sorted(future.result(timeout=self.deadline_s))

        # On each level one submit and a map of two.
        assert self._in_flow(narrow_runner, nesting) == [3**DEPTH * x for x in range(NESTED)]

    def test_22_siblings_run_beside_each_other(self, runner: TaskRunner, tmp_path: Path) -> None:
        """What an element submits or maps runs in parallel, in its own slot too while it waits."""
        ledger = Ledger(str(tmp_path))

        def meeting(traits: Traits) -> list[bool]:
            context = current()
            assert context is not None
            wide = context.owner.session().slots().now >= SIBLINGS
            count = SIBLINGS if wide and self.manners(runner).nests else 1
            return self._value(Task(faults.siblings).submit(ledger, count, self.deadline_s))

        assert set(self._in_flow(runner, meeting)) == {True}, "they ran one after the other"

    def test_23_what_a_run_says_comes_back_while_it_runs(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """Lines and prints come home in order before the run is over, each with its attempt.

        Tags go there, and so do context variables where nothing has to be pickled.
        """
        gate = Gate(str(tmp_path / "gate"))

        def telling(traits: Traits) -> tuple[bool, Any]:
            token = faults.WORD.set("set")
            try:
                with tagged("conformance"):
                    task = Task(faults.telling, log_prints=True, retries=1)
                    future = task.submit(gate, self.deadline_s)
                return traits.remote, self._value(future)
            finally:
                faults.WORD.reset(token)

        with gate.kept() as latch, _Ears(latch).on("fanfold") as ears:
            remote, (tags, word, live) = self._in_flow(runner, telling)

        said = [f"{faults.SAID} {number}" for number in range(faults.LINES)]
        assert ears.heard == [(line, "telling", attempt) for attempt in (1, 2) for line in said]
        assert live, "what the run said came home when it was over"
        assert tags == ["conformance"]
        assert word == ("unset" if remote else "set")

    def test_24_async_tasks_of_a_chunk_overlap(self, runner: TaskRunner) -> None:
        """While one async element waits, others of its chunk go on."""

        def overlapping(traits: Traits) -> list[int]:
            context = current()
            assert context is not None
            slots = context.owner.session().slots()
            return self._value(
                Task(faults.together).map(range(OVERLAPPING_PER_SLOT * max(1, slots.most)))
            )

        found = self._in_flow(runner, overlapping)

        assert max(found) > 1, "async elements ran one after the other"

    def test_25_the_loop_of_an_async_flow_is_never_blocked(self, runner: TaskRunner) -> None:
        """A heart beats in the loop of an async flow while a map runs and is read."""

        async def mapping() -> float:
            context = current()
            assert context is not None
            # How long a cluster takes to start is another matter.
            await asyncio.to_thread(context.owner.session)
            heart = asyncio.create_task(_worst_beat())
            await asyncio.sleep(0)
            future = Task(faults.same).map(range(BEATING))
            values = await asyncio.to_thread(future.result, self.deadline_s)
            assert sorted(values) == list(range(BEATING))
            heart.cancel()
            return await heart

        async def conformance() -> float:
            flow: Any = Flow(mapping, task_runner=runner)
            return await flow()

        worst = [asyncio.run(conformance()) for _ in range(BEAT_TRIES)]

        assert min(worst) < BLOCKED_S, f"the loop stood still for {worst} s"

    def test_30_retry_delays_hold_no_slot(self, runner: TaskRunner, tmp_path: Path) -> None:
        """While failed elements wait for their next attempts, others run in their places."""
        ledger = Ledger(str(tmp_path))

        def waiting(traits: Traits) -> bool:
            context = current()
            assert context is not None
            slots = max(1, context.owner.session().slots().most)
            plan = self._plan(tmp_path, dict.fromkeys(range(slots), (Raise(ValueError("no")),)))
            retried = Task(faults.perform, retries=1, retry_delay_seconds=3 * self.deadline_s)
            futures = [retried.submit(x, plan) for x in range(slots)]
            self._wait_for_lines(ledger, len(futures))
            other = Task(faults.same).submit("other")
            other.wait(self.deadline_s)
            raise _Seen(other.done())

        try:
            self._in_flow(runner, waiting)
            done = False
        except _Seen as seen:
            done = seen.args[0]

        assert done, "what waits for its next attempt holds a slot"

    def test_31_time_limits_hold(self, runner: TaskRunner) -> None:
        """What overruns its limit is TimedOut: in time where it can be ended, else at its end."""

        def overrunning(traits: Traits) -> tuple[Traits, list[str], float]:
            limited = Task(faults.overrun, timeout_seconds=LIMIT_S)
            began = time.monotonic()
            # One after the other, so that none waits for another's GIL or slot.
            states = [
                self._states(limited.submit(way, ENDLESS_S if traits.kills else OVERRUN_S))[0]
                for way in range(len(faults.WAYS))
            ]
            return traits, states, time.monotonic() - began

        traits, states, took = self._in_flow(runner, overrunning)

        assert states == ["TimedOut"] * len(faults.WAYS)
        if traits.kills:
            assert took < ENDLESS_S, f"the limits of {LIMIT_S} s were kept after {took} s"

    def test_31_who_overruns_harms_no_other(self, runner: TaskRunner) -> None:
        """Those in one chunk with what can't be stopped complete, though its process may end."""
        holding, sleeping = len(faults.WAYS) - 1, 0
        ways = [sleeping, holding, *([sleeping] * MATES)]

        def overrunning(traits: Traits) -> list[str]:
            limited = Task(faults.overrun, timeout_seconds=LIMIT_S, chunk_size=len(ways))
            seconds = [0.0] * len(ways)
            seconds[1] = ENDLESS_S if traits.kills else OVERRUN_S
            return self._states(limited.map(ways, seconds))

        mates = ["Completed"] * MATES
        assert self._in_flow(runner, overrunning) == ["Completed", "TimedOut", *mates]

    def _wait_for_lines(self, ledger: Ledger, count: int) -> None:
        until = time.monotonic() + self.deadline_s
        while len(ledger.lines("ran")) < count:
            assert time.monotonic() < until, f"not all of {count} elements ran"
            pause()


class _Ears(logging.Handler):
    """Hears what a run says, and opens a gate once it has heard the last of it."""

    def __init__(self, latch: Latch) -> None:
        super().__init__()
        self.heard: list[tuple[str, Any, Any]] = []
        """Each line with the task that said it, and the attempt."""
        self._latch = latch

    @contextmanager
    def on(self, name: str) -> Generator["_Ears", None, None]:
        """Listen to a logger."""
        logger = logging.getLogger(name)
        before = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        try:
            yield self
        finally:
            logger.setLevel(before)
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take in a line."""
        told = record.getMessage()
        if told.startswith(faults.SAID):
            facts = getattr(record, "task_name", None), getattr(record, "attempt", None)
            self.heard.append((told, *facts))
            if len(self.heard) == 2 * faults.LINES:
                self._latch.open()


class _Seen(Exception):
    """Leaves a flow without waiting for what it started."""


async def _worst_beat() -> float:
    """Return how much later than wanted the loop came back at worst, until it is cancelled."""
    worst = 0.0
    while True:
        began = time.perf_counter()
        try:
            await asyncio.sleep(BEAT_S)
        except asyncio.CancelledError:
            return worst
        finally:
            worst = max(worst, time.perf_counter() - began - BEAT_S)
