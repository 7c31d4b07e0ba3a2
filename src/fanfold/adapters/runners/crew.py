"""The driver's end of a fork server and its workers. Not thread-safe but for `wake` and `stop`."""

import functools
import mmap
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from weakref import ReferenceType

from fanfold.adapters.runners import forkserver, frames
from fanfold.adapters.runners import site as sites
from fanfold.adapters.runners.backlog import Ticket
from fanfold.adapters.runners.frames import Fork, Kind, Settings
from fanfold.adapters.runners.parcels import Folders
from fanfold.values import deaths
from fanfold.values.errors import InfrastructureError

END_TIMEOUT_S = 2.0
"""A fork server needs some 10 ms to kill its workers and end. One that is stopped is killed after
this time, and Linux kills the workers of a dead one."""

_FLAG_BYTES = 8
_FLAGS_PER_SLOT = 2


class Member:
    """A worker, as the driver sees it."""

    def __init__(self, number: int, slot: int, connection: socket.socket) -> None:
        self.number = number
        self.slot = slot
        self.connection = connection
        self.stream = frames.Stream()
        self.identity = ""
        """Empty until it has said hello."""
        self.ticket: Ticket | None = None
        """What it runs."""
        self.order = 0
        """Number of the last order that it was given."""
        self.deaf = False
        """It died with its last order unread: the system tells by a reset or broken connection."""
        self.doomed = False
        """It is about to be killed, so must not be given any more."""
        self.mapped: dict[str, ReferenceType[Any]] = {}
        """Paths of the shared parcels that it has mapped, with the refs to them."""

    @property
    def stopped(self) -> bool:
        """Whether somebody has stopped its process."""
        return bool(self.identity) and sites.stopped(int(self.identity.split("/")[1]))

    def send(self, data: bytes) -> None:
        """Send a frame that fits into the socket's buffer; a worker takes one at a time."""
        try:
            self.connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            # The rest is told by its fork server.
            self.deaf = True

    def receive(self) -> bytes:
        """Return what has come in; nothing if the worker's end is closed.

        Raises:
            BlockingIOError: Nothing is there yet.
        """
        try:
            return self.connection.recv(frames.READ_BYTES)
        except ConnectionResetError:
            self.deaf = True
            return b""


class Event(NamedTuple):
    """Something that the session has to deal with."""

    kind: Kind
    """SAID, DONE, GONE: a worker's; DENIED: nobody is there who could run anything."""
    member: Member | None
    content: Any
    """The frame's payload; for GONE and DENIED a text that says how or why."""


class Crew:
    """A fork server, its workers, and the ears for all of them.

    Args:
        folders: Of the session.
        most: How many workers there may be.
        preload: Modules for the fork server to import.

    Raises:
        InfrastructureError: The fork server can't be started.
    """

    def __init__(self, folders: Folders, most: int, preload: tuple[str, ...]) -> None:
        self.free: list[Member] = []
        """Workers that wait for a chunk; the last one was busy last, and its caches are warm."""
        self.most = most
        self._folders = folders
        self._preload = preload
        self._members: dict[int, Member] = {}
        self._slots = list(range(most))
        self._made = 0
        self._flag_path = f"{folders.near or folders.far}/flags"
        Path(self._flag_path).write_bytes(bytes(_FLAG_BYTES * _FLAGS_PER_SLOT * most))
        with open(self._flag_path, "r+b") as file:
            self._flags = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._rung = False
        self._kills = deaths.MemoryKills()
        self._selector.register(self._bell, selectors.EVENT_READ, self._on_bell)
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def wake(self) -> None:
        """Make `listen` return; from any thread."""
        if not self._rung:
            self._rung = True
            with suppress(OSError):
                # The crew may just have been closed by another thread.
                self._ringer.send(b"\0")

    def stop(self, slot: int, order: int) -> None:
        """Tell the worker in a slot to stop, if it is still at that order; from any thread."""
        self._flags[_FLAGS_PER_SLOT * slot] = order

    def interrupt(self, member: Member) -> None:
        """Raise an exception in what a worker runs, if it is still at its present order."""
        self._flags[_FLAGS_PER_SLOT * member.slot + 1] = member.order
        self._command(Kind.INTERRUPT, member.number)

    def kill(self, member: Member) -> None:
        """Have a worker killed; its end is told as any other."""
        member.doomed = True
        self._command(Kind.KILL, member.number)

    def listen(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Wait until something happened, and yield what the session should know of it."""
        for key, _ in self._selector.select(timeout_s):
            yield from key.data()

    def grow(self, wanted: int, module: str) -> None:
        """Make workers for so many chunks, less those that are on their way, up to `most`.

        Args:
            wanted: Chunks that found no free worker.
            module: Where a chunk's class is from.

        Raises:
            InfrastructureError: The fork server was gone and can't be started again.
        """
        starting = sum(not member.identity for member in self._members.values())
        for _ in range(min(wanted - starting, self.most - len(self._members))):
            if self._process is None:
                self._start()
            self._fork(module)

    def close(self) -> None:
        """Kill all processes and let go of all sockets; the folders are left to the session."""
        for member in self._members.values():
            member.connection.close()
        self._members.clear()
        self.free.clear()
        if self._process is not None:
            # Not just a close: a child that the driver has forked would keep the socket open.
            with suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            self._end_process()
        self._selector.close()
        self._bell.close()
        self._ringer.close()

    def _start(self) -> None:
        ours, theirs = frames.pair()
        descriptor = theirs.fileno()
        command = [*_interpreter(), "-c", forkserver.BOOTSTRAP, str(descriptor), *sys.path]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], process_group=0
            )
        except OSError as error:
            ours.close()
            raise InfrastructureError(f"The fork server can't be started: {error}") from error
        finally:
            theirs.close()
        self._ready = False
        self._control = ours
        self._heard = frames.Stream()
        self._selector.register(ours, selectors.EVENT_READ, self._on_control)
        settings = Settings(os.getpid(), self._folders, self._flag_path, self._preload)
        self._command(Kind.SETTINGS, settings)

    def _fork(self, module: str) -> None:
        self._made += 1
        ours, theirs = frames.pair()
        ours.setblocking(False)
        member = Member(self._made, self._slots.pop(), ours)
        self._members[member.number] = member
        self._selector.register(ours, selectors.EVENT_READ, functools.partial(self._on, member))
        fork = Fork(member.number, member.slot, list(sys.path), module)
        self._command(Kind.FORK, fork, theirs)
        theirs.close()

    def _command(self, kind: Kind, content: Any, *sockets: socket.socket) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            # A fork server that is gone is noticed by reading.
            data = frames.message(kind, content)
            sent = socket.send_fds(self._control, [data], [end.fileno() for end in sockets])
            self._control.sendall(data[sent:])

    def _on_bell(self) -> Iterator[Event]:
        self._bell.recv(1)
        # Before the session looks at its backlog: who submits after it has looked rings again.
        self._rung = False
        return iter(())

    def _on(self, member: Member) -> Iterator[Event]:
        """Read what a worker has sent."""
        if member.number not in self._members:
            return
        if data := member.receive():
            yield from self._cut(member, data)
            return
        # Dead, or cut off because its chunk closed the socket: then it is of no more use. Its end
        # is told by the fork server, which knows how it died.
        self._selector.unregister(member.connection)
        self.kill(member)

    def _cut(self, member: Member, data: bytes) -> Iterator[Event]:
        for kind, payload in member.stream.feed(data):
            if kind is Kind.HELLO:
                member.identity = pickle.loads(payload)
                self.free.append(member)
            else:
                yield Event(kind, member, payload)

    def _on_control(self) -> Iterator[Event]:
        """Read what the fork server has sent."""
        try:
            data = self._control.recv(frames.READ_BYTES)
        except ConnectionResetError:
            data = b""
        for kind, payload in self._heard.feed(data):
            content = pickle.loads(payload)
            if kind is Kind.READY:
                self._ready = True
            elif kind is Kind.DENIED:
                number, reason = content
                yield from self._do_without(number, reason)
            else:
                number, status = content
                yield from self._bury(number, self._fate(os.waitstatus_to_exitcode(status)))
        if not data:
            yield from self._outlive()

    def _bury(self, number: int, how: str) -> Iterator[Event]:
        member = self._members[number]
        with suppress(BlockingIOError):
            # What it sent before it died still counts.
            while data := member.receive():
                yield from self._cut(member, data)
        if not member.identity:
            yield from self._do_without(number, f"it {how} before it could take a chunk")
            return
        self._forget(member)
        yield Event(Kind.GONE, member, how)

    def _do_without(self, number: int, reason: str) -> Iterator[Event]:
        """Carry on with the workers that there are, or say that there is none."""
        self._forget(self._members[number])
        self.most = max(1, len(self._members))
        if not self._members:
            yield Event(Kind.DENIED, None, f"No worker can be made: {reason}.")

    def _outlive(self) -> Iterator[Event]:
        """Bury a fork server; the next one is started when there is work."""
        how = self._fate(self._end_process())
        for member in list(self._members.values()):
            if member.identity:
                yield from self._bury(member.number, f"lost its fork server, which {how}")
            else:
                self._forget(member)
        if not self._ready:
            reason = f"The fork server {how} before it was ready; see what it wrote to stderr."
            yield Event(Kind.DENIED, None, reason)

    def _forget(self, member: Member) -> None:
        del self._members[member.number]
        self._slots.append(member.slot)
        if member in self.free:
            self.free.remove(member)
        with suppress(KeyError):
            self._selector.unregister(member.connection)
        member.connection.close()

    def _fate(self, exit_code: int) -> str:
        # The kernel tells how many it killed for memory, but not whom.
        by_kernel = exit_code == -signal.SIGKILL and self._kills.more()
        return deaths.OOM if by_kernel else deaths.exited(exit_code)

    def _end_process(self) -> int:
        """Wait for the fork server's end, or bring it about; return its exit code."""
        process, self._process = self._process, None
        assert process is not None
        with suppress(KeyError, ValueError):
            self._selector.unregister(self._control)
        self._control.close()
        try:
            return process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _interpreter() -> list[str]:
    """Return the command that starts a Python like this one."""
    if not sys.executable:
        raise InfrastructureError(
            "Python does not know its own executable, so can't start another."
        )
    options = [f"-W{option}" for option in sys.warnoptions]
    if sys.flags.optimize:
        options.append("-" + "O" * sys.flags.optimize)
    return [sys.executable, *options]
