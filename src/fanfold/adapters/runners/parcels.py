"""Buffers as one parcel, in memory or in a file, written without joining and read without copying.

A parcel is the count of buffers, their lengths and then the buffers, each at a multiple of 64
bytes: what an array wants to lie at when it is made over a mapped file.
"""

import errno
import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import PickleBuffer
from typing import Any

from fanfold.values.errors import ValuesLost

ALIGNMENT_BYTES = 64
MEMORY_FOLDER = Path("/dev/shm")

Place = bytes | str
"""Where a parcel is: here, or in the file of that path."""

_NUMBER = struct.Struct("<Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where a session's parcels lie; private to the user, and gone with the session.

    Files in `/dev/shm` take half the time of small files on a disk (14 and 25 microseconds) and
    never wait for the disk, but they hold memory that the kernel can't take back, and containers
    are often given no more than 64 MiB of it. So parcels go there only while half of it stays
    free, and else to the folder for temporary files, where the page cache can give way.
    """

    near: str | None
    """In memory; None where the system has no such folder."""
    far: str
    """On disk."""

    @classmethod
    def make(cls) -> "Folders":
        """Make two new folders, or one.

        Raises:
            OSError: The folder for temporary files can't be written to.
        """
        far = tempfile.mkdtemp(prefix="fanfold-")
        near = None
        with suppress(OSError):
            near = tempfile.mkdtemp(prefix="fanfold-", dir=MEMORY_FOLDER)
        return cls(near=near, far=far)

    def write(self, name: str, buffers: Sequence[memoryview]) -> str:
        """Write a parcel to a new file and return its path.

        Raises:
            OSError: There is no room for it, or the session has been closed.
        """
        size = sum(buffer.nbytes for buffer in buffers)
        if self.near is not None and _has_room(self.near, size):
            path = f"{self.near}/{name}"
            try:
                _write(path, buffers)
                return path
            except OSError as error:
                # Several processes may have seen the same room.
                if error.errno != errno.ENOSPC:
                    raise
        path = f"{self.far}/{name}"
        _write(path, buffers)
        return path

    def discard(self, name: str) -> None:
        """Remove what a process that died may have left of a parcel."""
        for folder in filter(None, (self.near, self.far)):
            Path(folder, name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove both folders; idempotent."""
        for folder in filter(None, (self.near, self.far)):
            shutil.rmtree(folder, ignore_errors=True)


def flatten(values: Sequence[Any]) -> list[memoryview]:
    """Return the bytes of each buffer, without a copy.

    Raises:
        TypeError: One of them is no buffer.
        BufferError: One of them does not lie in one piece.
    """
    return [PickleBuffer(value).raw() for value in values]


def pack(buffers: Sequence[memoryview]) -> bytes:
    """Return a parcel as bytes; for small ones, as it joins them."""
    return b"".join(_pieces(buffers))


def unpack(parcel: memoryview) -> list[memoryview]:
    """Return the buffers of a parcel as views of it."""
    count = _NUMBER.unpack_from(parcel)[0]
    sizes = struct.unpack_from(f"<{count}Q", parcel, _NUMBER.size)
    buffers = []
    start = _aligned(_NUMBER.size * (count + 1))
    for size in sizes:
        buffers.append(parcel[start : start + size])
        start += _aligned(size)
    return buffers


def load(path: str, *, writable: bool) -> list[memoryview]:
    """Return the buffers of a file's parcel as views of the mapped file.

    The mapping ends with its last view. The file may be removed before.

    Args:
        path: The file.
        writable: Let the reader change its views, which copies the pages changed and leaves the
            file as it is: arrays made from them can be worked on in place.

    Raises:
        OSError: The file is gone.
    """
    access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return unpack(memoryview(mmap.mmap(descriptor, 0, access=access)))
    finally:
        os.close(descriptor)


def read(places: Sequence[Place]) -> list[list[memoryview]]:
    """Return the buffers of each parcel, as views that the reader may change for itself.

    Raises:
        ValuesLost: Some files are gone.
    """
    parcels: list[list[memoryview]] = []
    lost = []
    for position, place in enumerate(places):
        try:
            if isinstance(place, str):
                parcels.append(load(place, writable=True))
            else:
                parcels.append(unpack(memoryview(bytearray(place))))
        except FileNotFoundError:
            lost.append(position)
    if lost:
        raise ValuesLost(f"The files of {len(lost)} of {len(places)} chunks are gone.", lost)
    return parcels


def _write(path: str, buffers: Sequence[memoryview]) -> None:
    # Small pieces are gathered by the file object, large ones go straight to the system.
    try:
        with open(path, "xb") as file:
            file.writelines(_pieces(buffers))
    except OSError:
        Path(path).unlink(missing_ok=True)
        raise


def _pieces(buffers: Sequence[memoryview]) -> Iterator[bytes | memoryview]:
    sizes = [buffer.nbytes for buffer in buffers]
    header = struct.pack(f"<{len(sizes) + 1}Q", len(sizes), *sizes)
    yield header.ljust(_aligned(len(header)), b"\0")
    for buffer, size in zip(buffers, sizes, strict=True):
        yield buffer
        yield bytes(_aligned(size) - size)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _has_room(folder: str, size: int) -> bool:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize - size > room.f_blocks * room.f_frsize // 2
