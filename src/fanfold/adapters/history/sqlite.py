"""A history in a file, with SQLite: many threads and processes of one machine share it.

Writers take turns by a lock of our own on a file beside it, and whoever has the turn may also move
the log (the WAL) into the database. Before 3.51.3, SQLite can damage a database when that meets
another connection's write, so SQLite's own way of doing it now and then is switched off. All
versions do the same, as several may share one file.

Reading never waits: readers have connections of their own, and see what was committed before.
"""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from fanfold.adapters.history import schema
from fanfold.adapters.history.database import Database
from fanfold.adapters.history.dialects import Sqlite, words_for_sqlite
from fanfold.adapters.history.forking import GATE
from fanfold.adapters.history.owner_files import OwnerFiles
from fanfold.adapters.history.sessions import Dialect, Row, Session
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.records import Lease, Status

if TYPE_CHECKING:
    from sqlite3 import Connection  # takes a few ms, which scripts don't pay at their start

PATIENCE_S = 5.0
"""How long others who write are waited for."""
LOG_BYTES = 8 << 20
"""How large the log may get before it is moved into the database."""
_POLL_S = (0.0005, 0.01)
"""How long to sleep between two tries to get the turn: at first, and at most."""
_IDLE_READERS = 4
_DIALECT = Sqlite()
_PREFIX = "sqlite:///"


class SqliteHistory(Database):
    """A history in a file; see `fanfold.ports.history` for the contract.

    Args:
        url: `sqlite:///` and the file's path: `sqlite:////data/history.db` is /data/history.db,
            and `sqlite:///history.db` is a file in the working directory.
    """

    renewal_s: float | None = None

    def __init__(self, url: str) -> None:
        path = url.removeprefix(_PREFIX)
        if path == url or not path:
            raise HistoryUnavailable(
                f"The history {url!r} names no file. Write sqlite:/// and its path, such as "
                "sqlite:////data/history.db."
            )
        self._path = os.path.abspath(os.path.expanduser(path))
        self._owner_files = OwnerFiles(self._path + "-owners")
        self._owners: list[str] = []
        self._process = os.getpid()
        self._write_lock = threading.Lock()
        self._writer: Connection | None = None
        self._readers: list[Connection] = []
        self._turns: int | None = None
        self._file: tuple[int, int] | None = None
        """Device and number of the file that was found to be up to date."""

    @property
    def place(self) -> str:
        return _PREFIX + self._path

    def owner(self) -> str:
        with self._telling("make an owner"):
            made = self._owner_files.make()
        self._owners.append(made)
        return made

    def reap(self, owner: str, limit: int = 100) -> "list[Lease]":
        # Whoever only looks mustn't wait for a turn: one who has it may be stopped for long.
        with self._reading("look for leases of those who are gone") as session:
            holders = session.rows("select distinct owner from leases where owner <> ''")
            if not self._gone(session, [holder for (holder,) in holders]):
                self._forget_owners(session)
                return []
        return super().reap(owner, limit)

    def status(self) -> Status:
        import sqlite3

        engine = f"SQLite {sqlite3.sqlite_version}"
        with self._telling("tell how it is"):
            if not os.path.exists(self._path):
                return Status(
                    place=self.place,
                    schema=0,
                    latest_schema=schema.latest(),
                    size_bytes=0,
                    counts={},
                    oldest_us=None,
                    engine=engine,
                )
            with closing(self._connect(writes=False)) as connection:
                return self._status(_SqliteSession(connection), self._size(), engine)

    def vacuum(self) -> int:
        with self._telling("give space back"), self._turn() as connection:
            before = self._size()
            # The index of words keeps what was removed until its parts are merged.
            connection.execute("insert into lines_words (lines_words) values ('optimize')")
            connection.execute("vacuum")
            self._move_log(connection)
            return max(before - self._size(), 0)

    def upgrade(self) -> list[int]:
        with self._telling("apply migrations"), self._waiting_turn():
            return self._migrate()

    def close(self) -> None:
        if os.getpid() != self._process:
            return  # a forked child: the connections and locks are its parent's
        for owner in self._owners:
            # Without its file an owner is gone, and whoever comes next takes its leases.
            with suppress(HistoryUnavailable):
                self.release(owner)
            self._owner_files.drop(owner)
        self._owners.clear()
        with GATE.working(), self._write_lock:
            self._disconnect()
            if self._turns is not None:
                os.close(self._turns)
                self._turns = None

    @contextmanager
    def _reading(self, purpose: str) -> Generator[Session]:
        with self._telling(purpose):
            self._prepare()
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._connect(writes=False)
            try:
                yield _SqliteSession(connection)
            except BaseException:
                connection.close()
                raise
            if len(self._readers) < _IDLE_READERS:
                self._readers.append(connection)
            else:
                connection.close()

    @contextmanager
    def _writing(
        self, purpose: str, *, durable: bool = True, slow: bool = False
    ) -> Generator[Session]:
        with self._telling(purpose), self._turn() as connection:
            connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            with _transaction(connection):
                yield _SqliteSession(connection)
            # The transaction holds already: what happens to the log now mustn't undo that.
            with suppress(*_errors()):
                if _size_of(self._path + "-wal") > LOG_BYTES:
                    self._move_log(connection)

    def _live(self, session: Session, owner: str) -> None:
        """Do nothing: owners live as long as their processes."""

    def _gone(self, session: Session, owners: Collection[str]) -> list[str]:
        return [owner for owner in owners if not self._owner_files.alive(owner)]

    def _forget_owners(self, session: Session) -> None:
        holding = session.rows("select distinct owner from leases where owner <> ''")
        self._owner_files.sweep([owner for (owner,) in holding])

    @contextmanager
    def _turn(self) -> Generator["Connection"]:
        """Lend the one connection that writes, while no other process does."""
        self._prepare()
        with self._waiting_turn():
            if self._writer is None:
                self._writer = self._connect(writes=True)
            try:
                yield self._writer
            except _errors():
                self._writer.close()
                self._writer = None
                raise

    @contextmanager
    def _waiting_turn(self) -> Generator[None]:
        """Wait until nobody else in this process or in others writes."""
        deadline = time.monotonic() + PATIENCE_S
        if not self._write_lock.acquire(timeout=PATIENCE_S):
            raise TimeoutError(_BUSY)
        try:
            if self._turns is None:
                os.makedirs(os.path.dirname(self._path), exist_ok=True)
                self._turns = os.open(self._path + ".write-lock", os.O_RDWR | os.O_CREAT, 0o644)
            turns = self._turns
            _wait_for(turns, deadline)
            try:
                yield
            finally:
                # Not by closing: a child that was forked meanwhile has the descriptor, too.
                fcntl.flock(turns, fcntl.LOCK_UN)
        finally:
            self._write_lock.release()

    def _prepare(self) -> None:
        """Bring the tables up to date, unless they were found so before.

        Raises:
            HistoryTooNew: A newer version of Fanfold made them.
        """
        found = _identity(self._path)
        if found is not None and found == self._file:
            return
        if found is not None and self._is_current():
            with self._write_lock:
                self._renew_connections(found)
            return
        with self._waiting_turn():
            self._migrate()

    def _is_current(self) -> bool:
        with closing(self._connect(writes=False)) as connection:
            number = schema.applied(_SqliteSession(connection))
            schema.check(self.place, number)
            return number == schema.latest()

    def _migrate(self) -> list[int]:
        """Apply what is missing; only in turn, as the file may be made by that."""
        with closing(self._connect(writes=True)) as connection:
            schema.check(self.place, schema.applied(_SqliteSession(connection)))
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            with _transaction(connection):
                numbers = schema.apply(_SqliteSession(connection), self.place)
        self._renew_connections(_identity(self._path))
        return numbers

    def _renew_connections(self, found: tuple[int, int] | None) -> None:
        """Let go of connections to a file that was removed or replaced meanwhile."""
        if self._file is not None and self._file != found:
            self._disconnect()
        self._file = found

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        while self._readers:
            self._readers.pop().close()
        self._file = None

    def _connect(self, *, writes: bool) -> "Connection":
        import sqlite3

        connection = sqlite3.connect(
            self._path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        connection.create_function("words_of", 1, words_for_sqlite, deterministic=True)
        connection.execute("pragma wal_autocheckpoint = 0")
        if writes:
            # On a Mac, what was synced is still in the disk's own memory otherwise.
            connection.execute("pragma fullfsync = on")
        else:
            connection.execute("pragma query_only = on")
        return connection

    def _move_log(self, connection: "Connection") -> None:
        """Move the log into the database and empty it; as much as readers let now."""
        connection.execute("pragma busy_timeout = 0")
        try:
            connection.execute("pragma wal_checkpoint(truncate)")
        finally:
            connection.execute(f"pragma busy_timeout = {int(PATIENCE_S * 1_000)}")

    def _size(self) -> int:
        return sum(_size_of(self._path + suffix) for suffix in ("", "-wal"))

    @contextmanager
    def _telling(self, purpose: str) -> Generator[None]:
        """Turn what SQLite and the file system raise into an error that says what failed."""
        try:
            with GATE.working():
                yield
        except _errors() as error:
            reason = str(error) or type(error).__name__
            raise HistoryUnavailable(
                f"The history {self.place} could not {purpose}: {reason}."
            ) from error


_BUSY = f"others were writing for more than {PATIENCE_S:g} s"


class _SqliteSession:
    """A connection, as the shared statements use it."""

    dialect: Dialect = _DIALECT

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(statement, parameters).fetchall()

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        return self._connection.execute(statement, parameters).rowcount

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        self._connection.executemany(statement, rows)

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        places = ", ".join("?" * len(columns))
        self._connection.executemany(
            f"insert into {table} ({', '.join(columns)}) values ({places})", rows
        )


def _errors() -> tuple[type[Exception], ...]:
    """Return what SQLite and the file system raise; without SQLite if that isn't loaded yet."""
    loaded = sys.modules.get("sqlite3")
    return (loaded.Error, OSError) if loaded else (OSError,)


@contextmanager
def _transaction(connection: "Connection") -> Generator[None]:
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        # Where the disk is full, SQLite has undone it already.
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def _wait_for(turns: int, deadline: float) -> None:
    pause, longest = _POLL_S
    while True:
        try:
            fcntl.flock(turns, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(_BUSY) from None
            time.sleep(pause)
            pause = min(pause * 2, longest)
        else:
            return


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
