"""A Dask cluster of our own on this machine, kept by a process that is nothing else.

`distributed.LocalCluster` in the user's process has its nannies start the workers with
multiprocessing, which imports the user's `__main__` anew in each of them, at the start and again
whenever a nanny replaces a dead worker. A script without a guard then starts a cluster from within
a cluster. So scheduler and nannies live in a process of their own, whose `__main__` holds nothing.
It boots while this process imports Dask, it never competes with the user's code for this process's
interpreter lock, and it ends itself and its workers when this process is gone, however it ended.
"""

import json
import multiprocessing.spawn
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold.values.errors import InfrastructureError

START_TIMEOUT_S = 60.0
"""A loaded laptop takes 5 s."""
END_TIMEOUT_S = 5.0
"""The keeper needs 0.1 s: it kills, and waits for no user code."""

_MARKS = "marks"

_KEEPER = (
    # The path comes first, for without it neither Fanfold nor Dask may be found.
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from fanfold_dask.keeper import keep; keep(sys.stdin.buffer)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What a cluster becomes by itself."""

    most: int = 0
    """Slots that it can have; 0 if that isn't known."""
    grows: bool = False
    """Whether workers come when there is work."""


FIXED = Growth()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a keeper is to start; travels to it."""

    folder: str
    """Private and on a local disk."""
    cluster_kwargs: dict[str, Any]
    """For LocalCluster."""
    adapt_kwargs: dict[str, Any]
    """For its `adapt`; empty for a cluster of a fixed size."""
    plain: bool
    """Whether the number of workers and threads is Dask's default rather than ours."""
    config: dict[str, Any] | None
    """Dask's configuration in the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCluster:
    """A cluster whose keeper is our child process; ends when our end of its input closes."""

    keeper: subprocess.Popen[bytes]
    folder: Path
    """The workers' scratch space, and the marks of started chunks."""
    address: str
    """The scheduler's."""
    most: int
    """Threads of all workers that it can have; one that dies is replaced."""
    grows: bool
    """Whether workers come when there is work, and go."""
    dashboard: str
    """Address of its web page, or nothing."""

    @property
    def growth(self) -> Growth:
        """What it becomes by itself."""
        return Growth(most=self.most, grows=self.grows)

    @property
    def marks(self) -> Path:
        """Where a worker notes which chunks it started; survives the worker."""
        return self.folder / _MARKS

    def end(self) -> None:
        """Kill the workers and the scheduler and wait until they are gone; idempotent."""
        _end(self.keeper, self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """A cluster that is starting."""

    keeper: subprocess.Popen[bytes]
    folder: Path

    def ready(self) -> OwnCluster:
        """Wait until the workers are there.

        Raises:
            InfrastructureError: The cluster didn't start; it is gone.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        told = self.folder / "cluster.json"
        try:
            while not told.exists():
                try:
                    # Waits for the process's end, so that a failed start is known at once.
                    self.keeper.wait(timeout=0.005)
                except subprocess.TimeoutExpired:
                    if time.monotonic() < deadline:
                        continue
                raise InfrastructureError(f"The local Dask cluster didn't start: {self._failure()}")
            cluster = json.loads(told.read_text())
        except BaseException:
            self.end()
            raise
        return OwnCluster(keeper=self.keeper, folder=self.folder, **cluster)

    def end(self) -> None:
        """Give it up, and wait until nothing is left of it; idempotent."""
        _end(self.keeper, self.folder)

    def _failure(self) -> str:
        failure = self.folder / "failure"
        if failure.exists():
            return failure.read_text()
        if self.keeper.poll() is None:
            return f"not ready after {START_TIMEOUT_S:.0f} s"
        return f"its process ended with status {self.keeper.returncode}"


def start(
    cluster_kwargs: Mapping[str, Any], adapt_kwargs: Mapping[str, Any], *, plain: bool
) -> Boot:
    """Start a cluster's process and return at once, without importing Dask here.

    Args:
        cluster_kwargs: For LocalCluster.
        adapt_kwargs: For its `adapt`; empty for a cluster of a fixed size.
        plain: Whether what isn't given is as Dask has it rather than as we do.

    Raises:
        InfrastructureError: The process can't be started.
    """
    folder = Path(tempfile.mkdtemp(prefix="fanfold-dask-"))
    (folder / _MARKS).mkdir()
    path = [entry or os.getcwd() for entry in sys.path]
    order = Order(
        folder=str(folder),
        cluster_kwargs=dict(cluster_kwargs),
        adapt_kwargs=dict(adapt_kwargs),
        plain=plain,
        # What the user set with dask.config.set counts too; read only if Dask is imported.
        config=getattr(sys.modules.get("dask.config"), "global_config", None),
    )
    try:
        orders = pickle.dumps(path) + pickle.dumps(order)
        keeper = subprocess.Popen(
            [os.fsdecode(multiprocessing.spawn.get_executable()), "-c", _KEEPER],
            stdin=subprocess.PIPE,
            # What tasks print shows at once and isn't lost when the workers are killed.
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            # Ctrl-C in a terminal is for the driver alone, who then decides.
            start_new_session=True,
        )
        assert keeper.stdin is not None
        keeper.stdin.write(orders)
        keeper.stdin.flush()
    except (OSError, pickle.PicklingError, TypeError, AttributeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InfrastructureError(f"The local Dask cluster didn't start: {error}") from error
    return Boot(keeper=keeper, folder=folder)


def _end(keeper: subprocess.Popen[bytes], folder: Path) -> None:
    if keeper.stdin is not None:
        keeper.stdin.close()
    try:
        keeper.wait(timeout=END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        # The workers watch a pipe from their nanny and end themselves at once.
        keeper.kill()
        keeper.wait()
    shutil.rmtree(folder, ignore_errors=True)
