"""Brings values from the cluster to the driver, past workers whose processes are stopped."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from distributed.utils_comm import gather_from_workers

from fanfold.values.errors import ValuesLost
from fanfold_dask.native import NativeClient, NativeFuture
from fanfold_dask.stopped import stopped

SLOW_S = 3.0
"""After so long, and again each time, somebody looks whether the holders of the values are stopped.
A gigabyte takes about a second between machines."""


async def bring(
    client: NativeClient, futures: Sequence[NativeFuture], *, direct: bool
) -> list[Any]:
    """Return the values of futures, once they are there; on the client's event loop.

    `Client.gather` does the same, but five that hang on stopped workers would block all others of
    the client, also those of its owner.

    Args:
        client: Whose futures they are.
        futures: Their values come in this order.
        direct: Whether this process can reach the workers, rather than only the scheduler.

    Raises:
        ValuesLost: Some are gone, or only a stopped worker has them; with positions.
        Exception: Why a future has no value, or why the cluster can't be reached.
    """
    found: dict[str, Any] = {}
    while missing := [future for future in futures if future.key not in found]:
        for future in missing:
            await _ready(future)
        keys = [future.key for future in missing]
        who_has = await client.scheduler.who_has(keys=keys)
        brought, absent = await _brought(client, futures, who_has, direct)
        found.update(brought)
        for key in absent:
            # Dask is to tell what became of it: made again elsewhere, or gone.
            client._send_to_scheduler({"op": "report-key", "key": key})
            if key in client.futures:
                client.futures[key].reset()
    return [found[future.key] for future in futures]


async def _ready(future: NativeFuture) -> None:
    state = future._state
    while state.status == "pending" or state.status == "lost":
        await state.wait()
    if state.status != "finished":
        raise state.exception


async def _brought(
    client: NativeClient,
    futures: Sequence[NativeFuture],
    who_has: Mapping[str, Collection[str]],
    direct: bool,
) -> tuple[dict[str, Any], Collection[str]]:
    """Return values by key, and the keys of those that aren't there any more."""
    while True:
        getting = asyncio.ensure_future(_get(client, who_has, direct))
        try:
            while not (await asyncio.wait({getting}, timeout=SLOW_S))[0]:
                if still := await _stopped(client, who_has):
                    break
            else:
                return await getting
        finally:
            getting.cancel()
        who_has = _elsewhere(futures, who_has, still, direct)


async def _stopped(client: NativeClient, who_has: Mapping[str, Collection[str]]) -> set[str]:
    try:
        return await stopped(client, {holder for holders in who_has.values() for holder in holders})
    except (OSError, TimeoutError):
        # Not even the scheduler answers. The connection's own end is told by what gets the values.
        return set()


async def _get(
    client: NativeClient, who_has: Mapping[Any, Collection[str]], direct: bool
) -> tuple[dict[str, Any], Collection[str]]:
    found: dict[Any, Any] = {}
    absent: list[Any] = list(who_has)
    if direct:
        found, missing, failed, _ = await gather_from_workers(who_has, rpc=client.rpc)
        absent = [*missing, *failed]
    if absent:
        told = await client.scheduler.gather(keys=absent)
        if told["status"] != "OK":
            return found, told["keys"]
        found.update(told["data"])
    return found, ()


def _elsewhere(
    futures: Sequence[NativeFuture],
    who_has: Mapping[str, Collection[str]],
    still: Collection[str],
    direct: bool,
) -> dict[str, list[str]]:
    """Return who else has the values.

    The scheduler asks whom it likes, so without `direct` one stopped holder is one too many.

    Raises:
        ValuesLost: Nobody else has some of them.
    """
    others = {key: [at for at in holders if at not in still] for key, holders in who_has.items()}
    lost = {
        key
        for key, holders in who_has.items()
        if len(others[key]) < len(holders) and not (direct and others[key])
    }
    positions = [at for at, future in enumerate(futures) if future.key in lost]
    if positions:
        told = f"{len(positions)} values are held by a worker whose process is stopped."
        raise ValuesLost(told, positions)
    return others
