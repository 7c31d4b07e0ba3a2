"""Transactions: `with transaction(): ...` makes tasks count together, or be taken back together.

    with transaction():
        write_file("out.txt")      # has @write_file.on_rollback
        check_quality("out.txt")   # fails: write_file's hook removes the file again

Tasks that are called, submitted or mapped inside are part of the transaction. Their results are
kept by no cache, and by no object of a `result_storage_key`, until the outermost transaction is
committed, which waits for all of them. A block that raises, or a task inside that fails for good,
rolls it back: the `on_rollback` hooks of the tasks that completed are called, the last one first.

A transaction is known to the code that opened it and to what that starts on threads. In tasks that
run in other processes `get_transaction()` is None; they are part of it all the same.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

from fanfold.engine import context, registry, settings
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.keys.policies import IsolationLevel as IsolationLevel
from fanfold.engine.keys.policies import checked_isolation
from fanfold.engine.results.payloads import raw_serializer
from fanfold.engine.results.records import TransactionRecord
from fanfold.engine.results.signing_keys import keyring_of
from fanfold.engine.results.transaction import CommitMode as CommitMode
from fanfold.engine.results.transaction import Transaction as Transaction
from fanfold.engine.results.transaction import TransactionState as TransactionState
from fanfold.engine.results.transaction import current, inside, of_element
from fanfold.ports.results import ResultStore
from fanfold.values.errors import UsageError


def get_transaction() -> Transaction | None:
    """Return the transaction that the caller's code is in; inside a task, the task's own.

    None outside of transactions and tasks, and in tasks that run in other processes.
    """
    return current() or of_element()


@contextmanager
def transaction(
    key: str | None = None,
    store: ResultStore | str | Path | None = None,
    commit_mode: CommitMode | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    write_on_commit: bool = True,
    logger: Any = None,
) -> Generator[Transaction]:
    """Open a transaction for the block.

    Args:
        key: Identifies the transaction: when it is committed a record of what was staged is
            written, and one that finds its record there begins as committed, which
            `is_committed()` and `read()` tell. None for no record.
        store: Folder, URL or store of the record; that of results if not given.
        commit_mode: `LAZY`, with the transaction around it, the outermost at the end of its block;
            `EAGER`, at the end of its own block; `OFF`, rolled back unless `commit()` is called.
            If not given, that of the transaction around it, or `LAZY`.
        isolation_level: `SERIALIZABLE`: of those with this key one at a time is open, wherever they
            are, and the next one begins when it is committed or rolled back; so do tasks inside,
            unless they say otherwise. `READ_COMMITTED`: each begins at once. If not given, that of
            the transaction around it, or `READ_COMMITTED`.
        overwrite: Whether to begin anew where the record is there, and to replace it.
        write_on_commit: False writes no record.
        logger: Told if the commit fails.

    Raises:
        UsageError: An option isn't what it must be, or can't be kept.
        Exception: What the block raised; everything is rolled back by then.
    """
    opened = _opened(key, store, commit_mode, isolation_level, overwrite, write_on_commit, logger)
    opened.begin()
    try:
        with inside(opened):
            yield opened
    except BaseException:
        _fail(opened)
        raise
    _end(opened)


@asynccontextmanager
async def atransaction(
    key: str | None = None,
    store: ResultStore | str | Path | None = None,
    commit_mode: CommitMode | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    write_on_commit: bool = True,
    logger: Any = None,
) -> AsyncGenerator[Transaction]:
    """Open a transaction for the block, as `transaction` does, without blocking the loop."""
    opened = _opened(key, store, commit_mode, isolation_level, overwrite, write_on_commit, logger)
    await opened.begin_async()
    try:
        with inside(opened):
            yield opened
    except BaseException:
        await _to_the_end(_fail, opened)
        raise
    await _to_the_end(_end, opened)


async def _to_the_end(function: Callable[[Transaction], None], opened: Transaction) -> None:
    """Call a function in a thread, which goes on even if nobody waits for it any more."""
    loop, here = asyncio.get_running_loop(), copy_context()
    await asyncio.shield(loop.run_in_executor(None, lambda: here.run(function, opened)))


def _opened(
    key: Any,
    store: Any,
    commit_mode: Any,
    isolation_level: Any,
    overwrite: bool,
    write_on_commit: bool,
    logger: Any,
) -> Transaction:
    level = checked_isolation(isolation_level)
    if key is not None and (not isinstance(key, str) or not key):
        raise UsageError(f"The key of a transaction is a string, not {key!r}.")
    if commit_mode is not None and not isinstance(commit_mode, CommitMode):
        raise UsageError(
            f"commit_mode={commit_mode!r} is none. Give CommitMode.LAZY, EAGER or OFF, from "
            "fanfold.transactions."
        )
    return Transaction(
        key=key,
        parent=current(),
        commit_mode=commit_mode,
        record=_record(key, store) if key is not None else None,
        isolation_level=level,
        overwrite=overwrite,
        write_on_commit=write_on_commit,
        log=logger,
    )


def _record(key: str, store: ResultStore | str | Path | None) -> TransactionRecord:
    around, held = context.current(), settings.current()
    results = around.info.results if around is not None else context.ResultOptions()
    place = registry.result_store_of(store or results.storage)
    serializer = results.serializer or held.results_default_serializer
    chosen = raw_serializer(serializer, held.results_accepted_codecs)
    return TransactionRecord(store=place, key=key, keyring=keyring_of(place), serializer=chosen)


def _fail(opened: Transaction) -> None:
    """Take everything back; what hasn't started doesn't start any more."""
    runs = opened.open_runs()
    if runs:
        dispatcher().cancel(runs)
    opened.wait()
    opened.rollback()
    if opened.parent is not None and not opened.is_committed():
        opened.parent.rollback()


def _end(opened: Transaction) -> None:
    """Do at the end of the block what the commit mode says."""
    mode, parent = opened.commit_mode, opened.parent
    if opened.is_rolled_back():
        _fail(opened)
    elif mode is CommitMode.EAGER:
        opened.commit()
        if opened.is_rolled_back() and parent is not None:
            parent.rollback()
    elif parent is not None and mode in (CommitMode.LAZY, parent.commit_mode):
        parent.note(opened)
    elif mode is CommitMode.LAZY:
        opened.commit()
    else:
        opened.wait()
        opened.rollback()
