"""Keeps flows and tasks from running while a file is only loaded, to find what is written in it."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_loading: ContextVar[bool] = ContextVar("fanfold_loading", default=False)


class CalledWhileLoading(BaseException):
    """A file calls a flow or a task where it is loaded; whoever loads it goes on without.

    No Exception, so that what the file does about failures doesn't hold it up.
    """


@contextmanager
def only_loading() -> Generator[None]:
    """Let no outermost flow or task be called by the code inside."""
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


def refuse(called: str) -> None:
    """Raise CalledWhileLoading if that is under way; what is called is named, as "flow etl"."""
    if _loading.get():
        raise CalledWhileLoading(called)
