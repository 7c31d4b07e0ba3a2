"""The driver's part in keeping: tasks' indexes and flows' results."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fanfold.engine.effects import Commit
from fanfold.engine.results import object_names, segments
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.payloads import RAW, raw
from fanfold.engine.results.segments import Index
from fanfold.engine.results.stored import Stored
from fanfold.engine.run import Run
from fanfold.ports.results import ResultStore
from fanfold.values.errors import StoreError

logger = logging.getLogger("fanfold.results")

EPOCH = 1
"""Of the lease that a run's writer holds."""


def look_up(
    store: ResultStore, folder: str, keyring: Keyring | None, *, single: bool = False
) -> Lookup:
    """Return all that is committed of a task; an index is read once per process.

    Args:
        store: Where results are kept.
        folder: The task's.
        keyring: Whose indexes are believed; None where nobody else can write.
        single: Whether one call looks for its result, which it reads at once; otherwise results
            that somebody has removed are left out here, so that references to others do.

    Raises:
        StoreError: The store can't be read.
    """
    names = tuple(store.names(object_names.index_prefix(folder)))
    if single or not names:
        return _merged(store, names, keyring, None)
    there = frozenset(store.names(object_names.segments_prefix(folder)))
    return _merged(store, names, keyring, there)


def write_index(run: Run, commit: Commit) -> None:
    """Commit: from now on the index names the segments, and objects have the names users gave.

    Raises:
        StoreError: It can't be written, or another writer has taken the name.
    """
    cache = run.call.spec.cache
    assert cache is not None
    tables = {
        _placed(cache.store, cache.folder, name, rows): rows
        for name, rows in commit.records.items()
    }
    name = object_names.index_name(cache.folder, run.id, EPOCH, commit.number)
    payload = segments.pack_index(tables, name, run.call.keyring)
    if not cache.store.create(name, payload) and cache.store.read(name) != payload:
        raise StoreError(f"{name} in {cache.store} was written by somebody else")


def keep_flow_result(
    store: ResultStore, flow: str, run_id: str, serializer: Any, value: Any
) -> Stored:
    """Write the result of a flow run and return a reference to it.

    Raises:
        Exception: The value can't be serialized, or the object not be written.
    """
    name = object_names.flow_result_name(flow, run_id)
    payload = raw(serializer, value)
    store.write(name, [payload])
    return Stored(
        store=store,
        segment=name,
        offset=0,
        length=len(payload),
        digest=segments.digest([payload]),
        codec=RAW,
        serializer=serializer or "pickle",
    )


def _placed(store: ResultStore, folder: str, name: str, rows: bytes) -> str:
    """Give a staged object the name that the user wants, and return what the index calls it.

    Raises:
        StoreError: It can't be read or written, or isn't what was staged.
    """
    if not name.startswith(object_names.objects_prefix(folder)):
        return name
    (record,) = segments.unpack_records(rows)
    payload = store.read(name)
    if segments.digest([payload]) != record.digest:
        raise segments.Damaged(name, f"in {store} isn't what was staged there")
    wanted = object_names.split_staged_object_name(name)
    store.write(wanted, [payload])
    return wanted


@lru_cache(maxsize=64)
def _merged(
    store: ResultStore,
    names: Sequence[str],
    keyring: Keyring | None,
    there: frozenset[str] | None,
) -> Lookup:
    """Return the table of what these indexes name and what is still there."""
    indexes = [_index(store, name, keyring) for name in names]
    if there is not None:
        indexes = [_without_missing(index, there) for index in indexes]
    return Lookup.merge(store, indexes)


def _without_missing(index: Index, there: frozenset[str]) -> Index:
    """Return the index without segments that somebody has removed: their elements run again."""
    kept = {
        name: rows
        for name, rows in index.tables.items()
        if name in there or not object_names.is_segment(name)
    }
    return Index(tables=kept)


@lru_cache(maxsize=4096)
def _index(store: ResultStore, name: str, keyring: Keyring | None) -> Index:
    """Return what an index commits: nothing if it isn't believed, which is told."""
    try:
        return segments.unpack_index(store.read(name), name, keyring)
    except segments.Damaged as error:
        logger.warning("%s: %s. What it names is made again.", store, error)
        return Index(tables={})
