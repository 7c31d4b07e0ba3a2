"""The calling thread in the place of a runner: for direct calls, and for elements without one."""

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext

from fanfold.engine.recording.hearing import retell
from fanfold.ports.runner import Chunk, Ref, Values
from fanfold.values.errors import SessionClosed
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits


class Here:
    """The calling thread as a session and a site: nothing travels, nothing is open."""

    traits = Traits()
    sealed = True
    worker = f"here/{os.getpid()}"
    dashboard = ""

    def slots(self) -> Slots:
        """Return one slot."""
        return Slots(now=1, most=1)

    def lacking(self, want: Resources) -> str:
        """Return nothing: direct calls ask for nothing."""
        return ""

    def stuck(self, refs: Collection[Ref]) -> Collection[Ref]:
        """Return none."""
        return ()

    def share(self, key: str, payload: bytes) -> Ref:
        """Return the payload."""
        return payload

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ref:
        """Refuse: whoever calls runs its work itself.

        Raises:
            SessionClosed: Always.
        """
        raise SessionClosed("The calling thread takes no chunks from others.")

    def fetch(self, refs: Sequence[Ref], timeout_s: float | None = None) -> Sequence[Values]:
        """Return what the calls have left."""
        return [ref.values for ref in refs]

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        """There is never anything pending."""

    def close(self) -> None:
        """There is nothing open."""

    def say(self, message: bytes) -> None:
        """Hand the message over at once."""
        retell("", message)

    def stopping(self) -> bool:
        """Return False: the caller is interrupted, never asked."""
        return False

    def session(self, heard: Callable[[str, bytes], None]) -> None:
        """Nobody carries chunks from here."""

    def waiting(self) -> AbstractContextManager[None]:
        """Do nothing: no slot is held."""
        return nullcontext()


HERE = Here()
