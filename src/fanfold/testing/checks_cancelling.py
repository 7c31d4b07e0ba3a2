"""Checks of cancelling: what waits never runs, what runs ends soon, each is told once (R7)."""

import time
from pathlib import Path

from fanfold.ports.runner import TaskRunner
from fanfold.testing.chunks import BEGAN, Deaf, Echo, Heeding, Talking
from fanfold.testing.desk import Desk, opened
from fanfold.testing.ground import Ground
from fanfold.testing.ledger import Gate, Ledger, pause
from fanfold.values.errors import ChunkCancelled

STOPPED_S = 2.0
"""For a running chunk to end after it was cancelled."""


class CancelChecks(Ground):
    """Checks 13 to 15."""

    def test_13_a_cancelled_pending_chunk_never_runs(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """What is cancelled while all slots are busy is told as such, and doesn't run later."""
        gate = Gate(str(tmp_path / "gate"))

        with gate.kept() as latch, opened(runner, self.deadline_s) as desk:
            desk.run(Echo(id="first"))
            running = self._gated(desk, gate, max(1, desk.session.slots().most))
            pending = desk.submit(Talking(id="pending", count=1))
            told = desk.reports[-1]
            desk.session.cancel([pending])
            # Only now a cluster has heard of it everywhere.
            desk.wait(lambda: bool(told), "the report of a cancelled chunk")
            latch.open()
            desk.wait_for_all()
            desk.run(Echo(id="last"))
            found = desk.values(running)

        assert [type(report.error) for report in told] == [ChunkCancelled]
        assert found == [[b"open"]] * len(running)
        assert ("pending", b"0") not in desk.heard, "it ran in spite of being cancelled"

    def test_14_running_work_ends_soon(self, runner: TaskRunner, tmp_path: Path) -> None:
        """A cancelled chunk sees `stopping`; where they can be, deaf ones are interrupted."""
        ledger = Ledger(str(tmp_path))

        with opened(runner, self.deadline_s) as desk:
            held = desk.run(Echo(id="held"))
            heeding = Heeding(id="heeding", ledger=ledger, timeout_s=self.deadline_s)
            asked = self._cancelled(desk, heeding, held, interrupt=False)
            self._wait_for_end(ledger, "heeding")
            again = Heeding(id="again", ledger=ledger, timeout_s=self.deadline_s)
            interrupted = self._cancelled(desk, again, held, interrupt=True)
            took = [asked, interrupted]
            for stubborn in (False, True):
                traits = desk.session.traits
                if traits.interrupts and (traits.kills or not stubborn):
                    name = "stubborn" if stubborn else "deaf"
                    timeout_s = self.deadline_s + STOPPED_S
                    deaf = Deaf(id=name, stubborn=stubborn, ledger=ledger, timeout_s=timeout_s)
                    took.append(self._cancelled(desk, deaf, held, interrupt=True))
            desk.run(Echo(id="last"))

        assert max(took) < STOPPED_S, f"these took {took} s to end"
        assert not ledger.lines("through"), "an interrupted chunk went on to its own end"

    def test_15_a_cancel_may_come_twice_or_too_late(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """Each chunk is told once however often it is cancelled, and keeps what it came to."""
        ledger = Ledger(str(tmp_path))

        with opened(runner, self.deadline_s) as desk:
            done = desk.run(Echo(id="done"))
            running = desk.submit(
                Heeding(id="running", ledger=ledger, timeout_s=self.deadline_s), needs=[done]
            )
            desk.wait_for_word("running", BEGAN)
            for _ in range(2):
                desk.session.cancel([running, done])
            desk.wait_for_all()
            for interrupt in (False, True):
                desk.session.cancel([done, running], interrupt=interrupt)
            desk.run(Echo(id="next"))
            found = desk.values([done])

        assert found == [[b"done"]]
        assert [len(mine) for mine in desk.reports] == [1, 1, 1]

    def _cancelled(
        self, desk: Desk, chunk: Heeding | Deaf, held: object, *, interrupt: bool
    ) -> float:
        """Cancel a chunk while it runs and return how many seconds its report took."""
        ref = desk.submit(chunk, needs=[held])
        told = desk.reports[-1]
        desk.wait_for_word(chunk.id, BEGAN)
        began = time.monotonic()
        desk.session.cancel([ref], interrupt=interrupt)
        desk.wait(lambda: bool(told), f"the report of {chunk.id}")
        took = time.monotonic() - began
        error = told[0].error
        assert error is None or isinstance(error, ChunkCancelled), f"told as {error!r}"
        return took

    def _wait_for_end(self, ledger: Ledger, chunk: str) -> None:
        """Wait until a chunk has seen that it should stop, whatever was told before."""
        until = time.monotonic() + STOPPED_S
        while ["heeded", chunk] not in ledger.lines("chunk"):
            assert time.monotonic() < until, f"{chunk} never saw that it should stop"
            pause()
