"""The way from a running element to runs of its own: who starts them, and whose slot they may use.

A chunk that waits for work of its own must not hold the slot that this work needs. So whoever waits
inside an element says so, and the runner lets others have the slot meanwhile.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from fanfold.engine.context import current
from fanfold.engine.dataflow import substitute
from fanfold.engine.marks import Future
from fanfold.ports.runner import Session, Site
from fanfold.ports.surroundings import provide
from fanfold.values.states import State


class Nest:
    """What the elements of one chunk have started. Thread-safe."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._owner: Any = None
        self._lock = threading.Lock()
        self._waiters = 0
        self._slot: AbstractContextManager[None] | None = None

    def owner(self, make: Callable[[], Any]) -> Any:
        """Return what owns the runs that elements start, made at first need."""
        with self._lock:
            if self._owner is None:
                self._owner = make()
            return self._owner

    def holds_up(self, run: Any) -> bool:
        """Return whether a run may need the slot of whoever waits for it here."""
        return run.owner is self._owner or run.session.traits.remote

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Give the slot back while the code inside waits; several may wait, in one thread."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            self._waiters += 1
            if self._waiters == 1:
                self._slot = self.site.waiting()
                self._slot.__enter__()

    def _leave(self) -> None:
        with self._lock:
            self._waiters -= 1
            slot = None
            if not self._waiters:
                slot, self._slot = self._slot, None
        if slot is not None:
            # Outside of the lock, for it may block until a slot is free.
            slot.__exit__(None, None, None)

    def stop(self) -> None:
        """Stop what was started, for whoever has started it is to end."""
        if self._owner is not None:
            self._owner.stop_runs()

    def settle(self) -> None:
        """Wait until all that was started is over."""
        if self._owner is not None:
            self._owner.settle()

    def close(self) -> None:
        """Disconnect; what isn't over is stopped."""
        if self._owner is not None:
            self._owner.stop_runs()
            self._owner.close()


class _Around:
    """What plug-ins may ask of the run around whoever calls them; also in workers."""

    def session(self) -> Session | None:
        context = current()
        starter = context and (context.owner or context.starter)
        return None if starter is None or isinstance(starter, Nest) else starter.session()

    def waiting(self) -> AbstractContextManager[None] | None:
        context = current()
        nest = context.nest if context is not None else None
        return nest.waiting() if nest is not None else None


provide(_Around())


def fetched(value: Any) -> tuple[Any, BaseException | None]:
    """Return a returned value with the values of futures inside, or why one has none.

    States stay what they are: one that is the value itself says what the element came to.
    """

    def visit(found: Any) -> Any:
        return found if isinstance(found, State) else found.result()

    try:
        return substitute(value, (Future, State), visit), None
    except Exception as error:  # the element fails by it
        return None, error
