"""What elements of a task needed: time, and memory."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanfold.values.states import FINAL

if TYPE_CHECKING:  # facts take 10 ms to import, and flows don't need them
    from fanfold.values.facts import ChunkDone
    from fanfold.values.messages import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the elements of a call or a map needed, as far as they are home.

    Times are means over the elements, with all attempts. Memory is that of whole processes: what
    runs beside them in there counts too.
    """

    elements: int = 0
    """How many were measured."""
    wall_s: float = 0.0
    """Seconds that one took."""
    cpu_s: float = 0.0
    """Seconds of CPU that one took; 0 where that can't be told apart from others' in its thread."""
    peak_bytes: int = 0
    """The most memory that a process held while it ran some of them; 0 where nobody can tell."""
    rise_bytes: int = 0
    """How much more that was, at most, than what the process held before."""


@dataclass(slots=True, kw_only=True)
class Costs:
    """Adds up what chunks needed. Not thread-safe."""

    elements: int = 0
    wall_s: float = 0.0
    """Of all elements together, as `cpu_s`."""
    cpu_s: float = 0.0
    peak_bytes: int = 0
    rise_bytes: int = 0

    def add_chunk(self, chunk: "Report | ChunkDone") -> None:
        """Add what one chunk needed; elements that are to be tried again count once they are."""
        self.elements += sum(n for code, n in chunk.states if code in FINAL)
        self.wall_s += chunk.seconds
        self.cpu_s += chunk.cpu_s
        self.peak_bytes = max(self.peak_bytes, chunk.peak_bytes)
        self.rise_bytes = max(self.rise_bytes, chunk.peak_bytes - chunk.before_bytes)

    def add(self, other: "Costs") -> None:
        """Add the costs of others."""
        self.elements += other.elements
        self.wall_s += other.wall_s
        self.cpu_s += other.cpu_s
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.rise_bytes = max(self.rise_bytes, other.rise_bytes)

    def usage(self) -> Usage:
        """Return what one element needed."""
        count = max(self.elements, 1)
        return Usage(
            elements=self.elements,
            wall_s=self.wall_s / count,
            cpu_s=self.cpu_s / count,
            peak_bytes=self.peak_bytes,
            rise_bytes=self.rise_bytes,
        )
