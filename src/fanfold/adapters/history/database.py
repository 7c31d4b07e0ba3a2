"""A history in a database: the port's methods over sessions, whatever database they are of."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import TypeVar, cast

from fanfold.adapters.history import columns, removing, rules, schema, writing
from fanfold.adapters.history.answering import answer
from fanfold.adapters.history.conditions import Conditions
from fanfold.adapters.history.sessions import Session
from fanfold.values.facts import Batch, Receipt
from fanfold.values.facts import now_us as clock_us
from fanfold.values.records import Document, Lease, Query, Retention, Status

T = TypeVar("T")
TABLES = (
    *("flow_runs", "task_runs", "chunks", "elements", "key_parts", "lines", "artifacts"),
    *("leases", "documents"),
)
_REMOVED_AT_ONCE = 20
"""Outermost flow runs that go in one transaction: others who write wait for it."""


class Database(ABC):
    """What SQLite and PostgreSQL have in common as a history; see `fanfold.ports.history`."""

    renewal_s: float | None = None

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the history is, without secrets."""

    @abstractmethod
    def _reading(self, purpose: str) -> AbstractContextManager[Session]:
        """Lend a session for reading, with the tables up to date; native errors are told."""

    @abstractmethod
    def _writing(
        self, purpose: str, *, durable: bool = True, slow: bool = False
    ) -> AbstractContextManager[Session]:
        """Lend a session with a transaction: committed at the end, undone by an exception.

        Args:
            purpose: What it is for, for the error.
            durable: Whether it must survive a loss of power.
            slow: Whether its statements may take minutes.
        """

    @abstractmethod
    def _live(self, session: Session, owner: str) -> None:
        """Count an owner as alive from now on."""

    @abstractmethod
    def _gone(self, session: Session, owners: Collection[str]) -> list[str]:
        """Return those of some owners that aren't alive any more."""

    @abstractmethod
    def _forget_owners(self, session: Session) -> None:
        """Forget owners that aren't alive any more and hold nothing."""

    def record(self, batch: Batch) -> Receipt:
        durable = writing.holds_states(batch)
        with self._writing("record a batch", durable=durable) as session:
            return writing.record(session, batch)

    def read(self, query: Query[T]) -> list[T]:
        with self._reading("answer a question") as session:
            return cast("list[T]", answer(query, session))

    def prune(self, retention: Retention, now_us: int, limit: int) -> int:
        removed = 0
        while removed < limit:
            with self._writing("remove old runs", slow=True) as session:
                size = min(limit - removed, _REMOVED_AT_ONCE)
                gone = removing.stale(session, retention, now_us, size)
                if gone and not removing.remove(session, gone):
                    continue
            removed += len(gone)
            if len(gone) < size:
                break
        with self._writing("remove old artifacts") as session:
            removing.remove_rest(session, retention, now_us)
        return removed

    def take(self, name: str, owner: str) -> Lease | None:
        with self._writing("lease something") as session:
            session.run(
                "insert into leases (name, owner, epoch) values (?, '', 0)"
                " on conflict (name) do nothing",
                (name,),
            )
            find = "select owner, epoch from leases where name = ?" + session.dialect.locking
            holder, epoch = session.rows(find, (name,))[0]
            if holder not in ("", owner) and not self._gone(session, [holder]):
                return None
            self._live(session, owner)
            if holder != owner:
                epoch += 1
            return _give(session, name, owner, epoch)

    def renew(self, owner: str) -> None:
        if self.renewal_s is not None:
            with self._writing("renew leases", durable=False) as session:
                self._live(session, owner)

    def release(self, owner: str, names: Collection[str] | None = None) -> None:
        with self._writing("give leases back") as session:
            conditions = Conditions(session.dialect)
            conditions.add("owner <> '' and owner = ?", owner)
            if names is not None:
                expression, parameters = session.dialect.among("name", list(names))
                conditions.add(expression, *parameters)
            session.run(f"update leases set owner = ''{conditions}", conditions.parameters)

    def abandon(self, owner: str) -> None:
        with self._writing("abandon leases") as session:
            session.run(
                "update leases set owner = ? where owner <> '' and owner = ?",
                (rules.gone(owner), owner),
            )

    def reap(self, owner: str, limit: int = 100) -> list[Lease]:
        with self._writing("take over leases") as session:
            self._live(session, owner)
            holders = session.rows(
                "select distinct owner from leases where owner <> '' and owner <> ?", (owner,)
            )
            gone = self._gone(session, [holder for (holder,) in holders])
            if not gone:
                self._forget_owners(session)
                return []
            conditions = Conditions(session.dialect)
            conditions.add("owner <> ''")
            conditions.among("owner", gone)
            expired = session.rows(
                f"select name, epoch from leases{conditions} order by name limit ?"
                + session.dialect.skipping,
                (*conditions.parameters, limit),
            )
            taken = [_give(session, name, owner, epoch + 1) for name, epoch in expired]
            self._forget_owners(session)
            return taken

    def cancel(self, flow_run_id: str) -> bool:
        with self._writing("cancel a flow run") as session:
            ask = "update flow_runs set cancel_asked = 1 where id = ? and ended_us is null"
            return session.run(ask, (flow_run_id,)) > 0

    def cancelled(self, owner: str) -> list[str]:
        with self._reading("tell what is to be cancelled") as session:
            rows = session.rows(
                "select id from flow_runs join leases on leases.name = flow_runs.id"
                " where cancel_asked = 1 and ended_us is null"
                " and leases.owner <> '' and leases.owner = ? order by id",
                (owner,),
            )
            return [id_ for (id_,) in rows]

    def put(self, kind: str, name: str, body: str, version: int | None = None) -> Document | None:
        with self._writing("write a document") as session:
            changed_us = clock_us()
            kind, name, body = columns.stored((kind, name, body))
            if version == 0:
                known = "do nothing"
            else:
                known = (
                    "do update set version = documents.version + 1, body = excluded.body,"
                    " changed_us = excluded.changed_us"
                )
            if version is None or version == 0:
                done = session.run(
                    "insert into documents (kind, name, version, body, changed_us)"
                    f" values (?, ?, 1, ?, ?) on conflict (kind, name) {known}",
                    (kind, name, body, changed_us),
                )
            else:
                done = session.run(
                    "update documents set version = version + 1, body = ?, changed_us = ?"
                    " where kind = ? and name = ? and version = ?",
                    (body, changed_us, kind, name, version),
                )
            return _document(session, kind, name) if done else None

    def get(self, kind: str, name: str) -> Document | None:
        with self._reading("read a document") as session:
            return _document(session, kind, name)

    def list(self, kind: str, prefix: str = "") -> list[Document]:
        with self._reading("list documents") as session:
            conditions = Conditions(session.dialect)
            conditions.add("kind = ?", kind)
            conditions.begins("name", prefix)
            rows = session.rows(
                f"{_FIND_DOCUMENT}{conditions} order by name", conditions.parameters
            )
            return [Document(**dict(zip(_DOCUMENT, row, strict=True))) for row in rows]

    def drop(self, kind: str, name: str, version: int | None = None) -> bool:
        with self._writing("remove a document") as session:
            conditions = Conditions(session.dialect)
            conditions.add("kind = ? and name = ?", kind, name)
            conditions.given("version = ?", version)
            return session.run(f"delete from documents{conditions}", conditions.parameters) > 0

    def _status(self, session: Session, size_bytes: int, engine: str) -> Status:
        """Return how the history is; what an older version's tables lack is left out."""
        dialect = session.dialect
        there = [table for table in TABLES if dialect.has_table(session, table)]
        oldest_us = None
        if "flow_runs" in there:
            # The lowest id is the oldest: ids begin with the time.
            found = session.rows("select created_us from flow_runs order by id limit 1")
            oldest_us = found[0][0] if found else None
        return Status(
            place=self.place,
            schema=schema.applied(session),
            latest_schema=schema.latest(),
            size_bytes=size_bytes,
            counts={table: dialect.count(session, table) for table in there},
            oldest_us=oldest_us,
            engine=engine,
        )


_DOCUMENT = ("kind", "name", "version", "body", "changed_us")
_FIND_DOCUMENT = f"select {', '.join(_DOCUMENT)} from documents"


def _give(session: Session, name: str, owner: str, epoch: int) -> Lease:
    session.run("update leases set owner = ?, epoch = ? where name = ?", (owner, epoch, name))
    return Lease(name=name, owner=owner, epoch=epoch)


def _document(session: Session, kind: str, name: str) -> Document | None:
    rows = session.rows(f"{_FIND_DOCUMENT} where kind = ? and name = ?", (kind, name))
    return Document(**dict(zip(_DOCUMENT, rows[0], strict=True))) if rows else None
