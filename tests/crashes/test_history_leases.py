"""Whose process is dead, whose is only busy: how soon and how surely others know."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fanfold.adapters.history.sqlite import SqliteHistory
from fanfold.engine import registry
from fanfold.engine.recording.reaping import tend
from fanfold.ports.history import History
from fanfold.testing.postgresql import Server, programs, server
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.records import FlowRunRecord, FlowRuns
from fanfold.values.states import StateName
from tests.crashes.chronicle import run_id
from tests.crashes.programs import DEADLINE_S, Program

SOON_S = 2.0
"""Within which a local process's death is seen by those who look."""
LATER_S = 20.0
"""Within which a lost machine is."""
LOOK_EVERY_S = 0.1
LONG_S = 3_600
BUSY_S = 30
"""Longer than leases live that nobody renews."""


class Watcher:
    """Somebody in another process than the run's, who looks at the history."""

    def __init__(self, history: History, url: str, home: Path) -> None:
        self.history = history
        self._url = url
        self._home = home
        self._owner = history.owner()

    def look(self, flow_run_id: str) -> FlowRunRecord:
        """Return a run as it is seen now, after dead ones were reaped."""
        # A busy or stopped process may be in the midst of a write, which keeps others from writing.
        with suppress(HistoryUnavailable):
            tend(self.history, self._url, self._home, self._owner)
        (run,) = self.history.read(FlowRuns(ids=(flow_run_id,)))
        return run

    def seconds_until_crashed(self, flow_run_id: str) -> float:
        """Look until a run is Crashed; return how long that took."""
        began = time.monotonic()
        nobody = threading.Event()
        while (run := self.look(flow_run_id)).state is not StateName.CRASHED:
            assert time.monotonic() - began < DEADLINE_S, f"it is still {run.state.label}"
            nobody.wait(LOOK_EVERY_S)
        assert "ended without a word" in run.message
        return time.monotonic() - began

    def look_for(self, seconds: float, flow_run_id: str) -> set[StateName]:
        """Look again and again for so long; return which states were seen."""
        seen: set[StateName] = set()
        nobody = threading.Event()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            seen.add(self.look(flow_run_id).state)
            nobody.wait(LOOK_EVERY_S)
        return seen


@pytest.fixture
def local(fanfold_home: Path) -> Generator[Watcher]:
    """Watch the history in this test's home."""
    url = f"sqlite:///{fanfold_home / 'history.db'}"
    history = SqliteHistory(url)
    yield Watcher(history, url, fanfold_home)
    history.close()


@pytest.fixture(scope="module")
def postgresql() -> Generator[Server | None]:
    """Run a server for this module's tests; None where there is none."""
    if programs() is None:
        yield None
        return
    with server() as running:
        yield running


@pytest.fixture
def remote(
    postgresql: Server | None,
    require: Callable[..., None],
    fanfold_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Generator[Watcher]:
    """Watch a history in PostgreSQL, which programs that a test starts write to."""
    require("postgresql", "to hold leases there", present=postgresql is not None)
    assert postgresql is not None
    url = postgresql.database()
    monkeypatch.setenv("FANFOLD_HISTORY_URL", url)
    history = registry.history(url)
    yield Watcher(history, url, fanfold_home)
    history.close()


def started(program: Program) -> str:
    """Return the id of a held flow run, once it is recorded."""
    return program.wait_for(1)[0]


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_a_killed_script_is_seen_at_once(runner: str, local: Watcher) -> None:
    with Program("tests.crashes.holding", runner) as program:
        run = started(program)
        assert local.look(run).state is StateName.RUNNING
        # Only the driver: its workers notice for themselves, some time.
        os.kill(program.process.pid, signal.SIGKILL)

        taken = local.seconds_until_crashed(run)

    assert taken < SOON_S


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_a_script_that_holds_the_interpreter_is_alive(seconds: int, local: Watcher) -> None:
    with Program("tests.crashes.holding", "threads") as program:
        run = started(program)
        tell(program, seconds)

        seen = local.look_for(seconds - 0.5, run)
        program.wait_for(2, seconds + DEADLINE_S)
        program.finish()

        assert seen == {StateName.RUNNING}
        assert local.look(run).state is StateName.COMPLETED


@pytest.mark.parametrize("seconds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_stopped_script_is_alive(seconds: int, local: Watcher) -> None:
    with Program("tests.crashes.holding", "threads") as program:
        run = started(program)
        program.stop()

        seen = local.look_for(seconds, run)
        program.proceed()
        program.finish()

        assert seen == {StateName.RUNNING}
        assert local.look(run).state is StateName.COMPLETED


def test_who_looks_does_not_wait_for_a_stopped_writer(fanfold_home: Path) -> None:
    fanfold_home.mkdir()
    url = f"sqlite:///{fanfold_home / 'history.db'}"
    with Program("tests.crashes.dictating", url, "writer", LONG_S) as program:
        program.wait_for(3)
        program.stop()  # in the midst of a write, as it does nothing else
        history = SqliteHistory(url)
        watcher = Watcher(history, url, fanfold_home)
        began = time.monotonic()

        run = watcher.look(run_id("writer", 1))
        taken = time.monotonic() - began
        history.close()

    assert run.state in {StateName.RUNNING, StateName.COMPLETED}
    assert taken < SOON_S


def test_a_killed_script_is_seen_soon_in_postgresql(remote: Watcher) -> None:
    with Program("tests.crashes.holding", "threads") as program:
        run = started(program)
        helper(program)
        os.kill(program.process.pid, signal.SIGKILL)

        taken = remote.seconds_until_crashed(run)

    assert taken < SOON_S


@pytest.mark.slow
def test_a_lost_machine_is_noticed_in_postgresql(remote: Watcher) -> None:
    with Program("tests.crashes.holding", "threads") as program:
        run = started(program)
        renewing = helper(program)
        program.stop()  # so that it starts no other helper, nor says goodbye
        renewing.kill()
        program.kill()

        taken = remote.seconds_until_crashed(run)

    assert taken < LATER_S


@pytest.mark.slow
def test_a_script_that_holds_the_interpreter_is_alive_in_postgresql(remote: Watcher) -> None:
    with Program("tests.crashes.holding", "threads") as program:
        run = started(program)
        helper(program)
        tell(program, BUSY_S)

        seen = remote.look_for(BUSY_S - 1, run)
        program.wait_for(2)
        program.finish()

        assert seen == {StateName.RUNNING}
        assert remote.look(run).state is StateName.COMPLETED


@pytest.mark.slow
def test_a_stopped_script_is_alive_in_postgresql(remote: Watcher) -> None:
    with Program("tests.crashes.holding", "threads") as program:
        run = started(program)
        helper(program)
        program.stop()

        seen = remote.look_for(BUSY_S, run)
        program.proceed()
        program.finish()

        assert seen == {StateName.RUNNING}
        assert remote.look(run).state is StateName.COMPLETED


def tell(program: Program, seconds: int) -> None:
    """Have a program hold the interpreter's lock."""
    assert program.process.stdin is not None
    program.process.stdin.write(f"{seconds}\n")
    program.process.stdin.flush()


def helper(program: Program) -> psutil.Process:
    """Return the process that renews a program's leases, once it is there."""
    nobody = threading.Event()
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        for child in psutil.Process(program.process.pid).children(recursive=True):
            if any("renewing" in word for word in child.cmdline()):
                return child
        nobody.wait(LOOK_EVERY_S)
    raise AssertionError("Nobody renews the leases.")
