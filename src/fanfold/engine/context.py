"""Which run the current code belongs to: context variables, one for flows and one for tasks."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What a run's code and log lines may know of it; travels to workers."""

    kind: str
    """"Flow run" or "Task run", as log lines call it."""
    id: str
    name: str
    tags: frozenset[str] = frozenset()
    log_prints: bool = False
    flow_run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The run that the current code belongs to."""

    info: RunInfo
    tell: Callable[[str], None]
    """Takes a printed line; used only where `info.log_prints`."""
    owner: Any = None
    """The live flow run, at the driver; None inside tasks."""


_CURRENT: ContextVar[RunContext | None] = ContextVar("fanfold_run", default=None)
_TAGS: ContextVar[frozenset[str]] = ContextVar("fanfold_tags", default=frozenset[str]())


def current() -> RunContext | None:
    """Return the run that the caller's code belongs to, None outside any."""
    return _CURRENT.get()


@contextmanager
def running(context: RunContext) -> Generator[RunContext]:
    """Let the code inside belong to a run."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)


def current_tags() -> frozenset[str]:
    """Return the tags that `tags(...)` put on whatever starts here."""
    return _TAGS.get()


@contextmanager
def tagged(*names: str) -> Generator[frozenset[str]]:
    """Put tags on whatever starts inside; nested uses add up."""
    both = _TAGS.get() | frozenset(names)
    token = _TAGS.set(both)
    try:
        yield both
    finally:
        _TAGS.reset(token)
