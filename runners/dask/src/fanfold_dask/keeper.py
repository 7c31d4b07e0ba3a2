"""The process that keeps a cluster of our own: scheduler, nannies and, below them, the workers."""

import asyncio
import dataclasses
import json
import logging
import pickle
import shutil
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import dask.config
import psutil
from distributed import Nanny, Status

from fanfold_dask import local
from fanfold_dask.addresses import masked, remember
from fanfold_dask.cluster import Order
from fanfold_dask.native import NativeCluster, reason

REFILL_S = 1.0
"""About as long as a worker takes to start."""
END_TIMEOUT_S = 2.0
"""For Dask to see that its workers are gone; takes 0.1 s."""


def keep(orders: BinaryIO) -> None:
    """Start a cluster, tell its address in a file, and end all of it when `orders` ends.

    Args:
        orders: Holds a pickled `Order`; then stays open as long as the driver lives and wants the
            cluster.
    """
    order: Order = pickle.load(orders)
    folder = Path(order.folder)
    remember(order.cluster_kwargs)
    # Another cluster may be faster at the port that was free, and nobody needs to know.
    warnings.filterwarnings("ignore", message="Port .* is already in use")
    try:
        if order.config is not None:
            dask.config.update(dask.config.global_config, order.config)
        cluster, told = _start(order)
    except Exception as error:
        # Nothing is lost: the driver raises it.
        (folder / "failure").write_text(masked(reason(error)))
        return
    _tell(folder / "cluster.json", json.dumps(told))
    orders.read()
    _end(cluster)
    shutil.rmtree(folder, ignore_errors=True)


def _start(order: Order) -> tuple[NativeCluster, dict[str, Any]]:
    """Start a cluster, and return it with what the driver needs to know of it."""
    arguments = {
        "local_directory": order.folder,
        **order.cluster_kwargs,
        "scheduler_kwargs": {
            # A dead worker's chunks come home at once; the engine decides what runs again.
            "allowed_failures": 0,
            **(order.cluster_kwargs.get("scheduler_kwargs") or {}),
        },
    }
    cluster, dashboard = local.start(arguments, order.adapt_kwargs, plain=order.plain)
    address = cluster.scheduler_address
    if address.startswith("inproc://"):
        cluster.close()
        raise ValueError("with this worker_class a cluster needs protocol='tcp://' too")
    cluster.loop.add_callback(_refill, cluster)
    growth = dataclasses.asdict(local.growth(cluster))
    return cluster, {"address": address, "dashboard": dashboard, **growth}


async def _refill(cluster: NativeCluster) -> None:
    """Start workers in the places of those that Dask has given up.

    It does so with a nanny whose worker is dead 15 s after an earlier one was
    (`distributed.deploy.lost-worker-timeout`), though the nanny is about to start the next one.
    """
    while cluster.status == Status.running:
        if cluster.worker_spec.keys() - cluster.workers.keys():
            cluster.scale(len(cluster.worker_spec))
        await asyncio.sleep(REFILL_S)


def _tell(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(file)


def _end(cluster: NativeCluster) -> None:
    """End the workers, what they started, and the rest, without waiting for what users run."""
    logging.disable()
    if cluster._adaptive is not None:
        # Or it would start others in place of those that are killed below.
        cluster.sync(_stop_adapting, cluster)
    victims: list[psutil.Process] = []
    for nanny in list(cluster.workers.values()):
        if isinstance(nanny, Nanny) and nanny.pid is not None:
            # Or it would start another worker in place of the one that is killed below.
            nanny.close_gracefully()
            with suppress(psutil.NoSuchProcess):
                worker = psutil.Process(nanny.pid)
                victims += [worker, *worker.children(recursive=True)]
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    # Properly all the same, or multiprocessing's tracker complains about semaphores.
    cluster.close(timeout=END_TIMEOUT_S)


async def _stop_adapting(cluster: NativeCluster) -> None:
    cluster._adaptive.stop()
