"""Clusters that a class or function of the user's makes, here in this process.

So it must be with the classes for Kubernetes, SLURM and clouds: they want this process's
credentials, its configuration, and often its event loop.
"""

import asyncio
import importlib
import logging
import multiprocessing
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distributed import LocalCluster

from fanfold.values.errors import InfrastructureError, UsageError
from fanfold_dask.addresses import harmless, masked
from fanfold_dask.cluster import FIXED, Growth
from fanfold_dask.native import NativeCluster, reason, settled

logger = logging.getLogger("fanfold.runners")

ADAPT_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 60.0
"""Clusters in a cloud are asked to end over the network."""

_GUARD = re.compile(r"__name__\s*[!=]=|[!=]=\s*__name__|multiprocessing")
_NO_GUARD = (
    "In a script it must be called under `if __name__ == '__main__':`, for this class starts its "
    "workers by multiprocessing, which imports the script again in each of them. Without "
    "cluster_class there is no need for that."
)


def make(cluster_class: str | Callable[..., Any], cluster_kwargs: Mapping[str, Any]) -> Any:
    """Return a new cluster.

    Raises:
        UsageError: There is no such class, or what it makes can't be used here.
        InfrastructureError: It didn't start; in its own words.
    """
    name = cluster_class if isinstance(cluster_class, str) else _name(cluster_class)
    factory = found(cluster_class) if isinstance(cluster_class, str) else cluster_class
    starting = getattr(multiprocessing.current_process(), "_inheriting", False)
    if starting or (_spawns(factory) and _script_without_guard()):
        raise UsageError(f"{name} can't start its workers. {_NO_GUARD}")
    try:
        cluster = factory(**cluster_kwargs)
    except Exception as error:
        # Nothing is lost: it is told as what it means.
        hint = f" {_NO_GUARD}" if _spawns(factory) else ""
        told = f"{name} didn't start: {masked(reason(error))}{hint}"
        raise InfrastructureError(told) from harmless(error)
    if getattr(cluster, "asynchronous", False):
        # It hasn't started yet: its loop is the one that this thread runs, further out.
        asyncio.ensure_future(cluster.close())  # noqa: RUF006, for the loop keeps what it runs next
        raise UsageError(f"{name} made a cluster with asynchronous=True, which can't be used here.")
    if not isinstance(getattr(cluster, "scheduler_address", None), str):
        if hasattr(cluster, "close"):
            end(cluster)
        raise UsageError(
            f"{name} made a {type(cluster).__name__}, which is no Dask cluster: it has no "
            "scheduler_address."
        )
    return cluster


def found(path: str) -> Callable[..., Any]:
    """Return the class or function at an import path.

    Raises:
        UsageError: There is none; names what can't be imported.
    """
    module_name, _, name = path.replace(":", ".").rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        missing = getattr(error, "name", None) or module_name
        raise UsageError(
            f"cluster_class={path!r} can't be imported, for {missing!r} can't: {error}. Is its "
            "package installed here?"
        ) from error
    made = getattr(module, name, None)
    if not callable(made):
        raise UsageError(
            f"cluster_class={path!r} can't be imported: the module {module_name!r} has no class or "
            f"function {name!r}."
        )
    return made


def adapt(cluster: NativeCluster, adapt_kwargs: Mapping[str, Any]) -> Growth:
    """Let a cluster grow and shrink, and return what it can become.

    Raises:
        InfrastructureError: It can't; in its own words.
    """
    if not adapt_kwargs:
        return FIXED
    try:
        settled(cluster.adapt(**adapt_kwargs), cluster, ADAPT_TIMEOUT_S)
    except Exception as error:
        # Nothing is lost: it is told as what it means.
        told = f"{_name(type(cluster))}.adapt failed: {masked(reason(error))}"
        raise InfrastructureError(told) from harmless(error)
    return Growth(grows=True)


def end(cluster: NativeCluster) -> None:
    """Close a cluster; what keeps it from closing is logged, for the run's values are right."""
    try:
        settled(cluster.close(), cluster, CLOSE_TIMEOUT_S)
    except Exception as error:
        # Nothing is lost but the cluster itself, which somebody must look after.
        logger.error(
            "The Dask cluster %s didn't close, so it may still be running: %s",
            masked(getattr(cluster, "name", type(cluster).__name__)),
            masked(reason(error)),
        )


def _name(factory: Callable[..., Any]) -> str:
    return getattr(factory, "__qualname__", None) or repr(factory)


def _script_without_guard() -> bool:
    """Return whether importing the user's script again would come here again.

    Some versions of Dask wait for ever then.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is None or not script.endswith(".py"):
        return False
    try:
        text = Path(script).read_text(errors="replace")
    except OSError:
        return False
    return _GUARD.search(text) is None


def _spawns(factory: Any) -> bool:
    return isinstance(factory, type) and issubclass(factory, LocalCluster)
