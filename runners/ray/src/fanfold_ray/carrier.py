"""The worker's end: run a chunk inside a Ray task and be its site."""

import functools
import os
import pickle
import signal
import socket
import threading
import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

from ray.exceptions import RayError

from fanfold.ports.runner import Chunk
from fanfold.values.errors import InfrastructureError, ValuesLost
from fanfold.values.messages import Report
from fanfold.values.versions import check, fingerprint
from fanfold_ray import words
from fanfold_ray.buffers import Buffers, Missing

WORKER = f"{socket.gethostname()}/{os.getpid()}/{time.time_ns() // 1_000_000}"
"""This process, as reports name it."""

versions = functools.cache(fingerprint)
"""The fingerprint of this process: reading a distribution's metadata takes about a millisecond."""


class Waybill(NamedTuple):
    """What goes with a chunk, as a pickled plain tuple: any version of us can read that."""

    session: str
    ticket: int
    chunk_id: str
    versions: tuple[str, str]
    needs: int
    """How many of the inputs are values of other chunks; the rest was shared."""


class Letter(NamedTuple):
    """What comes home from a chunk: its report, and what it said that wasn't sent ahead."""

    report: Report
    first: int
    """How many messages were sent ahead."""
    messages: list[bytes]


def carry(
    work: bytes, waybill: bytes, *inputs: Buffers | Missing
) -> tuple[bytes, Buffers | Missing]:
    """Run a pickled chunk; return its pickled letter and, apart from it, its values.

    Nothing but bytes and buffers crosses Ray, so that Ray never unpickles what belongs to users.
    """
    bill = Waybill(*pickle.loads(waybill))
    site = RaySite(bill.session, bill.ticket)
    with _cancels_shown_to(site):
        started = False
        try:
            chunk = _unpack(work, bill, inputs)
            held = [value.views for value in inputs if isinstance(value, Buffers)]
            shared = [views[0] for views in held[bill.needs :]]
            started = True
            report, values = chunk.run(held[: bill.needs], shared, site)
            return site.letter(report), Buffers(values)
        except InfrastructureError as error:
            failure = error
        except Exception as error:
            # Nothing is lost: it becomes the report. Errors of users never get here; what does is
            # a chunk that this worker can't read, such as for want of a module.
            failure = InfrastructureError(
                f"The chunk could not be run on {WORKER}: {error!r}\n{traceback.format_exc()}"
            )
        report = Report(chunk=bill.chunk_id, worker=WORKER, error=failure, started=started)
        return site.letter(report), Missing(str(failure))


def _unpack(work: bytes, bill: Waybill, inputs: Sequence[Buffers | Missing]) -> Chunk:
    check(bill.versions, versions(), WORKER)
    lost = [place for place, value in enumerate(inputs) if isinstance(value, Missing)]
    if lost:
        raise ValuesLost(f"{len(lost)} of {bill.needs} values that were needed don't exist", lost)
    chunk: Chunk = pickle.loads(work)
    return chunk


class RaySite:
    """The site of one chunk. `say` may be called from any thread."""

    def __init__(self, session: str, ticket: int) -> None:
        self._session = session
        self._ticket = ticket
        self._stopping = False
        self._lock = threading.Lock()
        self._ahead = 0
        self._unsent: list[bytes] = []
        self._ended = threading.Event()
        self._sender: threading.Thread | None = None

    @property
    def worker(self) -> str:
        """This process: `host/pid/start`."""
        return WORKER

    def say(self, message: bytes) -> None:
        """Keep a message for the next batch, or for the report if that comes first."""
        with self._lock:
            self._unsent.append(message)
            if self._sender is None:
                self._sender = threading.Thread(
                    target=self._send, name="fanfold-ray-words", daemon=True
                )
                self._sender.start()

    def stopping(self) -> bool:
        """Return whether the chunk was cancelled; 40 ns."""
        return self._stopping

    def stop(self) -> None:
        """Make `stopping` true."""
        self._stopping = True

    def letter(self, report: Report) -> bytes:
        """Return the pickled letter home; called once, at the end."""
        self._ended.set()
        with self._lock:
            return pickle.dumps(Letter(report, self._ahead, self._unsent))

    def _send(self) -> None:
        while not self._ended.wait(words.INTERVAL_S):
            with self._lock:
                batch = words.Batch(self._ticket, self._ahead, self._unsent[:])
            if not batch.messages or self._stopping:
                continue
            try:
                words.put(self._session, batch)
            except RayError:
                # The head node is away: the messages are still here and go with the next batch.
                continue
            # Only now are they sent. A letter that is written before this line holds them again,
            # and the driver drops those that it has heard.
            with self._lock:
                self._ahead += len(batch.messages)
                del self._unsent[: len(batch.messages)]


@contextmanager
def _cancels_shown_to(site: RaySite) -> Generator[None, None, None]:
    """Turn `ray.cancel` into `Site.stopping`.

    Ray interrupts a running task by simulating SIGINT in its main thread. With a handler of our
    own the running element comes to its end and the report comes home, as for a task that nobody
    cancelled; without one a KeyboardInterrupt would tear user code apart at any line.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        site.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
