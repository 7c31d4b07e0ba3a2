"""Dask's clients for users' own code in flows and tasks, to compute Dask's collections with."""

import importlib
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fanfold.ports.surroundings import surroundings
from fanfold_dask.runner import DaskTaskRunner, opening

if TYPE_CHECKING:
    from distributed import Client

    from fanfold_dask.native import NativeClient  # imports asyncio, which takes 40 ms

Timeout = float | str | timedelta
"""In seconds, or as Dask reads it, such as "30s"."""


@contextmanager
def get_dask_client(timeout: Timeout | None = None, **client_kwargs: Any) -> Generator["Client"]:
    """Yield a client of the Dask cluster that the caller's flow or task runs on.

    Inside the block Dask's collections compute on that cluster by themselves (`frame.compute()`).

    - Inside a task on a Dask worker it is the worker's own client. What it starts may have the
      task's slot meanwhile, so that `client.compute(frame).result()` comes to its end on however
      small a cluster; the end of the block waits until a slot is free again.
    - Inside a flow, and in tasks that it calls directly, it is the client of the flow's session.
    - Elsewhere it is the process's current client; where there is none, that of a cluster on this
      machine, which lives as long as the block.

    Args:
        timeout: For a connection that has to be made.
        client_kwargs: For `distributed.Client`. Given any, the client is a new one of the same
            cluster, and closed again.

    Raises:
        UsageError: Dask isn't installed.
        InfrastructureError: The cluster can't be reached or started.
    """
    with ExitStack() as stack:
        client = _client_here(stack, timeout)
        if client_kwargs:
            arguments = _like(client, timeout, client_kwargs)
            client = opening().connect(client.scheduler.address, arguments, stack)
        stack.enter_context(client.as_current())
        yield client


@asynccontextmanager
async def get_async_dask_client(
    timeout: Timeout | None = None, **client_kwargs: Any
) -> AsyncGenerator["Client"]:
    """Yield a new client of the same cluster as `get_dask_client`, for the running loop.

    Its methods return awaitables: `await client.compute(frame)`.

    Args:
        timeout: For the connection.
        client_kwargs: For `distributed.Client`.

    Raises:
        UsageError: Dask isn't installed.
        InfrastructureError: The cluster can't be reached or started.
    """
    with ExitStack() as stack:
        found = _client_here(stack, timeout)
        arguments = {**_like(found, timeout, client_kwargs), "asynchronous": True}
        client = await opening().connect_async(found.scheduler.address, arguments)
        try:
            with client.as_current():
                yield client
        finally:
            await client.close()


def _client_here(stack: ExitStack, timeout: Timeout | None) -> "NativeClient":
    """Return the client of the caller's cluster, and enter what goes with its use."""
    dask: Any = importlib.import_module("distributed")
    worker = opening().worker_here()
    if worker is None:
        return _client_of_flow(stack)
    waiting = surroundings().waiting()
    if waiting is not None:
        stack.enter_context(waiting)
    client: NativeClient = opening().resident.of(worker, timeout)
    if waiting is None:
        # A task that was given to Dask itself.
        return stack.enter_context(dask.worker_client(timeout))
    return client


def _client_of_flow(stack: ExitStack) -> "NativeClient":
    session: Any = surroundings().session()
    if isinstance(session, opening().DaskSession):
        return session.client
    found: NativeClient | None = opening().current()
    if found is not None:
        return found
    session = DaskTaskRunner().open(lambda chunk, message: None)
    stack.callback(session.close)
    return session.client


def _like(
    client: "NativeClient", timeout: Timeout | None, client_kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a new client that is let in where another one is."""
    known: dict[str, Any] = {"security": client.security}
    resident = opening().resident
    if resident.made_for_worker(client):
        known["name"] = resident.NAME
    if timeout is not None:
        known["timeout"] = timeout
    return known | client_kwargs
