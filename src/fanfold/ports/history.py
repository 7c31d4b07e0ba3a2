"""The history port: the record of all runs, who holds which run, and named documents.

Three small interfaces, implemented together by each adapter: `Journal` (record, read, prune,
status, vacuum), `Leases` (owner, take, renew, release, abandon, reap, cancel) and `Catalog` (put,
get, list, drop).

The rules, numbered as tests and comments name them:

- H1 A batch is recorded as a whole or not at all; when `record` has returned, the states in it
  survive a loss of power. Lines of logs may be lost by that.
- H2 A writer's batches are recorded in the order of their numbers, each once: one whose number
  isn't above the last one of its writer changes nothing, and is answered by `again`.
- H3 A fact that breaks a rule (H4 to H6) is refused by itself and named in the receipt; the others
  of its batch are recorded. It is no error.
- H4 Facts of a flow run are refused if its lease has a higher epoch than the one that they are
  written under. Facts of a flow run that isn't known are refused. An artifact outside of every
  flow run has an empty flow run id, and is taken.
- H5 A flow run's moves follow `states.NEXT`; being told its state again is no move and changes
  nothing. A final state ends the run's lease. Resuming opens one again that is in one of
  `states.RESUMABLE`: as Pending, not over, and nobody asks for it to be cancelled. A task run that
  has ended isn't ended again, unless its states differ (a transaction rolled it back, or values
  were lost and made again).
- H6 A fact that was recorded once isn't recorded twice: runs by id, chunks by id, elements by run
  and index (the later one counts), artifacts by id.
- H7 Whoever reads sees what was recorded before he asked, in one process or several.
- H8 Every failure is a `HistoryUnavailable` that says which history could not do what, and
  changes nothing. A database that is locked by others is waited for some seconds first.

All methods block, and may be called from any thread. An object doesn't survive a fork: the child
opens its own.
"""

from collections.abc import Collection
from typing import Protocol, TypeVar

from fanfold.values.facts import Batch, Receipt
from fanfold.values.records import Document, Lease, Query, Retention, Status

T = TypeVar("T")


class Journal(Protocol):
    """What happened."""

    def record(self, batch: Batch) -> Receipt:
        """Record facts (H1 to H6).

        Raises:
            HistoryUnavailable: Nothing of it is recorded; the same batch may be given again.
        """
        ...

    def read(self, query: Query[T]) -> list[T]:
        """Return the answer to a question, see `values.records` (H7).

        Raises:
            HistoryUnavailable: It can't be read.
        """
        ...

    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        """Remove flow runs that ended long ago, with all that belongs to them.

        A run that a flow called goes with its outermost caller, not before. Artifacts go with
        their runs; those of no run as if they were Completed runs.

        Args:
            retention: How long runs are kept.
            now_us: From when that is counted back.
            limit: How many outermost runs to remove at most, the oldest first.

        Returns:
            How many outermost runs were removed; below `limit` when no more are left.
        """
        ...

    def status(self) -> Status:
        """Return how the history is; also of one whose schema is older or newer."""
        ...

    def vacuum(self) -> int:
        """Give space of what was removed back; return how many bytes."""
        ...


class Leases(Protocol):
    """Who may write for what."""

    renewal_s: float | None
    """How often an owner's leases must be renewed; they expire after four times as long. None: they
    hold as long as the process that asked for the owner lives, and `renew` has nothing to do."""

    def owner(self) -> str:
        """Return a new owner, who counts as alive from now on."""
        ...

    def take(self, name: str, owner: str) -> Lease | None:
        """Lease something that is free, expired, or the owner's already; None if another holds it.

        Its epoch is one higher than that of the last who had it, or the same for one's own.
        """
        ...

    def renew(self, owner: str) -> None:
        """Let all leases of an owner go on."""
        ...

    def release(self, owner: str, names: Collection[str] | None = None) -> None:
        """Give leases back; None: all of the owner's. Those of others are left alone."""
        ...

    def abandon(self, owner: str) -> None:
        """Let all leases of an owner expire now, as if he had died: `reap` finds them at once.

        They are his no more: a later `renew`, `release` or `close` doesn't touch them.
        """
        ...

    def reap(self, owner: str, limit: int = 100) -> list[Lease]:
        """Take over leases whose owners are gone; each goes to one reaper (with a higher epoch).

        Whoever reaps sets right what the lease was for, and releases it. If he dies meanwhile,
        another may reap it from him.
        """
        ...

    def cancel(self, flow_run_id: str) -> bool:
        """Ask for a flow run to be cancelled; return False if it is over or not known.

        Its owner sees that in `cancel_asked` of the record.
        """
        ...

    def cancelled(self, owner: str) -> list[str]:
        """Return the ids of an owner's open flow runs that somebody asked to be cancelled."""
        ...


class Catalog(Protocol):
    """Named documents, with versions compared."""

    def put(self, kind: str, name: str, body: str, version: int | None = None) -> Document | None:
        """Write a document; None if it isn't at the version that the writer knows.

        Args:
            kind: Such as "deployment".
            name: Unique in its kind.
            body: JSON.
            version: The version that is replaced, 0 for none; None replaces whatever is there.
        """
        ...

    def get(self, kind: str, name: str) -> Document | None:
        """Return a document, None if there is none."""
        ...

    def list(self, kind: str, prefix: str = "") -> list[Document]:
        """Return all documents of a kind whose names begin so, by name."""
        ...

    def drop(self, kind: str, name: str, version: int | None = None) -> bool:
        """Remove a document; return whether it was there, at that version if one is given."""
        ...


class History(Journal, Leases, Catalog, Protocol):
    """All three, over one place. Made from a URL; connects when it is first used.

    The first use creates what is missing and applies migrations.

    Raises (at first use):
        HistoryTooNew: A newer version of Fanfold has changed it; nothing was touched.
        HistoryUnavailable: It can't be reached.
    """

    def upgrade(self) -> list[int]:
        """Apply missing migrations now; return their numbers."""
        ...

    def close(self) -> None:
        """Let go of connections, and release all leases of its owners; idempotent."""
        ...
