"""What lies in a result store, in the words of `fanfold cache ls` and `stats`."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from fanfold.engine.results.garbage import is_index
from fanfold.engine.results.inventory import Entry, Folder
from fanfold.engine.results.payloads import codec_name
from fanfold.values.states import StateName

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A result as `ls` shows it."""

    key: str
    kept_us: int | None
    """When it was written; None of objects that users named, which aren't listed."""
    size_bytes: int
    codec: str
    expires_us: int | None
    """None for never."""
    state: str
    """`kept`, `expired`, or `replaced` by a newer one under the same key."""
    ended: StateName
    run: str
    """The flow run that made it, or the map or call outside of flows; empty for merged ones."""
    lies_in: str
    committed_by: str


@dataclass(slots=True, kw_only=True)
class Total:
    """What is kept of a task."""

    task: str
    results: int = 0
    """That can be found now."""
    expired: int = 0
    replaced: int = 0
    size_bytes: int = 0
    """Of all objects."""
    indexes: int = 0
    unreadable: int = 0
    """Indexes that aren't believed here."""
    uncommitted: int = 0
    """Objects that no index names: work under way, or what is left of it."""
    uncommitted_bytes: int = 0
    newest_us: int | None = None


def shown(folder: Folder, now: float) -> list[Shown]:
    """Return the results of a task, the latest first."""
    found = [_shown(folder, entry, state) for entry, state in _judged(folder, now)]
    return sorted(found, key=lambda each: -(each.kept_us or 0))


def summed(folder: Folder, now: float) -> Total:
    """Return what is kept of a task, in numbers."""
    counts: Counter[str] = Counter()
    named: set[str] = set()
    for entry, state in _judged(folder, now):
        counts[state] += 1
        named.add(entry.place)
    loose = [
        each for name, each in folder.objects.items() if name not in named and not is_index(name)
    ]
    newest = max((each.modified_s for each in folder.objects.values()), default=None)
    return Total(
        task=folder.name,
        results=counts["kept"],
        expired=counts["expired"],
        replaced=counts["replaced"],
        size_bytes=folder.size_bytes,
        indexes=len(folder.indexes) + len(folder.unread),
        unreadable=len(folder.unread),
        uncommitted=len(loose),
        uncommitted_bytes=sum(each.size_bytes for each in loose),
        newest_us=None if newest is None else int(newest * MICROSECONDS),
    )


def _judged(folder: Folder, now: float) -> Iterator[tuple[Entry, str]]:
    entries = list(folder.entries())
    newest = {entry.key: entry.place for entry in entries}
    told: set[tuple[bytes, str]] = set()
    for entry in entries:
        if (entry.key, entry.place) in told:  # an index and one that stands for it
            continue
        told.add((entry.key, entry.place))
        if newest[entry.key] != entry.place:
            yield entry, "replaced"
        else:
            yield entry, "expired" if entry.record.expiry <= now else "kept"


def _shown(folder: Folder, entry: Entry, state: str) -> Shown:
    record = entry.record
    lies = folder.objects.get(entry.place)
    never = record.expiry > 1e12  # seconds: far beyond what anybody asks for
    return Shown(
        key=record.key.hex(),
        kept_us=None if lies is None else int(lies.modified_s * MICROSECONDS),
        size_bytes=record.length,
        codec=codec_name(record.codec),
        expires_us=None if never else int(record.expiry * MICROSECONDS),
        state=state,
        ended=StateName(record.state),
        run=next(iter(entry.run_ids), ""),
        lies_in=entry.place,
        committed_by=entry.committed_by,
    )
