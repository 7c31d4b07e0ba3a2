"""Chunks for the tests of the local runners; here, so that worker processes can import them."""

import ctypes
import hashlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold.ports.runner import Site
from fanfold.values.messages import Report

DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Says "started" and returns one buffer."""

    id: str = "chunk"
    label: str = "test"
    priority: int = 0

    def run(
        self, needs: Sequence[Any], shared: Sequence[Any], site: Site
    ) -> tuple[Report, list[Any]]:
        site.say(b"started")
        return Report(chunk=self.id, worker=site.worker), [self.value(needs, shared, site)]

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        return self.id.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked(Chunk):
    """Runs until somebody opens the pipe for writing."""

    pipe: str

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        os.close(os.open(self.pipe, os.O_RDONLY))
        return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class UntilStopped(Chunk):
    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        deadline = time.monotonic() + DEADLINE_S
        while not site.stopping():
            assert time.monotonic() < deadline
        return b"stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping(Chunk):
    """Returns whether it should stop, which nobody asked of it."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        return str(site.stopping()).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Raising(Chunk):
    error: BaseException

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        raise self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed(Chunk):
    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exiting(Chunk):
    code: int

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        os._exit(self.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segfaulting(Chunk):
    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        ctypes.string_at(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphaning(Chunk):
    """Kills the fork server, and waits for its own end."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        os.kill(os.getppid(), signal.SIGKILL)
        threading.Event().wait(DEADLINE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deafened(Chunk):
    """Closes what it should not, as a daemon's start-up code would."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        os.closerange(3, 256)
        threading.Event().wait(DEADLINE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted(Chunk):
    """Sends an interrupt to itself and to the fork server, as a Ctrl-C in a terminal would."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getppid(), signal.SIGINT)
        return b"alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleeping(Chunk):
    """Sleeps, never asks whether it should stop, and returns how it was ended."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        try:
            site.say(b"there")
            time.sleep(60)
        except KeyboardInterrupt as error:
            return str(error).encode()
        return b"slept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing(Chunk):
    """Runs a Python loop that speaks all the time, and lets an interrupt pass through."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        while True:
            site.say(b"there")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stubborn(Chunk):
    """Goes on whatever is raised in it."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        while True:
            with suppress(BaseException):
                site.say(b"there")
                time.sleep(60)


@dataclass(frozen=True, slots=True, kw_only=True)
class InC(Chunk):
    """Stays in C code, which holds the GIL or releases it, and comes back to it if need be."""

    holds_gil: bool

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        while True:
            # An interrupt may come before the C code is reached.
            with suppress(KeyboardInterrupt):
                site.say(b"there")
                if self.holds_gil:
                    sum(range(10**12))
                else:
                    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes(Chunk):
    """Returns the process ids of its worker and of the worker's parent."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        return f"{os.getpid()} {os.getppid()}".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Large(Chunk):
    """Returns a buffer of so many bytes, all alike."""

    size: int
    fill: bytes = b"x"

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        return memoryview(self.fill * self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changing(Chunk):
    """Writes into the first byte of its needs and returns them joined."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        for (buffer,) in needs:
            buffer[0] = ord("!")
        return b"".join(buffer for (buffer,) in needs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared(Chunk):
    """Returns how often shared files are mapped in its process, and what was shared."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        mapped = Path("/proc/self/maps").read_text().count("/shared-")
        return b" ".join([str(mapped).encode(), *shared])


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak(Chunk):
    """Returns the most memory that its process ever had, in bytes."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        return str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Talking(Chunk):
    """Says numbers, more of them than a socket holds."""

    count: int

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        for number in range(self.count):
            site.say(str(number).encode())
        return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printing(Chunk):
    """Prints, and reads the end of standard input."""

    def value(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> Any:
        print(f"printed by {self.id}")
        return sys.stdin.read().encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread(Chunk):
    """Travels to the worker, and can't be made there."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> Chunk:
    raise LookupError("not here")
