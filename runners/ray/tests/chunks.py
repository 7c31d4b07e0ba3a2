"""Chunks of known behaviour, importable by Ray's workers."""

import os
import pickle
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from fanfold.ports.runner import Site, Values
from fanfold.values.messages import Report

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
    """Touch the file given, if any, and run until `stopping`, for 30 s at most."""
    if given:
        Path(given).touch()
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


def killed(given: Sequence[bytes], *, site: Site, **_: Any) -> Result:
    """Say the messages, stay for a second and die by SIGKILL."""
    for message in given:
        site.say(message)
    time.sleep(1.0 if given else 0.0)
    os.kill(os.getpid(), signal.SIGKILL)
    return []


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


class Touchy:
    """Raises when it is unpickled anywhere but where a chunk runs."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return _open_touchy, ()


def _open_touchy() -> "Touchy":
    raise AssertionError("a user's type was unpickled on the way")


def touchy(given: Any, **_: Any) -> Result:
    """Return a value that can't be unpickled."""
    return [pickle.dumps(Touchy())]
