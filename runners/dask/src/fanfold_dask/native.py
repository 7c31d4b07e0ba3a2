"""Dask's objects as this package sees them, and a call onto their event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

NativeClient = Any
"""A `distributed.Client`, made without asynchronous=True. By its own types each method returns
a value or a coroutine, and its loop and scheduler may be None, which holds for other clients."""

NativeFuture = Any
"""A `distributed.Future`; generic in new versions alone."""


def call(client: NativeClient, coroutine: Coroutine[Any, Any, Any], timeout_s: float | None) -> Any:
    """Return what a coroutine returns on the client's event loop; called from another thread.

    Raises:
        TimeoutError: The time is up. The coroutine goes on, since Dask lets others wait for it.
    """
    return asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop).result(timeout_s)
