"""Dask's objects as this package sees them, and calls onto their event loops."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

NativeClient = Any
"""A `distributed.Client`, made without asynchronous=True. By its own types each method returns
a value or a coroutine, and its loop and scheduler may be None, which holds for other clients."""

NativeCluster = Any
"""What a cluster class makes: something like `distributed.deploy.Cluster`."""

NativeFuture = Any
"""A `distributed.Future`; generic in new versions alone."""


def call(client: NativeClient, coroutine: Coroutine[Any, Any, Any], timeout_s: float | None) -> Any:
    """Return what a coroutine returns on the client's event loop; called from another thread.

    Raises:
        TimeoutError: The time is up; the coroutine was cancelled.
    """
    running = asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)
    try:
        return running.result(timeout_s)
    finally:
        running.cancel()


async def run_on_scheduler(client: NativeClient, function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function returns on the scheduler, which it gets as `dask_scheduler`."""
    return await client._run_on_scheduler(function, *args)


async def run_on_worker(
    client: NativeClient,
    function: Callable[..., Any],
    *args: Any,
    worker: str,
    nanny: bool = False,
    timeout_s: float,
) -> Any:
    """Return what a function returns in a worker's process, or in its nanny's, as `dask_worker`.

    It runs on the event loop there, whether or not the worker's threads are busy.

    Raises:
        TimeoutError: It took longer; also if the process is stopped.
        OSError: It can't be reached.
    """
    running = client._run(function, *args, workers=[worker], nanny=nanny, on_error="return")
    (result,) = (await asyncio.wait_for(running, timeout_s)).values()
    if isinstance(result, BaseException):
        raise result
    return result


def settled(result: Any, cluster: NativeCluster, timeout_s: float) -> Any:
    """Return what a method of a cluster came to; some classes have coroutines for methods.

    Args:
        result: What the method returned.
        cluster: Whose method it is. A coroutine runs on its loop, if it has one.
        timeout_s: How long it may take.

    Raises:
        TimeoutError: It took longer.
    """
    # Not everything that can be awaited: clusters and what `adapt` returns may be used without.
    if not inspect.iscoroutine(result):
        return result
    loop = getattr(getattr(cluster, "loop", None), "asyncio_loop", None)
    if loop is not None and loop.is_running():
        return asyncio.run_coroutine_threadsafe(result, loop).result(timeout_s)
    return run_apart(result, timeout_s)


def run_apart(coroutine: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
    """Return what a coroutine returns, in a thread and loop of its own; callers may be in another.

    Raises:
        TimeoutError: The time is up; the coroutine was cancelled.
    """
    began: Future[tuple[asyncio.AbstractEventLoop, Any]] = Future()

    async def main() -> Any:
        began.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        return await asyncio.wait_for(coroutine, timeout_s)

    with ThreadPoolExecutor(1, thread_name_prefix="fanfold-dask") as alone:
        running = alone.submit(asyncio.run, main())
        try:
            return running.result()
        except BaseException:
            if not running.done():
                loop, task = began.result()
                loop.call_soon_threadsafe(task.cancel)
            raise


def reason(error: BaseException) -> str:
    """Return what began it, for Dask wraps a worker's own words two or three times."""
    while before := error.__cause__ or error.__context__:
        if isinstance(before, asyncio.CancelledError):
            break  # by a time limit, which the error tells
        error = before
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
