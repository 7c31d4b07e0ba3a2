"""What becomes of a connection to a scheduler that broke."""

import signal
import time
from contextlib import suppress
from subprocess import TimeoutExpired

from fanfold.values.errors import (
    ChunkCancelled,
    ClusterLost,
    InfrastructureError,
)
from fanfold_dask.addresses import masked
from fanfold_dask.cluster import OwnCluster
from fanfold_dask.native import NativeClient

KEEPER_S = 1.0
"""For the end of our keeper's process to be known, after its connections broke."""
_LOOK_S = 0.02


def lost(client: NativeClient, cluster: OwnCluster | None) -> ClusterLost | None:
    """Return why a cluster is gone for good, None if it isn't; takes some microseconds.

    Args:
        client: Connected to it once.
        cluster: Ours, where it is.
    """
    if cluster is not None and (status := cluster.keeper.poll()) is not None:
        return ClusterLost(f"The process that kept the local Dask cluster {_ended(status)}.")
    if client.status not in ("closing", "closed"):
        return None
    # Whoever closes a client closes its stream; one that gave up has none since it broke.
    if client.scheduler_comm is None:
        return ClusterLost(
            "The Dask scheduler is gone: it couldn't be reached again within "
            f"{client._timeout:g} s after the connection broke."
        )
    made = client.cluster
    if made is not None and getattr(made.status, "name", "") in ("closing", "closed"):
        return ClusterLost(f"The Dask cluster {masked(made.name)} was closed.")
    return None


def outcome(
    client: NativeClient, cluster: OwnCluster | None, until: float | None = None
) -> InfrastructureError:
    """Wait until a connection is back or never will be, and return what is to be told of the work.

    Dask tries again for as long as the client's `timeout`, which is 30 s unless it was made with
    another, or `distributed.comm.timeouts.connect` is set.

    Args:
        client: Whose connection broke.
        cluster: Ours, where it is.
        until: When to give up waiting, by `time.monotonic`.

    Returns:
        ChunkCancelled: It is back; but the scheduler forgets what a client wanted whom it lost.
        ClusterLost: It never will be.

    Raises:
        TimeoutError: The time is up.
    """
    if cluster is not None:
        with suppress(TimeoutExpired):
            cluster.keeper.wait(KEEPER_S if client.status != "running" else 0)
    while client.status == "connecting":
        if (gone := lost(client, cluster)) is not None:
            return gone
        if until is not None and time.monotonic() > until:
            raise TimeoutError("The connection to the Dask scheduler is broken.")
        time.sleep(_LOOK_S)
    if (gone := lost(client, cluster)) is not None:
        return gone
    if client.status == "running":
        return ChunkCancelled(
            "The connection to the Dask scheduler broke, and it forgot the chunk."
        )
    return ChunkCancelled("The Dask client was closed before the chunk ended.")


def _ended(status: int) -> str:
    if status < 0:
        return f"was killed by signal {-status} ({signal.Signals(-status).name})"
    return f"ended with exit code {status}"
