"""Chunks that tell what the plug-in did with them, importable by workers."""

import os
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold.ports.runner import Site, Values
from fanfold.values.messages import Report


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
