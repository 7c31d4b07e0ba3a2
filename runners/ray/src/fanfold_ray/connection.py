"""This process's connection to a Ray, which all sessions share, and the watch over its head.

A head that is away is waited for, and nothing is told meanwhile. One that lost its memory, and one
whose node daemon ended, takes along whatever this connection has there. Then the connection is
given up, before Ray ends the process, and where Fanfold made it, it is made anew: what was out is
reported as cancelled, so that the engine sends it again. If that takes too long, all is reported as
lost for good.
"""

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import ray
from ray._private import auto_init_hook, worker

from fanfold.values.errors import ClusterLost
from fanfold_ray.addresses import masked
from fanfold_ray.head import Fate, Head

logger = logging.getLogger("fanfold.runners")

LOOK_S = 2.0
"""Between two looks at the head: 0.5 ms each."""
SHUTDOWN_S = 15.0
"""Longest wait for Ray to shut down: 7 s where the head is away, endless where it is stopped."""
CALLS_S = 10.0
"""Longest wait for calls of Ray that are under way before a connection is given up."""


class Guest(Protocol):
    """A session, as its connection tells it what happens. Calls block for moments alone."""

    def values_gone(self) -> None:
        """Forget all references: what they refer to is gone."""
        ...

    def restarted(self) -> None:
        """Report what was forgotten or held back as cancelled; new work finds a cluster again."""
        ...

    def lost(self, error: ClusterLost) -> None:
        """Report what is out with the error; nothing will ever work again."""
        ...


class Link(Protocol):
    """What a session must know of its connection."""

    @property
    def dashboard(self) -> str:
        """Host and port of Ray's dashboard, as Ray told them; empty if it didn't."""
        ...

    @property
    def there(self) -> bool:
        """Whether Ray may be called now."""
        ...

    def broken(self) -> bool:
        """Return whether Ray can't be called though nobody has called `ray.shutdown`."""
        ...

    def refuse_if_lost(self) -> None:
        """Raise where nothing will ever work again.

        Raises:
            ClusterLost: The cluster is gone for good.
        """
        ...

    def calling(self) -> AbstractContextManager[bool]:
        """Hold off the end of the connection while the code inside calls Ray.

        Yields:
            Whether it may: not while the connection is made anew.

        Raises:
            ClusterLost: The cluster is gone for good.
        """
        ...


class Inside:
    """The link of a session inside a worker: the worker ends with its Ray."""

    there = True
    dashboard = ""

    def broken(self) -> bool:
        """See `Link`."""
        return False

    def refuse_if_lost(self) -> None:
        """See `Link`."""

    def calling(self) -> AbstractContextManager[bool]:
        """See `Link`."""
        return nullcontext(True)


class Connection:
    """A connection to a Ray. Thread-safe.

    Args:
        name: The Ray, as errors call it.
        head: Whom to look at.
        patience_s: How long a head may be away.
        made: Whether Fanfold made the connection, so that it may end it.
        again: Makes it anew and returns the new head, or raises; None where that can't be.
    """

    def __init__(
        self,
        name: str,
        head: Head,
        patience_s: float,
        *,
        made: bool,
        again: Callable[[], Head] | None,
    ) -> None:
        self.name = masked(name)
        self.head = head
        self.made = made
        self._patience_s = patience_s
        self._again = again
        self._guests: weakref.WeakSet[Guest] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._calls = 0
        self._there = True
        self._error: ClusterLost | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._watch, name="fanfold-ray-head", daemon=True)
        self._thread.start()

    @property
    def there(self) -> bool:
        """Whether Ray may be called now."""
        return self._there

    @property
    def dashboard(self) -> str:
        """Host and port of Ray's dashboard, as Ray told them; empty if it didn't."""
        return self.head.dashboard

    @property
    def usable(self) -> bool:
        """Whether a session may still be opened on it."""
        return self._error is None and (self.broken() or ray.is_initialized())

    def add(self, guest: Guest) -> None:
        """Tell a session what happens from now on."""
        with self._changed:
            self._guests.add(guest)

    def refuse_if_lost(self) -> None:
        """Raise where nothing will ever work again.

        Raises:
            ClusterLost: The cluster is gone for good.
        """
        if self._error is not None:
            raise ClusterLost(str(self._error))

    @contextmanager
    def calling(self) -> Generator[bool]:
        """Hold off the end of the connection while the code inside calls Ray.

        Yields:
            Whether it may: not while the connection is made anew.

        Raises:
            ClusterLost: The cluster is gone for good.
        """
        with self._changed:
            self.refuse_if_lost()
            there = self._there
            self._calls += there
        try:
            yield there
        finally:
            if there:
                with self._changed:
                    self._calls -= 1
                    self._changed.notify_all()

    def end(self) -> None:
        """Watch no longer, and shut Ray down if Fanfold connected to it; blocks for that long."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self.head.wake()
        self._thread.join(SHUTDOWN_S)
        if self.made and self._there and ray.is_initialized():
            shut_down()

    def broken(self) -> bool:
        """Return whether Ray can't be called though nobody has called `ray.shutdown`."""
        return not self._there or self.head.broken()

    def _watch(self) -> None:
        away_since: float | None = None
        while not self._ending:
            self.head.pause(LOOK_S)
            if self._ending or not (ray.is_initialized() or self.head.broken()):
                break  # somebody called `ray.shutdown`; sessions see that themselves
            fate, why = self.head.look()
            if fate is Fate.THERE:
                away_since = None
                self._back()
                continue
            now = time.monotonic()
            away_since = now if away_since is None else away_since
            if fate is Fate.GONE:
                if not self._renewed(why, away_since + self._patience_s):
                    break
                away_since = None
            elif now - away_since > self._patience_s:
                self._give_up(f"{why} for {self._patience_s:g} s", dead=self.made)
                break
            elif self.head.stalls:
                with self._changed:
                    self._there = False
        self.head.close()

    def _back(self) -> None:
        """Let calls through again that were held off; what was held back is sent anew."""
        if self._there:
            return
        with self._changed:
            self._there = True
            guests = list(self._guests)
        for guest in guests:
            guest.restarted()

    def _renewed(self, why: str, until: float) -> bool:
        """Let the dead connection go, and make it anew if that can be; return whether it could."""
        with self._changed:
            self._there = False
            guests = list(self._guests)
            self._changed.wait_for(lambda: not self._calls, CALLS_S)
        for guest in guests:
            guest.values_gone()
        if self._again is None:
            self._give_up(why, dead=True)
            return False
        logger.warning("Ray at %s: %s. Connecting again for a while.", self.name, why)
        with _no_other_ray():
            shut_down()
            error = self._made_anew(until)
        if error is not None:
            if not self._ending:
                self._give_up(f"{why}, and it can't be reached again: {error}", dead=False)
            return False
        logger.warning("Connected to Ray at %s again; what ran there is sent anew.", self.name)
        self._back()
        return True

    def _made_anew(self, until: float) -> Exception | None:
        """Connect again; return why that failed to the last."""
        again = self._again
        error: Exception = TimeoutError("the time for it was over")
        while again is not None and not self._ending and (left := until - time.monotonic()) > 0:
            self.head.close()
            try:
                self.head = again()
            except Exception as failed:
                # Nothing is lost: it is tried again, and the last one is told at the end.
                error = failed
                with self._changed:
                    self._changed.wait_for(lambda: self._ending, min(1.0, left))
            else:
                return None
        return error

    def _give_up(self, why: str, *, dead: bool) -> None:
        """Tell all that nothing will come home; end a dead connection before it ends the process.

        One that somebody else made is theirs to end as long as it could still be of use.
        """
        error = ClusterLost(f"Ray at {self.name} is lost: {masked(why)}.")
        with self._changed:
            self._error, self._there = error, False
            guests = list(self._guests)
        for guest in guests:
            guest.lost(error)
        if dead:
            with _no_other_ray():
                shut_down()


@contextmanager
def _no_other_ray() -> Generator[None]:
    """Keep Ray from starting a cluster of its own for a call that finds it shut down."""
    before = auto_init_hook.enable_auto_connect
    auto_init_hook.enable_auto_connect = False
    try:
        yield
    finally:
        auto_init_hook.enable_auto_connect = before


def shut_down() -> None:
    """Shut Ray down in this process, for as long as is bearable.

    Where the head is stopped that never returns. Ray is then left alone, also at the exit.
    """
    node = getattr(worker, "_global_node", None)
    if node is not None and node.is_head() and node.dead_processes():
        # What is left of a Ray of our own waits for the rest, and so would we.
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    ending = threading.Thread(target=ray.shutdown, name="fanfold-ray-shutdown", daemon=True)
    ending.start()
    ending.join(SHUTDOWN_S)
    if ending.is_alive():
        atexit.unregister(worker.shutdown)
