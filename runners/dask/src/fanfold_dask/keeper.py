"""The process that keeps a cluster of our own: scheduler, nannies and, below them, the workers."""

import json
import logging
import pickle
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import dask.config
import psutil
from dask.system import CPU_COUNT
from distributed import LocalCluster, Nanny

END_TIMEOUT_S = 2.0
"""For Dask to see that its workers are gone; takes 0.1 s."""

_DEFAULTS: dict[str, Any] = {
    # One thread per process: tasks of a map are plain Python and would share an interpreter lock.
    "threads_per_worker": 1,
    "dashboard_address": None,
}


def keep(order: BinaryIO) -> None:
    """Start a cluster, tell its address in a file, and end all of it when `order` ends.

    Args:
        order: Holds a pickle of folder, arguments of the cluster and Dask's configuration; then
            stays open as long as the driver lives and wants the cluster.
    """
    name, cluster_kwargs, config = pickle.load(order)
    folder = Path(name)
    try:
        if config is not None:
            dask.config.update(dask.config.global_config, config)
        cluster = LocalCluster(**_arguments(folder, cluster_kwargs))
    except Exception as error:
        # Nothing is lost: the driver raises it.
        (folder / "failure").write_text(_reason(error))
        return
    slots = sum(worker["nthreads"] for worker in cluster.scheduler_info["workers"].values())
    told = {"address": cluster.scheduler_address, "slots": slots}
    _tell(folder / "cluster.json", json.dumps(told))
    order.read()
    _end(cluster)
    shutil.rmtree(folder, ignore_errors=True)


def _arguments(folder: Path, cluster_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what LocalCluster gets: the user's arguments over our defaults."""
    arguments: dict[str, Any] = {"local_directory": str(folder), **_DEFAULTS, **cluster_kwargs}
    if cluster_kwargs.get("n_workers") is None:
        threads = int(arguments["threads_per_worker"] or 1)
        arguments["n_workers"] = max(1, CPU_COUNT // threads)
    scheduler: dict[str, Any] = {
        # A dead worker's chunks come home at once; the engine decides what runs again.
        "allowed_failures": 0,
        **(cluster_kwargs.get("scheduler_kwargs") or {}),
    }
    if arguments["dashboard_address"] is None:
        # Without a dashboard the scheduler still serves its health and metrics, by default at 8787.
        scheduler.setdefault("dashboard_address", "127.0.0.1:0")
    arguments["scheduler_kwargs"] = scheduler
    return arguments


def _reason(error: BaseException) -> str:
    """Return what began it, for Dask wraps a worker's own words two or three times."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return f"{type(error).__name__}: {error}"


def _tell(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(file)


def _end(cluster: LocalCluster) -> None:
    """End the workers, what they started, and the rest, without waiting for what users run."""
    logging.disable()
    victims: list[psutil.Process] = []
    for nanny in cluster.workers.values():
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
