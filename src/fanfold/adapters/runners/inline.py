"""Runs chunks one after the other in the driver's own process: for debugging and for tests."""

from collections.abc import Callable
from dataclasses import dataclass

from fanfold.adapters.runners.threads import ThreadSession
from fanfold.values.cards import WithCard


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineTaskRunner(WithCard):
    """Runs one chunk at a time, on a thread beside the caller's, for `submit` never waits (R1)."""

    def open(self, heard: Callable[[str, bytes], None]) -> ThreadSession:
        """Return a session with a single thread."""
        return ThreadSession(heard, 1)
