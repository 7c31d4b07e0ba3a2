"""Who does one thing after another, and the cores on which that happens."""

import heapq
import math
from collections import deque
from itertools import count

from tests.benchmarks.simulation.agenda import Action, Agenda, Entry


class Cores:
    """Cores of one machine: each job gets one, or all get equal parts if there are too few."""

    def __init__(self, agenda: Agenda, count_: float = math.inf) -> None:
        self.agenda = agenda
        self._cores = count_
        self._jobs: list[tuple[float, int, Action]] = []
        """By what `_done` is at their end."""
        self._done = 0.0
        """Seconds of a core that any job got that was there all the time."""
        self._since = 0.0
        self._order = count()
        self._next: Entry | None = None

    def work(self, seconds: float, then: Action) -> None:
        """Use a core for so many seconds, then go on."""
        if self._cores == math.inf:
            self.agenda.after(seconds, then)
            return
        self._advance()
        heapq.heappush(self._jobs, (self._done + seconds, next(self._order), then))
        self._plan()

    def _rate(self) -> float:
        return min(1.0, self._cores / len(self._jobs))

    def _advance(self) -> None:
        if self._jobs:
            self._done += (self.agenda.now - self._since) * self._rate()
        self._since = self.agenda.now

    def _plan(self) -> None:
        if self._next is not None:
            self._next.drop()
            self._next = None
        if self._jobs:
            left = max(0.0, self._jobs[0][0] - self._done) / self._rate()
            self._next = self.agenda.after(left, self._end)

    def _end(self) -> None:
        self._advance()
        _, _, then = heapq.heappop(self._jobs)
        self._next = None
        self._plan()
        then()


class Line:
    """One that does one thing after another, such as the driver's dispatcher or a scheduler."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._waiting: deque[tuple[float, Action]] = deque()
        self._busy = False
        self.busy_s = 0.0
        """What all it did took."""
        self.done = 0
        self.longest = 0
        """Most things that waited."""

    def add(self, seconds: float, then: Action) -> None:
        """Do something after all that waits."""
        self._waiting.append((seconds, then))
        self.longest = max(self.longest, len(self._waiting))
        self._start()

    def first(self, todo: list[tuple[float, Action]]) -> None:
        """Do something, in this order, before all that waits."""
        self._waiting.extendleft(reversed(todo))
        self.longest = max(self.longest, len(self._waiting))
        self._start()

    def _start(self) -> None:
        if self._busy or not self._waiting:
            return
        seconds, then = self._waiting.popleft()
        self._busy = True
        self.busy_s += seconds
        self.done += 1

        def end() -> None:
            then()
            self._busy = False
            self._start()

        self._cores.work(seconds, end)
