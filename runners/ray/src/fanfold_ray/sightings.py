"""Looks at the boxes of workers, on this node and on others, for chunks that are out."""

import functools
from collections.abc import Collection, Iterable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fanfold_ray import boxes, innards
from fanfold_ray.boxes import Sighting

NODES_MOST = 64
"""On so many nodes at most a chunk is looked for whose node isn't known."""

# Without a CPU, so that they run at once on a node that is full.
_LOOK = ray.remote(num_cpus=0, max_retries=0)(boxes.look)
_KILL = ray.remote(num_cpus=0, max_retries=0)(boxes.kill)


def here(session: str, tickets: Collection[int]) -> list[Sighting]:
    """Return what is known on this node; about a millisecond."""
    try:
        return boxes.look(session, tickets)
    except OSError:
        # The folder is gone or not ours to read: then nothing is known.
        return []


def sees() -> bool:
    """Return whether this process is on a node of Ray's at all, rather than a client from afar."""
    try:
        innards.session_folder()
    except FileNotFoundError:
        return False
    return True


def ask(session: str, tickets: Collection[int], nodes: Iterable[str]) -> list[Any]:
    """Have nodes look, and return Ray's references to their answers; doesn't wait for them."""
    return [_on(_LOOK, node).remote(session, list(tickets)) for node in _some(nodes)]


def answered(references: Collection[Any]) -> bool:
    """Return whether all nodes have answered."""
    ready, _ = ray.wait(list(references), num_returns=len(references), timeout=0)
    return len(ready) == len(references)


def answers(references: Collection[Any], timeout_s: float) -> list[Sighting]:
    """Return what nodes have answered by then, and let the others be."""
    found: list[Sighting] = []
    if not references:
        return found
    ready, late = ray.wait(list(references), num_returns=len(references), timeout=timeout_s)
    for reference in ready:
        try:
            found += ray.get(reference)
        except RayError:
            # The node has died meanwhile: it knows nothing.
            continue
    for reference in late:
        ray.cancel(reference)
    return found


def kill(session: str, ticket: int, nodes: Iterable[str]) -> None:
    """Have the process killed that runs a chunk, here or on other nodes; doesn't wait for those."""
    try:
        if boxes.kill(session, [ticket]):
            return
    except OSError:
        # Nothing can be seen here, so it is left to the others.
        pass
    for node in _some(nodes):
        _on(_KILL, node).remote(session, [ticket])


def _some(nodes: Iterable[str]) -> list[str]:
    return list(nodes)[:NODES_MOST]


@functools.lru_cache(maxsize=512)
def _on(function: Any, node: str) -> Any:
    return function.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
