"""What this package asks the scheduler, as functions that run there."""

import asyncio
import inspect
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from distributed import Scheduler
from distributed.core import Status

NANNY_TELLS_S = 5.0
"""For a nanny to notice the death of its worker and to answer; takes 2 to 20 ms, and seconds where
there is more to do than the machine can. A machine that is gone takes both with it."""

UNSEEN_S = 0.25
"""For a submit to arrive and be taken in; takes 10 to 20 ms."""

_LOOK_S = 0.005
_LOOK_AT_LAST_S = 0.1
ENDED = re.compile(
    r"orker process (?P<pid>\d+) "
    r"(was killed by signal (?P<signal>\d+)|exited with status (?P<status>\d+)"
    r"|was killed by unknown signal)"
)
"""What a nanny writes when its worker ends."""

_AT_ONCE_S = 0.5
"""How much earlier than the scheduler a nanny may notice, while the machine is busy."""
_LINES = 200
"""Of a nanny's log that are looked at; nannies of one process write into one."""


class Whereabouts(NamedTuple):
    """Where a key is, and what it waits for."""

    state: str
    """As the scheduler calls it; `forgotten` if it doesn't know it."""
    worker: str
    """Address of the worker that runs it or is to run it; empty if there is none."""
    holders: Sequence[str]
    """Addresses of the workers that have its value."""


class Standing(NamedTuple):
    """What the scheduler knows of a worker."""

    host: str
    nanny: str
    seen_s: float
    """How long ago it was heard of."""


def whereabouts(keys: Sequence[str], dask_scheduler: Scheduler) -> dict[str, tuple[Any, ...]]:
    """Return the fields of the whereabouts of keys and of all that they need, by key."""
    found: dict[str, tuple[Any, ...]] = {}
    for key in keys:
        task = dask_scheduler.tasks.get(key)
        found[key] = _place(task)
        for needed in task.dependencies if task is not None else ():
            found[str(needed.key)] = _place(needed)
    return found


async def cancel(
    keys: Sequence[str], client: str, dask_scheduler: Scheduler
) -> dict[str, list[str]]:
    """Cancel what hasn't ended, and return the keys by the workers that may have heard of them.

    `Client.cancel` comes too early for what was submitted just before: submits are taken in a while
    after they arrive, and nothing is cancelled that isn't known.
    """
    # All at once: else one of them would begin in the slot of another that is cancelled before it.
    await _seen(keys, dask_scheduler, UNSEEN_S)
    tasks = [dask_scheduler.tasks[key] for key in keys if key in dask_scheduler.tasks]
    by_worker: dict[str, list[str]] = {}
    for task in tasks:
        if task.processing_on is not None:
            by_worker.setdefault(task.processing_on.address, []).append(str(task.key))
    wanted = [task.key for task in tasks if task.state not in ("memory", "erred")]
    if wanted:
        # Old versions take no reason, new ones must have one.
        asked = inspect.signature(dask_scheduler.stimulus_cancel).parameters
        why = {"reason": "fanfold", "msg": "A chunk was cancelled."}
        given: dict[str, Any] = {name: word for name, word in why.items() if name in asked}
        dask_scheduler.stimulus_cancel(wanted, client=client, force=False, **given)
    return by_worker


async def _seen(keys: Sequence[Any], dask_scheduler: Scheduler, timeout_s: float) -> None:
    """Wait until keys are known, as long as they may still be on their way."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if all(key in dask_scheduler.tasks for key in keys):
            return
        await asyncio.sleep(_LOOK_S)


def standings(dask_scheduler: Scheduler) -> dict[str, tuple[str, str, float]]:
    """Return the fields of the standing of each worker, by address."""
    now = time.time()
    return {
        address: (worker.host, worker.nanny or "", now - worker.last_seen)
        for address, worker in dask_scheduler.workers.items()
    }


async def claim(
    keys: Sequence[Any], client: str, timeout_s: float, dask_scheduler: Scheduler
) -> list[Any]:
    """Let a client want keys that others have submitted, and return those that nobody has.

    The client is told what became of each. What was submitted just now may take a while to arrive.
    """
    await _seen(keys, dask_scheduler, timeout_s)
    if client in dask_scheduler.clients:
        seen = [key for key in keys if key in dask_scheduler.tasks]
        dask_scheduler.client_desires_keys(keys=seen, client=client)
    return [key for key in keys if key not in dask_scheduler.tasks]


def rest(addresses: Sequence[str], dask_scheduler: Scheduler) -> None:
    """Give workers no more work until they answer.

    They are paused as far as the scheduler is concerned, like workers that are short of memory. In
    their queue is the question whether they run, which they answer as soon as they do: so they have
    work again without anybody's doing, whatever becomes of who has asked for this.
    """
    stimulus = f"fanfold-rests-{time.time()}"
    for address in addresses:
        worker = dask_scheduler.workers.get(address)
        if worker is not None and worker.status == Status.running:
            asked = {"op": "worker-status-change", "status": "running", "stimulus_id": stimulus}
            dask_scheduler.worker_send(address, asked)
            dask_scheduler.handle_worker_status_change(Status.paused, worker, stimulus)


def _place(task: Any) -> tuple[Any, ...]:
    if task is None:
        return "forgotten", "", ()
    worker = task.processing_on
    holders = [holder.address for holder in task.who_has or ()]
    return task.state, worker.address if worker is not None else "", holders


async def last_words(
    nanny: str, pid: int, when: float, blamed: Sequence[int], dask_scheduler: Scheduler
) -> list[tuple[float, str]] | None:
    """Return what a nanny noted lately of workers that ended: times of its clock, and lines.

    Waits until there is something about the process, or, if its id isn't known, about one that
    ended at that time and isn't accounted for. None if the nanny doesn't answer.

    Args:
        nanny: Its address.
        pid: Of the worker; 0 if it isn't known.
        when: It was found gone, by the scheduler's clock.
        blamed: Ids of processes that are accounted for.
        dask_scheduler: Given by Dask.
    """

    def fits(at: float, line: str) -> bool:
        found = ENDED.search(line)
        if found is None:
            return False
        one = int(found["pid"])
        return one == pid if pid else at > when - _AT_ONCE_S and one not in blamed

    deadline = time.monotonic() + NANNY_TELLS_S
    lines: list[tuple[float, str]] | None = None
    look_s = _LOOK_S
    while (left := deadline - time.monotonic()) > 0:
        try:
            asking = dask_scheduler.rpc(nanny).get_logs(n=_LINES, timestamps=True)
            told: Any = await asyncio.wait_for(asking, left)
        except (OSError, TimeoutError):
            break
        lines = [(at, line) for at, _, line in told if ENDED.search(line) or "(pid=" in line]
        if any(fits(at, line) for at, line in lines):
            break
        await asyncio.sleep(look_s)
        look_s = min(2 * look_s, _LOOK_AT_LAST_S)
    return lines
