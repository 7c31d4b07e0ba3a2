"""How a plug-in's own context manager changes what is asked for by what starts inside it.

The engine asks once for each submit and map, in the thread and context of the call. What comes of
it travels with the run, and is what the plug-in's `submit` gets as `want`.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from fanfold.values.resources import Resources

Change = Callable[[Resources], Resources]
"""Returns what is wanted instead. Pure; it may put anything into `Resources.native`."""

_CHANGES: ContextVar[tuple[Change, ...]] = ContextVar("fanfold_wants", default=())


@contextmanager
def wanting(change: Change) -> Generator[None]:
    """Change what submits and maps ask for that are made inside, in this context.

    Args:
        change: Applied to what the task itself asks for, after the changes of those around.
    """
    token = _CHANGES.set((*_CHANGES.get(), change))
    try:
        yield
    finally:
        _CHANGES.reset(token)


def wanted(want: Resources) -> Resources:
    """Return what a call made here asks for, given what its task asks for."""
    for change in _CHANGES.get():
        want = change(want)
    return want
