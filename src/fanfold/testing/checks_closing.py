"""Checks of ends: what a session leaves behind, and that its runner opens again (R8)."""

import pickle
import time
from pathlib import Path

import psutil

from fanfold.ports.runner import TaskRunner
from fanfold.testing.chunks import Echo
from fanfold.testing.desk import opened
from fanfold.testing.ground import Ground, descendants
from fanfold.testing.ledger import pause
from fanfold.values.errors import SessionClosed
from fanfold.values.messages import Report

GONE_S = 5.0
"""For processes that were killed to be gone."""
CLEAN_S = 5.0
"""For a borrowed cluster to be clean after its last element returned."""


class CloseChecks(Ground):
    """Checks 21 and 26."""

    def test_21_close_ends_an_own_cluster(self, own_runner: TaskRunner, tmp_path: Path) -> None:
        """No process that came with the session outlives it, though user code still runs."""
        before = descendants()

        with self._closed_while_running(own_runner, tmp_path) as closed:
            started = closed.processes - before
            _, left = psutil.wait_procs(started, timeout=GONE_S)

        assert not left, f"still there after close: {[process.cmdline() for process in left]}"
        if closed.desk.session.traits.remote:
            workers = {
                report.worker for mine in closed.desk.reports for report in mine if report.worker
            }
            assert {int(worker.split("/")[1]) for worker in workers} <= {p.pid for p in started}

    def test_21_close_leaves_a_borrowed_cluster_clean(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """What the session doesn't own is alive, and nothing of the session is left on it."""
        before = set(self.leftovers())

        with self._closed_while_running(runner, tmp_path) as closed:
            pass

        # The handles are still held, as by a user who keeps futures of a flow that is over.
        assert len(closed.refs) == 2
        until = time.monotonic() + CLEAN_S
        while (left := set(self.leftovers()) - before) and time.monotonic() < until:
            pause()
        assert not left, f"left on the cluster after close: {sorted(left)}"
        with opened(runner, self.deadline_s) as desk:
            assert desk.values([desk.run(Echo(id="again"))]) == [[b"again"]]

    def test_26_a_runner_is_a_value_and_opens_again(
        self, runner: TaskRunner, own_runner: TaskRunner
    ) -> None:
        """It opens as often as one likes, and survives pickling if it holds nothing that lives."""
        found: list[list[bytes]] = []

        for number in range(3):
            with opened(runner, self.deadline_s) as desk:
                found += desk.values([desk.run(Echo(id=f"session-{number}"))])
        copies = [pickle.loads(pickle.dumps(own_runner, protocol)) for protocol in (2, 5)]

        assert found == [[b"session-0"], [b"session-1"], [b"session-2"]]
        assert copies == [own_runner, own_runner]
        assert {hash(copy) for copy in copies} == {hash(own_runner)}

    def test_26_a_closed_session_refuses_work(self, runner: TaskRunner) -> None:
        """It may be closed again, and takes nothing more."""
        told: list[Report] = []
        with opened(runner, self.deadline_s) as desk:
            desk.run(Echo(id="taken"))

        desk.session.close()
        try:
            desk.session.submit(Echo(id="late"), done=told.append)
            refused = False
        except SessionClosed:
            refused = True

        assert refused, "a closed session took a chunk"
        assert not told
