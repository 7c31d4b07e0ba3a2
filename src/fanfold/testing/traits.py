"""What each runner can do, pinned: so that none passes the suite by declaring less."""

from collections.abc import Mapping

from fanfold.ports.runner import TaskRunner
from fanfold.values.resources import Traits

PINNED: Mapping[str, Traits] = {
    "InlineTaskRunner": Traits(),
    "ThreadPoolTaskRunner": Traits(),
    "ProcessTaskRunner": Traits(remote=True, interrupts=True, kills=True),
    "DaskTaskRunner": Traits(remote=True, recovers=True),
    "RayTaskRunner": Traits(remote=True, interrupts=True, kills=True),
}
"""By the runner's class; on a cluster that the session started."""
PINNED_BORROWED: Mapping[str, Traits] = {
    **PINNED,
    "DaskTaskRunner": Traits(remote=True, recovers=True, reruns=True),
}
"""The same on a cluster that somebody else has started."""


def pinned(runner: TaskRunner, *, borrowed: bool) -> Traits:
    """Return what a runner must declare.

    Raises:
        LookupError: Neither its class nor one that it is derived from is in the table.
    """
    table = PINNED_BORROWED if borrowed else PINNED
    for kind in type(runner).__mro__:
        if kind.__name__ in table:
            return table[kind.__name__]
    raise LookupError(f"The traits of {type(runner).__name__} aren't pinned; add them here.")
