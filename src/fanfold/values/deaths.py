"""How processes end, as predicates: "was killed by signal 11 (SIGSEGV)"."""

import re
import signal
from pathlib import Path

OOM = "was killed by the operating system for its memory (OOM)"


def exited(code: int) -> str:
    """Return what an exit code means; a negative one is of a signal, as in `subprocess`."""
    return f"ended with exit code {code}" if code >= 0 else killed(-code)


def killed(number: int) -> str:
    """Return what a signal did; also one that this machine doesn't know."""
    known = number in set(signal.Signals)
    return f"was killed by signal {number} ({signal.Signals(number).name if known else 'unknown'})"


def kills_for_memory(counters: Path = Path("/proc/vmstat")) -> int:
    """Return how many processes the kernel here has killed for memory; 0 if it doesn't say."""
    try:
        found = re.search(r"^oom_kill (\d+)$", counters.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


class MemoryKills:
    """Tells whether the kernel has killed for memory since the last look; not by process."""

    def __init__(self) -> None:
        self._seen = kills_for_memory()

    def more(self) -> bool:
        """Return whether there was one more, and take note of it."""
        before, self._seen = self._seen, kills_for_memory()
        return self._seen > before
