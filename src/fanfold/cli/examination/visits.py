"""What is done in a worker's process to look at it: a chunk of its own, sent past the engine.

Imported by workers, so it imports little.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fanfold.cli.examination.probing import try_store
from fanfold.ports.results import ResultStore
from fanfold.ports.runner import Site, Values
from fanfold.values.messages import Report

MISSING = "missing"
"""The version of what isn't installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a worker's process says of itself."""

    worker: str
    host: str
    process: int
    versions: Mapping[str, str]
    """Of Python and of packages."""
    time_s: float
    """On its clock, in seconds since 1970; at the driver between the next two."""
    asked_s: float = 0.0
    answered_s: float = 0.0
    store: str = ""
    """What it couldn't do with the storage; empty if all went well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A chunk whose one value is what the process that runs it says of itself, as JSON."""

    id: str
    packages: tuple[str, ...]
    store: ResultStore
    left: str
    """An object that the driver has left in the storage, empty if it couldn't."""
    linger_s: float
    """How long it holds its slot, so that the next visit goes to another one."""
    label: str = "doctor"
    priority: int = 0

    def run(
        self, needs: Sequence[Values], shared: Sequence[Any], site: Site
    ) -> tuple[Report, list[bytes]]:
        """Look around."""
        told = Told(
            worker=site.worker,
            host=platform.node(),
            process=os.getpid(),
            versions=versions(self.packages),
            time_s=time.time(),
            store=try_store(self.store, f"{self.id}-{os.getpid()}", self.left).failure,
        )
        deadline = time.monotonic() + self.linger_s
        while not site.stopping() and time.monotonic() < deadline:
            time.sleep(0.01)
        report = Report(chunk=self.id, worker=site.worker, reached=1)
        return report, [json.dumps(asdict(told)).encode()]


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of packages here; `MISSING` of those that aren't there."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = MISSING
    return found
