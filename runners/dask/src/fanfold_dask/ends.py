"""What ended a worker, as far as the one knows that watched over it."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import psutil
from distributed.comm.addressing import get_address_host

from fanfold.values import deaths
from fanfold.values.resources import Resources
from fanfold_dask.native import NativeClient, run_on_scheduler
from fanfold_dask.scheduling import ENDED, NANNY_TELLS_S, last_words
from fanfold_dask.workers import Gone

ANSWER_S = NANNY_TELLS_S + 1.0
"""A loss is told at most so much later for the sake of its reason."""

_CLOCKS_S = 5.0
"""By how much clocks of different machines may differ."""

_TOO_BIG = re.compile(
    r"Worker (?P<at>\S+) \(pid=(?P<pid>\d+)\) exceeded (?P<percent>[\d.]+)% memory"
)


class Ends:
    """Finds out what ended workers of one cluster."""

    def __init__(self, client: NativeClient) -> None:
        self._client = client
        self._kills = deaths.MemoryKills()
        self._blamed: set[int] = set()

    async def of(self, gone: Gone, pid: int) -> str:
        """Return a process's end as a predicate, such as "was killed by signal 11 (SIGSEGV)".

        Takes some 10 ms, up to `ANSWER_S` if its nanny is slow; on the client's event loop.

        Args:
            gone: The worker.
            pid: Of its process; 0 if that isn't known.

        Raises:
            OSError: The scheduler can't be reached.
            TimeoutError: It doesn't answer.
        """
        if gone.cause.startswith("check-worker-ttl"):
            return "gave no sign of life for so long that Dask gave it up"
        if not gone.nanny:
            return "is gone; what ended it isn't known, for Dask's nanny didn't watch over it"
        asking = run_on_scheduler(
            self._client, last_words, gone.nanny, pid, gone.when, list(self._blamed)
        )
        lines: Sequence[tuple[float, str]] | None = await asyncio.wait_for(asking, ANSWER_S)
        if lines is None:
            return "is gone; what ended it isn't known, for its nanny doesn't answer"
        told = predicate(lines, gone, pid, self._blamed)
        # The nanny knows the signal alone, and the kernel's count is of this machine.
        unseen = told.endswith("(SIGKILL)") and _is_near(gone.address)
        return deaths.OOM if unseen and self._kills.more() else told


def _is_near(address: str) -> bool:
    """Return whether a worker ran on this machine."""
    cards = psutil.net_if_addrs().values()
    return get_address_host(address) in {one.address for card in cards for one in card}


def predicate(lines: Sequence[tuple[float, str]], gone: Gone, pid: int, blamed: set[int]) -> str:
    """Return what a nanny's lines say of one worker.

    Args:
        lines: Times and texts, the newest first.
        gone: The worker.
        pid: Of its process; 0 if that isn't known: then it is the latest that isn't in `blamed`.
        blamed: Ids of processes whose ends are accounted for; this one is added.
    """
    # Ids tell by themselves, however late somebody asks.
    texts = [line for when, line in lines if pid or when >= lines[0][0] - _CLOCKS_S]
    # A nanny doesn't know its worker's address yet when it ends it soon after its start.
    place = ("pid", str(pid)) if pid else ("at", gone.address)
    grown = next((m for m in map(_TOO_BIG.search, texts) if m and m[place[0]] == place[1]), None)
    if grown is not None:
        blamed.add(int(grown["pid"]))
        limit = str(Resources(memory=gone.limit)).rpartition("=")[2] if gone.limit else "its limit"
        return f"was ended by Dask's nanny for its memory ({grown['percent']} % of {limit})"
    ends = [found for found in map(ENDED.search, texts) if found]
    mine = [m for m in ends if (int(m["pid"]) == pid if pid else int(m["pid"]) not in blamed)]
    if not mine:
        return "is gone; what ended it isn't known, for its nanny tells of no crash"
    blamed.add(int(mine[0]["pid"]))
    return _in_words(mine[0])


def _in_words(found: Any) -> str:
    if found["status"] is not None:
        return deaths.exited(int(found["status"]))
    if found["signal"] is None:
        return "was killed by a signal that isn't known"
    return deaths.killed(int(found["signal"]))
