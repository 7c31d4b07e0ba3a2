"""Checks of submits and reports: how many there are, when they come and in which order."""

from pathlib import Path

from fanfold.engine import chunking
from fanfold.engine.context import current
from fanfold.ports.runner import TaskRunner
from fanfold.tasks import Task
from fanfold.testing import faults
from fanfold.testing.chunks import BEGAN, Echo, Gated, Talking
from fanfold.testing.desk import opened
from fanfold.testing.faults import Raise
from fanfold.testing.ground import Found, Ground
from fanfold.testing.ledger import Gate, Ledger
from fanfold.testing.tally import Tallied
from fanfold.values.resources import Traits

FAST_CHUNKS = 10_000
MAPPED = 10_000
SHORT_S = 0.05
"""For a fetch to give up."""


class ReportChecks(Ground):
    """Checks 0 to 4, 9, 16 and 27."""

    def test_00_traits_are_as_pinned(self, runner: TaskRunner) -> None:
        """The traits of the session are those of the table."""
        with opened(runner, self.deadline_s) as desk:
            assert desk.session.traits == self.pinned(runner, borrowed=self.borrows)

    def test_00_traits_where_workers_die_are_as_pinned(self, mortal_runner: TaskRunner) -> None:
        """The same on the cluster whose workers are killed below."""
        with opened(mortal_runner, self.deadline_s) as desk:
            assert desk.session.traits == self.pinned(mortal_runner, borrowed=False)

    def test_01_submit_returns_before_the_work_runs(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """A chunk waits for what only happens after its submit."""
        gate = Gate(str(tmp_path / "gate"))

        with gate.kept() as latch, opened(runner, self.deadline_s) as desk:
            ref = desk.submit(Gated(id="gated", gate=gate, timeout_s=self.deadline_s))
            latch.open()
            desk.wait_for_all()
            found = desk.values([ref])

        assert found == [[b"open"]], "submit returned only when the chunk had run"

    def test_02_exactly_one_done_per_submit(self, runner: TaskRunner) -> None:
        """None of many fast chunks goes unreported, and none is reported twice."""
        with opened(runner, self.deadline_s) as desk:
            # The handles are kept, for nobody needs to run a chunk whose values nobody wants.
            refs = [desk.submit(Echo(id=f"chunk-{number}")) for number in range(FAST_CHUNKS)]
            desk.wait_for_all()

        assert len(refs) == FAST_CHUNKS
        told = [[report.chunk for report in mine] for mine in desk.reports]
        assert told == [[f"chunk-{number}"] for number in range(FAST_CHUNKS)]
        failed = [report.error for mine in desk.reports for report in mine if report.error]
        assert not failed, f"{len(failed)} chunks failed, the first one: {failed[0]!r}"

    def test_03_a_user_error_is_an_outcome(self, runner: TaskRunner, tmp_path: Path) -> None:
        """An exception, even one that isn't an Exception, ends its own element and no other."""
        faults_of = {3: (Raise(ValueError("three")),), 7: (Raise(SystemExit(7)),)}
        plan = self._plan(tmp_path, faults_of)

        def mapped(traits: Traits) -> Found:
            return self._found(Task(faults.perform).map(range(10), plan))

        found = self._in_flow(runner, mapped)

        states = dict(enumerate(found.states))
        assert (states.pop(3), states.pop(7)) == ("Failed", "Crashed")
        assert set(states.values()) == {"Completed"}
        assert isinstance(found.values[3], ValueError) and found.values[3].args == ("three",)
        assert isinstance(found.values[7], SystemExit) and found.values[7].code == 7
        assert plan.ledger.counts("ran") == dict.fromkeys(range(10), 1)

    def test_04_order_inside_a_chunk(self, runner: TaskRunner, tmp_path: Path) -> None:
        """Values, needs and what a chunk says keep their order."""

        def mapped(traits: Traits) -> list[int]:
            return self._value(Task(faults.perform).map(range(1_000), self._plan(tmp_path)))

        found = self._in_flow(runner, mapped)
        with opened(runner, self.deadline_s) as desk:
            talking = desk.run(Talking(id="talking", count=100))
            parts = [desk.run(Echo(id=f"part-{number}")) for number in range(3)]
            joined = desk.run(Echo(id="joined"), needs=[parts[2], parts[0], parts[1]])
            desk.wait_for_word("talking", b"99")
            values = desk.values([joined, talking])

        numbers = [str(number).encode() for number in range(100)]
        assert found == list(range(1_000))
        assert values == [[b"joined", b"part-2", b"part-0", b"part-1"], numbers]
        assert [word for chunk, word in desk.heard if chunk == "talking"] == numbers

    def test_09_a_map_is_submitted_as_planned(self, runner: TaskRunner, tmp_path: Path) -> None:
        """A map makes no more chunks than the planner wants, and each runs once."""
        ledger = Ledger(str(tmp_path))

        def mapped(traits: Traits) -> tuple[int, int]:
            context = current()
            assert context is not None
            wanted = chunking.wanted_in_flight(context.owner.session().slots())
            future = Task(faults.same).map(range(MAPPED))
            assert sorted(self._value(future)) == list(range(MAPPED))
            return future.run.chunks_made, wanted

        made, wanted = self._in_flow(Tallied(runner, ledger), mapped)

        # As many again, where a slow machine couldn't do the first ones within their budgets.
        assert made <= 2 * wanted
        assert len(ledger.lines("carried")) == made

    def test_16_reports_wait_neither_for_slots_nor_for_others(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """A fast chunk is told before slow ones that were there first, while all slots are busy."""
        gate = Gate(str(tmp_path / "gate"))

        with gate.kept() as latch, opened(runner, self.deadline_s) as desk:
            desk.run(Echo(id="first"))
            slow = self._gated(desk, gate, max(1, desk.session.slots().most) - 1)
            desk.submit(Echo(id="fast"))
            told = desk.reports[-1]
            last = Gated(id="last", gate=gate, timeout_s=self.deadline_s)
            slow.append(desk.submit(last))
            desk.wait_for_word("last", BEGAN)
            desk.wait(lambda: bool(told), "the report of a fast chunk")
            latch.open()
            desk.wait_for_all()
            found = desk.values(slow)

        assert found == [[b"open"]] * len(slow), "a slow chunk was over before the fast one"

    def test_27_a_fetch_that_gives_up_cancels_nothing(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """After a fetch ran out of time, what it waited for still comes."""
        gate = Gate(str(tmp_path / "gate"))

        with gate.kept() as latch, opened(runner, self.deadline_s) as desk:
            desk.run(Echo(id="first"))
            running = self._gated(desk, gate, max(1, desk.session.slots().most))
            waiting = desk.submit(Echo(id="waiting"))
            try:
                desk.session.fetch([waiting, *running], SHORT_S)
                gave_up = False
            except TimeoutError:
                gave_up = True
            latch.open()
            desk.wait_for_all()
            failed = [mine[0].error for mine in desk.reports if mine[0].error]
            assert not failed, f"a fetch that gave up cancelled what it waited for: {failed[0]!r}"
            found = desk.values([waiting, *running])

        assert gave_up
        assert found == [[b"waiting"], *([[b"open"]] * len(running))]
