"""What a plug-in's own functions for users may ask of the run in whose code they are called."""

from contextlib import AbstractContextManager
from typing import Protocol

from fanfold.ports.runner import Session


class Surroundings(Protocol):
    """The run around the caller, whichever that is at the moment."""

    def session(self) -> Session | None:
        """Return the session of the flow run whose code calls, opened if it wasn't yet.

        Also where that code has called a task directly. None outside of flow runs, and inside of
        tasks that a runner carries out.
        """
        ...

    def waiting(self) -> AbstractContextManager[None] | None:
        """Return what a task enters while it waits, so that others have its slot meanwhile.

        Several may be entered at a time. Leaving the last may block until a slot is free. None
        where the caller holds no slot.
        """
        ...


class _Nowhere:
    """Outside of all runs."""

    def session(self) -> None:
        """There is no flow run."""

    def waiting(self) -> None:
        """Nobody holds a slot."""


_found: Surroundings = _Nowhere()


def surroundings() -> Surroundings:
    """Return what is around the caller."""
    return _found


def provide(found: Surroundings) -> None:
    """Tell who knows what is around a caller; called by the engine as it is loaded."""
    global _found
    _found = found
