"""The driver that is killed: a map with kept results, whose executions are noted in a ledger."""

import os
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from fanfold import flow, task, unmapped
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results import commits
from fanfold.ports.runner import TaskRunner
from fanfold.testing.ledger import Ledger, pause

COMMITTER, WORKER = "committer", "worker"
"""The threads that write: one the indexes, the other what elements were made."""
_NAMES = {"fanfold-commit_0": COMMITTER, "fanfold-0": WORKER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one driver is to do."""

    folder: Path
    """Where it says what becomes of it, the ledger included."""
    life: str
    """Under which its executions are noted."""
    count: int
    element_s: float
    chunk_size: int
    store: FsspecStore
    runner: TaskRunner
    commit_chunks: int = commits.COMMIT_CHUNKS
    """Staged chunks from which on an index is written."""
    watched: bool = False
    """Whether it waits, when its threads have begun, until somebody watches them."""
    lingers: bool = False
    """Whether it stays at the end until it is killed."""

    @property
    def ledger(self) -> Ledger:
        return Ledger(str(self.folder))

    @property
    def threads(self) -> Path:
        """The file that tells the threads of a watched driver."""
        return self.folder / f"{self.life}.threads"

    @property
    def go(self) -> Path:
        """The file for which a watched driver waits."""
        return self.folder / f"{self.life}.go"

    @property
    def told(self) -> Path:
        """The file with the sum of all results."""
        return self.folder / f"{self.life}.told"


@task(cache_key_fn=lambda context, arguments: str(arguments["x"]))
def square(x: int, order: Order) -> int:
    """Return the square, slowly enough to be killed half-way, and leave a line."""
    order.ledger.note(order.life, x)
    time.sleep(order.element_s)
    return x * x


@flow(validate_parameters=False)
def squares(order: Order) -> int:
    """Return the sum of the squares."""
    if order.watched:
        _be_watched(order)
    kept = square.with_options(result_storage=order.store, chunk_size=order.chunk_size)
    return sum(kept.map(range(order.count), unmapped(order)).result())


def perform(order: Order) -> None:
    """Do what is ordered, and leave the sum in a file."""
    commits.COMMIT_CHUNKS = order.commit_chunks
    total = squares.with_options(task_runner=order.runner)(order)
    _leave(order.told, str(total))
    while order.lingers:
        signal.pause()


def _be_watched(order: Order) -> None:
    """Have all threads begin, tell which they are, and wait."""
    warm = square.with_options(result_storage="memory://warm")
    warm.map([0], unmapped(replace(order, life="warm"))).result()
    found = {_NAMES.get(thread.name): thread.native_id for thread in threading.enumerate()}
    _leave(order.threads, "\n".join(f"{name} {found[name]}" for name in (COMMITTER, WORKER)))
    while not order.go.exists():
        pause()


def _leave(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)
