"""Transactions: what runs inside one is committed together, or taken back together.

The driver's side alone: a run that starts inside a transaction has a *part* in it. What it stages
is held by its part, and no index names it, until the transaction is committed; and what it has
done is noted in the order in which it was done, so that it can be taken back the other way round.
"""

import copy
import logging
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any

from fanfold.engine import hooks
from fanfold.engine.context import current as current_run
from fanfold.engine.hooks import Hook
from fanfold.engine.keys.policies import IsolationLevel
from fanfold.engine.results.claims import Lease
from fanfold.engine.results.clerk import clerk

if TYPE_CHECKING:
    from fanfold.engine.results.parts import Part
    from fanfold.engine.run import Run

logger = logging.getLogger("fanfold.transactions")

_MISSING = object()


class CommitMode(Enum):
    """When a transaction is committed."""

    EAGER = "EAGER"
    """When its block ends, whatever becomes of the transaction around it."""
    LAZY = "LAZY"
    """With the transaction around it; the outermost one when its block ends."""
    OFF = "OFF"
    """Never by itself: without a call of `commit` it is rolled back."""


class TransactionState(Enum):
    """Where a transaction is."""

    PENDING = "PENDING"
    """Its block wasn't entered."""
    ACTIVE = "ACTIVE"
    """Its block runs, or it waits for the transaction around it."""
    STAGED = "STAGED"
    """It has a value that is to be committed."""
    COMMITTED = "COMMITTED"
    """What was done in it counts."""
    ROLLED_BACK = "ROLLED_BACK"
    """What was done in it was taken back."""


OVER = frozenset({TransactionState.COMMITTED, TransactionState.ROLLED_BACK})
"""States that nothing comes after."""


class Transaction:
    """Work that counts as a whole or not at all; opened by `transaction()`. Thread-safe.

    Args:
        key: Identifies the record that is written when it is committed; None for no record.
        parent: The transaction around it.
        commit_mode: When it is committed; that of the transaction around it if not given, or LAZY.
        record: Reads and writes the record; None for no record.
        isolation_level: `SERIALIZABLE`, to hold the lease of the key from beginning to end; that of
            the transaction around it if not given, or `READ_COMMITTED`.
        overwrite: Whether a record that is there doesn't matter.
        write_on_commit: Whether the record is written at all.
        log: Told of commits that fail.
    """

    key: str | None
    state: TransactionState

    def __init__(
        self,
        *,
        key: str | None = None,
        parent: "Transaction | None" = None,
        commit_mode: CommitMode | None = None,
        record: Any = None,
        isolation_level: IsolationLevel | None = None,
        overwrite: bool = False,
        write_on_commit: bool = True,
        log: Any = None,
    ) -> None:
        self.key = key
        self.parent = parent
        around = parent.commit_mode if parent is not None else CommitMode.LAZY
        self.commit_mode = commit_mode or around
        outer = parent.isolation_level if parent is not None else IsolationLevel.READ_COMMITTED
        self.isolation_level = isolation_level or outer
        self.overwrite = overwrite
        self.write_on_commit = write_on_commit
        self.logger = log or logger
        self.state = TransactionState.PENDING
        self.on_commit_hooks: list[Hook] = []
        self.on_rollback_hooks: list[Hook] = []
        self._record = record
        self._lease: Lease | None = None
        self._staged: Any = None
        self._values: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._done: list[Transaction | tuple[Part, int, int]] = []
        """What was done in it, in that order: transactions inside, and stretches of runs."""
        self._parts: list[Part] = []
        self._doomed = False
        """Whether a run inside has failed."""

    @property
    def outermost(self) -> "Transaction":
        """The transaction that all around it are in, or this one."""
        return self if self.parent is None else self.parent.outermost

    def __repr__(self) -> str:
        return f"<Transaction {self.key or ''} {self.state.name}>"

    def is_pending(self) -> bool:
        """Return whether its block wasn't entered."""
        return self.state is TransactionState.PENDING

    def is_active(self) -> bool:
        """Return whether it is neither over nor has a value staged."""
        return self.state is TransactionState.ACTIVE

    def is_staged(self) -> bool:
        """Return whether it has a value that is to be committed."""
        return self.state is TransactionState.STAGED

    def is_committed(self) -> bool:
        """Return whether it was committed; at its beginning, whether its record was there."""
        return self.state is TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        """Return whether it was rolled back."""
        return self.state is TransactionState.ROLLED_BACK

    def get(self, name: str, default: Any = _MISSING) -> Any:
        """Return a copy of what `set` put here, or in a transaction around this one.

        Raises:
            ValueError: Nothing of that name was set, and there is no default.
        """
        with self._lock:
            value = self._values.get(name, _MISSING)
        if value is not _MISSING:
            return copy.deepcopy(value)
        if self.parent is not None:
            return self.parent.get(name, default)
        if default is _MISSING:
            raise ValueError(f"Nothing was set in the transaction under the name {name!r}.")
        return default

    def set(self, name: str, value: Any) -> None:
        """Keep something for hooks, and for transactions inside this one."""
        with self._lock:
            self._values[name] = value

    def stage(
        self,
        value: Any,
        on_rollback_hooks: Iterable[Hook] | None = None,
        on_commit_hooks: Iterable[Hook] | None = None,
    ) -> None:
        """Say what the record is to hold, and what to call at the end; each as hook(transaction).

        Nothing happens if it is over already.
        """
        with self._lock:
            if self.state in OVER:
                return
            self._staged = value
            self.on_rollback_hooks = [*(on_rollback_hooks or ())]
            self.on_commit_hooks = [*(on_commit_hooks or ())]
            self.state = TransactionState.STAGED

    def read(self) -> Any:
        """Return the value of its record, None if there is none.

        Raises:
            StoreError: It can't be read.
        """
        return self._record.read() if self._record is not None else None

    def begin(self) -> None:
        """Enter its block: it is over already if its record is there, and may stay.

        Under `SERIALIZABLE` it waits until no other one of its key is open, wherever that may be.
        """
        if self._waits:
            store, claimed = self._record.store, self._record.claimed
            self._lease = clerk().hold(store, claimed, holder=self.outermost)
        try:
            there = self._is_there()
        except BaseException:
            self._give_back()
            raise
        self._enter(there)

    async def begin_async(self) -> None:
        """Do so without blocking the loop; no thread of it waits for others of its key."""
        import asyncio  # 10 ms, which only async code needs

        if self._waits:
            store, claimed = self._record.store, self._record.claimed
            self._lease = await clerk().hold_async(store, claimed, holder=self.outermost)
        try:
            there = await asyncio.to_thread(self._is_there)
        except BaseException:
            self._give_back()
            raise
        self._enter(there)

    @property
    def _waits(self) -> bool:
        """Whether no other one of its key may be open."""
        serial = self.isolation_level is IsolationLevel.SERIALIZABLE
        return self._record is not None and serial

    def _is_there(self) -> bool:
        """Return whether its record is there, and may stay."""
        return self._record is not None and not self.overwrite and self._record.exists()

    def _enter(self, there: bool) -> None:
        self.state = TransactionState.COMMITTED if there else TransactionState.ACTIVE
        if there:
            self._give_back()

    def commit(self) -> bool:
        """Commit what was done in it, once that is over; return whether that came about.

        It is rolled back instead if a run inside has failed, or if something can't be written.
        """
        self.wait()
        if self.state in OVER:
            return False
        if self._fails():
            self.rollback()
            return False
        try:
            self._write()
        except Exception as error:  # told, and what was done is taken back
            self.logger.error("A transaction can't be committed: %s", error, exc_info=error)
            self.rollback()
            return False
        self._tell_committed()
        return True

    def rollback(self) -> bool:
        """Take back what was done in it, the last first; return whether there was anything to do.

        A transaction that was committed stays so. Runs that are under way come to their end and are
        taken back when the block ends.
        """
        with self._lock:
            if self.state is TransactionState.COMMITTED:
                return False
            first = self.state is not TransactionState.ROLLED_BACK
            self.state = TransactionState.ROLLED_BACK
            called, self.on_rollback_hooks = self.on_rollback_hooks[::-1], []
        try:
            hooks.told(hooks.calling(called, self))
            while (last := self._last()) is not None:
                if isinstance(last, Transaction):
                    last.rollback()
                else:
                    part, start, stop = last
                    part.take_back(range(start, stop))
        finally:
            self._give_back()
        return first

    def open_runs(self) -> list["Run"]:
        """Return the runs that were started in it and aren't over, for as long as that holds."""
        with self._lock:
            parts, inside = [*self._parts], [*self._done]
        found = [part.run for part in parts if part.run is not None and part.is_open]
        for done in inside:
            if isinstance(done, Transaction):
                found += done.open_runs()
        return found

    def wait(self) -> None:
        """Block until all runs that were started in it are over."""
        while runs := self.open_runs():
            for run in runs:
                with run.changed:
                    run.changed.wait_for(lambda run=run: run.finished)

    # What runs and transactions inside say.

    def include(self, part: "Part") -> None:
        """Take in that a run begins."""
        with self._lock:
            self._parts.append(part)

    def note(self, done: "Transaction | tuple[Part, int, int]") -> None:
        """Take in what was done."""
        with self._lock:
            self._done.append(done)

    def fail(self) -> None:
        """Take in that a run has failed, so that this can't be committed."""
        self._doomed = True

    def end_with_its_code(self) -> None:
        """Roll back now if something inside has failed, else wait for the one around."""
        if self._doomed:
            self.rollback()

    def _give_back(self) -> None:
        """Let others with its key begin."""
        if self._lease is not None:
            clerk().release([self._lease])
            self._lease = None

    def _last(self) -> "Transaction | tuple[Part, int, int] | None":
        with self._lock:
            return self._done.pop() if self._done else None

    def _fails(self) -> bool:
        if self._doomed:
            return True
        # One inside that was committed for itself, or rolled back, has said what it had to say.
        return any(
            isinstance(done, Transaction) and done.state not in OVER and done._fails()
            for done in self._done
        )

    def _write(self) -> None:
        """Write the indexes and records of it and of all inside; nothing was told to hooks yet."""
        with self._lock:
            parts, inside = [*self._parts], [*self._done]
        for done in inside:
            if isinstance(done, Transaction):
                if done.state not in OVER:
                    done._write()
            else:
                done[0].write_inside(range(*done[1:]))
        for part in parts:
            part.write()
        if self._record is not None and self.write_on_commit:
            self._record.write(self._staged)

    def _tell_committed(self) -> None:
        with self._lock:
            inside, self._done = self._done, []
            self._parts = []
            self.state = TransactionState.COMMITTED
        try:
            for done in inside:
                if not isinstance(done, Transaction):
                    done[0].tell_committed(range(*done[1:]))
                elif done.state not in OVER:
                    done._tell_committed()
            hooks.told(hooks.calling(self.on_commit_hooks, self))
        finally:
            self._give_back()


_CURRENT: ContextVar[Transaction | None] = ContextVar("fanfold_transaction", default=None)


_OF_ELEMENT: ContextVar[tuple[Any, Transaction] | None] = ContextVar(
    "fanfold_own_transaction", default=None
)


def current() -> Transaction | None:
    """Return the transaction that the caller's code is in, None outside any."""
    return _CURRENT.get()


@contextmanager
def inside(transaction: Transaction) -> Generator[None]:
    """Let the code inside belong to a transaction."""
    token = _CURRENT.set(transaction)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def of_element() -> Transaction | None:
    """Return a transaction of the running element's own, where nothing else is around it.

    What is set there can be read there, and by the task's `on_commit` hooks. None outside of tasks,
    and in tasks that run in other processes, which would not see the transaction they are part of.
    """
    context = current_run()
    element = context.element if context is not None and context.send is None else None
    if context is None or element is None:
        return None
    key = (context.info.element_id(element.index), element.run_count)
    known = _OF_ELEMENT.get()
    if known is not None and known[0] == key:
        return known[1]
    own = Transaction(key=key[0])
    own.begin()
    _OF_ELEMENT.set((key, own))
    return own


def joined() -> Transaction | None:
    """Return the transaction that what starts here is part of: the next one that can be over."""
    transaction = _CURRENT.get()
    while transaction is not None and transaction.is_committed():
        transaction = transaction.parent
    return transaction
