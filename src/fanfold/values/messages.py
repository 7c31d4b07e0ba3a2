"""What comes home from a chunk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from fanfold.values.errors import InfrastructureError


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An exception on its way home."""

    kind: str
    """The exception's qualified type name, readable even where the type can't be imported."""
    message: str
    traceback: str
    """Formatted, the user's frame first; empty if there is none."""
    where: str = ""
    """The first frame of user code, such as "pipeline.py:12 in parse"; empty if there is none."""
    error: bytes | None = None
    """The pickled exception; None if it can't be pickled and read back."""
    live: BaseException | None = None
    """The exception itself, where driver and worker are one process."""
    frames: TracebackType | None = None
    """Of the live exception: its frames as it was raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What one element has to say beyond its state."""

    attempts: int = 1
    """User attempts that this element has behind it, over all chunks."""
    failure: Failure | None = None
    again_in_s: float | None = None
    """Not final: to be tried again after so many seconds."""
    message: str = ""
    """Of a state that the user's function made itself."""
    label: str = ""
    """Name of such a state, where it isn't the usual one."""
    seconds: float = 0.0
    """That all its calls took together; 0 where no hook is told of it."""
    name: str = ""
    """Of a single call: what its run is called, where the task says so."""
    arguments: bytes | None = None
    """Of one that failed for good: what it was called with, pickled as (args, kwargs); None where
    that can't be, is too large, or isn't asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a chunk; small, and never holds a user's value."""

    chunk: str
    """Id of the chunk."""
    worker: str = ""
    reached: int = 0
    """How many of its elements are done, counted in the chunk's order; the rest was not started."""
    states: tuple[tuple[int, int], ...] = ()
    """Run-length coded states of the reached elements: (state code, count)."""
    seconds: float = 0.0
    """Wall time that the reached elements took together."""
    cpu_s: float = 0.0
    """CPU time, likewise; 0 where that can't be told."""
    before_bytes: int = 0
    """What the process held in memory when the chunk began; 0 where nobody can tell."""
    peak_bytes: int = 0
    """What it held at most until the chunk ended, likewise."""
    details: Mapping[int, Detail] = field(default_factory=dict)
    """By position in the chunk; only elements that have something to say."""
    staged: Mapping[str, bytes] = field(default_factory=dict)
    """What was staged for commit: packed index records by segment name."""
    wanted: Mapping[int, bytes] = field(default_factory=dict)
    """Keys whose leases elements need before they may run, by position."""
    keyed: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """What cache keys of elements were made from, by position: the map's first elements only."""
    error: InfrastructureError | None = None
    """Set when the infrastructure failed; then `reached` is 0 and nothing above counts."""
    started: bool = True
    """With an error: False if the chunk certainly never ran."""
    warnings: tuple[str, ...] = ()
    """Sentences for the log: what was done otherwise than asked, and why."""
