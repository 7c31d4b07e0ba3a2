"""What a worker process that is gone has left behind: how it ended, as far as that can be known.

Only a parent hears how a process ended, and Ray's daemon keeps that to itself. What remains: Ray's
own handler writes the fatal signals that it sees into the worker's log before it lets them pass,
Ray writes there why a worker ends by itself, and our worker notes the code of an `os._exit`. What
leaves no trace was killed from outside, by a signal that nobody can see coming.
"""

import re
import signal
from pathlib import Path

from fanfold.values import deaths

TAIL_BYTES = 64 * 1024
"""How much of the end of a log is looked at."""

_SIGNAL = re.compile(rb"\*\*\* (SIG[A-Z]+) received at time=")
_CODE = re.compile(rb"Worker exits with an exit code (\d+)\.( The process receives a SIGTERM)?")


def fate(logs: Path, pid: int, said: int | None, *, kills: int) -> str:
    """Return how a process of this node ended, such as "was killed by signal 11 (SIGSEGV)".

    Args:
        logs: The folder of Ray's logs.
        pid: Of the process.
        said: The code that it said it would exit with, or minus the signal that it was to end by.
        kills: What `deaths.kills_for_memory` was when it began.
    """
    if said is not None:
        return deaths.exited(said)
    text = _logged(logs, pid)
    if found := _SIGNAL.search(text):
        return deaths.killed(signal.Signals[found[1].decode()])
    if found := _CODE.search(text):
        if found[2]:
            return deaths.killed(signal.SIGTERM)
        return deaths.exited(int(found[1]))
    if deaths.kills_for_memory() > kills:
        # The only thing that is counted, and not by process.
        return "was killed without a trace, most likely by the system for its memory (OOM)"
    return "was killed without a trace, as signal 9 (SIGKILL) does"


def _logged(logs: Path, pid: int) -> bytes:
    """Return the ends of what Ray's worker of that id has logged; the latest of that id."""
    texts: list[bytes] = []
    for pattern in (f"worker-*-{pid}.err", f"python-core-worker-*_{pid}.log"):
        files = sorted(logs.glob(pattern), key=lambda path: path.stat().st_mtime)
        for path in files[-1:]:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                texts.append(file.read())
    return b"\n".join(texts)
