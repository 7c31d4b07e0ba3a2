"""A running chunk's site: what it sees of its session."""

import importlib
import pickle
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, cast

import ray
from ray.exceptions import RayError

from fanfold.ports.runner import Session
from fanfold.values.messages import Report
from fanfold.values.resources import Resources
from fanfold_ray import words
from fanfold_ray.boxes import Box
from fanfold_ray.lending import Slot
from fanfold_ray.outbox import BATCH_BYTES, Outbox
from fanfold_ray.porter import Porter

LAID_BYTES = 4 * 1024 * 1024
"""What a chunk may have in the table before the driver has taken any of it."""
LETTER_BYTES = 8 * 1024 * 1024
"""Of messages that go home with a report; of more, the first go by the table."""
PATIENCE_S = 30.0
"""For a driver that takes nothing out of the table at the end of a chunk. Then all goes home with
the report, however much it is."""

CANCELLED = "The chunk was cancelled"


class Waybill(NamedTuple):
    """What goes with a chunk, as a pickled plain tuple: any version of us can read that."""

    session: str
    ticket: int
    chunk_id: str
    versions: tuple[str, str]
    needs: int
    """How many of the inputs are values of other chunks; the rest was shared."""
    nested: bool = False
    """Whether a running chunk has sent it; then a signal may be a recall."""
    cpu: float = 1.0
    memory: int = 0
    custom: tuple[tuple[str, float], ...] = ()
    """What it holds, or its parent for it; it may lend that to a chunk of its own."""


class Letter(NamedTuple):
    """What comes home from a chunk: its report, and what it said that wasn't sent ahead."""

    report: Report
    first: int
    """How many messages were sent ahead."""
    messages: list[bytes]


class RaySite:
    """The site of one chunk. `say` may be called from any thread."""

    def __init__(self, worker: str, bill: Waybill, box: Box | None, porter: Porter) -> None:
        self.worker = worker
        self.bill = bill
        self._box = box
        self._porter = porter
        self._main = threading.main_thread().ident
        self.heeds = False
        self._stopping = False
        self._interrupting = False
        self._interrupted = False
        self._main_speaks = False
        """The main thread, where interrupts strike, is inside `say`: half of that would lose it."""
        self._speaking = threading.Lock()
        self._outbox = Outbox()
        self._rung_at = BATCH_BYTES
        self._placed = False
        self._laid: list[tuple[bytes, int]] = []
        self._posting = threading.Lock()
        self._slot: Slot | None = None

    def say(self, message: bytes) -> None:
        """Keep a message for the next batch, or for the report if that comes first; 2 µs."""
        if threading.get_ident() != self._main:
            self._say(message)
            return
        self._main_speaks = True
        try:
            self._say(message)
        finally:
            self._main_speaks = False
        self.struck()

    def stopping(self) -> bool:
        """Return whether the chunk was cancelled; 40 ns."""
        return self._stopping

    def session(self, heard: Callable[[str, bytes], None]) -> Session:
        """Open a session on the Ray that this process belongs to.

        Args:
            heard: As for `TaskRunner.open`.
        """
        # Most workers never do, and what a driver needs takes some milliseconds to import.
        nested = importlib.import_module("fanfold_ray.nested")
        return cast(Session, nested.open_nested(self._held(), heard))

    def waiting(self) -> AbstractContextManager[None]:
        """Lend what this chunk holds to one of its own at a time; see `lending`."""
        return self._held().waiting()

    # For the porter and the carrier.

    def interrupt(self) -> None:
        """Take in that Ray interrupts the chunk; in the main thread."""
        if self.bill.nested:
            # It may be a recall: the porter looks.
            self.heeds = True
            self._porter.wake()
        else:
            self._stopping = True

    def signalled(self) -> bool:
        """Take in a cancel; return whether the running element is to be struck.

        Raises:
            RayError: The head node doesn't answer.
        """
        order = words.order(self.bill.session, self.bill.ticket)
        if order == words.RECALL:
            return False
        self._stopping = True
        self._interrupting = self._interrupting or order == words.INTERRUPT
        return self._interrupting

    def struck(self) -> None:
        """End the running element, if that is wanted; in the main thread.

        Raises:
            KeyboardInterrupt: It is; libraries know how to leave with it. Once, for a second one
                could strike while the first is dealt with.
        """
        if self._interrupting and not self._interrupted and not self._main_speaks:
            self._interrupted = True
            raise KeyboardInterrupt(CANCELLED)

    @property
    def interrupted(self) -> bool:
        """Whether the running element was struck."""
        return self._interrupted

    def post(self) -> None:
        """Send what was said, and once where the chunk runs; blocks.

        Raises:
            RayError: The head node doesn't answer. What wasn't sent goes with the next batch.
        """
        with self._posting:
            if not self._placed and not self._stopping:
                node = ray.get_runtime_context().get_node_id()
                place = words.Place(self.bill.ticket, node, self.worker)
                words.tell_place(self.bill.session, place)
                self._placed = True
            while self._post_batch():
                pass

    def letter(self, report: Report) -> bytes:
        """Return the pickled letter home; called once, at the end."""
        if self._outbox.size_bytes > LETTER_BYTES:
            self._drain()
        # A batch that is on its way just now goes home twice. The driver drops what it has heard.
        first, messages = self._outbox.rest()
        return pickle.dumps(Letter(report, first, messages))

    def _say(self, message: bytes) -> None:
        with self._speaking:
            number = self._outbox.add(message)
            if self._box is not None:
                self._box.note(number, message)
        if self._outbox.size_bytes > self._rung_at:
            self._rung_at = self._outbox.size_bytes + BATCH_BYTES
            self._porter.wake()

    def _post_batch(self) -> bool:
        """Send a batch; return whether there may be more to send now."""
        first, messages = self._outbox.batch()
        # Of a cancelled chunk nobody may be there to take it.
        if not messages or self._stopping or self._full():
            return False
        key = words.put(self.bill.session, words.Batch(self.bill.ticket, first, messages))
        size = sum(map(len, messages))
        self._laid.append((key, size))
        self._outbox.sent()
        self._rung_at = self._outbox.size_bytes + BATCH_BYTES
        return size >= BATCH_BYTES

    def _full(self) -> bool:
        """Return whether the driver is to take something out of the table first."""
        while self._laid and sum(size for _, size in self._laid) > LAID_BYTES:
            if not words.taken(self._laid[0][0]):
                return True
            del self._laid[0]
        return False

    def _drain(self) -> None:
        """Send by the table until the rest is small enough for a letter."""
        until = time.monotonic() + PATIENCE_S
        left = self._outbox.size_bytes
        while left > LETTER_BYTES and not self._stopping and time.monotonic() < until:
            try:
                self.post()
            except RayError:
                return
            if self._outbox.size_bytes < left:
                left, until = self._outbox.size_bytes, time.monotonic() + PATIENCE_S
            else:
                time.sleep(words.INTERVAL_S / 10)

    def _held(self) -> Slot:
        with self._speaking:
            if self._slot is None:
                bill = self.bill
                holds = Resources(cpu=bill.cpu, memory=bill.memory, custom=bill.custom)
                self._slot = Slot(holds, ray.get_runtime_context().get_node_id())
            return self._slot
