"""What is known of a map's elements at the driver: columns, which grow by no object per element.

States are bytes, places are stretches; only elements that failed, retried or lost a worker have
entries.
"""

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from fanfold.engine.calls import Call
from fanfold.engine.chunking import Span
from fanfold.engine.locations import Locations
from fanfold.engine.results.commits import Commits
from fanfold.ports.runner import Ref
from fanfold.values.messages import Detail, Failure
from fanfold.values.states import FINAL
from fanfold.values.usage import Costs

FINAL_CODES = re.escape(bytes(sorted(FINAL)))
"""For regular expressions over columns of states."""
FINAL_STRETCH = re.compile(b"[" + FINAL_CODES + b"]+")


class Columns:
    """The elements of a run as readers see them, who hold `changed` meanwhile."""

    def __init__(self, call: Call) -> None:
        self.id = call.spec.info.id
        self.name = call.spec.info.name
        self.call = call
        self.count = call.count
        self.changed = threading.Condition()
        self.states = bytearray(self.count)
        self.details: dict[int, Detail] = {}
        self.costs = Costs()
        """What its elements needed, as far as they are home."""
        self.locations = Locations()
        self.left = self.count
        self.finished = False
        """Whether its story has been told to the end."""
        self.commits = Commits()
        self.read: dict[Ref, list[Any]] = {}
        """What readers unpickled last."""
        self.window: tuple[int, int, list[Any]] = (0, 0, [])
        """For a reader that goes one by one: start and stop of some elements, and their values."""
        self.watchers: list[Callable[[Sequence[Span] | None], None]] = []
        """Told by the dispatcher what became final, None for: look yourself; never users' code."""
        self.again: set[int] = set()
        """Elements without value that another run tries once more; not settled until it has."""

    def settled(self, indices: range) -> bool:
        """Return whether these elements are final, and committed where they are kept."""
        if not indices:
            return True
        if self.left and not FINAL_STRETCH.fullmatch(self.codes(indices)):
            return False
        low, high = sorted((indices[0], indices[-1]))
        if self.again and any(low <= index <= high for index in self.again):
            return False
        return not self.commits.touches(low, high + 1)

    def codes(self, indices: range) -> bytearray:
        """Return the state codes of elements, in the order of the columns."""
        if not indices:
            return bytearray()
        upwards = indices if indices.step > 0 else indices[::-1]
        return self.states[upwards[0] : upwards[-1] + 1 : upwards.step]

    def label(self, index: int) -> str:
        """Return an element's name for messages."""
        first = self.call.spec.info.first
        return self.name if self.count == 1 and not first else f"{self.name}[{first + index}]"

    def error(self, index: int) -> Failure | None:
        """Return why an element has no value, None if it has one or isn't final."""
        detail = self.details.get(index)
        return detail.failure if detail else None
