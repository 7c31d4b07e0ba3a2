"""Objects of which a process has one: made on first use, and anew in a forked child.

A child inherits the object and not its threads, so whoever asked it for something would wait for
ever.
"""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class OnePerProcess(Generic[Made]):
    """Returns a process's one object when called; decorates what makes it. Thread-safe."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def __call__(self) -> Made:
        """Return the object."""
        made = self._made
        if made is None:
            with self._lock:
                made = self._made = self._make() if self._made is None else self._made
        return made

    @property
    def made(self) -> bool:
        """Whether somebody in this process has asked for it."""
        return self._made is not None

    def _forget(self) -> None:
        self._made: Made | None = None
        # Another thread of the parent may have held it.
        self._lock = threading.Lock()
