"""How requests to one storage are tried again, and what this process has learned of it by that."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fanfold.adapters.results.faults import BUDGET_S, Patience, answered

TOLD_AFTER_S = 5.0
"""Before anybody wonders why nothing happens."""

_logger = logging.getLogger("fanfold.results")
T = TypeVar("T")


class Reach:
    """Tries requests to one storage again where they fail by what may pass.

    That nothing comes of it is said soon, and waited for once: after a request that was tried in
    vain to its end while no other got an answer, each is tried once, until one gets an answer.

    Args:
        told: What warnings call the storage.
        clock: Seconds that pass.
    """

    def __init__(
        self, told: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._told = told
        self.clock = clock
        self.answers = 0
        """How many requests got one."""
        self.lost = False
        """Whether it isn't worth waiting for."""
        self._warned = False

    def ask(self, do: Callable[[], T]) -> T:
        """Return what comes of a request."""
        trying = Trying(self)
        while True:
            try:
                result = do()
            except Exception as error:
                time.sleep(trying.after(error))
            else:
                self.heard()
                return result

    async def ask_async(self, do: Callable[[], Awaitable[T]]) -> T:
        """Return what comes of a request that an event loop waits for."""
        trying = Trying(self)
        while True:
            try:
                result = await do()
            except Exception as error:
                await asyncio.sleep(trying.after(error))
            else:
                self.heard()
                return result

    def heard(self) -> None:
        """Take in that the storage has answered."""
        self.answers += 1
        self.lost = self._warned = False

    def warn(self, error: BaseException) -> None:
        """Say once that the storage doesn't answer."""
        if self._warned:
            return
        self._warned = True
        _logger.warning(
            "Store %s can't be used for now (%s: %s); it is tried again for up to %g s",
            self._told(),
            type(error).__name__,
            error,
            BUDGET_S,
        )


class Trying:
    """The tries of one request."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._answers = reach.answers
        self._patience = Patience(clock=reach.clock)

    def after(self, error: BaseException) -> float:
        """Return the seconds to wait before the next try.

        Raises:
            BaseException: The error itself, where there is to be none.
        """
        reach, patience = self._reach, self._patience
        try:
            wait_s = patience.after(error)
        except BaseException:
            if answered(error):
                reach.heard()
            elif patience.tries and self._answers == reach.answers:
                reach.lost = True
            raise
        if reach.lost:
            error.add_note(f"not waited for, as {BUDGET_S:g} s were in vain before")
            raise error
        if self._answers == reach.answers and patience.tried_s + wait_s > TOLD_AFTER_S:
            reach.warn(error)
        return wait_s
