"""Chunks that tell what the plug-in did with them, importable by workers."""

import ctypes
import os
import pickle
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold.ports.runner import Site, Values
from fanfold.values.errors import InputsUnreadable
from fanfold.values.messages import Report

BEGAN = b"began"


@dataclass(frozen=True, kw_only=True)
class Call:
    """A chunk that calls a function with its needs, what is shared, and its site."""

    id: str
    act: Callable[..., Sequence[Any]]
    arguments: tuple[Any, ...] = ()
    label: str = "call"
    priority: int = 0
    warnings: tuple[str, ...] = ()

    def run(
        self, needs: Sequence[Values], shared: Sequence[Any], site: Site
    ) -> tuple[Report, Values]:
        parts = list(self.act(needs, shared, site, *self.arguments))
        return Report(chunk=self.id, worker=site.worker, reached=1, warnings=self.warnings), parts


def give(needs: Any, shared: Any, site: Site, *values: Any) -> list[Any]:
    """Return values as parts: bytes as they are, anything else pickled."""
    return [value if isinstance(value, bytes) else pickle.dumps(value) for value in values]


def join(needs: Sequence[Values], shared: Sequence[Any], site: Site) -> list[bytes]:
    """Return all parts of all needs, one after the other, then what is shared."""
    return [bytes(part) for parts in needs for part in parts] + [bytes(one) for one in shared]


def see(needs: Any, shared: Sequence[Any], site: Site) -> list[bytes]:
    """Return which process saw which object as what was shared, and of what size."""
    return [f"{os.getpid()} {id(shared[0])} {len(shared[0])}".encode()]


def say(needs: Any, shared: Any, site: Site, count: int) -> list[bytes]:
    for number in range(count):
        site.say(str(number).encode())
    return []


def note(needs: Any, shared: Any, site: Site, folder: str, name: str) -> list[bytes]:
    """Leave a file that counts this run."""
    Path(folder, f"{name}.{time.time_ns()}").touch()
    return [name.encode()]


def stay(
    needs: Any, shared: Any, site: Site, folder: str, name: str, seconds: float
) -> list[bytes]:
    """Say the process's id, and run until told to stop or time is up; leave a file if told."""
    note(needs, shared, site, folder, name)
    site.say(str(os.getpid()).encode())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if site.stopping():
            Path(folder, f"{name}-stopped").touch()
            break
        time.sleep(0.001)
    return [name.encode()]


def span(needs: Any, shared: Any, site: Site, seconds: float) -> list[bytes]:
    """Return the process and when this ran in it, by the machine's clock."""
    began = time.monotonic()
    time.sleep(seconds)
    return [pickle.dumps((os.getpid(), began, time.monotonic()))]


def nest(needs: Any, shared: Any, site: Site, depth: int, width: int) -> list[bytes]:
    """Have as many chunks like this one run below it, and return how many ran in all."""
    if not depth:
        return [b"1"]
    reports: queue.Queue[Report] = queue.Queue()
    session = site.session(lambda chunk, message: None)
    assert session is not None
    try:
        below = [
            session.submit(
                Call(id=f"{depth} {uuid.uuid4().hex}", act=nest, arguments=(depth - 1, width)),
                done=reports.put,
            )
            for _ in range(width)
        ]
        with site.waiting():
            errors = [reports.get(timeout=30).error for _ in below]
        assert errors == [None] * width
        return [str(1 + sum(int(bytes(parts[0])) for parts in session.fetch(below))).encode()]
    finally:
        session.close()


def let_another_in(needs: Any, shared: Any, site: Site) -> list[bytes]:
    """Secede until another chunk has this one's thread, as `frame.compute()` may."""
    # Drivers that import this module start without Dask.
    from distributed import get_worker, rejoin, secede
    from distributed.threadpoolexecutor import thread_state

    state, pool = get_worker().state, thread_state.executor
    secede()
    while not (state.long_running and state.executing and pool._work_queue.empty()):
        time.sleep(0.01)
    rejoin()
    return []


def open_often(needs: Any, shared: Any, site: Site, count: int) -> list[bytes]:
    """Return how many seconds each session takes from its opening to its close."""
    took: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        session = site.session(lambda chunk, message: None)
        assert session is not None
        session.close()
        took.append(time.perf_counter() - began)
    return [pickle.dumps(took)]


def wait_aside(needs: Any, shared: Any, site: Site, folder: str, way: str) -> list[bytes]:
    """Wait in another thread, which goes on behind the chunk's back or not."""
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with site.waiting(), site.waiting():
            entered.set()
            leave.wait(30)

    helper = threading.Thread(target=wait)
    helper.start()
    entered.wait(30)
    note((), (), site, folder, "waits")
    deadline = time.monotonic() + 30
    while not Path(folder, "go on").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    if way == "left":
        leave.set()
        helper.join(30)
    else:
        threading.Timer(0.2, leave.set).start()
    return [way.encode()]


def end(needs: Any, shared: Any, site: Site, folder: str, way: str) -> list[bytes]:
    """End the process in one of several ways, the first time that this is called with a folder."""
    try:
        Path(folder, "ended").mkdir()
    except FileExistsError:
        return [b"lived"]
    if way == "exit":
        os._exit(3)
    if way == "segfault":
        ctypes.string_at(0)
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    hoard: list[bytes] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # Not zeros, which take no memory until they are written to.
        hoard.append(b"x" * 10_000_000)
        time.sleep(0.01)
    return []


def end_together(needs: Any, shared: Any, site: Site, folder: str, way: str, meet: str) -> Any:
    """End the process once another one is as far."""
    Path(meet, f"{way}.here").touch()
    deadline = time.monotonic() + 30
    while len(list(Path(meet).glob("*.here"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    return end(needs, shared, site, folder, way)


def time_stopping(needs: Any, shared: Any, site: Site, count: int) -> list[bytes]:
    """Return how many seconds `stopping` takes each time."""
    start = time.perf_counter()
    for _ in range(count):
        site.stopping()
    return [pickle.dumps((time.perf_counter() - start) / count)]


class Jealous:
    """Can't be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ()


def refuse() -> None:
    raise AssertionError("A value was unpickled where nobody asked for it.")


def give_jealous(needs: Any, shared: Any, site: Site) -> list[bytes]:
    return [pickle.dumps(Jealous())]


def stay_until(needs: Any, shared: Any, site: Site, file: str) -> list[bytes]:
    """Say that it began, and run until a file is there."""
    site.say(BEGAN)
    deadline = time.monotonic() + 60
    while not os.path.exists(file) and time.monotonic() < deadline:
        time.sleep(0.0005)
    return []


def hold(needs: Any, shared: Any, site: Site, value: bytes) -> list[bytes]:
    """Say the process's id, and return a value with it."""
    pid = str(os.getpid()).encode()
    site.say(pid)
    time.sleep(0.02)  # so that both workers get some
    return [value, pid]


def hog(needs: Any, shared: Any, site: Site, seconds: float) -> list[bytes]:
    """Stay in C code that holds the interpreter's lock."""
    site.say(str(os.getpid()).encode())
    time.sleep(0.2)  # until that is said
    began = time.monotonic()
    total, size = 0, 10**7
    while time.monotonic() - began < seconds:
        total += sum(range(size))
    return [str(total).encode()]


def fail_when_told(needs: Any, shared: Any, site: Site, file: str) -> list[bytes]:
    """Fail by the infrastructure once a file is there."""
    stay_until(needs, shared, site, file)
    raise InputsUnreadable("builtins.ValueError", "nothing can be read")
