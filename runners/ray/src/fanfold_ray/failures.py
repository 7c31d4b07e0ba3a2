"""What Ray's errors mean to Fanfold."""

from collections.abc import Sequence

from ray import exceptions

from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    ResourcesUnavailable,
    ValuesLost,
    WorkerLost,
)

_MEANINGS: tuple[tuple[tuple[type[BaseException], ...], type[InfrastructureError]], ...] = (
    (
        (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.LocalRayletDiedError,
            exceptions.OutOfMemoryError,
        ),
        WorkerLost,
    ),
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
    for kinds, meaning in _MEANINGS:
        if isinstance(cause, kinds):
            return meaning(f"{type(cause).__name__}: {cause}")
    return InfrastructureError(f"Ray could not run the chunk: {type(error).__name__}: {error}")


def _places(needs: Sequence[str], lost: str) -> list[int]:
    return [place for place, need in enumerate(needs) if need == lost]


def _is_of_ray(cause: BaseException) -> bool:
    return isinstance(cause, exceptions.RayError)
