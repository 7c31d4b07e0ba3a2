"""SQLite and PostgreSQL as a history has them, and bare: one table without any index."""

import os
import sqlite3
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from fanfold.testing.postgresql import Server, programs, server

Row = tuple[Any, ...]


class Database(Protocol):
    """Where histories and bare tables can be made."""

    @property
    def name(self) -> str:
        """What it is, for a row."""
        ...

    @property
    def adding(self) -> str:
        """How the bare driver adds rows."""
        ...

    def fresh(self) -> str:
        """Return the URL of a history that isn't there yet."""
        ...

    def add(self, kinds: Sequence[str], batches: Sequence[Sequence[Row]]) -> None:
        """Add rows to a new bare table, a durable transaction for each batch."""
        ...

    def answer(self) -> None:
        """Have the bare driver answer `select 1`."""
        ...


@dataclass(frozen=True, slots=True)
class Sqlite:
    """Files in a folder."""

    folder: Path
    numbers: "count[int]"
    asked: sqlite3.Connection
    name: str = "SQLite"
    adding: str = "executemany"

    def fresh(self) -> str:
        return f"sqlite:///{self.folder / f'{next(self.numbers)}.db'}"

    def add(self, kinds: Sequence[str], batches: Sequence[Sequence[Row]]) -> None:
        connection = sqlite3.connect(self.folder / f"{next(self.numbers)}.db")
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute(f"create table bare ({_columns(kinds)})")
        marks = ", ".join("?" * len(kinds))
        for rows in batches:
            with connection:
                connection.executemany(f"insert into bare values ({marks})", rows)
        connection.close()

    def answer(self) -> None:
        self.asked.execute("select 1").fetchall()


@dataclass(frozen=True, slots=True)
class Postgresql:
    """A server of this machine's own."""

    server: Server
    numbers: "count[int]"
    asked: Any
    name: str = "PostgreSQL"
    adding: str = "COPY"

    def fresh(self) -> str:
        return self.server.database()

    def add(self, kinds: Sequence[str], batches: Sequence[Sequence[Row]]) -> None:
        table = f"bare_{next(self.numbers)}"
        self.asked.execute(f"create table {table} ({_columns(kinds)})")
        for rows in batches:
            # Committed by itself: the connection is in no transaction.
            with self.asked.cursor() as cursor, cursor.copy(f"copy {table} from stdin") as copy:
                for row in rows:
                    copy.write_row(row)
        self.asked.execute(f"drop table {table}")

    def answer(self) -> None:
        self.asked.execute("select 1").fetchall()


@contextmanager
def sqlite() -> Generator[Database]:
    """Have a folder for files, where the benchmarks keep everything."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("FANFOLD_HOME")) as folder:
        asked = sqlite3.connect(Path(folder, "asked.db"))
        try:
            yield Sqlite(Path(folder), count(), asked)
        finally:
            asked.close()


@contextmanager
def postgresql() -> Generator[Database | None]:
    """Have a server that survives a loss of power; None where its programs are missing."""
    if programs() is None:
        yield None
        return
    import psycopg  # an optional dependency

    with (
        server(durable=True) as running,
        psycopg.connect(running.url(), autocommit=True) as asked,
    ):
        yield Postgresql(running, count(), asked)


def _columns(kinds: Sequence[str]) -> str:
    return ", ".join(f"column_{number} {kind}" for number, kind in enumerate(kinds))
