"""What Dask's failures mean to Fanfold."""

from asyncio import CancelledError as AsyncioCancelledError
from collections.abc import Sequence
from concurrent.futures import CancelledError

from distributed import KilledWorker
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    ResourcesUnavailable,
    ValuesLost,
    VersionMismatch,
    WorkerLost,
)

_MEANINGS: tuple[tuple[type[BaseException], type[InfrastructureError]], ...] = (
    (KilledWorker, WorkerLost),
    (CancelledError, ChunkCancelled),
    (AsyncioCancelledError, ChunkCancelled),
    (NoValidWorkerError, ResourcesUnavailable),
    (NoWorkerError, ResourcesUnavailable),
    # What is pickled for a worker or the scheduler isn't importable there.
    (ImportError, VersionMismatch),
    (AttributeError, VersionMismatch),
)


def translate(
    error: BaseException, doing: str, needs: Sequence[str] = (), lost: Sequence[str] = ()
) -> InfrastructureError:
    """Return what a native failure means; the one place that knows Dask's exceptions.

    Args:
        error: What Dask raised, here or on a worker.
        doing: What failed, as the subject of a sentence, such as "Chunk 7".
        needs: Keys that the work needs, in their order.
        lost: Those of them, and of what is shared, that Dask no longer has.
    """
    if isinstance(error, InfrastructureError):
        return error
    culprit = getattr(error, "task", None) if isinstance(error, KilledWorker) else None
    positions = [at for at, key in enumerate(needs) if key in lost or key == culprit]
    if positions:
        return ValuesLost(f"{doing} needs values that are gone: {error}", positions)
    if lost:
        return WorkerLost(f"{doing} needs what was shared, and the worker that had it died.")
    for native, meaning in _MEANINGS:
        if isinstance(error, native):
            return meaning(f"{doing} failed: {error or type(error).__name__}")
    return InfrastructureError(f"{doing} failed: {type(error).__name__}: {error}")
