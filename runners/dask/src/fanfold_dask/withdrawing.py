"""Takes work back that was sent: once that is done, what hadn't begun never will."""

import asyncio
import time
from collections.abc import Sequence

from distributed import Worker
from distributed.worker_state_machine import FreeKeysEvent

from fanfold_dask.native import NativeClient, NativeFuture, run_on_scheduler, run_on_worker
from fanfold_dask.scheduling import cancel

ANSWER_S = 1.0
"""For a worker to hear of it; takes 5 ms, unless its process is stopped."""


async def withdraw(client: NativeClient, futures: Sequence[NativeFuture]) -> None:
    """Cancel futures, and return when the workers know of it; on the client's event loop.

    Dask calls a future cancelled before anybody else has heard of it. A task that lies in the queue
    of a busy worker may therefore begin afterwards, when its slot is free sooner than the
    scheduler's message is there. So the workers are told here too, and answer.

    Raises:
        OSError: The scheduler can't be reached.
        TimeoutError: It doesn't answer.
    """
    keys = [future.key for future in futures]
    cancelling = run_on_scheduler(client, cancel, keys, client.id)
    by_worker: dict[str, list[str]] = await asyncio.wait_for(cancelling, ANSWER_S)
    telling = (
        run_on_worker(client, forget, mine, worker=worker, timeout_s=ANSWER_S)
        for worker, mine in by_worker.items()
    )
    # What can't be reached is gone, or stopped: then it begins nothing either.
    await asyncio.gather(*telling, return_exceptions=True)


def forget(keys: Sequence[str], dask_worker: Worker) -> None:
    """Do on a worker what it does when the scheduler tells it that keys aren't wanted any more."""
    event = FreeKeysEvent(keys=keys, stimulus_id=f"fanfold-withdraws-{time.time()}")
    dask_worker.handle_stimulus(event)
