"""The runner suite on Ray: on one that the tests started, and where it counts on its own."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import ray
from runners.ray.tests.growing import Growing

from fanfold.ports.runner import Session
from fanfold.testing.ground import Stock
from fanfold.testing.runners import RunnerSuite
from fanfold.values.resources import Resources
from fanfold_ray import RayTaskRunner
from fanfold_ray.start import loopback_only

pytestmark = pytest.mark.slow

STARTS = RayTaskRunner(address="local", init_kwargs={"num_cpus": 2, "resources": {"licence": 1}})
NARROW = RayTaskRunner(address="local", init_kwargs={"num_cpus": 1})


class Borrowed:
    """A Ray that runs while tests borrow it; one process can be connected to one Ray only."""

    def __init__(self) -> None:
        self._close: Callable[[], None] | None = None

    def start(self) -> None:
        if self._close is None:
            self._close = STARTS.open(lambda *_: None).close

    def stop(self) -> None:
        if self._close is not None:
            self._close()
            self._close = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving(RayTaskRunner):
    """Leaves the Ray that is borrowed when it goes to its own."""

    borrowed: Borrowed = field(default_factory=Borrowed, compare=False)

    def open(self, heard: Callable[[str, bytes], None]) -> Session:
        self.borrowed.stop()
        # Or it takes the head node's address for one that it can be reached by from outside.
        with loopback_only():
            return RayTaskRunner.open(self, heard)


@pytest.fixture(scope="module")
def borrowed() -> Iterator[Borrowed]:
    borrowed = Borrowed()
    yield borrowed
    borrowed.stop()
    assert not ray.is_initialized()


@pytest.fixture
def growing() -> Iterator[Growing]:
    started = Growing(os.environ.get("PYTHONPATH", ""))
    yield started
    started.stop()


class TestRay(RunnerSuite):
    borrows = True

    @pytest.fixture
    def runner(self, borrowed: Borrowed) -> RayTaskRunner:
        borrowed.start()
        return RayTaskRunner()

    @pytest.fixture
    def own_runner(self, borrowed: Borrowed) -> RayTaskRunner:
        borrowed.stop()
        return STARTS

    @pytest.fixture
    def narrow_runner(self, borrowed: Borrowed) -> RayTaskRunner:
        borrowed.stop()
        return NARROW

    @pytest.fixture
    def stock(self, runner: RayTaskRunner) -> Stock:
        return Stock(runner=runner, want=Resources.of({"licence": 1}), most=1)

    @pytest.fixture
    def growing_runner(self, borrowed: Borrowed, growing: Growing) -> Moving:
        return Moving(address=growing.address, borrowed=borrowed)

    def leftovers(self) -> list[str]:
        """Return the objects that this process keeps alive on the borrowed Ray."""
        worker = ray._private.worker.global_worker.core_worker
        return list(worker.get_all_reference_counts())

    @pytest.fixture
    def mortal_runner(self, runner: RayTaskRunner) -> RayTaskRunner:
        return runner
