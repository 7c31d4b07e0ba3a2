"""Which workers' processes are stopped: by SIGSTOP, a debugger, or with their whole machine."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import psutil
from distributed.comm.addressing import get_address_host_port

from fanfold_dask.native import NativeClient, run_on_scheduler, run_on_worker
from fanfold_dask.scheduling import Standing, standings

ANSWER_S = 2.0
"""For a process beside the worker to look at it; takes 5 ms."""
SILENT_S = 30.0
"""A worker that wasn't heard of for so long, and whose nanny doesn't answer, is out of reach. A
busy one may be silent too, but its nanny runs nobody's code. Workers are heard of every second."""

_NEIGHBOURS = 3
_STILL = frozenset(
    {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
)


async def stopped(client: NativeClient, addresses: Collection[str]) -> set[str]:
    """Return which workers' processes are stopped or gone; on the client's event loop.

    Who watches over a worker looks at it: its nanny, or another worker of that machine, or the
    scheduler if it is on that machine.

    Raises:
        OSError: The scheduler can't be reached.
        TimeoutError: It doesn't answer.
    """
    if not addresses:
        return set()
    told = await asyncio.wait_for(run_on_scheduler(client, standings), ANSWER_S)
    known = {at: Standing(*fields) for at, fields in told.items()}
    looks = (_looked_at(client, address, known) for address in addresses)
    found = await asyncio.gather(*looks)
    return {address for address, still in zip(addresses, found, strict=True) if still}


async def _looked_at(client: NativeClient, address: str, known: Mapping[str, Standing]) -> bool:
    standing = known.get(address)
    if standing is None:
        return True
    if standing.nanny:
        try:
            return await run_on_worker(
                client, watched_is_still, address, worker=address, nanny=True, timeout_s=ANSWER_S
            )
        except (OSError, TimeoutError):
            return standing.seen_s > SILENT_S
    port = get_address_host_port(address, strict=False)[1]
    neighbours = [at for at, one in known.items() if one.host == standing.host and at != address]
    for neighbour in neighbours[:_NEIGHBOURS]:
        with suppress(OSError, TimeoutError):
            return await run_on_worker(
                client, listener_is_still, port, worker=neighbour, timeout_s=ANSWER_S
            )
    if get_address_host_port(client.scheduler.address, strict=False)[0] == standing.host:
        return bool(await run_on_scheduler(client, listener_is_still, port))
    return False


def watched_is_still(address: str, dask_worker: Any) -> bool:
    """Return whether a nanny's process is stopped, or isn't that of the worker any more."""
    pid = dask_worker.pid
    return pid is None or dask_worker.worker_address != address or is_still(pid)


def listener_is_still(port: int) -> bool:
    """Return whether the process that listens at a port of this machine is stopped."""
    with suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("tcp"):
            mine = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (
                port,
            )
            if mine and connection.pid is not None:
                return is_still(connection.pid)
    return False


def is_still(pid: int) -> bool:
    """Return whether a process of this machine is stopped or gone."""
    try:
        return psutil.Process(pid).status() in _STILL
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
