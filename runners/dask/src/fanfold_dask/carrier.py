"""What Dask runs on a worker to carry a chunk there and its report and values back."""

import os
import pickle
import socket
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import psutil
from distributed import Worker, get_worker
from distributed.protocol.serialize import dask_deserialize, dask_serialize

from fanfold.ports.runner import Chunk
from fanfold.values import versions
from fanfold.values.errors import InfrastructureError
from fanfold.values.messages import Report

MESSAGE_LIMIT_BYTES = 16 * 1024
"""The scheduler keeps the last 1,000 messages of a topic, hence 16 MB at most per session. A longer
report stays with the values until the driver fetches it."""

SMALL_BYTES = 4 * 1024
"""Values up to this size go home with their report: fetching them would take 5 ms more. They are
handed over as they are, and stay on the cluster too."""

REPORT = 0
SAY = 1
"""The kinds of messages: (REPORT, key, pickled report, small values or None) and
(SAY, chunk's id, message, None)."""

_RUNNING = frozenset({"executing", "long-running"})
"""What Dask calls a task whose result is still wanted; after a cancel it says `cancelled`."""


class Parcel:
    """A chunk's values on the cluster, with its report beside them.

    A type of its own, because Dask would send a list as one object per element and ask each for
    its serializer. A parcel's buffers travel as frames of one object: never joined, copied or
    looked into on the way, be it to the driver, to a worker or to the disk.
    """

    __slots__ = ("parts", "report")

    def __init__(self, report: Any, parts: Sequence[Any]) -> None:
        self.report = report
        self.parts = parts

    def __sizeof__(self) -> int:
        # Dask decides by it where tasks run and when to spill.
        return len(self.report) + sum(memoryview(part).nbytes for part in self.parts)


def _to_frames(parcel: Parcel) -> tuple[dict[str, Any], list[memoryview]]:
    buffers = (memoryview(part) for part in (parcel.report, *parcel.parts))
    return {}, [buffer.cast("B") if buffer.nbytes else memoryview(b"") for buffer in buffers]


def _from_frames(header: dict[str, Any], frames: Sequence[Any]) -> Parcel:
    return Parcel(frames[0], frames[1:])


dask_serialize.register(Parcel, _to_frames)
dask_deserialize.register(Parcel, _from_frames)


class DaskSite:
    """The worker's half of a session, for one chunk."""

    def __init__(self, dask_worker: Worker, key: str, topic: str, chunk: str) -> None:
        self.worker = process_name()
        self._dask_worker = dask_worker
        self._topic = topic
        self._chunk = chunk
        self._task = dask_worker.state.tasks[key]

    def say(self, message: bytes) -> None:
        """Send a message to the driver, which is there after 2 to 4 ms."""
        self._dask_worker.log_event(self._topic, (SAY, self._chunk, message, None))

    def stopping(self) -> bool:
        """Return whether the chunk was cancelled; takes 0.1 microseconds."""
        return self._task.state not in _RUNNING


def run_chunk(
    errand: bytes, mark: str, chunk_id: str, needs: int, payload: bytes, *given: Any
) -> Parcel:
    """Run a chunk on a worker, send its report home, and return its values for Dask to keep.

    Args:
        errand: The session's topic and its driver's versions, as a pickle of plain types.
        mark: A file to make before the chunk runs, or nothing.
        chunk_id: The chunk's id.
        needs: How many of `given` are needs; the rest is shared.
        payload: The pickled chunk.
        given: Parcels of needed chunks, then shared payloads.
    """
    topic, driver = pickle.loads(errand)
    dask_worker = get_worker()
    key = str(dask_worker.get_current_task())
    site = DaskSite(dask_worker, key, topic, chunk_id)
    if mark:
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY))
    parts: Sequence[Any] = ()
    try:
        versions.check(driver, _fingerprint(), site.worker)
        chunk: Chunk = pickle.loads(payload)
        report, parts = chunk.run([parcel.parts for parcel in given[:needs]], given[needs:], site)
    except InfrastructureError as error:
        report = Report(chunk=chunk_id, worker=site.worker, error=error)
    message = pickle.dumps(report, protocol=pickle.HIGHEST_PROTOCOL)
    # A cancelled chunk stays silent: its driver has been told, and its topic may be gone.
    if len(message) <= MESSAGE_LIMIT_BYTES and not site.stopping():
        dask_worker.log_event(topic, (REPORT, key, message, _small(parts)))
    return Parcel(message, parts)


def _small(parts: Sequence[Any]) -> bytes | None:
    """Return values that are a single small buffer."""
    if len(parts) == 1 and memoryview(parts[0]).nbytes <= SMALL_BYTES:
        return bytes(parts[0])
    return None


def read_report(key: str, dask_worker: Worker) -> bytes | None:
    """Return the report beside a key's values; run by `client.run`, off the slots."""
    parcel = dask_worker.data.get(key)
    return bytes(parcel.report) if isinstance(parcel, Parcel) else None


@lru_cache(maxsize=1)
def process_name() -> str:
    """Return `host/pid/start` of this process, the start in milliseconds since 1970."""
    start_ms = round(psutil.Process().create_time() * 1000)
    return f"{socket.gethostname()}/{os.getpid()}/{start_ms}"


@lru_cache(maxsize=1)
def _fingerprint() -> tuple[str, str]:
    # Reads a file of the installation, which is too slow for each chunk.
    return versions.fingerprint()
