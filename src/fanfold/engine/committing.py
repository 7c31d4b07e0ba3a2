"""The driver's part in keeping results: read a task's indexes, write new ones."""

from functools import lru_cache

from fanfold.engine import segments
from fanfold.engine.run import Commit, Run
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
    return _merged(store, tuple(names))


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
def _merged(store: ResultStore, names: tuple[str, ...]) -> Lookup:
    return Lookup.merge(store, [_index(store, name) for name in names])


@lru_cache(maxsize=4096)
def _index(store: ResultStore, name: str) -> Index:
    return segments.unpack_index(store.read(name), name)
