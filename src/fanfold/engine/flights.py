"""The chunks of a run that were handed out and aren't home."""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import takewhile

from fanfold.engine.chunking import Batch, Span
from fanfold.engine.patience import Patience
from fanfold.ports.runner import Ref


@dataclass(slots=True, kw_only=True)
class Flight:
    """A chunk that was handed out."""

    id: str
    batch: Batch
    needs: list[Ref]
    heard: float
    """When it last said something, or was handed out."""
    ref: Ref = None
    spoke: bool = False
    looked_after: bool = False
    """The cluster is looking after it."""
    twin: str = ""
    """Id of another chunk with the same elements, or with the first of them."""
    mark: tuple[int, float] | None = None
    """The element that began last, by position, and when; told only under a time limit."""

    def overran(self, limit_s: float | None, now: float) -> int | None:
        """Return the element that was past its time limit when the worker died, if one was."""
        if limit_s is None or self.mark is None:
            return None
        position, since = self.mark
        return self.batch.elements()[position] if now - since >= limit_s else None


class Flights:
    """The flights of one run, by chunk id; those that were silent for longest come first."""

    def __init__(self, patience: Patience) -> None:
        self.unneeded: list[Ref] = []
        """Chunks whose elements came home in another one."""
        self._patience = patience
        self._out: dict[str, Flight] = {}
        self._copies: deque[str] = deque()
        """Ids of chunks that go out once more, beside the first."""
        self._lengths: dict[int, tuple[int, int]] = {}
        """By the length's power of two: how many are out, and their elements."""

    def __len__(self) -> int:
        return len(self._out)

    def leave(self, chunk_id: str, batch: Batch, needs: list[Ref], now: float) -> None:
        """Note that a chunk is handed out."""
        flight = self._out[chunk_id] = Flight(id=chunk_id, batch=batch, needs=needs, heard=now)
        self._count(len(batch), 1)
        if batch.copy_of in self._out:
            flight.twin, self._out[batch.copy_of].twin = batch.copy_of, chunk_id

    def sent(self, chunk_id: str, ref: Ref) -> None:
        """Remember the handle of a chunk, unless it came home already."""
        flight = self._out.get(chunk_id)
        if flight is not None:
            flight.ref = ref

    def speaks(self, chunk_id: str, now: float, begins: tuple[int, float] | None = None) -> None:
        """Take in that a chunk said something, such as which element it began, and when."""
        # To the end, so that those that were silent for longest come first.
        flight = self._out.pop(chunk_id, None)
        if flight is not None:
            self._out[chunk_id] = flight
            flight.heard, flight.spoke = now, True
            if begins is not None:
                flight.mark = begins

    def silent(self, now: float) -> dict[str, Ref]:
        """Return the chunks that the cluster should look after, by id; others are to be copied."""
        found: dict[str, Ref] = {}
        quiet = takewhile(lambda f: now - f.heard >= self._patience.word_s, self._out.values())
        for flight in [flight for flight in quiet if not flight.looked_after]:
            if self._patience.speculative and flight.spoke:
                self.looked([flight.id], [flight.id], now)
            else:
                found[flight.id] = flight.ref
                flight.looked_after = True
        return found

    def looked(self, chunks: Iterable[str], stuck: Collection[str], now: float) -> int:
        """Take in which silent chunks are stuck: they get copies.

        Returns:
            How many of the others run, for they spoke once.
        """
        self._copies.extend(stuck)
        busy = 0
        for chunk_id in chunks:
            flight = self._out.pop(chunk_id, None)
            if flight is not None:
                self._out[chunk_id] = flight
                flight.heard, flight.looked_after = now, False
                busy += flight.spoke and chunk_id not in stuck
        return busy

    def due(self) -> float | None:
        """Return when some chunk will have been silent for too long."""
        heard = next((f.heard for f in self._out.values() if not f.looked_after), None)
        return None if heard is None else heard + self._patience.word_s

    def next_copy(self) -> Batch | None:
        """Return the elements of a chunk that goes out once more."""
        while self._copies:
            flight = self._out.get(self._copies.popleft())
            if flight is not None and flight.twin not in self._out:
                return replace(flight.batch, copy_of=flight.id)
        return None

    def twin(self, flight: Flight) -> bool:
        """Return whether another chunk with the same elements is out."""
        return flight.twin in self._out

    def outrun(self, winner: Flight) -> Batch | None:
        """Let go of the twin of a chunk that is home; return what the twin alone has."""
        loser = self.land(winner.twin)
        assert loser is not None
        self.unneeded.append(loser.ref)
        more = loser.batch.split(len(winner.batch))[1]
        return more and replace(more, copy_of="")

    def land(self, chunk_id: str) -> Flight | None:
        """Take a chunk that is home off the list; None if it was home before."""
        flight = self._out.pop(chunk_id, None)
        if flight is not None:
            self._count(len(flight.batch), -1)
        return flight

    def give_up(self) -> None:
        """Wait for none of them any more, and have them cancelled."""
        self.unneeded += self.refs()
        self.clear()

    def clear(self) -> None:
        """Wait for none of them any more."""
        self._out.clear()
        self._lengths.clear()

    def refs(self) -> list[Ref]:
        """Return the handles of all chunks that are out."""
        return [flight.ref for flight in self._out.values() if flight.ref is not None]

    def elements(self) -> int:
        """Return how many elements are out."""
        return sum(elements for _, elements in self._lengths.values())

    def promised(self, reach: float) -> float:
        """Return how many elements will come home done, at `reach` for each chunk at most.

        By powers of two, not by flight, for it is asked before each chunk and 10,000 workers have
        40,000 out. Only those as long as `reach` itself are guessed, too high by a fifth at most.
        """
        return sum(min(elements, out * reach) for out, elements in self._lengths.values())

    def spans(self) -> list[Span]:
        """Return the stretches of elements that are out, in no order."""
        return [span for flight in self._out.values() for span in flight.batch.spans]

    def _count(self, length: int, more: int) -> None:
        power = length.bit_length()
        out, elements = self._lengths.get(power, (0, 0))
        self._lengths[power] = out + more, elements + more * length
