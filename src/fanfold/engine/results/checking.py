"""Reads all that indexes name, and says what isn't as it was committed."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from fanfold.engine.results import segments
from fanfold.engine.results.inventory import Entry, Folder
from fanfold.ports.results import Buffer, ResultStore
from fanfold.values.errors import StoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that isn't as it was committed, or that nobody has committed."""

    task: str
    object: str
    problem: str
    results: int
    """How many are made anew because of it; 0 where nobody knows, or none."""
    harmless: bool = False
    """Whether it costs nothing but space."""


def findings(store: ResultStore, folder: Folder, *, contents: bool = True) -> Iterator[Finding]:
    """Yield what is wrong in a task's folder.

    Args:
        store: Where it is.
        folder: What is there.
        contents: Whether objects are read, all of them; otherwise only their sizes are looked at.

    Raises:
        StoreError: The store can't be read.
    """
    for index, reason in folder.unread.items():
        yield Finding(task=folder.name, object=index, problem=reason, results=0)
    places: defaultdict[str, dict[bytes, Entry]] = defaultdict(dict)
    newest: dict[bytes, tuple[str, bytes]] = {}
    for entry in folder.entries():
        newest[entry.key] = entry.place, entry.row
        if entry.segment:  # others lie in their index, which was verified as a whole
            places[entry.place][entry.row] = entry
    for place, entries in sorted(places.items()):
        counting = [each for row, each in entries.items() if newest[each.key] == (place, row)]
        of = counting or list(entries.values())
        problem, count = _problem(store, folder, place, of, contents)
        if problem and counting:
            yield Finding(task=folder.name, object=place, problem=problem, results=count)
        elif problem:
            told = (
                f"{problem}; all of it was made again, and `fanfold cache gc` removes what is left"
            )
            yield Finding(task=folder.name, object=place, problem=told, results=0, harmless=True)
    known = {*places, *folder.indexes, *folder.unread}
    unnamed = [each for name, each in folder.objects.items() if name not in known]
    if unnamed:
        size_bytes = sum(each.size_bytes for each in unnamed)
        told = f"no index names {len(unnamed):,} of its objects, {size_bytes:,} bytes"
        place = f"tasks/{folder.name}/"
        yield Finding(task=folder.name, object=place, problem=told, results=0, harmless=True)


def _problem(
    store: ResultStore, folder: Folder, place: str, entries: list[Entry], contents: bool
) -> tuple[str, int]:
    """Return what is wrong with an object, and how many of its results; empty if nothing is."""
    listed = folder.objects.get(place)
    if listed is None or contents:
        try:
            whole = store.read(place)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return "is missing", len(entries)
            raise
        wrong = _wrong(whole, entries)
    else:
        wrong = sum(_end(entry) > listed.size_bytes for entry in entries)
    if not wrong:
        return "", 0
    if entries[0].named_by_user:
        return "holds something else than was committed", wrong
    return "is damaged: it doesn't hold what was committed", wrong


def _wrong(whole: Buffer, entries: list[Entry]) -> int:
    content = memoryview(whole)
    wrong = 0
    for entry in entries:
        record = entry.record
        payload = content[record.offset : record.offset + record.length]
        wrong += segments.digest([payload]) != record.digest
    return wrong


def _end(entry: Entry) -> int:
    record = entry.record
    return record.offset + record.length
