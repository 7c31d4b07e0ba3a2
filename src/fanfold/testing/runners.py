"""The suite that every runner passes; a plug-in's test file is one fixture and one class.

    @pytest.fixture
    def runner() -> MyTaskRunner:
        return MyTaskRunner(address=...)

    class TestMine(RunnerSuite):
        pass

Checks bear the numbers that the design gives them. They count what really ran in files, so driver
and workers must share this machine. A difference between runners is a declared trait, for which a
check asserts either the one or the other: nothing is skipped. For pytest to show the values in
failed assertions, a conftest.py calls `pytest.register_assert_rewrite("fanfold.testing.runners")`.
"""

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from fanfold.annotations import unmapped
from fanfold.caching import task_input_hash
from fanfold.engine import registry, segments
from fanfold.engine.context import current
from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.engine.segments import Stored
from fanfold.engine.settings import HOME
from fanfold.flows import Flow
from fanfold.ports.runner import Ref, TaskRunner
from fanfold.tasks import Task
from fanfold.testing import faults
from fanfold.testing.chunks import BEGAN, Echo, Gated, Talking, Weighing
from fanfold.testing.desk import Desk, opened
from fanfold.testing.faults import Fault, Kill, Plan, Raise, ReturnUnpicklable, Traced
from fanfold.testing.ledger import Gate, Ledger
from fanfold.testing.traits import pinned
from fanfold.values.errors import ChunkCancelled, NotPicklable
from fanfold.values.resources import Traits

FAST_CHUNKS = 10_000
SHARED_BYTES = 100 << 20
KILLED_AT, KILLED_OF = 1_610, 2_000
POISON, POISONED = 137, 200
INFRASTRUCTURE_RETRIES = 2
PIECES = 32
GONE_S = 5.0
"""For processes that were killed to be gone."""
CLEAN_S = 5.0
"""For a borrowed cluster to be clean after its last element returned."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a map."""

    states: list[str]
    values: list[Any]
    """Exceptions in the places of missing values."""


class RunnerSuite:
    """Checks of a runner: `runner` is a fixture, whose cluster may be borrowed."""

    deadline_s = 60.0
    """Longest time without any news; only a check that fails takes so long."""
    borrows = False
    """Whether the cluster of `runner` outlives its sessions."""

    @pytest.fixture
    def own_runner(self, runner: TaskRunner) -> TaskRunner:
        """Return a runner that starts what it needs; override it where `runner` borrows."""
        return runner

    @pytest.fixture
    def mortal_runner(self, own_runner: TaskRunner) -> TaskRunner:
        """Return a runner whose workers may be killed, on a cluster that nobody else uses."""
        return own_runner

    def pinned(self, runner: TaskRunner, *, borrowed: bool) -> Traits:
        """Return what a runner must declare; override it for one that isn't in our table."""
        return pinned(runner, borrowed=borrowed)

    def leftovers(self) -> list[str]:
        """Return what sessions of `runner` left on its cluster, each as a readable name."""
        return []

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

    def test_05_futures_deep_inside_arguments(self, runner: TaskRunner) -> None:
        """Futures in lists, dicts, tuples and dataclasses become values where the call runs."""

        def many(traits: Traits) -> tuple[Any, Any]:
            one, two, three = (Task(faults.same).submit(word) for word in ("one", "two", "three"))
            deep = {"list": [one, (two,)], "dataclass": Found([], [three, {"again": one}])}
            single = Task(faults.same).submit(deep)
            mapped = Task(faults.same).map([{"of": [two]}, {"of": [three, "plain"]}])
            return self._value(single), self._value(mapped)

        single, mapped = self._in_flow(runner, many)

        inner = Found([], ["three", {"again": "one"}])
        assert single == {"list": ["one", ("two",)], "dataclass": inner}
        assert mapped == [{"of": ["two"]}, {"of": ["three", "plain"]}]

    def test_06_a_diamond_is_computed_once(self, runner: TaskRunner, tmp_path: Path) -> None:
        """What two calls need runs once, and so do they for the one that needs both."""
        ledger = Ledger(str(tmp_path))

        def diamond(traits: Traits) -> Any:
            noted = Task(faults.noted)
            top = noted.submit(1, ledger, "top")
            left, right = noted.submit(top, ledger, "left"), noted.submit(top, ledger, "right")
            return self._value(noted.submit([left, right], ledger, "bottom"))

        assert self._in_flow(runner, diamond) == [1, 1]
        words = ("top", "left", "right", "bottom")
        assert [len(ledger.lines(word)) for word in words] == [1, 1, 1, 1]

    def test_07_values_are_unpickled_only_where_they_are_used(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """Neither driver nor scheduler unpickles a value, until the driver is asked for it."""
        ledger = Ledger(str(tmp_path))
        passing = Task(faults.pass_traced)

        def chain(traits: Traits) -> tuple[bool, set[int]]:
            given = [Traced(ledger, number) for number in range(50)]
            made = Task(faults.make_traced).map(range(50), ledger)
            futures = [passing.map(given, ledger), passing.map(made, ledger)]
            for future in futures:
                self._settle(future)
            unasked = _processes(ledger, "unpickled")
            for future in futures:
                assert {value.number for value in self._value(future)} == set(range(50))
            return traits.remote, unasked

        remote, unasked = self._in_flow(runner, chain)

        workers = _processes(ledger, "made", "passed")
        driver = {os.getpid()} if remote else set[int]()
        assert unasked <= workers - driver, "values were unpickled where nobody used them"
        assert bool(unasked) == remote
        assert _processes(ledger, "unpickled") - unasked == driver

    def test_08_a_failed_element_fails_its_dependents_alone(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """Only what needs a failed element is UpstreamFailed; it doesn't run."""
        plan = self._plan(tmp_path, {7: (Raise(ValueError("seven")),)})

        def dependents(traits: Traits) -> tuple[list[str], list[str]]:
            first = Task(faults.perform).map(range(20), plan)
            noted = Task(faults.noted)
            second = noted.map(first, plan.ledger, "second")
            singles = [noted.submit({"of": first[at]}, plan.ledger, "single") for at in (6, 7, 8)]
            return self._states(second), [self._states(single)[0] for single in singles]

        states, singles = self._in_flow(runner, dependents)

        assert singles == ["Completed", "UpstreamFailed", "Completed"]
        assert states.pop(7) == "UpstreamFailed"
        assert set(states) == {"Completed"}
        assert [len(plan.ledger.lines(word)) for word in ("second", "single")] == [19, 2]

    def test_10_the_task_is_pickled_once_per_map(self, runner: TaskRunner, tmp_path: Path) -> None:
        """However many chunks carry a map, its task is pickled once, and read once per process."""
        ledger = Ledger(str(tmp_path))

        def mapped(traits: Traits) -> tuple[bool, int]:
            future = Task(Traced(ledger, 0), name="traced").map(range(5_000))
            self._settle(future)
            return traits.remote, future.run.chunks_made

        remote, chunks = self._in_flow(runner, mapped)

        assert chunks > 1
        assert len(ledger.lines("pickled")) == remote
        read = Counter(process for _, process in ledger.lines("unpickled"))
        assert set(read.values()) <= {1}, "a process unpickled the task more than once"
        assert bool(read) == remote

    def test_17_a_killed_worker_costs_only_what_was_not_committed(
        self, mortal_runner: TaskRunner, tmp_path: Path
    ) -> None:
        """After a worker's death all answers are right, and no committed element ran again.

        Committed is what indexes named at the moment of the kill.
        """
        store = tmp_path / "home" / "results"
        kill = Kill(committed_in=str(store), timeout_s=self.deadline_s)
        plan = self._plan(tmp_path, {KILLED_AT: (kill,)})
        cached = Task(faults.perform, cache_key_fn=task_input_hash)

        def mapped(traits: Traits) -> Found | None:
            if not traits.remote:
                assert not traits.kills
                return None
            return self._found(cached.map(range(KILLED_OF), plan))

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(HOME, str(store.parent))
            found = self._in_flow(mortal_runner, mapped)
        if found is None:
            return

        assert len(plan.ledger.lines("killed")) == 1
        assert found.values == list(range(KILLED_OF))
        committed = _committed(
            str(store), [n for line in plan.ledger.lines("committed") for n in line]
        )
        ran = plan.ledger.counts("ran")
        assert committed, "nothing was committed when the worker died"
        again = {x: ran[x] for x in committed if ran[x] != 1}
        assert not again, f"{len(again)} of {len(committed)} committed elements ran again"

    def test_18_a_poison_element_crashes_alone(
        self, mortal_runner: TaskRunner, tmp_path: Path
    ) -> None:
        """An element that always kills its worker is found at the cost of a few workers."""
        most = 1 + INFRASTRUCTURE_RETRIES + math.ceil(math.log(POISONED, PIECES))
        # One more than it may cost, so that a runner that never gives up is told too.
        plan = self._plan(tmp_path, {POISON: (Kill(),) * (most + 1)})

        def mapped(traits: Traits) -> Found | None:
            if not traits.remote:
                assert not traits.kills
                return None
            return self._found(Task(faults.perform).map(range(POISONED), plan))

        found = self._in_flow(mortal_runner, mapped)
        if found is None:
            return

        states, values = dict(enumerate(found.states)), dict(enumerate(found.values))
        values.pop(POISON)
        assert len(plan.ledger.lines("killed")) <= most
        assert states.pop(POISON) == "Crashed"
        assert set(states.values()) == {"Completed"}
        assert values == {x: x for x in range(POISONED) if x != POISON}

    def test_19_what_cannot_travel_fails_alone(self, runner: TaskRunner, tmp_path: Path) -> None:
        """An unpicklable argument or result is told as such, where it has to travel at all."""
        plan = self._plan(tmp_path, {1: (ReturnUnpicklable(),)})
        lock = threading.Lock()

        def unpicklable(traits: Traits) -> tuple[bool, str, Found, Found]:
            try:
                submitted = self._states(Task(faults.same).submit(lock))[0]
            except NotPicklable:
                submitted = "refused"
            arguments = self._found(Task(faults.same).map(["zero", lock, "two"]))
            results = self._found(Task(faults.perform).map(range(3), plan))
            return traits.remote, submitted, arguments, results

        remote, submitted, arguments, results = self._in_flow(runner, unpicklable)

        assert submitted == ("refused" if remote else "Completed")
        middle = "Failed" if remote else "Completed"
        assert arguments.states == results.states == ["Completed", middle, "Completed"]
        assert (arguments.values[0], arguments.values[2]) == ("zero", "two")
        assert (results.values[0], results.values[2]) == (0, 2)
        assert isinstance(arguments.values[1], NotPicklable if remote else type(lock))
        assert isinstance(results.values[1], NotPicklable if remote else faults.Unpicklable)

    def test_21_close_ends_an_own_cluster(self, own_runner: TaskRunner, tmp_path: Path) -> None:
        """No process that came with the session outlives it, though user code still runs."""
        before = _descendants()

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
            threading.Event().wait(faults.LOOK_S)
        assert not left, f"left on the cluster after close: {sorted(left)}"
        with opened(runner, self.deadline_s) as desk:
            assert desk.values([desk.run(Echo(id="again"))]) == [[b"again"]]

    def test_28_what_is_shared_reaches_a_process_once(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """A big unmapped argument is read once per worker process, and shared once by key."""
        ledger = Ledger(str(tmp_path))
        big = Traced(ledger, 0, bytes(SHARED_BYTES))

        def mapped(traits: Traits) -> tuple[bool, list[int]]:
            return traits.remote, self._value(
                Task(faults.size_of).map(range(200), unmapped(big), ledger)
            )

        remote, sizes = self._in_flow(runner, mapped)
        with opened(runner, self.deadline_s) as desk:
            shared = [desk.session.share("key", bytes(1 << 20)) for _ in range(2)]
            refs = [desk.run(Weighing(id=f"{at}"), shared=shared[at:]) for at in range(2)]
            weighed = desk.values(refs)

        assert set(sizes) == {SHARED_BYTES}
        read = Counter(process for _, process in ledger.lines("unpickled"))
        assert set(read.values()) <= {1}, "a process read the shared argument more than once"
        assert bool(read) == remote
        assert shared[0] == shared[1], "sharing under a known key made another copy"
        assert [parts[1:] for parts in weighed] == [[b"1048576"] * 2, [b"1048576"]]

    def _plan(self, folder: Path, of: Mapping[int, tuple[Fault, ...]] | None = None) -> Plan:
        return Plan(ledger=Ledger(str(folder)), faults=of or {})

    def _in_flow(self, runner: TaskRunner, body: Callable[[Traits], R]) -> R:
        """Call a function inside a flow on the runner, with what the runner can do."""

        def conformance() -> Any:
            context = current()
            assert context is not None
            return body(context.owner.session().traits)

        return Flow(conformance, task_runner=runner)()

    def _settle(self, future: TaskFuture[Any] | MapFuture[Any]) -> None:
        future.wait(self.deadline_s)
        assert future.done(), f"{future!r} isn't over after {self.deadline_s} s"

    def _value(self, future: TaskFuture[Any] | MapFuture[Any]) -> Any:
        self._settle(future)
        return future.result(timeout=self.deadline_s)

    def _states(self, future: TaskFuture[Any] | MapFuture[Any]) -> list[str]:
        self._settle(future)
        futures = future if isinstance(future, MapFuture) else [future]
        return [one.state.name for one in futures]

    def _found(self, future: MapFuture[Any]) -> Found:
        states = self._states(future)
        values = future.result(timeout=self.deadline_s, raise_on_failure=False)
        return Found(states=states, values=values)

    @contextmanager
    def _closed_while_running(
        self, runner: TaskRunner, folder: Path
    ) -> Generator["_Closed", None, None]:
        """Close a session under a running chunk; let that go on after the block, if it still can.

        Raises:
            AssertionError: Some submit didn't lead to exactly one report.
        """
        gate = Gate(str(folder / "gate"))
        with gate.kept() as latch:
            with opened(runner, self.deadline_s) as desk:
                held = desk.run(Echo(id="held"))
                running = Gated(id="running", gate=gate, timeout_s=self.deadline_s)
                refs = [held, desk.submit(running, needs=[held])]
                desk.wait_for_word("running", BEGAN)
                processes = _descendants()
            yield _Closed(desk, refs, processes)
            latch.open()
            desk.wait_for_all()
        assert [len(mine) for mine in desk.reports] == [1, 1]
        error = desk.reports[1][0].error
        assert error is None or isinstance(error, ChunkCancelled), f"told as {error!r}"


@dataclass(frozen=True, slots=True)
class _Closed:
    desk: Desk
    refs: list[Ref]
    processes: set[psutil.Process]
    """All that this process had started, and what that had, just before the session was closed."""


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _processes(ledger: Ledger, *words: str) -> set[int]:
    """Return the ids of the processes that noted one of the words."""
    return {int(process) for word in words for _, process in ledger.lines(word)}


def _committed(folder: str, names: list[str]) -> list[Any]:
    """Return the values that some indexes of a result store name."""
    store = registry.result_store(folder)
    return segments.load_all(
        [
            Stored(
                store=store,
                segment=segment,
                offset=record.offset,
                length=record.length,
                digest=record.digest,
                codec=record.codec,
            )
            for name in names
            for segment, records in segments.unpack_index(store.read(name), name).records().items()
            for record in records
        ]
    )
