"""Chunks for checks of the runner port itself, without an engine; values are lists of bytes."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fanfold.ports.runner import Site
from fanfold.testing.ledger import Gate, Ledger, pause
from fanfold.values.messages import Report

BEGAN = b"began"
"""What a gated chunk says before it waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """Returns its id, then what it needs and what is shared, in the order given."""

    id: str
    label: str = "conformance"
    priority: int = 0

    def run(
        self, needs: Sequence[Any], shared: Sequence[Any], site: Site
    ) -> tuple[Report, list[bytes]]:
        """Return the values with a report that tells of nothing else."""
        values = [self.id.encode()]
        values += [bytes(part) for need in needs for part in need]
        values += [bytes(part) for part in shared]
        return Report(chunk=self.id, worker=site.worker, reached=1), values


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated(Echo):
    """Says that it began, and waits at a gate before it does the same."""

    gate: Gate
    timeout_s: float

    def run(
        self, needs: Sequence[Any], shared: Sequence[Any], site: Site
    ) -> tuple[Report, list[bytes]]:
        """Return "open" or "shut" as the first value."""
        site.say(BEGAN)
        found = b"open" if self.gate.wait(self.timeout_s) else b"shut"
        return Report(chunk=self.id, worker=site.worker, reached=1), [found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Located(Gated):
    """Notes in which process it runs before it does the same."""

    ledger: Ledger

    def run(
        self, needs: Sequence[Any], shared: Sequence[Any], site: Site
    ) -> tuple[Report, list[bytes]]:
        """Return what the gated one does."""
        self.ledger.note("at", self.id, os.getpid())
        return Gated.run(self, needs, shared, site)


@dataclass(frozen=True, slots=True, kw_only=True)
class Talking(Echo):
    """Says numbers, and returns them as so many buffers."""

    count: int

    def run(
        self, needs: Sequence[Any], shared: Sequence[Any], site: Site
    ) -> tuple[Report, list[bytes]]:
        """Return as many buffers as were said."""
        numbers = [str(number).encode() for number in range(self.count)]
        for number in numbers:
            site.say(number)
        return Report(chunk=self.id, worker=site.worker, reached=1), numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing(Echo):
    """Returns the process and the size of what is shared, without a copy of it."""

    def run(
        self, needs: Sequence[Any], shared: Sequence[Any], site: Site
    ) -> tuple[Report, list[bytes]]:
        """Return the process id, then a size for each payload."""
        sizes = [str(memoryview(part).nbytes).encode() for part in shared]
        report = Report(chunk=self.id, worker=site.worker, reached=1)
        return report, [str(os.getpid()).encode(), *sizes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heeding(Echo):
    """Says that it began, and runs until it should stop, which it then notes."""

    ledger: Ledger
    timeout_s: float

    def run(
        self, needs: Sequence[Any], shared: Sequence[Any], site: Site
    ) -> tuple[Report, list[bytes]]:
        """Return no values."""
        site.say(BEGAN)
        until = time.monotonic() + self.timeout_s
        while not site.stopping() and time.monotonic() < until:
            pause()
        if site.stopping():
            self.ledger.note("chunk", "heeded", self.id)
        return Report(chunk=self.id, worker=site.worker, reached=1), []


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaf(Echo):
    """Says that it began, and never asks whether to stop; notes it when nothing ended it."""

    ledger: Ledger
    timeout_s: float
    stubborn: bool
    """Goes on even if something is raised in it."""

    def run(
        self, needs: Sequence[Any], shared: Sequence[Any], site: Site
    ) -> tuple[Report, list[bytes]]:
        """Return no values."""
        until = time.monotonic() + self.timeout_s
        said = False
        while time.monotonic() < until:
            try:
                if not said:
                    said = True
                    site.say(BEGAN)
                pause()
            except BaseException:
                if not self.stubborn:
                    raise
        self.ledger.note("through", self.id)
        return Report(chunk=self.id, worker=site.worker, reached=1), []
