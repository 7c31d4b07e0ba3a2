"""What a driver and its processes say to each other over a stream socket: a kind, a length, bytes.

Messages are named tuples of plain data, pickled. Nothing in them is of a user's type: a chunk and
its values travel as the bytes of their own pickles.
"""

import pickle
import socket
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from fanfold.adapters.runners.parcels import Folders, Place
from fanfold.values.messages import Report

SOCKET_BUFFER_BYTES = 256 * 1024
"""Asked for on both ends; macOS gives 8 KiB unasked."""
READ_BYTES = 256 * 1024

_HEADER = struct.Struct("<BQ")
_NUMBER = struct.Struct("<Q")


class Kind(IntEnum):
    """Who sends a frame, and what it holds."""

    SETTINGS = 1
    """Driver to fork server, once, first: `Settings`."""
    FORK = 2
    """Driver to fork server, with a socket: `Fork`."""
    KILL = 3
    """Driver to fork server: the number of a worker."""
    INTERRUPT = 12
    """Driver to fork server: the number of a worker, which is to look at its flags."""
    READY = 4
    """Fork server to driver, once: it has imported what it should."""
    DENIED = 5
    """Fork server to driver: the number of a worker that can't be made, and why."""
    GONE = 6
    """Fork server to driver: the number of a worker, and its wait status."""
    HELLO = 7
    """Worker to driver, once: its identity."""
    PARCEL = 8
    """Driver to worker: a chunk, as a parcel of the pickled `Order` and the chunk's pickle."""
    FILE = 9
    """Driver to worker: the path of such a parcel, too long for the socket's buffer."""
    SAID = 10
    """Worker to driver: an order's number, and what its chunk says, as it is."""
    DONE = 11
    """Worker to driver: `Outcome`."""


class Settings(NamedTuple):
    """What a fork server must know."""

    driver: int
    """The driver's process id."""
    folders: Folders
    flags: str
    """Path of the file in which each worker finds whether to stop."""
    preload: tuple[str, ...]
    """Modules to import before the first worker is made."""


class Fork(NamedTuple):
    """A worker wanted."""

    number: int
    """Unique in the session."""
    slot: int
    """Which of the flags are the worker's."""
    path: list[str]
    """The driver's `sys.path` as it is now."""
    module: str
    """Where the next chunk's class is from: imported once, for this worker and all later ones."""


class Order(NamedTuple):
    """A chunk for a worker, without the chunk."""

    number: int
    """Unique in the session; the worker's flags hold it when the chunk should stop."""
    chunk: str
    """Id of the chunk."""
    needs: tuple[Place, ...]
    shared: tuple[str, ...]
    """Paths of parcels with one buffer each."""
    forget: tuple[str, ...]
    """Paths of shared parcels that won't be named again."""


class Outcome(NamedTuple):
    """What became of an order."""

    report: Report
    values: Place | None
    """None if there are none."""


class Stream:
    """Cuts what comes in from a socket into frames."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Take in some bytes and yield the frames that are complete now."""
        received = self._received
        received += data
        start = 0
        while len(received) - start >= _HEADER.size:
            kind, length = _HEADER.unpack_from(received, start)
            end = start + _HEADER.size + length
            if end > len(received):
                break
            yield Kind(kind), bytes(received[start + _HEADER.size : end])
            start = end
        del received[:start]


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets, each with room for a frame that nobody has read yet."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
    return ends


def frame(kind: Kind, payload: bytes) -> bytes:
    """Return a frame."""
    return _HEADER.pack(kind, len(payload)) + payload


def said(number: int, message: bytes) -> bytes:
    """Return a frame with what the chunk of an order says."""
    return frame(Kind.SAID, _NUMBER.pack(number) + message)


def heard(payload: bytes) -> tuple[int, bytes]:
    """Return the order's number and the message of a `SAID` frame."""
    return _NUMBER.unpack_from(payload)[0], payload[_NUMBER.size :]


def message(kind: Kind, content: Any = None) -> bytes:
    """Return a frame with something pickled."""
    return frame(kind, pickle.dumps(content, protocol=5))
