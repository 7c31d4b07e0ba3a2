"""What each runner can do, pinned: so that none passes the suite by declaring less."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from fanfold.ports.runner import TaskRunner
from fanfold.values.resources import Traits

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """What a runner does that no trait tells, since nobody but the suite asks for it."""

    nests: bool = False
    """What an element starts goes to the cluster, beside others; else into the element's thread."""
    grows: bool = False
    """There are clusters of its kind that start with no worker, and get some when there is work."""


AMOUNTS = frozenset({"cpu", "gpu", "memory", "custom"})
"""The fields of `Resources` that say how much of something."""

PINNED: Mapping[str, Traits] = {
    "InlineTaskRunner": Traits(),
    "ThreadPoolTaskRunner": Traits(),
    "ProcessTaskRunner": Traits(remote=True, interrupts=True, kills=True),
    "DaskTaskRunner": Traits(remote=True, recovers=True, honours=AMOUNTS),
    "RayTaskRunner": Traits(remote=True, interrupts=True, kills=True, honours=AMOUNTS | {"native"}),
}
"""By the runner's class; on a cluster that the session started."""
PINNED_BORROWED: Mapping[str, Traits] = {
    **PINNED,
    "DaskTaskRunner": Traits(remote=True, recovers=True, reruns=True, honours=AMOUNTS),
}
"""The same on a cluster that somebody else has started."""
MANNERS: Mapping[str, Manners] = {
    "InlineTaskRunner": Manners(nests=True),
    "ThreadPoolTaskRunner": Manners(nests=True),
    "ProcessTaskRunner": Manners(),
    "DaskTaskRunner": Manners(nests=True, grows=True),
    "RayTaskRunner": Manners(nests=True, grows=True),
}
"""By the runner's class."""


def pinned(runner: TaskRunner, *, borrowed: bool) -> Traits:
    """Return what a runner must declare.

    Raises:
        LookupError: Neither its class nor one that it is derived from is in the table.
    """
    return _found(PINNED_BORROWED if borrowed else PINNED, runner)


def manners(runner: TaskRunner) -> Manners:
    """Return what a runner must do beyond its traits.

    Raises:
        LookupError: Neither its class nor one that it is derived from is in the table.
    """
    return _found(MANNERS, runner)


def _found(table: Mapping[str, T], runner: TaskRunner) -> T:
    for kind in type(runner).__mro__:
        if kind.__name__ in table:
            return table[kind.__name__]
    raise LookupError(f"What {type(runner).__name__} can do isn't pinned; add it here.")
