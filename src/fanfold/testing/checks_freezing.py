"""Checks of frozen workers: stopped processes that hold work and values, and tell nobody."""

import os
import signal
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from fanfold.engine import settings
from fanfold.ports.runner import Ref, Session, TaskRunner
from fanfold.tasks import Task
from fanfold.testing import faults
from fanfold.testing.chunks import BEGAN, Echo, Located
from fanfold.testing.desk import opened
from fanfold.testing.faults import Freeze
from fanfold.testing.ground import Ground
from fanfold.testing.ledger import Gate, Ledger, pause
from fanfold.values.resources import Traits

FROZEN_AT, FROZEN_OF = 137, 400
SILENCE_S = 1.0
"""Without a word, until the cluster is asked to look: instead of a minute."""
KEPT, KEPT_BYTES = 40, 20_000
"""Values that lie on the cluster when a worker freezes; too big to come with a report."""
BUSY = 3
"""Chunks of which the first runs, and the last may wait."""


class FreezeChecks(Ground):
    """Check 32."""

    def test_32_a_frozen_worker_does_not_stop_a_map(
        self, mortal_runner: TaskRunner, tmp_path: Path
    ) -> None:
        """What a stopped process was at is done by others, and what it held is made again."""
        plan = self._plan(tmp_path, {FROZEN_AT: (Freeze(),)})

        def mapped(traits: Traits) -> tuple[bool, list[int], list[bytes]]:
            if not traits.remote:
                return False, [], []
            with (
                settings.temporary({"cluster.silence_seconds": SILENCE_S}),
                _thawed(plan.ledger),
            ):
                kept = Task(faults.weighty).map(range(KEPT), KEPT_BYTES)
                self._settle(kept)
                values = self._value(Task(faults.perform).map(range(FROZEN_OF), plan))
                assert not _awake(plan.ledger), "the worker went on before the map was over"
                return True, values, self._value(kept)

        remote, values, kept = self._in_flow(mortal_runner, mapped)
        if not remote:
            return

        assert values == list(range(FROZEN_OF))
        assert kept == [faults.weighty(x, KEPT_BYTES) for x in range(KEPT)]
        ran = plan.ledger.counts("ran")
        assert ran[FROZEN_AT] == 2, f"the element that froze ran {ran[FROZEN_AT]} times"

    def test_32_only_what_is_stopped_is_stuck(
        self, mortal_runner: TaskRunner, tmp_path: Path
    ) -> None:
        """Neither what is busy is taken for stuck, nor what waits; and what goes on is not."""
        gate = Gate(str(tmp_path / "gate"))
        ledger = Ledger(str(tmp_path))

        with gate.kept() as latch, opened(mortal_runner, self.deadline_s) as desk:
            desk.run(Echo(id="first"))
            remote = desk.session.traits.remote
            chunks = [self._located(number, gate, ledger) for number in range(BUSY)]
            refs = [desk.submit(chunk) for chunk in chunks]
            desk.wait_for_word(chunks[0].id, BEGAN)
            assert not set(desk.session.stuck(refs)), "a busy chunk is called stuck"
            if remote:
                (pid,) = [int(pid) for name, pid in ledger.lines("at") if name == chunks[0].id]
                ledger.note("frozen", 0, pid)
                with _thawed(ledger):
                    os.kill(pid, signal.SIGSTOP)
                    self._wait_for(desk.session, refs, {refs[0]})
                self._wait_for(desk.session, refs, set())
            latch.open()
            desk.wait_for_all()

        errors = [mine[0].error for mine in desk.reports if mine[0].error is not None]
        assert not errors, f"{len(errors)} chunks failed, the first one: {errors[0]!r}"

    def _located(self, number: int, gate: Gate, ledger: Ledger) -> Located:
        timeout_s = 2 * self.deadline_s
        return Located(id=f"located-{number}", gate=gate, timeout_s=timeout_s, ledger=ledger)

    def _wait_for(self, session: Session, refs: Collection[Ref], wanted: set[Any]) -> None:
        """Wait until a session sees just these chunks stuck."""
        until = time.monotonic() + self.deadline_s
        while (found := set(session.stuck(refs))) != wanted:
            assert time.monotonic() < until, f"{len(found)} chunks are stuck, not {len(wanted)}"
            pause()


@contextmanager
def _thawed(ledger: Ledger) -> Generator[None]:
    """At the end let go on what was frozen, and is noted as such."""
    try:
        yield
    finally:
        for process in _noted(ledger):
            with suppress(psutil.NoSuchProcess):
                process.resume()


def _awake(ledger: Ledger) -> list[psutil.Process]:
    """Return the processes that were frozen and go on; a runner may have ended some."""
    return [each for each in _noted(ledger) if each.status() != psutil.STATUS_STOPPED]


def _noted(ledger: Ledger) -> list[psutil.Process]:
    pids = [int(pid) for _, pid in ledger.lines("frozen")]
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
