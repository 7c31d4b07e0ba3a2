"""Which elements of one run have the leases of their keys, and which wait for them. Pure.

Under `SERIALIZABLE` an element that is to run comes home first and says its key, for keys are made
where values are, and leases are the driver's. Of all elements of the run with that key one at a
time goes out again, with leave to run; once it has kept its value, the others go and find it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fanfold.engine.results.claims import Lease
from fanfold.engine.results.segments import Index
from fanfold.values.states import StateName


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What became of a wish for the lease of a key."""

    key: bytes
    lease: Lease | None = None
    """None where another run of the same transaction holds it, or with an error."""
    found: Index | None = None
    """What others have committed under the key by now."""
    error: Exception | None = None


def wanted(states: bytearray, values: Sequence[Any]) -> dict[int, bytes]:
    """Return the keys that a chunk's elements need leases of, which stand for their values."""
    if StateName.AWAITING_CONCURRENCY_SLOT not in states:
        return {}
    waits = StateName.AWAITING_CONCURRENCY_SLOT
    return {at: values[at] for at, code in enumerate(states) if code == waits}


class Leasing:
    """The keys that elements of one run hold or wait for."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[int]] = {}
        """Elements by key, in the order in which they came."""
        self._holders: dict[bytes, tuple[int, Lease | None]] = {}
        self._keys: dict[int, bytes] = {}
        """Of the elements that hold one."""
        self._found: dict[int, Index] = {}
        self._unasked: deque[bytes] = deque()
        self._asked: set[bytes] = set()
        self.unneeded: list[Lease] = []
        """Nobody waits for them, or what they were for wasn't kept."""
        self.kept: list[Lease] = []
        """To be released when what was kept is committed."""

    def want(self, index: int, key: bytes) -> bool:
        """Take in that an element can't run without a key; return whether it has it already."""
        if self._keys.get(index) == key:
            return True
        waiting = self._waiting.setdefault(key, deque())
        waiting.append(index)
        if key not in self._holders and key not in self._asked and len(waiting) == 1:
            self._unasked.append(key)
        return False

    def ask(self, most: int) -> list[bytes]:
        """Return the keys whose leases are to be asked for, while few enough are held or asked."""
        asked: list[bytes] = []
        while self._unasked and len(self._holders) + len(self._asked) < most:
            key = self._unasked.popleft()
            self._asked.add(key)
            asked.append(key)
        return asked

    def got(self, granted: Granted) -> list[int]:
        """Take in a lease; return the elements that go out now, or that fail by its error."""
        key, waiting = granted.key, self._waiting.get(granted.key)
        self._asked.discard(key)
        if granted.error is not None:
            return list(self._waiting.pop(key, ()))
        if not waiting:
            self._drop(granted.lease)
            return []
        if granted.found is not None:
            # Once the first has found it, too, and it wasn't damaged, all of them go.
            self._found.update(dict.fromkeys(waiting, granted.found))
        return [self._next(key, granted.lease)]

    def ended(self, index: int, state: StateName | int, *, kept: bool) -> list[int]:
        """Take in that an element is final; return those that go out now.

        Args:
            index: The element.
            state: Its.
            kept: Whether its chunk has staged something.
        """
        self._found.pop(index, None)
        key = self._keys.pop(index, None)
        if key is None:
            return []
        _, lease = self._holders.pop(key)
        made = kept and state == StateName.COMPLETED
        if made or state == StateName.CACHED:
            if made and lease is not None:
                self.kept.append(lease)
            else:
                self._drop(lease)
            return list(self._waiting.pop(key, ()))
        if self._waiting.get(key):
            return [self._next(key, lease)]
        self._drop(lease)
        return []

    def held(self, indices: Iterable[int]) -> frozenset[bytes]:
        """Return the keys that these elements hold."""
        if not self._keys:
            return frozenset()
        return frozenset(self._keys[index] for index in indices if index in self._keys)

    def found(self, indices: Iterable[int]) -> list[Index]:
        """Return what others have committed under the keys of these elements."""
        if not self._found:
            return []
        found = [self._found[index] for index in indices if index in self._found]
        return list({id(index): index for index in found}.values())

    def drop(self) -> None:
        """Let nobody wait any more; those who hold one come to their end."""
        self._waiting.clear()
        self._unasked.clear()
        self._asked.clear()

    def taken_kept(self) -> Sequence[Lease]:
        """Return the leases that the next commit is to release."""
        taken, self.kept = self.kept, []
        return taken

    def taken_unneeded(self) -> Sequence[Lease]:
        """Return the leases to release at once."""
        taken, self.unneeded = self.unneeded, []
        return taken

    def _next(self, key: bytes, lease: Lease | None) -> int:
        waiting = self._waiting[key]
        index = waiting.popleft()
        if not waiting:
            del self._waiting[key]
        self._holders[key] = index, lease
        self._keys[index] = key
        return index

    def _drop(self, lease: Lease | None) -> None:
        if lease is not None:
            self.unneeded.append(lease)
