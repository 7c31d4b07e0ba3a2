"""A worker process of the processes runner: takes one chunk at a time and tells how it went."""

import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from fanfold.adapters.runners import frames, parcels
from fanfold.adapters.runners import site as sites
from fanfold.adapters.runners.frames import Kind, Order, Outcome
from fanfold.adapters.runners.parcels import Folders, Place
from fanfold.ports.runner import Chunk
from fanfold.values.errors import ChunkCancelled, InfrastructureError
from fanfold.values.messages import Report

HOME_BYTES = 16 * 1024
"""Values up to this size travel home with the report, as bytes that nobody looks into there: a
file costs 20 microseconds, and so does sending as many bytes twice."""

CANCELLED = "The chunk was cancelled."


def serve(connection: socket.socket, folders: Folders, flags: memoryview, slot: int) -> None:
    """Carry out what comes in until the driver closes the connection or is gone.

    Args:
        connection: To the driver; blocking.
        folders: Where values go.
        flags: Two numbers per slot, written by the driver: the order that should stop, and the one
            that should be interrupted.
        slot: Whose numbers are this worker's.
    """
    worker = _Worker(connection, folders, flags[2 * slot : 2 * slot + 2])
    # The driver's interrupts come as this signal. A Ctrl-C in the terminal may as well, and is for
    # the driver to decide on: the flags tell the one from the other.
    signal.signal(signal.SIGINT, worker.interrupted)
    with suppress(BrokenPipeError, ConnectionResetError):
        worker.outbox.send(frames.message(Kind.HELLO, sites.identity()))
        stream = frames.Stream()
        while data := connection.recv(frames.READ_BYTES):
            for kind, payload in stream.feed(data):
                worker.handle(kind, payload)


class _Worker:
    """What lives as long as the process."""

    def __init__(self, connection: socket.socket, folders: Folders, flags: memoryview) -> None:
        self.outbox = _Outbox(connection)
        self._folders = folders
        self._flags = flags
        self._shared: dict[str, memoryview] = {}
        self._running = 0
        """Number of the order whose chunk runs; 0 while an interrupt has nothing to end."""

    def handle(self, kind: Kind, payload: bytes) -> None:
        """Carry out a chunk and send its outcome."""
        if kind is Kind.FILE:
            path = payload.decode()
            order_pickle, chunk_pickle = parcels.load(path, writable=False)
            os.unlink(path)
        else:
            order_pickle, chunk_pickle = parcels.unpack(memoryview(payload))
        order: Order = pickle.loads(order_pickle)
        for forgotten in order.forget:
            self._shared.pop(forgotten, None)
        site = _ProcessSite(sites.identity(), self.outbox, self._flags, order.number)
        report, values = sites.carry_out(
            order.chunk, site.worker, lambda: self._carry_out(order, chunk_pickle, site)
        )
        # The worker may be killed between chunks, and what was printed must not go with it.
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()
        self.outbox.send(_outcome(report, values))

    def _carry_out(
        self, order: Order, chunk_pickle: memoryview, site: "_ProcessSite"
    ) -> tuple[Report, Place | None]:
        needs = parcels.read(order.needs)
        shared = [self._map(path) for path in order.shared]
        self._running = order.number
        try:
            chunk: Chunk = pickle.loads(chunk_pickle)
            report, values = chunk.run(needs, shared, site)
        except KeyboardInterrupt:
            if self._flags[1] != order.number:
                raise
            raise ChunkCancelled(CANCELLED) from None
        finally:
            self._running = 0
        if report.error is not None:
            return report, None
        buffers = parcels.flatten(values)
        if sum(buffer.nbytes for buffer in buffers) <= HOME_BYTES:
            return report, parcels.pack(buffers)
        return report, self._folders.write(str(order.number), buffers)

    def interrupted(self, number: int, frame: Any) -> None:
        """End the running chunk, if it is what the driver wants to end; runs in its thread.

        Raises:
            KeyboardInterrupt: It is; libraries know how to leave with it.
        """
        if not self._running or self._flags[1] != self._running:
            return
        if self.outbox.main_sends:
            # Half a frame would spoil all that follow.
            self.outbox.interrupted = True
            return
        # Once: a second one could strike while the first is dealt with.
        self._running = 0
        raise KeyboardInterrupt(CANCELLED)

    def _map(self, path: str) -> memoryview:
        """Return what was shared; each path is mapped once (R9)."""
        if path not in self._shared:
            (self._shared[path],) = parcels.load(path, writable=False)
        return self._shared[path]


class _Outbox:
    """Sends frames in order. Thread-safe, for a chunk may speak from several threads."""

    def __init__(self, connection: socket.socket) -> None:
        self.main_sends = False
        """The main thread, where interrupts strike, is inside `post`."""
        self.interrupted = False
        """An interrupt came meanwhile: it strikes as soon as that is over."""
        self._main = threading.main_thread().ident
        self._connection = connection
        self._lock = threading.Lock()
        self._unsent = bytearray()

    def post(self, data: bytes) -> None:
        """Send as much as the socket takes without waiting; the rest goes with a later frame."""
        if threading.get_ident() != self._main:
            self._post(data)
            return
        self.main_sends = True
        try:
            self._post(data)
        finally:
            self.main_sends = False
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt(CANCELLED)

    def send(self, data: bytes) -> None:
        """Send all there is, and wait for it."""
        with self._lock:
            self._unsent += data
            self._connection.sendall(self._unsent)
            self._unsent.clear()

    def _post(self, data: bytes) -> None:
        with self._lock:
            self._unsent += data
            with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                # A driver that is gone is noticed when the chunk has run.
                sent = self._connection.send(self._unsent, socket.MSG_DONTWAIT)
                del self._unsent[:sent]


class _ProcessSite:
    """What a running chunk sees of its session."""

    __slots__ = ("_flags", "_number", "_outbox", "worker")

    def __init__(self, worker: str, outbox: _Outbox, flags: memoryview, number: int) -> None:
        self.worker = worker
        self._outbox = outbox
        self._flags = flags
        self._number = number

    def say(self, message: bytes) -> None:
        """Send a message, or leave it to be sent with the next if the socket is full."""
        self._outbox.post(frames.said(self._number, message))

    def stopping(self) -> bool:
        """Return whether the driver has written this order's number to the worker's flag."""
        return bool(self._flags[0] == self._number)

    def session(self, heard: Callable[[str, bytes], None]) -> None:
        """Return none: what elements start runs in their own thread."""

    def waiting(self) -> AbstractContextManager[None]:
        """Do nothing: nobody else could run here meanwhile."""
        return nullcontext()


def _outcome(report: Report, values: Any) -> bytes:
    try:
        return frames.message(Kind.DONE, Outcome(report, values))
    except Exception as error:
        # Whatever pickling raises. Nothing is lost: another report says what happened instead.
        told = InfrastructureError(str(sites.translate(error)))
        return frames.message(
            Kind.DONE, Outcome(Report(chunk=report.chunk, worker=report.worker, error=told), None)
        )
