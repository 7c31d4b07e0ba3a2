"""The worker's end: run a chunk inside a Ray task, and deal with what interrupts it."""

import atexit
import functools
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from fanfold.ports.runner import Chunk, Values
from fanfold.values.errors import ChunkCancelled, InfrastructureError, ValuesLost
from fanfold.values.messages import Report
from fanfold.values.versions import check, fingerprint
from fanfold_ray import references
from fanfold_ray.boxes import Box
from fanfold_ray.buffers import Buffers, Missing
from fanfold_ray.porter import porter
from fanfold_ray.sigint import heard
from fanfold_ray.site import CANCELLED, Letter, RaySite, Waybill

WORKER = f"{socket.gethostname()}/{os.getpid()}/{time.time_ns() // 1_000_000}"
"""This process, as reports name it."""

versions = functools.cache(fingerprint)
"""The fingerprint of this process: reading a distribution's metadata takes about a millisecond."""


def carry(
    work: bytes | Buffers, waybill: bytes, *inputs: Buffers | Missing
) -> tuple[bytes, Buffers | Missing]:
    """Run a pickled chunk; return its pickled letter and, apart from it, its values.

    Nothing but bytes and buffers crosses Ray, so that Ray never unpickles what belongs to users.

    Args:
        work: The chunk; with buffers come the references that its pickle names.
        waybill: A pickled Waybill.
        inputs: The values of needed chunks, then what was shared.
    """
    # Of another version it may hold more or less than ours, but these four come first.
    said = pickle.loads(waybill)
    try:
        check(said[3], versions(), WORKER)
        bill = Waybill(*said)
        _refuse_lost(bill.needs, inputs)
    except InfrastructureError as error:
        report = Report(chunk=said[2], worker=WORKER, error=error, started=False)
        return pickle.dumps(Letter(report, 0, [])), Missing(str(error))
    site = RaySite(WORKER, bill, _box(), porter())
    report, values = _carried_out(work, inputs, site)
    try:
        if report.error is not None:
            return site.letter(report), Missing(str(report.error))
        return site.letter(report), Buffers(values, references.marked_in(values))
    finally:
        references.forget()


def _carried_out(
    work: bytes | Buffers, inputs: Sequence[Buffers | Missing], site: RaySite
) -> tuple[Report, Values]:
    bill, started = site.bill, False
    try:
        chunk: Chunk = pickle.loads(work if isinstance(work, bytes) else work.views[0])
        held = [value.views for value in inputs if isinstance(value, Buffers)]
        shared = [views[0] for views in held[bill.needs :]]
        started = True
        with _attended(site):
            report, values = chunk.run(held[: bill.needs], shared, site)
        return report, values
    except InfrastructureError as error:
        failure = error
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, KeyboardInterrupt) and not site.interrupted:
            # Ray's own, on the way in: it tells of the cancel itself.
            raise
        # Nothing is lost: it becomes the report. Errors of users never get here; what does is
        # a chunk that this worker can't read, such as for want of a module.
        failure = InfrastructureError(
            f"The chunk could not be run on {WORKER}: {error!r}\n{traceback.format_exc()}"
        )
        if isinstance(error, KeyboardInterrupt):
            failure = ChunkCancelled(CANCELLED)
    return Report(chunk=bill.chunk_id, worker=WORKER, error=failure, started=started), ()


def _refuse_lost(needs: int, inputs: Sequence[Buffers | Missing]) -> None:
    lost = [place for place, value in enumerate(inputs) if isinstance(value, Missing)]
    if lost:
        raise ValuesLost(f"{len(lost)} of {needs} values that were needed don't exist", lost)


@contextmanager
def _attended(site: RaySite) -> Generator[None, None, None]:
    """Let the chunk be seen from outside, and turn `ray.cancel` into `Site.stopping`.

    Ray interrupts a running task by simulating SIGINT in its main thread. With a handler of our
    own the running element comes to its end and the report comes home, as for a task that nobody
    cancelled; without one a KeyboardInterrupt would tear user code apart at any line.
    """

    def die(number: int, frame: FrameType | None) -> None:
        # Ray would raise a SystemExit, which an element's code may take for one of its own.
        if box is not None:
            box.exits(-number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    box = _box()
    with heard(site.interrupt):
        before = signal.signal(signal.SIGTERM, die)
        try:
            if box is not None:
                box.begin(site.bill.session, site.bill.ticket)
            porter().attend(site)
            yield
        finally:
            # An interrupt may strike right here, though not twice.
            try:
                porter().attend(None)
            finally:
                if box is not None:
                    box.end()
                signal.signal(signal.SIGTERM, before)


@functools.cache
def _box() -> Box | None:
    """Return the box of this process, None if it has no place for one."""
    box = Box.make()
    if box is not None:
        atexit.register(box.remove)
        _note_exits(box)
    return box


def _note_exits(box: Box) -> None:
    """Have `os._exit` leave its code in the box: nobody else would ever know it."""
    leave = os._exit

    @functools.wraps(leave)
    def leave_word_and_exit(status: int) -> NoReturn:
        box.exits(status)
        leave(status)

    os._exit = leave_word_and_exit
