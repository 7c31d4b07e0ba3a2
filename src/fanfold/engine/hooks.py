"""User functions that are called when a run changes its state; their errors harm nobody else."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from threading import Thread
from time import thread_time
from typing import Any

from fanfold.engine.context import RunContext, current
from fanfold.engine.drive import Story, drive, drive_async
from fanfold.engine.telling import RunLogger

Hook = Callable[..., Any]
"""Called as `hook(flow_or_task, run, state)`; may be async."""


def calling(hooks: Iterable[Hook], *args: Any) -> Story:
    """Call hooks one after the other; yields what is to be awaited, and is sent its error."""
    for hook in hooks:
        try:
            called = hook(*args)
        except Exception as error:  # logged; the other hooks still run, and the run is as it is
            _complain(hook, error)
            continue
        if isinstance(called, Awaitable):
            _, error = yield called
            if error is not None:
                _complain(hook, error)


def asking(condition: Hook, *args: Any) -> Story:
    """Return whether a user's condition holds; one that raises doesn't."""
    try:
        answer = condition(*args)
    except Exception as error:  # logged; no answer is a no
        _complain(condition, error)
        return False
    if isinstance(answer, Awaitable):
        answer, error = yield answer
        if error is not None:
            _complain(condition, error)
            return False
    return bool(answer)


def told(story: Story) -> Any:
    """Carry such a story out in this thread."""
    return drive(story, lambda awaitable: run_here(_settled(awaitable)))


async def told_async(story: Story) -> Any:
    """Carry such a story out in the running loop."""
    return await drive_async(story, _settled)


async def _settled(awaitable: Awaitable[Any]) -> tuple[Any, Exception | None]:
    try:
        return await awaitable, None
    except Exception as error:  # sent to the story, which logs it
        return None, error


def run_here(work: Any) -> Any:
    """Run a coroutine to its end, in another thread where this one is inside a loop already."""
    import asyncio  # 10 ms, which only async functions need
    from concurrent.futures import Future
    from contextvars import copy_context

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    ended: Future[Any] = Future()
    around = copy_context()
    context = current()

    def run() -> None:
        try:
            value = around.run(asyncio.run, work)
        except BaseException as error:  # raised again in the thread that waits
            _count(context)
            ended.set_exception(error)
        else:
            _count(context)
            ended.set_result(value)

    Thread(target=run, daemon=True, name="fanfold-loop").start()
    return ended.result()


def _count(context: RunContext | None) -> None:
    """Add the CPU time of this thread to that of the chunk that it has worked for."""
    if context is not None and context.meter is not None:
        context.meter.count(thread_time())


def _complain(hook: Hook, error: BaseException) -> None:
    name = getattr(hook, "__name__", repr(hook))
    context = current()
    logger: Any = RunLogger(context) if context else logging.getLogger("fanfold.engine")
    logger.error(
        "%s raised %s: %s; the run goes on without it.",
        *(name, type(error).__name__, error),
        exc_info=(type(error), error, error.__traceback__),
    )
