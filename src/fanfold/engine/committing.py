"""The driver's part in keeping results: read a task's indexes, write new ones."""

from functools import lru_cache

from fanfold.engine import segments
from fanfold.engine.effects import Commit
from fanfold.engine.run import Run
from fanfold.engine.segments import Index, Lookup
from fanfold.ports.results import ResultStore
from fanfold.values.errors import StoreError

EPOCH = 1
"""Of the lease that a run's writer holds."""


def look_up(store: ResultStore, folder: str) -> Lookup:
    """Return all that is committed of a task; an index is read once per process.

    Raises:
        StoreError: The store can't be read, or an index is damaged.
    """
    names = store.names(segments.index_prefix(folder))
    there = store.names(segments.segments_prefix(folder)) if names else []
    return _merged(store, tuple(names), frozenset(there))


def write_index(run: Run, commit: Commit) -> None:
    """Commit: from now on the index names the segments.

    Raises:
        StoreError: It can't be written, or another writer has taken the name.
    """
    cache = run.call.spec.cache
    assert cache is not None
    name = segments.index_name(cache.folder, run.id, EPOCH, commit.number)
    payload = segments.pack_index(commit.records)
    if not cache.store.create(name, payload) and cache.store.read(name) != payload:
        raise StoreError(f"{name} in {cache.store} was written by somebody else")


@lru_cache(maxsize=64)
def _merged(store: ResultStore, names: tuple[str, ...], there: frozenset[str]) -> Lookup:
    """Return the table of what these indexes name and what is still there."""
    indexes = [_index(store, name) for name in names]
    return Lookup.merge(store, [_without_missing(index, there) for index in indexes])


def _without_missing(index: Index, there: frozenset[str]) -> Index:
    """Return the index without segments that somebody has removed: their elements run again."""
    return Index(tables={name: rows for name, rows in index.tables.items() if name in there})


@lru_cache(maxsize=4096)
def _index(store: ResultStore, name: str) -> Index:
    return segments.unpack_index(store.read(name), name)
