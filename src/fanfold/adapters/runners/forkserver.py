"""The process that makes workers: small and single-threaded, so that forking it is safe and quick.

Started as a fresh interpreter that never sees the driver's `__main__`, so a script needs no
`if __name__ == "__main__"`, and standard input or a notebook will do. It imports what all workers
need once; a fork of it is ready in milliseconds and shares that memory. It is the parent of all
workers: it alone reaps and kills them, so a process id is never taken for another's. When its
driver is gone, by whatever end, it kills them, removes the session's folders and ends.
"""

import ctypes
import gc
import importlib
import mmap
import os
import pickle
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fanfold.adapters.runners import frames, worker
from fanfold.adapters.runners.frames import Fork, Kind, Settings

BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from fanfold.adapters.runners.forkserver import main; main(int(sys.argv[1]))"
)
"""For `python -c`, followed by the number of the inherited socket and the driver's `sys.path`.
`-m` would import this module twice, and find another Fanfold than the driver's."""

_FDS_PER_READ = 16
_PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Serve the driver at the other end of an inherited socket; return when it is gone."""
    # A Ctrl-C in the terminal reaches all its processes; what it means is for the driver to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.argv[1:] = []
    with socket.socket(fileno=descriptor) as control:
        control.set_inheritable(False)
        server = _Server(control)
        try:
            server.serve()
        finally:
            server.kill_workers()
        server.remove_folders()


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._stream = frames.Stream()
        self._sockets: list[int] = []
        self._selector = selectors.DefaultSelector()
        self._handlers: dict[Kind, Callable[[Any], None]] = {
            Kind.SETTINGS: self._settle_in,
            Kind.FORK: self._fork,
            Kind.KILL: lambda number: self._signal(number, signal.SIGKILL),
            Kind.INTERRUPT: lambda number: self._signal(number, signal.SIGINT),
        }
        self._settings: Settings | None = None
        self._flags = memoryview(b"")
        self._workers: dict[int, int] = {}
        """Numbers of the living workers by process id."""
        self._die_with_parent = _death_signal()
        self._child_ended, child_ends = socket.socketpair()
        self._child_ended.setblocking(False)
        child_ends.setblocking(False)
        self._wakeup = child_ends
        signal.set_wakeup_fd(child_ends.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _awake)

    def serve(self) -> None:
        """Do what the driver asks for until it is gone."""
        self._selector.register(self._control, selectors.EVENT_READ, self._hear)
        self._selector.register(self._child_ended, selectors.EVENT_READ, self._reap)
        while True:
            for key, _ in self._selector.select():
                if not key.data():
                    return

    def kill_workers(self) -> None:
        """Kill all workers, and wait until they are gone."""
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
        for pid in self._workers:
            os.waitpid(pid, 0)

    def remove_folders(self) -> None:
        """Remove the session's folders, which only a driver that is gone has no more use for."""
        if self._settings is not None:
            self._settings.folders.remove()

    def _hear(self) -> bool:
        """Carry out what came in; return False when the driver has closed the connection."""
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._control, frames.READ_BYTES, _FDS_PER_READ
            )
        except ConnectionResetError:
            return False
        self._sockets += descriptors
        for kind, payload in self._stream.feed(data):
            self._handlers[kind](pickle.loads(payload))
        return bool(data)

    def _settle_in(self, settings: Settings) -> None:
        self._settings = settings
        with open(settings.flags, "r+b") as file:
            self._flags = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        if hasattr(os, "pidfd_open"):
            # The connection stays open if the driver leaves a forked child; this sees its death.
            with suppress(OSError):
                driver = os.pidfd_open(settings.driver)
                self._selector.register(driver, selectors.EVENT_READ, _driver_is_gone)
        for module in settings.preload:
            importlib.import_module(module)
        # Forks share what a collection does not touch.
        gc.collect()
        gc.freeze()
        self._tell(Kind.READY)

    def _fork(self, fork: Fork) -> None:
        with socket.socket(fileno=self._sockets.pop(0)) as connection:
            sys.path[:] = fork.path
            if fork.module not in sys.modules and fork.module != "__main__":
                with suppress(Exception):
                    # A worker that needs it tries again, and reports what is wrong with it.
                    importlib.import_module(fork.module)
            connection.set_inheritable(False)
            server = os.getpid()
            try:
                pid = os.fork()
            except OSError as error:
                self._tell(Kind.DENIED, (fork.number, str(error)))
                return
            if pid == 0:
                self._become_worker(connection, fork.slot, server)
            self._workers[pid] = fork.number

    def _become_worker(self, connection: socket.socket, slot: int, server: int) -> None:
        """Serve chunks in the forked process, which ends here."""
        status = 1
        try:
            self._die_with_parent()
            if os.getppid() != server or self._settings is None:
                return
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # A handler and not SIG_IGN, which programs that a chunk starts would inherit; the
            # worker takes one of its own as soon as it can be interrupted.
            signal.signal(signal.SIGINT, _awake)
            for shared in (self._control, self._selector, self._child_ended, self._wakeup):
                shared.close()
            _reseed()
            worker.serve(connection, self._settings.folders, self._flags, slot)
            status = 0
        except BaseException:
            # Nothing is lost: the driver is told by the exit status, the user by this.
            traceback.print_exc()
        finally:
            os._exit(status)

    def _signal(self, number: int, which: signal.Signals) -> None:
        for pid, its_number in self._workers.items():
            if its_number == number:
                os.kill(pid, which)

    def _reap(self) -> bool:
        with suppress(BlockingIOError):
            while self._child_ended.recv(frames.READ_BYTES):
                pass
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            self._tell(Kind.GONE, (self._workers.pop(pid), status))
        return True

    def _tell(self, kind: Kind, content: Any = None) -> None:
        with suppress(BrokenPipeError):
            # A driver that is gone is noticed by reading.
            self._control.sendall(frames.message(kind, content))


def _awake(number: int, frame: Any) -> None:
    """Handle a signal by being woken, and no more."""


def _driver_is_gone() -> bool:
    return False


def _death_signal() -> Callable[[], None]:
    """Return what asks the kernel to kill this process as soon as its parent is dead.

    Only Linux can; elsewhere a worker whose fork server was killed ends after its chunk.
    """
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _reseed() -> None:
    """Give this fork random numbers of its own; Python's `random` does so by itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
