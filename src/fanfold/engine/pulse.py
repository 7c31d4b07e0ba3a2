"""The pulse of a worker's process: running chunks say that they are alive, and hear that they stop.

One thread for the process, started by its first chunk. A chunk that is over within `BEAT_S` costs
an entry in a dict. C code that holds the interpreter lock has no pulse.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from fanfold.engine.nest import Nest
from fanfold.engine.single import OnePerProcess

BEAT_S = 5.0
"""Between two words of a chunk that runs long, on few slots."""
BEATS_PER_SECOND = 500.0
"""Of all slots together: a word costs Dask's scheduler 0.45 ms, so 10,000 slots with `BEAT_S` would
leave it time for nothing else."""
RAREST_S = 20.0
"""A third of what a run waits for a word."""
LOOK_S = 0.5
"""Between two looks whether a chunk whose elements wait for others is to stop."""
BEAT = b"B"
"""A message that only says that the chunk runs."""


def beat_s(slots: int) -> float:
    """Return the time between two words of a chunk, on a cluster of so many slots."""
    return min(max(BEAT_S, slots / BEATS_PER_SECOND), RAREST_S)


class Pulse:
    """Beats for all chunks of the process. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._nests: dict[Nest, tuple[float, float]] = {}
        """When each chunk beats next, and the time between two beats."""
        self._begun = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def of(self, nest: Nest, every_s: float = BEAT_S) -> Generator[None]:
        """Beat for a chunk while the code inside runs."""
        self._nests[nest] = self._clock() + every_s, every_s
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="fanfold-pulse", daemon=True)
            self._thread.start()
        self._begun.set()
        try:
            yield
        finally:
            self._nests.pop(nest, None)

    def beat(self) -> None:
        """Say for each chunk what is due now; a nest that is to end is stopped."""
        now = self._clock()
        for nest, (due, every_s) in list(self._nests.items()):
            if nest.site.stopping():
                nest.stop()
            elif now >= due and nest in self._nests:
                self._nests[nest] = now + every_s, every_s
                nest.site.say(BEAT)

    def _beat(self) -> None:
        while True:
            if not self._nests:
                self._begun.clear()
                if not self._nests:
                    self._begun.wait()
            time.sleep(LOOK_S)
            self.beat()


@OnePerProcess
def pulse() -> Pulse:
    """Return the pulse of this process."""
    return Pulse()
