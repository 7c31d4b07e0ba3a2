"""Cluster classes as users bring them, importable by their path."""

import asyncio
from typing import Any

from distributed import LocalCluster

THREADS: dict[str, Any] = {
    "n_workers": 1,
    "threads_per_worker": 2,
    "processes": False,
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
}
"""Arguments of a LocalCluster that starts in a tenth of a second."""

made: list[Any] = []
"""Every cluster of a class of this module, in order."""


class Noted(LocalCluster):
    """Remembers what it was asked."""

    def __init__(self, **kwargs: Any) -> None:
        self.adapted: dict[str, Any] = {}
        super().__init__(**{**THREADS, **kwargs})
        made.append(self)

    def adapt(self, **kwargs: Any) -> Any:
        self.adapted = kwargs
        return super().adapt(**kwargs)


class NotedAsync(Noted):
    """One whose `adapt` is a coroutine, as some classes for clouds have it."""

    async def adapt(self, **kwargs: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.adapted = kwargs


class Detached:
    """Not derived from anything of Dask's; has no event loop, and ends by a coroutine."""

    def __init__(self, **kwargs: Any) -> None:
        self.inner = Noted(**kwargs)
        self.scheduler_address = self.inner.scheduler_address
        self.status = self.inner.status
        self.adapted: dict[str, Any] = {}

    async def adapt(self, **kwargs: Any) -> None:
        self.adapted = kwargs

    async def close(self) -> None:
        await asyncio.to_thread(self.inner.close)


class Broken(Noted):
    """Starts, and can't be adapted."""

    def adapt(self, **kwargs: Any) -> Any:
        raise OSError("the cloud gives no more machines to tcp://user:secret-word@cloud:1")


def small(workers: int = 1) -> Noted:
    """Return a cluster, as a function of the user's does."""
    return Noted(n_workers=workers)


def refused(**kwargs: Any) -> Any:
    raise PermissionError("quota exceeded at https://user:secret-word@cloud/api?token=secret-too")


def no_cluster() -> dict[str, str]:
    return {}


async def coroutine() -> None:
    pass
