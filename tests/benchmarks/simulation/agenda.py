"""The order of events in a time that is only a number."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

Action = Callable[..., None]


class Entry:
    """Something that is to happen; `drop` lets it not happen."""

    __slots__ = ("action", "given")

    def __init__(self, action: Action, given: tuple[Any, ...]) -> None:
        self.action: Action | None = action
        self.given = given

    def drop(self) -> None:
        """Let it not happen."""
        self.action, self.given = None, ()


class Agenda:
    """Lets things happen at their time; of two at the same time, what was noted first."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Entry]] = []
        self._order = count()

    def after(self, seconds: float, action: Action, *given: Any) -> Entry:
        """Let something happen so many seconds from now."""
        entry = Entry(action, given)
        heapq.heappush(self._heap, (self.now + seconds, next(self._order), entry))
        return entry

    def play(self, over: Callable[[], bool]) -> None:
        """Let things happen until `over` or until nothing is left."""
        while self._heap and not over():
            self.now, _, entry = heapq.heappop(self._heap)
            if entry.action is not None:
                entry.action(*entry.given)
