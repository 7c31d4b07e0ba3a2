"""A `distributed.LocalCluster` as we make it: plain workers, seen from this machine alone."""

import math
from collections.abc import Mapping
from typing import Any

from dask.system import CPU_COUNT
from distributed import LocalCluster

from fanfold_dask import pages
from fanfold_dask.cluster import Growth
from fanfold_dask.native import NativeCluster

_MOST = ("maximum", "maximum_cores", "maximum_memory")


def start(
    cluster_kwargs: Mapping[str, Any], adapt_kwargs: Mapping[str, Any], *, plain: bool
) -> tuple[NativeCluster, str]:
    """Return a new cluster, and the address of its web page; the caller closes it.

    Args:
        cluster_kwargs: For LocalCluster, over our defaults.
        adapt_kwargs: For its `adapt`; empty for a cluster of a fixed size.
        plain: Whether the number of workers and threads is Dask's default rather than ours.
    """
    arguments = dict(cluster_kwargs)
    arguments["scheduler_kwargs"] = dict(arguments.get("scheduler_kwargs") or {})
    if not plain:
        _size(arguments, adapt_kwargs)
    shown = pages.possible() and cluster_kwargs.get("dashboard_address", "later") is not None
    later = shown and "dashboard_address" not in cluster_kwargs
    if later or not shown:
        arguments["dashboard_address"] = None
        # The scheduler's web server runs in any case, by default at 8787 of all interfaces.
        where = pages.address() if later else pages.ANY_PORT
        arguments["scheduler_kwargs"].setdefault("dashboard_address", where)
    cluster: NativeCluster = LocalCluster(**arguments)
    try:
        link = cluster.sync(pages.prepare, cluster.scheduler) if later else cluster.dashboard_link
        if adapt_kwargs:
            cluster.adapt(**_bounded(adapt_kwargs, arguments, plain=plain))
    except BaseException:
        cluster.close()
        raise
    return cluster, link if shown else ""


def growth(cluster: NativeCluster) -> Growth:
    """Return what a cluster becomes by itself; workers that die are replaced."""
    adaptive = cluster._adaptive
    if adaptive is None:
        threads = (worker["nthreads"] for worker in cluster.scheduler_info["workers"].values())
        return Growth(most=sum(threads))
    if math.isinf(adaptive.maximum):
        return Growth(grows=True)
    return Growth(most=int(adaptive.maximum * cluster._threads_per_worker()), grows=True)


def _size(arguments: dict[str, Any], adapt_kwargs: Mapping[str, Any]) -> None:
    """Give all cores a worker each, or none if they come when they are needed."""
    if arguments.get("processes") is False:
        return  # one worker with a thread per core, as Dask has it
    # One thread per process: tasks of a map are plain Python and would share an interpreter lock.
    arguments.setdefault("threads_per_worker", 1)
    if arguments.get("n_workers") is None:
        least = int(adapt_kwargs.get("minimum") or 0)
        arguments["n_workers"] = least if adapt_kwargs else _all_cores(arguments)


def _all_cores(arguments: Mapping[str, Any]) -> int:
    return max(1, CPU_COUNT // int(arguments.get("threads_per_worker") or 1))


def _bounded(
    adapt_kwargs: Mapping[str, Any], arguments: Mapping[str, Any], *, plain: bool
) -> Mapping[str, Any]:
    """Return what `adapt` gets: without a bound it would start a process per pending task."""
    if plain or any(adapt_kwargs.get(name) is not None for name in _MOST):
        return adapt_kwargs
    return {**adapt_kwargs, "maximum": _all_cores(arguments)}
