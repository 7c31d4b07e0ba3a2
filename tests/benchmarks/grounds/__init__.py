"""Where benchmarks run: a runner, and beside it what one would do there by hand."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Protocol

from fanfold.ports.runner import TaskRunner

Function = Callable[[Any], Any]


class Ground(Protocol):
    """A place that is up, warm, and has two slots."""

    @property
    def name(self) -> str:
        """The runner's name."""
        ...

    @property
    def runner(self) -> TaskRunner | str:
        """What a flow takes as `task_runner`."""
        ...

    @property
    def one_each_sizes(self) -> frozenset[int]:
        """For which numbers of elements `one_each` is worth the time."""
        ...

    def by_hand(self, function: Function, items: Sequence[Any], pieces: int) -> list[Any]:
        """Map in so many pieces, as fast as a few plain lines can."""
        ...

    def one_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """Map with one future per element."""
        ...

    def settle(self) -> None:
        """Wait until nothing is left of what ran before, and all workers are there."""
        ...


class Cluster(Ground, Protocol):
    """A place that other processes can connect to."""

    @property
    def address(self) -> str:
        """What `reached` takes."""
        ...

    def chained(self, functions: Sequence[Function], items: Sequence[Any]) -> list[Any]:
        """Apply functions one after the other, with one future per element and function."""
        ...

    def tree(
        self, make: Function, combine: Callable[..., Any], items: Sequence[Any], width: int
    ) -> Any:
        """Make a value of each element and combine them, so many at a time, to a single one."""
        ...

    def spread(
        self, function: Callable[[Any, Any], Any], items: Sequence[Any], big: Any
    ) -> list[Any]:
        """Call a function with each element and something big, with one future per element."""
        ...

    def held(self, function: Function, items: Sequence[Any], pieces: int) -> Sequence[Any]:
        """Map in so many pieces, wait, and return the futures; results stay on the cluster."""
        ...


_HOMES = {
    "inline": "tests.benchmarks.grounds.local:inline",
    "threads": "tests.benchmarks.grounds.local:threads",
    "processes": "tests.benchmarks.grounds.local:processes",
    "dask": "tests.benchmarks.grounds.on_dask:started",
    "ray": "tests.benchmarks.grounds.on_ray:started",
}
_REACHED = {
    "dask": "tests.benchmarks.grounds.on_dask:reached",
    "ray": "tests.benchmarks.grounds.on_ray:reached",
}

NAMES = tuple(_HOMES)
SLOTS = 2


def opened(name: str) -> AbstractContextManager[Ground]:
    """Start a place, and end it on leaving; nothing else is started or imported."""
    return _found(_HOMES[name])()


def reached(name: str, address: str) -> AbstractContextManager[Cluster]:
    """Connect to a cluster that another process has opened."""
    return _found(_REACHED[name])(address)


def _found(home: str) -> Any:
    module, _, attribute = home.partition(":")
    return getattr(import_module(module), attribute)
