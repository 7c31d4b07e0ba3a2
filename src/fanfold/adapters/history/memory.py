"""A history in memory: forgotten when the process ends, and what the others are compared with.

It is small before it is fast: each question looks through everything.
"""

import threading
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar, cast

from fanfold.adapters.history import rules
from fanfold.adapters.history.memory_answers import answer
from fanfold.adapters.history.memory_tables import Held, Tables
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.facts import Batch, Receipt, now_us
from fanfold.values.ids import new_id
from fanfold.values.records import Document, Lease, Query, Retention, Status

T = TypeVar("T")
SCHEMA = 1
"""There is nothing to migrate."""
SECOND_US = 1_000_000


@dataclass(slots=True)
class _Store:
    """What all objects of one URL share."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    tables: Tables = field(default_factory=Tables)
    until: dict[str, float] = field(default_factory=dict[str, float])
    """Until when each owner is alive, in microseconds."""
    outage: str = ""


_stores: dict[str, _Store] = {}
_stores_lock = threading.Lock()


class MemoryHistory:
    """A history that lives as long as the process; for tests, and as the reference.

    Args:
        url: Such as `memory://` or `memory://name`: all objects of one URL share one store.
        clock: What tells the time, in microseconds since 1970.
        renewal_s: How often an owner's leases must be renewed; None: they hold forever.
    """

    def __init__(
        self, url: str, *, clock: Callable[[], int] = now_us, renewal_s: float | None = None
    ) -> None:
        self.url = url
        self.renewal_s = renewal_s
        self._clock = clock
        self._owners: list[str] = []
        with _stores_lock:
            self._store = _stores.setdefault(url, _Store())

    @property
    def outage(self) -> str:
        """Why none of the objects of this URL can be used now; empty if they can.

        Tests set it, to see what others do when a history fails.
        """
        return self._store.outage

    @outage.setter
    def outage(self, reason: str) -> None:
        with self._store.lock:
            self._store.outage = reason

    def record(self, batch: Batch) -> Receipt:
        with self._tables("record a batch") as tables:
            if batch.number <= tables.numbers.get(batch.writer, 0):
                return Receipt(again=True)
            judgement = rules.judged(batch, tables.known(rules.mentioned(batch)))
            tables.numbers[batch.writer] = batch.number
            for fact in judgement.taken:
                tables.write(fact, batch.epochs.get(fact.flow_run_id, 1))
            return Receipt(refused=judgement.refused)

    def read(self, query: Query[T]) -> list[T]:
        with self._tables("answer a question") as tables:
            return cast("list[T]", answer(query, tables))

    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        with self._tables("remove old runs") as tables:
            gone = tables.stale(retention, now_us)[:limit]
            tables.remove(set(gone))
            tables.remove_artifacts(retention, now_us)
            return len(gone)

    def status(self) -> Status:
        with self._tables("tell how it is") as tables:
            counts = {
                "flow_runs": len(tables.flow_runs),
                "task_runs": len(tables.task_runs),
                "chunks": sum(len(run.chunks) for run in tables.task_runs.values()),
                "elements": sum(len(run.elements) for run in tables.task_runs.values()),
                "key_parts": len(tables.keys),
                "lines": len(tables.lines),
                "artifacts": len(tables.artifacts),
                "leases": len(tables.leases),
                "documents": len(tables.documents),
            }
            created = (run.created_us for run in tables.flow_runs.values())
            return Status(
                place=self.url,
                schema=SCHEMA,
                latest_schema=SCHEMA,
                size_bytes=0,
                counts=counts,
                oldest_us=min(created, default=None),
                engine="memory of this process",
            )

    def vacuum(self) -> int:
        with self._tables("give space back"):
            return 0

    def upgrade(self) -> list[int]:
        with self._tables("apply migrations"):
            return []

    def owner(self) -> str:
        with self._tables("make an owner"):
            made = new_id()
            self._owners.append(made)
            self._live(made)
            return made

    def take(self, name: str, owner: str) -> Lease | None:
        with self._tables("lease something") as tables:
            held = tables.leases.get(name) or Held(owner="", epoch=0)
            if held.owner not in {"", owner} and not self._is_gone(held.owner):
                return None
            self._live(owner)
            return self._taken(tables, name, owner)

    def renew(self, owner: str) -> None:
        with self._tables("renew leases"):
            self._live(owner)

    def release(self, owner: str, names: Collection[str] | None = None) -> None:
        with self._tables("give leases back") as tables:
            for name, held in tables.leases.items():
                if held.owner == owner and (names is None or name in names):
                    held.owner = ""

    def abandon(self, owner: str) -> None:
        with self._tables("abandon leases") as tables:
            for held in tables.leases.values():
                if held.owner == owner:
                    held.owner = rules.gone(owner)

    def reap(self, owner: str, limit: int = 100) -> list[Lease]:
        with self._tables("take over leases") as tables:
            self._live(owner)
            expired = [
                name
                for name, held in sorted(tables.leases.items())
                if held.owner and self._is_gone(held.owner)
            ]
            return [self._taken(tables, name, owner) for name in expired[:limit]]

    def cancel(self, flow_run_id: str) -> bool:
        with self._tables("cancel a flow run") as tables:
            return tables.ask_to_cancel(flow_run_id)

    def cancelled(self, owner: str) -> list[str]:
        with self._tables("tell what is to be cancelled") as tables:
            runs = map(tables.of_lease, tables.flow_runs.values())
            return sorted(run.id for run in runs if run.cancel_asked and run.owner == owner != "")

    def put(self, kind: str, name: str, body: str, version: int | None = None) -> Document | None:
        with self._tables("write a document") as tables:
            old = tables.documents.get((kind, name))
            before = old.version if old else 0
            if version not in {None, before}:
                return None
            written = Document(
                kind=kind, name=name, version=before + 1, body=body, changed_us=self._clock()
            )
            tables.documents[kind, name] = written
            return written

    def get(self, kind: str, name: str) -> Document | None:
        with self._tables("read a document") as tables:
            return tables.documents.get((kind, name))

    def list(self, kind: str, prefix: str = "") -> list[Document]:
        with self._tables("list documents") as tables:
            return [
                document
                for (of_kind, name), document in sorted(tables.documents.items())
                if of_kind == kind and name.startswith(prefix)
            ]

    def drop(self, kind: str, name: str, version: int | None = None) -> bool:
        with self._tables("remove a document") as tables:
            old = tables.documents.get((kind, name))
            if old is None or version not in {None, old.version}:
                return False
            del tables.documents[kind, name]
            return True

    def close(self) -> None:
        for owner in self._owners:
            self.release(owner)
        self._owners.clear()

    @contextmanager
    def _tables(self, purpose: str) -> Generator[Tables]:
        """Lend what is held to one thread, unless there is an outage."""
        with self._store.lock:
            if self._store.outage:
                raise HistoryUnavailable(
                    f"The history {self.url} can't {purpose}: {self._store.outage}"
                )
            yield self._store.tables

    def _live(self, owner: str) -> None:
        """Count an owner as alive from now on, until it ought to have renewed its leases."""
        lasts_us = float("inf") if self.renewal_s is None else self.renewal_s * SECOND_US
        self._store.until[owner] = self._clock() + rules.RENEWALS * lasts_us

    def _is_gone(self, owner: str) -> bool:
        return self._store.until.get(owner, 0) <= self._clock()

    def _taken(self, tables: Tables, name: str, owner: str) -> Lease:
        """Give a lease to an owner; its epoch rises if another had it."""
        held = tables.leases.get(name) or Held(owner="", epoch=0)
        if held.owner != owner:
            held = tables.leases[name] = Held(owner=owner, epoch=held.epoch + 1)
        return Lease(name=name, owner=owner, epoch=held.epoch)
