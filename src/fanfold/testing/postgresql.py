"""A real PostgreSQL server for tests: private, on a socket in a folder of its own, gone at the end.

    with server() as postgresql:
        history = PostgresqlHistory(postgresql.database())

It needs PostgreSQL's programs on this machine, and psycopg.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fanfold.values.ids import new_id

START_S = 60.0
"""For the server to take connections."""
STOP_S = 30.0
"""For the server to end when it is asked to; it is killed then."""
ACCOUNT = "postgres"
"""Who the server runs as where the tests run as root, for which PostgreSQL doesn't run."""
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_SMALL = ("shared_buffers=32MB", "max_connections=60", "listen_addresses=", "autovacuum=off")


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL of this machine, None if it has none."""
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    # Debian keeps them off the path, in a folder for each version.
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(installed, key=lambda path: float(path.parent.name), default=None)


@contextmanager
def server(*, durable: bool = False) -> "Generator[Server]":
    """Run a server that nobody but this user reaches.

    Args:
        durable: Whether it outlives a loss of power, which makes it some times slower.

    Raises:
        FileNotFoundError: This machine has no PostgreSQL.
        RuntimeError: It doesn't start; says what it wrote.
    """
    # Straight under /tmp: the path of a socket has 107 characters at most, and the account of the
    # server can't enter folders that belong to the tests alone.
    folder = Path(tempfile.mkdtemp(prefix="fanfold-postgresql-", dir="/tmp"))
    made = Server(folder, durable=durable)
    try:
        made.create()
        made.start()
        yield made
    finally:
        made.stop(signal.SIGQUIT)  # nobody needs its files any more
        shutil.rmtree(folder)


class Server:
    """A server, which can be stopped and started again; for one thread.

    Args:
        folder: For its data and its socket; it is given to the server's account.
        durable: Whether it outlives a loss of power.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        found = programs()
        if found is None:
            raise FileNotFoundError("This machine has no PostgreSQL: there is no `postgres`.")
        self.folder = folder
        self._programs = found
        self._settings = _SMALL if durable else _SMALL + _FAST
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._ready = threading.Event()
        self._said: deque[str] = deque(maxlen=50)

    @property
    def pid(self) -> int | None:
        """The process of the server, None while it doesn't run."""
        return None if self._process is None else self._process.pid

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def database(self) -> str:
        """Create a database, and return its URL."""
        name = f"test_{new_id()}"
        self.run(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def schema(self) -> str:
        """Create a schema, and return the URL of a database where all names are of this schema.

        For tests that need no more than tables that nobody else has: it takes a millisecond, while
        a database has a thousand files, which are copied, and removed in the end.
        """
        name = f"test_{new_id()}"
        self.run(f'CREATE SCHEMA "{name}"')
        return f"{self.url()}&options=-csearch_path%3D{name}"

    def run(self, sql: str, url: str | None = None) -> None:
        """Carry out a statement, in a connection of its own."""
        import psycopg  # an optional dependency, as are the programs

        statement: Any = sql
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def create(self) -> None:
        """Make the files of an empty server."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, ACCOUNT, ACCOUNT)
        self.folder.chmod(0o700)
        command = [
            str(self._programs / "initdb"),
            "-D",
            str(self.folder / "data"),
            "-U",
            "postgres",
        ]
        command += ["-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        if self._major() >= 15:
            # Sorts as people do, so that a query that needs another order has to say so.
            command += ["--locale-provider=icu", "--icu-locale=en-US"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, check=False, **_account()
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}\n{done.stderr}")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        command += ["-k", str(self.folder)]
        for setting in self._settings:
            command += ["-c", setting]
        self._ready.clear()
        self._process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "LC_MESSAGES": "C"},  # the line that is waited for is English
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests, which stop it
            **_account(),
        )
        self._reader = threading.Thread(
            target=self._listen, args=(self._process,), name="postgresql-log", daemon=True
        )
        self._reader.start()
        if not self._ready.wait(START_S) or self._process.poll() is not None:
            raise RuntimeError("PostgreSQL didn't start:\n" + "\n".join(self._said))

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it, and wait until it has; idempotent.

        Args:
            how: SIGINT ends connections first; SIGQUIT leaves its files as a crash would.
        """
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not None:
            self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._process = self._reader = None

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        """Read what it writes to the end: with a full pipe it would stand still."""
        if process.stderr is not None:
            for line in process.stderr:
                self._said.append(line.rstrip())
                if "ready to accept connections" in line:
                    self._ready.set()
        self._ready.set()  # it has ended: whoever waits for it sees that

    def _major(self) -> int:
        command = [str(self._programs / "postgres"), "--version"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"\d+", told)
        return int(found[0]) if found else 0


def _account() -> dict[str, Any]:
    """Return what makes a process run as another user where this one is root."""
    if os.geteuid() != 0:
        return {}
    return {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}
