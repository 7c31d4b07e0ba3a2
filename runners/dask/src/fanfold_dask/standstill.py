"""What stands still because workers' processes are stopped."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fanfold.values.errors import ChunkCancelled, InfrastructureError, ValuesLost
from fanfold_dask.native import NativeClient, run_on_scheduler
from fanfold_dask.pending import Book, Pending, Ref, Share
from fanfold_dask.scheduling import Whereabouts, rest, whereabouts
from fanfold_dask.stopped import stopped

UNKNOWN_S = 5.0
"""A scheduler that doesn't know a chunk so long after it was sent never will."""


@dataclass(slots=True)
class Found:
    """What a look has brought to light."""

    stuck: list[str] = field(default_factory=list)
    """Keys of chunks whose process is stopped or gone."""
    told: dict[str, InfrastructureError] = field(default_factory=dict)
    """What is to be told of chunks that wait for something on such a worker."""
    shares: list[Share] = field(default_factory=list)
    """What only such workers have."""


async def look(client: NativeClient, book: Book, keys: Sequence[str]) -> Found:
    """Return what stands still among chunks; on the client's event loop.

    The scheduler, which doesn't know that processes are stopped, would take them for the least busy
    ones. So it is told.

    Raises:
        OSError: The scheduler can't be reached.
        TimeoutError: It doesn't answer.
    """
    found = Found()
    told = await run_on_scheduler(client, whereabouts, keys)
    places = {key: Whereabouts(*fields) for key, fields in told.items()}
    addresses = {place.worker for place in places.values() if place.worker}
    addresses.update(holder for place in places.values() for holder in place.holders)
    still = await stopped(client, addresses)
    if still:
        await run_on_scheduler(client, rest, list(still))
    now = time.monotonic()
    for key in keys:
        pending = book.get(key)
        if pending is None:
            continue
        place = places[key]
        never = place.state == "forgotten" and now - pending.since > UNKNOWN_S
        if place.worker in still or never:
            found.stuck.append(key)
        elif place.state in ("waiting", "processing"):
            _look_at_needs(key, pending, places, still, found)
    futures = [
        pending.future
        for pending in book.examine(found.told).values()
        if pending.future is not None
    ]
    if futures:
        await client.cancel(futures, asynchronous=True)
    return found


def _look_at_needs(
    key: str,
    pending: Pending,
    places: Mapping[str, Whereabouts],
    still: Collection[str],
    found: Found,
) -> None:
    lost = [at for at, ref in enumerate(pending.needs) if _out_of_reach(ref, places, still)]
    shares = [ref for ref in pending.shared if _out_of_reach(ref, places, still)]
    for share in shares:
        if isinstance(share, Share) and share not in found.shares:
            found.shares.append(share)
    if lost:
        told = f"Chunk {pending.chunk} needs values that a worker holds whose process is stopped."
        found.told[key] = ValuesLost(told, lost)
    elif shares:
        told = f"Chunk {pending.chunk} needs what only a worker has whose process is stopped."
        found.told[key] = ChunkCancelled(told)


def _out_of_reach(ref: Ref, places: Mapping[str, Whereabouts], still: Collection[str]) -> bool:
    """Return whether only stopped workers have a value, or are to make it."""
    place = places.get(ref.future.key) if ref.future is not None else None
    if place is None:
        return False
    if place.holders:
        return all(holder in still for holder in place.holders)
    return place.worker in still
