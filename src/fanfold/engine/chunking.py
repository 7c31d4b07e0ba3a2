"""How a map is cut: slots and measured seconds in, sizes and budgets out. Pure.

Chunks limit themselves: each is a generous range with a time budget, stops between elements once
the budget is spent, and the rest is handed out anew. So no guess can be far wrong, the tail is
balanced, and the cluster sees a few hundred chunks whatever the map's length.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fanfold.values.resources import Slots

BUDGET_S = 0.3
"""Long enough to hide a cluster's 2 to 5 ms per chunk, short enough for a prompt cancel."""
SHORTEST_S = 0.01
"""Even on few slots no chunk is cut below this much measured work: twice what carrying it costs."""
CHUNKS_PER_SECOND = 200.0
"""What driver and scheduler carry easily, since each needs 1.2 ms for a chunk; the budget grows
with the slots to stay below."""
BURST_PER_SECOND = 500.0
"""What they carry for a while. No chunk is cut below the work that keeps the slots under it: with
1,000 slots the shorter ones at a map's end would come faster, and make it take a sixth longer."""
PER_SLOT = 4
"""Chunks in flight per slot: enough that a slot never waits for the driver."""
FEWEST_IN_FLIGHT = 8
"""Or an autoscaler that starts from nothing would see no demand."""
ASKED_S = 10.0
"""Work in flight per slot where workers may join: Dask asks for a worker for each 5 s of it, so
with `PER_SLOT` chunks alone a cluster stays at a quarter of its size; twice that doubles it."""
SHARES = 2
"""A slot's share of what is left makes so many chunks at least, so that all slots end together."""
FIRST_CHUNK = 16
"""With nothing measured yet, a short map isn't cut finer than this unless slots stay empty."""
INPUT_BYTES = 1 << 20
"""Most inputs that travel inside a chunk; Dask's scheduler keeps them while the chunk lives."""
PIECES = 32
"""A chunk whose worker was lost is cut into this many, to find the element that kills."""

Span = tuple[int, int]
"""Neighbouring elements: first, and one past the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Elements that may travel together."""

    spans: tuple[Span, ...]
    suspect: bool = False
    """They were in a chunk whose worker was lost: they travel by themselves."""
    copy_of: str = ""
    """Id of a silent chunk that has the same elements; whichever comes home first counts."""
    after: str = ""
    """Id of a chunk that has kept something under the keys that these elements may have."""

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.spans)

    def split(self, size: int) -> tuple["Batch", "Batch | None"]:
        """Return the first `size` elements and the rest, None if there is none."""
        taken: list[Span] = []
        for at, (start, stop) in enumerate(self.spans):
            room = min(size, stop - start)
            size -= room
            if room:
                taken.append((start, start + room))
            if not size:
                left = ((start + room, stop), *self.spans[at + 1 :])
                rest = tuple(span for span in left if span[0] < span[1])
                tail = replace(self, spans=rest, copy_of="") if rest else None
                return replace(self, spans=tuple(taken), copy_of=""), tail
        return self, None

    def elements(self) -> Sequence[int]:
        """Return the elements by position."""
        return range(*self.spans[0]) if len(self.spans) == 1 else list(self.indices())

    def without(self, index: int) -> Iterator[Span]:
        """Yield the spans of all but one element."""
        for start, stop in self.spans:
            parts = [(start, stop)]
            if start <= index < stop:
                parts = [(start, index), (index + 1, stop)]
            yield from (part for part in parts if part[0] < part[1])

    def indices(self) -> Iterator[int]:
        """Yield the elements in the batch's order."""
        for start, stop in self.spans:
            yield from range(start, stop)


@dataclass(slots=True, kw_only=True)
class Pace:
    """What the elements of a map were seen to take."""

    seconds: float = 0.0
    """Per element; 0 while nothing is known."""
    bytes_in: float = 0.0
    """Pickled inputs per element; 0 while nothing is known."""

    def learn(self, count: int, seconds: float) -> None:
        """Take in a report: half of what is known, half of what is new."""
        if count:
            seen = max(seconds / count, 1e-9)
            self.seconds = (self.seconds + seen) / 2 if self.seconds else seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a user fixed about the cut of a map; None leaves it to the planner."""

    chunk_size: int | None = None
    """Most elements per chunk; it then runs all of them, whatever they take."""
    max_in_flight: int | None = None
    """Most elements handed out and not finished."""


def budget_s(slots: Slots) -> float:
    """Return how long a chunk may go on before it stops between elements."""
    return max(BUDGET_S, max(slots.most, 1) / CHUNKS_PER_SECOND)


def wanted_in_flight(slots: Slots) -> int:
    """Return how many chunks should be handed out at a time."""
    asked = ASKED_S / budget_s(slots) if slots.grows else 0.0
    return max(FEWEST_IN_FLIGHT, int(max(PER_SLOT, asked) * slots.most))


def shortest_s(slots: Slots) -> float:
    """Return the measured work below which no chunk is cut."""
    return max(SHORTEST_S, slots.most / BURST_PER_SECOND)


def size(left: float, slots: Slots, pace: Pace) -> int:
    """Return how many elements the next chunk gets, at least 1.

    Args:
        left: Elements of the map that aren't final, nor promised by chunks in flight.
        slots: What the session can run.
        pace: What is known of the elements.
    """
    most = max(slots.most, 1)
    if pace.seconds:
        shortest = shortest_s(slots) / pace.seconds
        best = max(min(left / (SHARES * most), reach(slots, pace)), shortest)
    else:
        pieces = min(wanted_in_flight(slots), max(most, -(-left // FIRST_CHUNK)))
        best = left / pieces
    if pace.bytes_in:
        best = min(best, INPUT_BYTES / pace.bytes_in)
    return max(1, -int(-best // 1))


def reach(slots: Slots, pace: Pace) -> float:
    """Return how many elements a chunk gets done within its budget; 0 while nothing is known."""
    return budget_s(slots) / pace.seconds if pace.seconds else 0.0


def share(max_in_flight: int, slots: Slots) -> int:
    """Return how many elements a chunk may have so that every slot gets some of the few."""
    return max(1, max_in_flight // (2 * max(slots.most, 1)))


def merge(batches: Iterable[Batch]) -> Batch:
    """Return one batch of all elements, sorted, neighbours joined."""
    spans: list[Span] = []
    for span in sorted(span for batch in batches for span in batch.spans):
        if spans and spans[-1][1] == span[0]:
            spans[-1] = (spans[-1][0], span[1])
        else:
            spans.append(span)
    return Batch(spans=tuple(spans))


def joined(spans: list[Span]) -> list[Span]:
    """Return spans sorted, neighbours joined."""
    return list(merge([Batch(spans=tuple(spans))]).spans) if spans else []


def take(todo: deque[Batch], count: int) -> Batch:
    """Take up to `count` elements off the front of the queue.

    A suspect batch travels by itself. Short batches of others are joined until the count is full,
    if they come after the same chunk.
    """
    batch = todo.popleft()
    if batch.suspect:
        head, tail = batch.split(count)
        if tail is not None:
            todo.appendleft(tail)
        return head
    parts: list[Batch] = []
    while True:
        head, tail = batch.split(count)
        parts.append(head)
        count -= len(head)
        if tail is not None:
            todo.appendleft(tail)
        if not count or not todo or todo[0].suspect or todo[0].after != batch.after:
            break
        batch = todo.popleft()
    return parts[0] if len(parts) == 1 else replace(merge(parts), after=batch.after)


def cut(batch: Batch) -> list[Batch]:
    """Cut what a lost worker held into `PIECES` suspect batches at most, at last single ones."""
    size_of_piece = -(-len(batch) // PIECES)
    pieces: list[Batch] = []
    rest: Batch | None = replace(batch, suspect=True, copy_of="")
    while rest is not None:
        head, rest = rest.split(size_of_piece)
        pieces.append(head)
    return pieces
