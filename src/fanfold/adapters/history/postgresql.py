"""A history in PostgreSQL, with psycopg 3: many machines share it.

Owners are alive as long as they renew, by the clock of the database. Whoever waits for a server
that has vanished is freed after some 10 s: by the server's own limit for statements, by the
network's, or by a watch here that cuts the connection.
"""

import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fanfold.adapters.history import rules, schema
from fanfold.adapters.history.database import TABLES, Database
from fanfold.adapters.history.dialects import Postgresql
from fanfold.adapters.history.sessions import Dialect, Row, Session
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.records import Status

if TYPE_CHECKING:
    from psycopg import Connection

PATIENCE_S = 10
"""How long the server may take for a statement, and for letting us in."""
SLOW_PATIENCE_S = 3_600
"""The same for what may take long: removing, migrating, giving space back."""
_WATCH_AFTER_S = 2
"""How long after its limit a statement is cut off here, as the server itself doesn't do it."""
_IDLE_CONNECTIONS = 3
_DIALECT = Postgresql()
_NOW_US = "cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)"
_NETWORK = {
    "connect_timeout": str(PATIENCE_S),
    "keepalives_idle": "4",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": str(PATIENCE_S * 1_000),
    "application_name": "fanfold",
}
"""For libpq, where the URL doesn't say otherwise."""


class PostgresqlHistory(Database):
    """A history in PostgreSQL; see `fanfold.ports.history` for the contract.

    Args:
        url: As libpq has it, such as `postgresql://user@host/database`. The tables are made in the
            first schema of the connection's `search_path`.
    """

    renewal_s: float | None = 4.0

    def __init__(self, url: str) -> None:
        self._url = url
        self._owners: list[str] = []
        self._process = os.getpid()
        self._idle: list[Connection[Row]] = []
        self._current = False

    @property
    def place(self) -> str:
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def owner(self) -> str:
        made = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(8)}"
        with self._writing("make an owner") as session:
            self._live(session, made)
        self._owners.append(made)
        return made

    def status(self) -> Status:
        with self._connected("tell how it is") as connection:
            session = _PostgresqlSession(connection)
            sizes = [
                session.rows("select pg_total_relation_size(to_regclass(?))", (table,))[0][0]
                for table in TABLES
            ]
            version = session.rows("show server_version")[0][0].partition(" ")[0]
            return self._status(session, sum(size or 0 for size in sizes), f"PostgreSQL {version}")

    def vacuum(self) -> int:
        self._prepare()
        with self._connected("give space back", slow=True) as connection:
            session = _PostgresqlSession(connection)
            find = f"select sum(pg_total_relation_size(name)) from unnest({_names(TABLES)}) as name"
            before = int(session.rows(find)[0][0])
            for table in TABLES:
                session.run(f"vacuum (full, analyze) {table}")
            return max(before - int(session.rows(find)[0][0]), 0)

    def upgrade(self) -> list[int]:
        with self._transaction("apply migrations", slow=True) as session:
            # Nobody else looks what is missing, until this is done.
            session.dialect.alone(session, "migrations")
            return schema.apply(session, self.place)

    def close(self) -> None:
        if os.getpid() != self._process:
            return  # a forked child: the connections are its parent's
        for owner in self._owners:
            # Leases that can't be given back expire by themselves.
            with suppress(HistoryUnavailable):
                self.release(owner)
                with self._writing("forget an owner") as session:
                    session.run("delete from owners where owner = ?", (owner,))
        self._owners.clear()
        while self._idle:
            self._idle.pop().close()
        self._current = False

    @contextmanager
    def _reading(self, purpose: str) -> Generator[Session]:
        self._prepare()
        with self._connected(purpose) as connection:
            yield _PostgresqlSession(connection)

    @contextmanager
    def _writing(
        self, purpose: str, *, durable: bool = True, slow: bool = False
    ) -> Generator[Session]:
        self._prepare()
        with self._transaction(purpose, slow=slow) as session:
            if not durable:
                session.run("set local synchronous_commit = off")
            yield session

    def _live(self, session: Session, owner: str) -> None:
        lasts_us = int((self.renewal_s or 0) * rules.RENEWALS * 1_000_000)
        session.run(
            f"insert into owners (owner, until_us) values (?, {_NOW_US} + {lasts_us})"
            " on conflict (owner) do update set until_us = excluded.until_us",
            (owner,),
        )

    def _gone(self, session: Session, owners: Collection[str]) -> list[str]:
        among, parameters = session.dialect.among("owner", owners)
        rows = session.rows(
            f"select owner from owners where {among} and until_us > {_NOW_US}", parameters
        )
        alive = {owner for (owner,) in rows}
        return [owner for owner in owners if owner not in alive]

    def _forget_owners(self, session: Session) -> None:
        # One who renews at this moment has locked his row, and is left alone.
        session.run(
            "delete from owners where owner in (select owner from owners"
            f" where until_us < {_NOW_US} and not exists"
            " (select 1 from leases where leases.owner <> '' and leases.owner = owners.owner)"
            " for update skip locked)"
        )

    def _prepare(self) -> None:
        """Bring the tables up to date, unless they were found so before.

        Raises:
            HistoryTooNew: A newer version of Fanfold made them.
        """
        if self._current:
            return
        with self._connected("look at its tables") as connection:
            found = schema.applied(_PostgresqlSession(connection))
        schema.check(self.place, found)
        if found < schema.latest():
            self.upgrade()
        self._current = True

    @contextmanager
    def _transaction(self, purpose: str, *, slow: bool = False) -> Generator[Session]:
        with self._connected(purpose, slow=slow) as connection, connection.transaction():
            yield _PostgresqlSession(connection)

    @contextmanager
    def _connected(self, purpose: str, *, slow: bool = False) -> Generator["Connection[Row]"]:
        """Lend a connection; one that had an error is dropped, as it may be broken."""
        psycopg = self._driver()
        try:
            connection = self._lent()
            try:
                with _cut_off(connection, slow=slow):
                    yield connection
            except BaseException:
                connection.close()
                raise
            if slow or len(self._idle) >= _IDLE_CONNECTIONS:
                connection.close()
            else:
                self._idle.append(connection)
        except psycopg.Error as error:
            # Its tables may be others when it is back.
            self._current = False
            reason = " ".join(str(error).split()).rstrip(".?") or type(error).__name__
            raise HistoryUnavailable(
                f"The history {self.place} could not {purpose}: {reason}."
            ) from error

    def _lent(self) -> "Connection[Row]":
        while self._idle:
            with suppress(IndexError):  # another thread took the last one
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
        return self._connect()

    def _connect(self) -> "Connection[Row]":
        psycopg = self._driver()
        given = psycopg.conninfo.conninfo_to_dict(self._url)
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            **{name: value for name, value in _NETWORK.items() if name not in given},
        )
        connection.execute(
            f"set statement_timeout = '{PATIENCE_S}s';"
            f"set idle_in_transaction_session_timeout = '{PATIENCE_S}s';"
            "set default_transaction_isolation = 'read committed'"
        )
        return connection

    def _driver(self) -> Any:
        try:
            import psycopg
        except ImportError as error:
            raise HistoryUnavailable(
                f"The history {self.place} needs psycopg. Install it with: "
                "pip install 'fanfold[postgresql]'"
            ) from error
        return psycopg


class _PostgresqlSession:
    """A connection, as the shared statements use it."""

    dialect: Dialect = _DIALECT

    def __init__(self, connection: "Connection[Row]") -> None:
        self._connection = connection

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(_placed(statement), parameters).fetchall()

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        return self._connection.execute(_placed(statement), parameters or None).rowcount

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_placed(statement), rows)

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        statement = f"copy {table} ({', '.join(columns)}) from stdin"
        with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(row)


@lru_cache(maxsize=512)
def _placed(statement: str) -> bytes:
    """Return a statement with its parameters as psycopg has them."""
    return statement.replace("?", "%s").encode()


def _names(tables: Sequence[str]) -> str:
    return "array[" + ", ".join(f"'{table}'" for table in tables) + "]"


@contextmanager
def _cut_off(connection: "Connection[Row]", *, slow: bool) -> Generator[None]:
    """Cut a connection whose server doesn't even keep its own limits: it hangs, or is gone."""
    patience_s = SLOW_PATIENCE_S if slow else PATIENCE_S
    if slow:
        connection.execute(f"set statement_timeout = '{patience_s}s'".encode())
    watch = threading.Timer(patience_s + _WATCH_AFTER_S, _cutter(connection))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _cutter(connection: "Connection[Row]") -> Callable[[], None]:
    def cut() -> None:
        # Only shut down, not closed: libpq still has the descriptor, and sees an end of file.
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as channel:
            channel.shutdown(socket.SHUT_RDWR)

    return cut
