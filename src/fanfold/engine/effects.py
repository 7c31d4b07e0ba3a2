"""What the story of a run asks for, and what it hears."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanfold.engine.chunking import Span
from fanfold.engine.recording.accounts import Note
from fanfold.engine.results.claims import Lease
from fanfold.engine.results.leasing import Granted
from fanfold.engine.work import Work
from fanfold.ports.runner import Ref
from fanfold.values.messages import Report
from fanfold.values.resources import Slots

if TYPE_CHECKING:
    from fanfold.engine.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Hand a chunk to the session; answered by the ref of its values."""

    work: Work
    needs: list[Ref]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Have the cluster look after chunks that say nothing; the event `looked` follows."""

    chunks: dict[str, Ref]
    """Their refs by their ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Cancel chunks whose elements are done elsewhere; nobody waits for them any more."""

    refs: list[Ref]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Tell readers and dependents that these elements are final."""

    spans: list[Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Name staged segments in the run's next index; the event `committed` follows."""

    number: int
    records: dict[str, bytes]
    leases: tuple[Lease, ...] = ()
    """Of keys that are in it: others may have them once it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Get the leases of keys; the event `granted` follows for each."""

    keys: list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Give back leases of keys under which nothing was made."""

    leases: Sequence[Lease]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Call the hooks of elements that ended where no worker saw it; `announced` follows."""

    indices: list[int]
    committed: bool = False
    """They are the hooks for a commit, of elements whose results are committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Tell the history what happened."""

    notes: list[Note]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remake:
    """Have upstream runs make values again that are gone."""

    refs: list[Ref]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do until an event, or until this time (seconds of the monotonic clock)."""

    until: float | None


Effect = (
    Submit | Look | Drop | Publish | Commit | Claim | Release | Announce | Record | Remake | Wait
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that a run hears; fields that don't concern it are empty."""

    now: float
    slots: Slots
    lacking: str = ""
    """What keeps chunks from ever starting on the workers that there are."""
    looked: tuple[list[str], list[str]] | None = None
    """Ids of silent chunks that the cluster looked after, and of those that are stuck."""
    report: Report | None = None
    arrived: tuple["Run", list[Span]] | None = None
    """Elements of another run that became final."""
    committed: int | None = None
    """Number of an index that is written, or that could not be."""
    lost: list[Ref] | None = None
    """Refs whose values are gone."""
    granted: Granted | None = None
    """What became of a wish for the lease of a key."""
    announced: bool = False
    """Hooks that the run asked for have been called."""
    cancel: bool = False
