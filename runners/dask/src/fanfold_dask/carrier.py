"""What Dask runs on a worker to carry a chunk there and its report and values back."""

import importlib
import math
import os
import pickle
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, NamedTuple, cast

import psutil
from distributed import Worker, get_worker
from distributed.protocol.serialize import dask_deserialize, dask_serialize

from fanfold.ports.runner import Chunk, Session
from fanfold.values import versions
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    ResourcesUnavailable,
    ValuesLost,
)
from fanfold.values.messages import Report
from fanfold.values.resources import Resources
from fanfold_dask import holds
from fanfold_dask.holds import Amount
from fanfold_dask.natives import Carried, carrying, hand_over
from fanfold_dask.slot import Slot

MESSAGE_LIMIT_BYTES = 16 * 1024
"""The scheduler keeps the last 1,000 messages of a topic, hence 16 MB at most per session. A longer
report stays with the values until the driver fetches it."""

SMALL_BYTES = 4 * 1024
"""Values up to this size go home with their report: fetching them would take 5 ms more. They are
handed over as they are, and stay on the cluster too."""

REPORT = 0
SAY = 1
"""The kinds of messages: (REPORT, key, pickled report, small values or None, pickled keys
of futures among the values or None) and (SAY, chunk's id, message)."""

_RUNNING = frozenset({"executing", "long-running"})
"""What Dask calls a task whose result is still wanted; after a cancel it says `cancelled`."""


class Parcel:
    """A chunk's values on the cluster, with its report beside them.

    A type of its own, because Dask would send a list as one object per element and ask each for
    its serializer. A parcel's buffers travel as frames of one object: never joined, copied or
    looked into on the way, be it to the driver, to a worker or to the disk.
    """

    __slots__ = ("made", "natives", "parts", "report")

    def __init__(
        self, report: Any, parts: Sequence[Any], natives: bytes = b"", made: bool = True
    ) -> None:
        self.report = report
        self.parts = parts
        self.natives = natives
        """Pickled keys of the users' own futures among the values."""
        self.made = made
        """Whether there are values at all, be it none; else the report says why not."""

    def __sizeof__(self) -> int:
        # Dask decides by it where tasks run and when to spill.
        return len(self.report) + sum(memoryview(part).nbytes for part in self.parts)


def _to_frames(parcel: Parcel) -> tuple[dict[str, Any], list[memoryview]]:
    buffers = (memoryview(part) for part in (parcel.report, *parcel.parts))
    frames = [buffer.cast("B") if buffer.nbytes else memoryview(b"") for buffer in buffers]
    return {"natives": parcel.natives, "made": parcel.made}, frames


def _from_frames(header: dict[str, Any], frames: Sequence[Any]) -> Parcel:
    return Parcel(frames[0], frames[1:], header["natives"], header["made"])


dask_serialize.register(Parcel, _to_frames)
dask_deserialize.register(Parcel, _from_frames)


class DaskSite:
    """The worker's half of a session, for one chunk."""

    def __init__(self, dask_worker: Worker, key: str, topic: str, chunk: str) -> None:
        self.worker = process_name()
        self.slot: Slot | None = None
        self._dask_worker = dask_worker
        self._topic = topic
        self._chunk = chunk
        self._task = dask_worker.state.tasks[key]

    def say(self, message: bytes) -> None:
        """Send a message to the driver, which is there after 2 to 4 ms."""
        self._dask_worker.log_event(self._topic, (SAY, self._chunk, message))

    def stopping(self) -> bool:
        """Return whether the chunk was cancelled; takes 0.1 microseconds."""
        return self._task.state not in _RUNNING

    def session(self, heard: Callable[[str, bytes], None]) -> Session:
        """Open a session on the worker's own client, which all chunks of this process share."""
        # Most workers never do, and what a driver needs takes some milliseconds to import.
        nested = importlib.import_module("fanfold_dask.nested")
        return cast(Session, nested.open_on_worker(self._dask_worker, heard))

    def waiting(self) -> AbstractContextManager[None]:
        """Let others have the thread, CPUs and memory meanwhile; Dask keeps its own resources."""
        assert self.slot is not None
        return self.slot.free()


class Errand(NamedTuple):
    """What a session tells all its chunks; travels as a pickle of a plain tuple."""

    topic: str
    """Where its news is told, and what it is called by."""
    client: str
    """Id of its client."""
    versions: tuple[str, str]
    """The driver's."""
    amount: tuple[float, float]
    """What the chunk holds."""


class _Outcome(NamedTuple):
    """What a chunk came to."""

    report: Report
    parts: Sequence[Any] = ()
    natives: bytes = b""


def run_chunk(
    errand: bytes,
    mark: str,
    chunk_id: str,
    needs: int,
    natives: bytes,
    payload: bytes,
    *given: Any,
) -> Parcel:
    """Run a chunk on a worker, send its report home, and return its values for Dask to keep.

    Args:
        errand: The session's `Errand`, pickled.
        mark: A file to make before the chunk runs, or nothing.
        chunk_id: The chunk's id.
        needs: How many of `given` are needs.
        natives: Keys of the users' own futures in the chunk, as a pickle; or nothing.
        payload: The pickled chunk.
        given: Parcels of needed chunks, then values of those futures, then shared payloads.
    """
    told = Errand(*pickle.loads(errand))
    dask_worker = get_worker()
    key = str(dask_worker.get_current_task())
    site = DaskSite(dask_worker, key, told.topic, chunk_id)
    keys: list[Any] = pickle.loads(natives) if natives else []
    shared = needs + len(keys)
    values = dict(zip(keys, given[needs:shared], strict=True))
    try:
        versions.check(told.versions, _fingerprint(), site.worker)
        _check_needs(given[:needs])
        site.slot = _slot(site, dask_worker, key, Amount(*told.amount))
        try:
            if mark:
                _leave_mark(mark)
            with carrying(told.topic, site, values) as carried:
                outcome = _run(payload, given[:needs], given[shared:], site, carried, told.client)
        finally:
            site.slot.end()
    except InfrastructureError as error:
        started = site.slot is not None
        outcome = _Outcome(Report(chunk=chunk_id, worker=site.worker, error=error, started=started))
    return _told(outcome, key, site, dask_worker, told.topic)


def _run(
    payload: bytes,
    needed: Sequence[Parcel],
    shared: Sequence[Any],
    site: DaskSite,
    carried: Carried,
    client: str,
) -> _Outcome:
    chunk: Chunk = pickle.loads(payload)
    report, parts = chunk.run([parcel.parts for parcel in needed], shared, site)
    return _Outcome(report, parts, hand_over(carried, parts, client))


def _told(outcome: _Outcome, key: str, site: DaskSite, dask_worker: Worker, topic: str) -> Parcel:
    """Send a chunk's report home, if it is short enough, and return what stays."""
    report, parts, natives = outcome
    message = pickle.dumps(report, protocol=pickle.HIGHEST_PROTOCOL)
    # A cancelled chunk stays silent: its driver has been told, and its topic may be gone.
    if len(message) + len(natives) <= MESSAGE_LIMIT_BYTES and not site.stopping():
        event = (REPORT, key, message, _small(parts), natives)
        dask_worker.log_event(topic, event)
    return Parcel(message, parts, natives, made=report.error is None)


def _check_needs(needed: Sequence[Parcel]) -> None:
    """Refuse to start without values.

    Raises:
        ValuesLost: The infrastructure failed some of the needed chunks.
    """
    lost = [at for at, parcel in enumerate(needed) if not parcel.made]
    if lost:
        raise ValuesLost(f"{len(lost)} of the chunks that were needed ended without values.", lost)


def _slot(site: DaskSite, dask_worker: Worker, key: str, amount: Amount) -> Slot:
    """Return the chunk's slot, once what it holds is there.

    Raises:
        ResourcesUnavailable: The worker has less. Where there were none when the chunk was sent, it
            went to the first that came.
        ChunkCancelled: It was cancelled meanwhile.
    """
    has = holds.of(dask_worker)
    if amount.cpu > has.all.cpu or amount.memory > has.all.memory:
        limit = 0 if math.isinf(has.all.memory) else int(has.all.memory)
        there = Resources(cpu=has.all.cpu, memory=limit)
        asked = Resources(cpu=amount.cpu, memory=int(amount.memory))
        raise ResourcesUnavailable(f"{asked} was asked for, but {site.worker} has {there}.")
    slot = Slot(dask_worker, key, has, amount)
    if not slot.take(site.stopping):
        raise ChunkCancelled("The chunk was cancelled while it waited for CPUs or memory.")
    return slot


def _leave_mark(mark: str) -> None:
    """Tell by a file which process has started the chunk, for it may not live to tell it."""
    file = os.open(mark, os.O_CREAT | os.O_WRONLY)
    os.write(file, str(os.getpid()).encode())
    os.close(file)


def _small(parts: Sequence[Any]) -> bytes | None:
    """Return values that are a single small buffer."""
    if len(parts) == 1 and memoryview(parts[0]).nbytes <= SMALL_BYTES:
        return bytes(parts[0])
    return None


def read_report(key: str, dask_worker: Worker) -> tuple[bytes, bytes] | None:
    """Return the report beside a key's values, and the pickled keys of futures among these.

    Run by `client.run`, off the slots.
    """
    parcel = dask_worker.data.get(key)
    return (bytes(parcel.report), parcel.natives) if isinstance(parcel, Parcel) else None


@lru_cache(maxsize=1)
def process_name() -> str:
    """Return `host/pid/start` of this process, the start in milliseconds since 1970."""
    start_ms = round(psutil.Process().create_time() * 1000)
    return f"{socket.gethostname()}/{os.getpid()}/{start_ms}"


@lru_cache(maxsize=1)
def _fingerprint() -> tuple[str, str]:
    # Reads a file of the installation, which is too slow for each chunk.
    return versions.fingerprint()
