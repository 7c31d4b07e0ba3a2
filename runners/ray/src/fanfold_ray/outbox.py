"""What a chunk has said and its driver hasn't taken yet, in bounded memory."""

import pickle
import tempfile
import threading
from collections import deque
from typing import IO

MEMORY_BYTES = 4 * 1024 * 1024
"""Of messages; what is more lies in a file meanwhile."""
BATCH_BYTES = 1024 * 1024
"""Of messages that travel together: the table needs 4 ms for so many."""


class Outbox:
    """Messages in their order: those on their way, then those in a file, then those in memory.

    Thread-safe, but for `batch` and `sent`, which belong to one thread at a time.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        """Of those that weren't sent."""
        self._lock = threading.Lock()
        self._closed = False
        self._added = 0
        self._sent = 0
        self._leaving: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._in_file = 0
        self._read_to = 0
        self._late: deque[bytes] = deque()
        self._late_bytes = 0

    def add(self, message: bytes) -> int:
        """Take a message and return its number, from 0."""
        with self._lock:
            self._late.append(message)
            self._late_bytes += len(message)
            self.size_bytes += len(message)
            self._added += 1
            if self._late_bytes > MEMORY_BYTES:
                self._spill()
            return self._added - 1

    def batch(self) -> tuple[int, list[bytes]]:
        """Return the oldest messages, and how many were sent before them; none at the end.

        The same again until they are sent: the driver may be reading them just now.
        """
        with self._lock:
            if self._closed:
                return self._sent, []
            size = BATCH_BYTES if self._leaving else 0
            while size < BATCH_BYTES and (self._in_file or self._late):
                message = self._from_file() if self._in_file else self._take()
                self._leaving.append(message)
                size += len(message)
            return self._sent, self._leaving

    def sent(self) -> None:
        """Remove what `batch` returned last."""
        with self._lock:
            self._sent += len(self._leaving)
            self.size_bytes -= sum(map(len, self._leaving))
            self._leaving = []

    def rest(self) -> tuple[int, list[bytes]]:
        """Return all messages that weren't sent, and how many were before; nothing more is sent."""
        with self._lock:
            self._closed = True
            in_file = [self._from_file() for _ in range(self._in_file)]
            if self._file is not None:
                self._file.close()
            return self._sent, [*self._leaving, *in_file, *self._late]

    def _spill(self) -> None:
        if self._closed:
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="fanfold-ray-")  # noqa: SIM115
        self._file.seek(0, 2)
        for message in self._late:
            pickle.dump(message, self._file, pickle.HIGHEST_PROTOCOL)
        self._in_file += len(self._late)
        self._late.clear()
        self._late_bytes = 0

    def _take(self) -> bytes:
        message = self._late.popleft()
        self._late_bytes -= len(message)
        return message

    def _from_file(self) -> bytes:
        assert self._file is not None
        self._file.seek(self._read_to)
        message: bytes = pickle.load(self._file)
        self._read_to = self._file.tell()
        self._in_file -= 1
        if not self._in_file:
            self._file.truncate(0)
            self._read_to = 0
        return message
