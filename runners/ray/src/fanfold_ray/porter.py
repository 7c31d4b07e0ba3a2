"""The porter of a worker process: carries what chunks say, and brings them their orders.

One thread for the life of the process, so that a chunk costs it some microseconds. It sleeps while
no chunk runs, looks every 0.2 s while one does, and is woken by whatever is written to its pipe.
That is where Python tells of signals, even while the main thread sits in C code (`set_wakeup_fd`):
so the porter hears of a `ray.cancel` at once, which is a simulated SIGINT, and can strike the main
thread out of a `sleep` by a real signal. (Ray's workers block SIGINT itself.)

A signal is meant for the chunk in whose task Ray has simulated it, though the porter may get to
look when that is over and the next one runs. So what was written before a chunk began is thrown
away, and the main thread notes a signal with the chunk that it struck.
"""

import contextlib
import os
import select
import signal
import threading
from functools import cache
from types import FrameType
from typing import Protocol

from ray.exceptions import RayError

from fanfold_ray import words

STRIKE = signal.SIGURG
"""What ends a call in the main thread. By default it does nothing, so one that comes late is
harmless, and hardly anybody else uses it."""
PIPE_BYTES = 64 * 1024
"""What a pipe holds."""
IDLE_LOOKS = 10
"""After so many looks without a chunk the porter sleeps until it is woken."""


class Guest(Protocol):
    """A running chunk, as the porter sees it."""

    heeds: bool
    """The main thread got a signal while it ran, and the porter has not looked since."""

    def post(self) -> None:
        """Send what was said; from the porter's thread.

        Raises:
            RayError: The head node doesn't answer.
        """
        ...

    def signalled(self) -> bool:
        """Take in that the driver wants something; return whether to strike the main thread.

        Raises:
            RayError: The head node doesn't answer.
        """
        ...

    def struck(self) -> None:
        """Raise what ends the running element, if that is wanted; in the main thread."""
        ...


class Porter:
    """The porter of this process."""

    def __init__(self) -> None:
        self._guest: Guest | None = None
        self._asleep = False
        self._ear, self._bell = os.pipe()
        for end in (self._ear, self._bell):
            os.set_blocking(end, False)
        self._hearing = threading.Lock()
        """Held while the pipe is read, and while a guest comes: what is read is this guest's."""
        signal.signal(STRIKE, self._struck)
        threading.Thread(target=self._serve, name="fanfold-ray-porter", daemon=True).start()

    def attend(self, guest: Guest | None) -> None:
        """Serve a chunk from now on, or none; from the main thread."""
        if guest is None:
            self._guest = None
            return
        with self._hearing:
            self._heard()
            self._guest = guest
        # Each time, for an event loop inside the last chunk may have put its own in the place.
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        if self._asleep:
            self.wake()

    def wake(self) -> None:
        """Have the porter look now; from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"\0")

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        seen: Guest | None = None
        idle = 0
        while True:
            self._asleep = idle >= IDLE_LOOKS
            # Whoever came before that assignment didn't ring.
            rung = poll.poll(None if self._asleep and self._guest is None else _INTERVAL_MS)
            with self._hearing:
                heard = self._heard() if rung else b""
                guest = self._guest
            idle = idle + 1 if guest is None else 0
            if guest is not None:
                signalled = signal.SIGINT in heard or guest.heeds
                if signalled:
                    # First, for it may get the next one while this one is looked into.
                    guest.heeds = False
                # A chunk that is over by the next look needs nobody.
                self._look_after(guest, posts=guest is seen, signalled=signalled)
            seen = guest

    def _heard(self) -> bytes:
        """Take all that was written to the pipe."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._ear, PIPE_BYTES)
        return b""

    def _look_after(self, guest: Guest, *, posts: bool, signalled: bool) -> None:
        # While the head node is away, all stays as it is until the next look; a driver whose
        # order is not heard goes on to stronger means.
        with contextlib.suppress(RayError):
            if signalled and guest.signalled() and self._guest is guest:
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, STRIKE)
        with contextlib.suppress(RayError):
            if posts:
                guest.post()

    def _struck(self, number: int, frame: FrameType | None) -> None:
        if self._guest is not None:
            self._guest.struck()


@cache
def porter() -> Porter:
    """Return the porter of this process; first called in its main thread."""
    return Porter()


_INTERVAL_MS = int(words.INTERVAL_S * 1000)
