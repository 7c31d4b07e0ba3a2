"""Chunks of known behaviour, importable by Ray's workers."""

import _thread
import ctypes
import os
import pickle
import queue
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from fanfold.ports.runner import Site, Values
from fanfold.values.messages import Report
from fanfold.values.resources import Resources

Result = Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A chunk that calls a function of this module with its inputs and its site."""

    call: Callable[..., Result]
    given: Any = None
    id: str = field(default_factory=lambda: uuid4().hex)
    label: str = "work"
    priority: int = 0

    def run(
        self, needs: Sequence[Values], shared: Sequence[Any], site: Site
    ) -> tuple[Report, Values]:
        values = self.call(self.given, needs=needs, shared=shared, site=site)
        return Report(chunk=self.id, worker=site.worker, reached=1, states=((1, 1),)), values


def wait_for(path: Path, deadline_s: float = 30.0) -> None:
    """Return when a file exists that another process touches."""
    ends = time.monotonic() + deadline_s
    while not path.exists():
        assert time.monotonic() < ends, f"{path} was never touched"
        time.sleep(0.01)


def meet(given: tuple[str, int], **_: Any) -> Result:
    """Return when so many chunks are there at the same time, each in a process of its own."""
    folder, count = Path(given[0]), given[1]
    (folder / f"{os.getpid()}.here").touch()
    ends = time.monotonic() + 30
    while len(list(folder.glob("*.here"))) < count:
        assert time.monotonic() < ends, "the others never came"
        time.sleep(0.01)
    return []


def echo(given: Any, *, needs: Sequence[Values], shared: Sequence[Any], site: Site) -> Result:
    """Return what was given, pickled, and the total size of all inputs."""
    sizes = [len(view) for views in needs for view in views] + [len(view) for view in shared]
    return [pickle.dumps((given, sum(sizes)))]


def zeros(given: int, **_: Any) -> Result:
    """Return so many zero bytes after a small pickle, in several kinds of buffers."""
    return [b"small", bytearray(given), memoryview(bytes(3)), pickle.PickleBuffer(b"last")]


def words(given: Sequence[tuple[float, bytes]], *, site: Site, **_: Any) -> Result:
    """Say each message after a pause."""
    for pause_s, message in given:
        time.sleep(pause_s)
        site.say(message)
    return [b"said"]


def until_stopped(given: str, *, site: Site, **_: Any) -> Result:
    """Write the process's id to the file given, if any, and run until `stopping`, for 30 s."""
    if given:
        written = Path(f"{given}-{os.getpid()}")
        written.write_text(str(os.getpid()))
        written.rename(given)
    began = time.monotonic()
    while not site.stopping() and time.monotonic() - began < 30:
        time.sleep(0.01)
    return [b"stopped" if site.stopping() else b"ran"]


def until_released(given: tuple[str, str], *, site: Site, **_: Any) -> Result:
    """Touch the first file and run until the second exists, for 30 s at most."""
    started, release = map(Path, given)
    started.touch()
    wait_for(release)
    return [b"released"]


def asleep(given: str, **_: Any) -> Result:
    """Sleep for half a minute in one go; note in the file whether that was ended, and how."""
    Path(f"{given}-began").touch()
    try:
        time.sleep(30)
    except BaseException as error:
        Path(given).write_text(type(error).__name__)
        raise
    return [b"woke up"]


def holding(given: str, **_: Any) -> Result:
    """Stay in C code that holds the interpreter's lock, for half a minute or more."""
    Path(given).touch()
    return [b"%d" % sum(range(2_000_000_000))]


def ended(given: str, **_: Any) -> Result:
    """End the process, in one of several ways."""
    _ENDS[given]()
    return [b"lived on"]


def flooding(given: tuple[int, int], *, site: Site, **_: Any) -> Result:
    """Say so many messages of so many bytes; return how long the slowest took, and the memory."""
    count, size = given
    slowest = 0.0
    for number in range(count):
        message = b"%d" % number
        began = time.perf_counter()
        site.say(message.ljust(size))
        slowest = max(slowest, time.perf_counter() - began)
    return [pickle.dumps((slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))]


def last_words(given: tuple[int, int], *, site: Site, **_: Any) -> Result:
    """Say so many messages of so many bytes, and die by SIGKILL at once."""
    flooding(given, site=site)
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def nesting(given: tuple[int, int, float, str, int], *, site: Site, **_: Any) -> Result:
    """Submit chunks of the same kind one level deeper, and only then wait for them.

    Args:
        given: Levels below this one, chunks per level, how long each works, and in which folder so
            many of the lowest level wait for each other before.
        site: Opens the session.

    Returns:
        The pickled times at which each chunk of the lowest level began and ended, and its process.
    """
    depth, width, seconds, folder, count = given
    if not depth:
        began = time.time()
        meet((folder, count))
        time.sleep(seconds)
        return [pickle.dumps([(began, time.time(), os.getpid())])]
    session = site.session(lambda *_: None)
    assert session is not None
    reports: queue.Queue[Report] = queue.Queue()
    below = [
        session.submit(Work(call=nesting, given=(depth - 1, *given[1:])), done=reports.put)
        for _ in range(width)
    ]
    # So that Ray has queued them all for slots of their own.
    time.sleep(0.3)
    with site.waiting():
        found = [reports.get(timeout=60) for _ in below]
    assert [report.error for report in found] == [None] * width
    values = session.fetch(below)
    session.close()
    return [pickle.dumps([one for views in values for one in pickle.loads(views[0])])]


def greedy(given: int, *, site: Site, **_: Any) -> Result:
    """Wait for a chunk that wants so much memory."""
    session = site.session(lambda *_: None)
    assert session is not None
    reports: queue.Queue[Report] = queue.Queue()
    with site.waiting():
        session.submit(Work(call=echo), want=Resources(memory=given), done=reports.put)
        error = reports.get(timeout=60).error
    session.close()
    return [b"fed" if error is None else b"hungry"]


def interrupted(given: Any, **_: Any) -> Result:
    """Be interrupted at the very end, as by a recall that comes late: Ray does it by this call."""
    _thread.interrupt_main()
    return []


def watchful(given: float, *, site: Site, **_: Any) -> Result:
    """Return whether the chunk is to stop, after some looks of the porter."""
    time.sleep(given)
    return [b"stopped" if site.stopping() else b"ran"]


def following(given: float, *, site: Site, **_: Any) -> Result:
    """Return what became of chunks that ran right after others that were interrupted."""
    session = site.session(lambda *_: None)
    assert session is not None
    reports: queue.Queue[Report] = queue.Queue()
    found: list[tuple[str, bytes]] = []
    for _ in range(3):
        with site.waiting():
            session.submit(Work(call=interrupted), done=reports.put)
            before = reports.get(timeout=60).worker
            ref = session.submit(Work(call=watchful, given=given), done=reports.put)
            after = reports.get(timeout=60).worker
        (views,) = session.fetch([ref])
        found.append(("same" if before == after else "other", bytes(views[0])))
    session.close()
    return [pickle.dumps(found)]


def called_off(given: str, *, site: Site, **_: Any) -> Result:
    """Cancel a chunk that was recalled before; return how it ended."""
    session = site.session(lambda *_: None)
    assert session is not None
    reports: queue.Queue[Report] = queue.Queue()
    ref = session.submit(Work(call=until_stopped, given=given), done=reports.put)
    with site.waiting():
        wait_for(Path(given))
        session.cancel([ref])
        assert reports.get(timeout=60).error is None
    (views,) = session.fetch([ref])
    session.close()
    return [bytes(views[0])]


def killed(given: Sequence[bytes], *, site: Site, **_: Any) -> Result:
    """Say the messages, stay for a second and die by SIGKILL."""
    for message in given:
        site.say(message)
    time.sleep(1.0 if given else 0.0)
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def shown(given: str, **_: Any) -> Result:
    """Return a variable of the environment."""
    return [pickle.dumps(os.environ.get(given))]


def touch(given: str, **_: Any) -> Result:
    """Leave a file behind."""
    Path(given).touch()
    return []


def whereabouts(given: float, *, shared: Sequence[Any], **_: Any) -> Result:
    """Return the process id, its private memory in bytes, and whether inputs are read-only."""
    time.sleep(given)
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty"))
    return [pickle.dumps((os.getpid(), private * 1024, all(view.readonly for view in shared)))]


def complain(given: BaseException, **_: Any) -> Result:
    """Raise what was given."""
    raise given


def _fault() -> None:
    ctypes.string_at(0)


_ENDS: Mapping[str, Callable[[], Any]] = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": _fault,
    "SIGABRT": os.abort,
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(30),
    "3": lambda: os._exit(3),
}


class Touchy:
    """Raises when it is unpickled anywhere but where a chunk runs."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return _open_touchy, ()


def _open_touchy() -> "Touchy":
    raise AssertionError("a user's type was unpickled on the way")


def touchy(given: Any, **_: Any) -> Result:
    """Return a value that can't be unpickled."""
    return [pickle.dumps(Touchy())]
