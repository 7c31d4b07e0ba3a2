"""What all checks of runners stand on: the fixtures, and flows and sessions to look into."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import psutil
import pytest

from fanfold.engine.context import current
from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.flows import Flow
from fanfold.ports.runner import Ref, TaskRunner
from fanfold.testing.chunks import BEGAN, Echo, Gated
from fanfold.testing.desk import Desk, opened
from fanfold.testing.faults import Fault, Plan
from fanfold.testing.ledger import Gate, Ledger
from fanfold.testing.traits import Manners, manners, pinned
from fanfold.values.errors import ChunkCancelled
from fanfold.values.resources import Resources, Traits

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a map."""

    states: list[str]
    values: list[Any]
    """Exceptions in the places of missing values."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A session that was closed under a running chunk."""

    desk: Desk
    refs: list[Ref]
    processes: set[psutil.Process]
    """All that this process had started, and what that had, just before the session was closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Something that a cluster has less of than slots."""

    runner: TaskRunner
    """Opens sessions on that cluster."""
    want: Resources
    """What a chunk asks for, such as one licence."""
    most: int
    """How many chunks that want it can run at once; the cluster has more slots."""


class Ground:
    """Fixtures of a runner's checks: `runner` is one, whose cluster may be borrowed."""

    deadline_s = 60.0
    """Longest time without any news; only a check that fails takes so long."""
    borrows = False
    """Whether the cluster of `runner` outlives its sessions."""
    later: ClassVar[frozenset[int]] = frozenset()
    """Numbers of the checks that the runner can't pass yet. They are not run, and named at the end
    of the suite beside the count of those that were."""

    @pytest.fixture
    def own_runner(self, runner: TaskRunner) -> TaskRunner:
        """Return a runner that starts what it needs; override it where `runner` borrows."""
        return runner

    @pytest.fixture
    def mortal_runner(self, own_runner: TaskRunner) -> TaskRunner:
        """Return a runner whose workers may be killed, on a cluster that nobody else uses."""
        return own_runner

    @pytest.fixture
    def narrow_runner(self, runner: TaskRunner) -> TaskRunner:
        """Return a runner with a single slot, or with few; override it where `runner` has many."""
        return runner

    @pytest.fixture
    def stock(self) -> Stock | None:
        """Return something that is scarce on a cluster; override it where `traits.honours` any."""
        return None

    @pytest.fixture
    def growing_runner(self) -> TaskRunner | None:
        """Return a runner whose cluster starts with no worker; override it where one `grows`."""
        return None

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def counted(cls, request: pytest.FixtureRequest) -> Generator[set[int], None, None]:
        """Print at the end how many checks the runner has reached, and which it has not."""
        reached: set[int] = set()
        yield reached
        line = f"{_suite(request)}: {len(reached)} checks"
        if cls.later:
            line += f"; later: {', '.join(map(str, sorted(cls.later)))}"
        plugins: Any = request.config.pluginmanager
        terminal, capture = map(plugins.getplugin, ("terminalreporter", "capturemanager"))
        if terminal is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                terminal.ensure_newline()
                terminal.write_line(line)

    @pytest.fixture(autouse=True)
    def reached(self, request: pytest.FixtureRequest, counted: set[int]) -> None:
        """Count a check, or leave it for later."""
        number = int(request.node.originalname[5:7])
        if number in self.later:
            pytest.skip(f"check {number} comes later for {_suite(request)}")
        counted.add(number)

    def pinned(self, runner: TaskRunner, *, borrowed: bool) -> Traits:
        """Return what a runner must declare; override it for one that isn't in our table."""
        return pinned(runner, borrowed=borrowed)

    def manners(self, runner: TaskRunner) -> Manners:
        """Return what it must do beyond that; override it for one that isn't in our table."""
        return manners(runner)

    def leftovers(self) -> list[str]:
        """Return what sessions of `runner` left on its cluster, each as a readable name."""
        return []

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

    def _gated(self, desk: Desk, gate: Gate, count: int) -> list[Ref]:
        """Return chunks that run by now, and wait at a gate."""
        refs: list[Ref] = []
        for number in range(count):
            chunk = Gated(id=f"gated-{number}", gate=gate, timeout_s=self.deadline_s)
            # Without needs: a cluster may prefer to wait for a busy worker that has their values.
            refs.append(desk.submit(chunk))
            desk.wait_for_word(chunk.id, BEGAN)
        return refs

    @contextmanager
    def _closed_while_running(
        self, runner: TaskRunner, folder: Path
    ) -> Generator[Closed, None, None]:
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
                processes = descendants()
            yield Closed(desk, refs, processes)
            latch.open()
            desk.wait_for_all()
        assert [len(mine) for mine in desk.reports] == [1, 1]
        error = desk.reports[1][0].error
        assert error is None or isinstance(error, ChunkCancelled), f"told as {error!r}"


def descendants() -> set[psutil.Process]:
    """Return all processes that this one has started, and what they have."""
    return set(psutil.Process().children(recursive=True))


def _suite(request: pytest.FixtureRequest) -> str:
    suite: Any = request.cls
    return str(suite.__name__)
