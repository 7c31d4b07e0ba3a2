"""What ended a worker, as far as the one knows that watched over it."""

import asyncio
import re
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fanfold.values.resources import Resources
from fanfold_dask.native import NativeClient, run_on_scheduler
from fanfold_dask.scheduling import ENDED, NANNY_ANSWERS_S, last_words
from fanfold_dask.workers import Gone

ANSWER_S = NANNY_ANSWERS_S + 0.3
"""A loss is told at most so much later for the sake of its reason."""

_CLOCKS_S = 5.0
"""By how much clocks of different machines may differ."""

_TOO_BIG = re.compile(
    r"Worker (?P<at>\S+) \(pid=(?P<pid>\d+)\) exceeded (?P<percent>[\d.]+)% memory"
)
_VMSTAT = Path("/proc/vmstat")


class Ends:
    """Finds out what ended workers of one cluster."""

    def __init__(self, client: NativeClient) -> None:
        self._client = client
        self._killed = killed_for_memory()
        self._blamed: set[int] = set()

    async def of(self, gone: Gone, pid: int) -> str:
        """Return a process's end as a predicate, such as "was killed by signal 11 (SIGSEGV)".

        Takes some 10 ms, at most `ANSWER_S`; on the client's event loop.

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
        lines: Sequence[tuple[float, str]] = await asyncio.wait_for(asking, ANSWER_S)
        told = predicate(lines, gone, pid, self._blamed)
        if told.endswith("(SIGKILL)") and self._by_kernel(gone):
            return "was killed by the operating system for its memory (OOM)"
        return told

    def _by_kernel(self, gone: Gone) -> bool:
        """Return whether this machine's kernel killed something for memory since we last looked."""
        if gone.name.partition("/")[0] != socket.gethostname():
            return False
        before, self._killed = self._killed, killed_for_memory()
        return self._killed > before


def predicate(lines: Sequence[tuple[float, str]], gone: Gone, pid: int, blamed: set[int]) -> str:
    """Return what a nanny's lines say of one worker.

    Args:
        lines: Times and texts, the newest first.
        gone: The worker.
        pid: Of its process; 0 if that isn't known: then it is the latest that isn't in `blamed`.
        blamed: Ids of processes whose ends are accounted for; this one is added.
    """
    texts = [line for when, line in lines if when >= lines[0][0] - _CLOCKS_S]
    grown = next((m for m in map(_TOO_BIG.search, texts) if m and m["at"] == gone.address), None)
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
        return f"ended with exit code {found['status']}"
    if found["signal"] is None:
        return "was killed by a signal that isn't known"
    number = int(found["signal"])
    known = number in set(signal.Signals)
    name = signal.Signals(number).name if known else "unknown here"
    return f"was killed by signal {number} ({name})"


def killed_for_memory(counters: Path = _VMSTAT) -> int:
    """Return how many processes the kernel of this machine has killed for memory; 0 if unknown."""
    try:
        found = re.search(r"^oom_kill (\d+)$", counters.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
