"""The driver's part in keeping: tasks' indexes and flows' results."""

import logging
from typing import Any

from fanfold.engine.effects import Commit
from fanfold.engine.results import fencing, object_names, segments
from fanfold.engine.results.clerk import clerk
from fanfold.engine.results.payloads import RAW, raw
from fanfold.engine.results.shelf import Shelf, shelf
from fanfold.engine.results.stored import Stored
from fanfold.engine.run import Run
from fanfold.ports.results import ResultStore
from fanfold.values.errors import StoreError
from fanfold.values.ids import new_id

logger = logging.getLogger("fanfold.results")


def write_index(run: Run, commit: Commit) -> None:
    """Commit: from now on the index names the segments, and objects have the names users gave.

    Only then, or if that fails, others may have the leases of what is in it.

    Raises:
        RunTakenOver: Somebody else has resumed the flow run, so nothing counts that is written now.
        StoreError: It can't be written, or another writer has taken the name.
    """
    try:
        _write_index(run, commit)
    finally:
        if commit.leases:
            clerk().release(commit.leases)


def _write_index(run: Run, commit: Commit) -> None:
    cache, info = run.call.spec.cache, run.call.spec.info
    assert cache is not None
    since = fencing.check(cache.store, info)
    tables = {
        _placed(cache.store, cache.folder, name, rows): rows
        for name, rows in commit.records.items()
    }
    flow = info.flow
    run_id, epoch = (flow.id, flow.epoch) if flow is not None else (run.id, 1)
    when = new_id() if segments.INLINED in tables else ""
    name = object_names.index_name(cache.folder, run_id, epoch, run.id, commit.number, when)
    _shelf(run).commit(name, tables)
    fencing.check(cache.store, info, since=since)


def tidy(run: Run) -> None:
    """Merge the indexes of a run's task if there are many; what fails there is left for later."""
    try:
        _shelf(run).tidy()
    except StoreError as error:
        logger.info("Indexes weren't merged: %s", error)


def _shelf(run: Run) -> Shelf:
    cache = run.call.spec.cache
    assert cache is not None
    return shelf(cache.store, cache.folder, run.call.keyring)


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
        serializer=serializer,
    )


def _placed(store: ResultStore, folder: str, name: str, rows: bytes) -> str:
    """Give a staged object the name that the user wants, and return what the index calls it now.

    Raises:
        StoreError: It can't be read or written, or isn't what was staged.
    """
    if not name.startswith(object_names.objects_prefix(folder)):
        return name
    (record,) = segments.unpack_records(rows)
    staged = object_names.untimed(name)
    payload = store.read(staged)
    if segments.digest([payload]) != record.digest:
        raise segments.Damaged(staged, f"in {store} isn't what was staged there")
    wanted = object_names.split_staged_object_name(staged)
    store.write(wanted, [payload])
    return object_names.timed(wanted, new_id())
