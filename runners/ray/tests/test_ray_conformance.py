"""The runner suite on Ray: on one that the tests started, and where it counts on its own."""

from collections.abc import Callable, Iterator

import pytest
import ray

from fanfold.testing.runners import RunnerSuite
from fanfold_ray import RayTaskRunner

STARTS = RayTaskRunner(address="local", init_kwargs={"num_cpus": 2})


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


@pytest.fixture(scope="module")
def borrowed() -> Iterator[Borrowed]:
    borrowed = Borrowed()
    yield borrowed
    borrowed.stop()
    assert not ray.is_initialized()


class TestRay(RunnerSuite):
    borrows = True
    later = frozenset({14, 31})
    """An interrupt only shows what runs that it should stop. What a chunk says just before its
    process ends is lost with it, so C code that holds the GIL beyond its limit ends Crashed."""

    @pytest.fixture
    def runner(self, borrowed: Borrowed) -> RayTaskRunner:
        borrowed.start()
        return RayTaskRunner()

    @pytest.fixture
    def own_runner(self, borrowed: Borrowed) -> RayTaskRunner:
        borrowed.stop()
        return STARTS

    def leftovers(self) -> list[str]:
        """Return the objects that this process keeps alive on the borrowed Ray."""
        worker = ray._private.worker.global_worker.core_worker
        return list(worker.get_all_reference_counts())

    @pytest.fixture
    def mortal_runner(self, runner: RayTaskRunner) -> RayTaskRunner:
        return runner
