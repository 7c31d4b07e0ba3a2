"""What Ray's errors mean to Fanfold."""

import re
from collections.abc import Sequence

from ray import exceptions

from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    ResourcesUnavailable,
    ValuesLost,
    WorkerLost,
)

_LOSSES: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.OutOfMemoryError, "was ended by Ray's memory monitor for the memory of its node"),
    (exceptions.NodeDiedError, "was lost with its node"),
    (exceptions.LocalRayletDiedError, "was lost with its node"),
    (exceptions.WorkerCrashedError, ""),
)
"""How a worker ended, as far as the error says so."""

_USED = re.compile(r"[\d.]+ ?\w?i?B used / [\d.]+ ?\w?i?B limit")
"""In Ray's account of a node's memory."""

_MEANINGS: tuple[tuple[tuple[type[BaseException], ...], type[InfrastructureError]], ...] = (
    ((exceptions.TaskCancelledError,), ChunkCancelled),
    (
        (
            exceptions.TaskUnschedulableError,
            exceptions.ObjectStoreFullError,
            exceptions.OutOfDiskError,
        ),
        ResourcesUnavailable,
    ),
)


def translate(
    error: BaseException, needs: Sequence[str], lost: Sequence[int], *, cancelled: bool
) -> InfrastructureError:
    """Return what became of a chunk whose Ray task failed.

    Args:
        error: What Ray says.
        needs: Hex ids of the objects that the chunk needed.
        lost: Positions of needs that are known to have no values.
        cancelled: Whether we asked for it.
    """
    if cancelled:
        return ChunkCancelled("The chunk was cancelled before it came to a report")
    cause = error.cause if isinstance(error, exceptions.RayTaskError) else error
    if isinstance(cause, exceptions.ObjectLostError):
        lost = sorted({*lost, *_places(needs, cause.object_ref_hex)})
    if lost:
        return ValuesLost(f"Values that the chunk needs are gone: {cause}", lost)
    # A task error whose cause is Ray's own tells of an input that could not be had, not of this
    # task's worker. If we don't know which one, any may be gone.
    if needs and isinstance(error, exceptions.RayTaskError) and _is_of_ray(cause):
        return ValuesLost(f"Values that the chunk needs are gone: {cause}", range(len(needs)))
    for kind, _ in _LOSSES:
        if isinstance(cause, kind):
            return worker_lost("", how_lost(cause))
    for kinds, meaning in _MEANINGS:
        if isinstance(cause, kinds):
            return meaning(f"{type(cause).__name__}: {cause}")
    return InfrastructureError(f"Ray could not run the chunk: {type(error).__name__}: {error}")


def how_lost(error: BaseException) -> str:
    """Return how a worker ended, as far as Ray's own error says so; else empty."""
    how = next((how for kind, how in _LOSSES if isinstance(error, kind)), "")
    used = _USED.search(str(error)) if isinstance(error, exceptions.OutOfMemoryError) else None
    return f"{how} ({used[0]})" if used else how


def worker_lost(worker: str, how: str) -> WorkerLost:
    """Return the error for a chunk whose process is gone.

    Args:
        worker: Which, if that is known.
        how: How it ended, if that is known.
    """
    name = f"worker {worker}" if worker else "the worker"
    return WorkerLost(f"While it ran the chunk, {name} {how or 'ended, and nobody knows how'}.")


def _places(needs: Sequence[str], lost: str) -> list[int]:
    return [place for place, need in enumerate(needs) if need == lost]


def _is_of_ray(cause: BaseException) -> bool:
    return isinstance(cause, exceptions.RayError)
