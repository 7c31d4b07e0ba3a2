"""A driver that is killed at each call by which it changes what the storage holds.

It is killed as the thread enters the call, so before; and after, for there it is killed as the
thread enters its next call: what was written is synchronised or closed.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.task_runners import InlineTaskRunner
from fanfold.testing.ledger import pause
from tests.torture import tracing
from tests.torture.nursery import Nursery
from tests.torture.squares import COMMITTER, WORKER, Order
from tests.torture.trials import Trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COUNT = 20
DEADLINE_S = 60
AFTER = "close"
"""Changes nothing itself, and follows what was made durable."""
CALLS = {
    WORKER: ["mkdir write rename", "openat", f"fsync {AFTER}"],
    COMMITTER: [f"mkdir openat write fsync link unlink {AFTER}"],
}
"""All calls by which each thread changes the storage, in parts of which each is a test."""


def ordered(folder: Path) -> Order:
    """Return an order for a map of five segments and three indexes."""
    folder.mkdir()
    return Order(
        folder=folder,
        life="killed",
        count=COUNT,
        element_s=0.0005,
        chunk_size=4,
        commit_chunks=2,
        runner=InlineTaskRunner(),
        store=FsspecStore(str(folder / "results")),
        watched=True,
    )


def threads(order: Order) -> dict[str, int]:
    """Return the threads of a watched driver by name."""
    deadline = time.monotonic() + DEADLINE_S
    while not order.threads.exists() and time.monotonic() < deadline:
        pause()
    told = [line.split() for line in order.threads.read_text().splitlines()]
    return {name: int(thread) for name, thread in told}


def census(nursery: Nursery, folder: Path) -> dict[str, Counter[str]]:
    """Return the calls about the storage that each thread of a driver makes, by its name."""
    order, listed = ordered(folder), folder / "listed"
    process = nursery.start(order)
    names = {thread: name for name, thread in threads(order).items()}
    with tracing.watched(process, tracing.listing(listed), others=True):
        order.go.touch()
        assert nursery.ended() == 0
    found = tracing.counts(listed, folder / "results")
    return {names.get(thread, f"thread {thread}"): calls for thread, calls in found.items()}


def killed(nursery: Nursery, order: Order, thread: str, call: str, number: int) -> bool:
    """Return whether a driver was killed at the N-th of a thread's calls, or has made fewer."""
    nursery.start(order)
    with tracing.watched(threads(order)[thread], tracing.killing(call, number)):
        order.go.touch()
        code = nursery.ended()
    assert code in (0, -signal.SIGKILL), (order.folder / "killed.log").read_text()
    return code != 0


@pytest.mark.parametrize(
    ("thread", "calls"), [(thread, calls) for thread, parts in CALLS.items() for calls in parts]
)
def test_after_a_kill_at_any_call_what_no_index_names_is_done_and_nothing_else(
    thread: str, calls: str, require: Callable[..., None], tmp_path: Path
) -> None:
    require("strace", "to kill a driver at a system call")
    kills: Counter[str] = Counter()

    with Nursery() as nursery:
        changes = census(nursery, tmp_path / "census")
        for call in calls.split():
            for number in count(1):
                order = ordered(tmp_path / f"{call}-{number}")
                if not killed(nursery, order, thread, call, number):
                    break
                Trial(order).repeat(nursery)
                kills[call] += 1

    assert {name: set(made) | {AFTER} for name, made in changes.items()} == {
        name: set(" ".join(parts).split()) for name, parts in CALLS.items()
    }
    assert all(kills[call] >= max(1, changes[thread][call]) for call in calls.split())
