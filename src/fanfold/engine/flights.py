"""The chunks of a run that were handed out and aren't home."""

from dataclasses import dataclass

from fanfold.engine.chunking import Batch
from fanfold.ports.runner import Ref


@dataclass(slots=True, kw_only=True)
class Flight:
    """A chunk that was handed out."""

    batch: Batch
    needs: list[Ref]
    ref: Ref = None
    mark: tuple[int, float] | None = None
    """The element that began last, by position, and when; told only under a time limit."""

    def overran(self, limit_s: float | None, now: float) -> int | None:
        """Return the element that was past its time limit when the worker died, if one was."""
        if limit_s is None or self.mark is None:
            return None
        position, since = self.mark
        return self.batch.elements()[position] if now - since >= limit_s else None


class Flights:
    """The flights of one run, by chunk id."""

    def __init__(self) -> None:
        self._out: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._out)

    def leave(self, chunk_id: str, batch: Batch, needs: list[Ref]) -> None:
        """Note that a chunk is handed out."""
        self._out[chunk_id] = Flight(batch=batch, needs=needs)

    def sent(self, chunk_id: str, ref: Ref) -> None:
        """Remember the handle of a chunk, unless it came home already."""
        flight = self._out.get(chunk_id)
        if flight is not None:
            flight.ref = ref

    def begins(self, chunk_id: str, position: int, now: float) -> None:
        """Remember which element a chunk said that it is at."""
        flight = self._out.get(chunk_id)
        if flight is not None:
            flight.mark = position, now

    def land(self, chunk_id: str) -> Flight | None:
        """Take a chunk that is home off the list; None if it was home before."""
        return self._out.pop(chunk_id, None)

    def clear(self) -> None:
        """Wait for none of them any more."""
        self._out.clear()

    def refs(self) -> list[Ref]:
        """Return the handles of all chunks that are out."""
        return [flight.ref for flight in self._out.values() if flight.ref is not None]

    def elements(self) -> int:
        """Return how many elements are out."""
        return sum(len(flight.batch) for flight in self._out.values())

    def promised(self, reach: float) -> float:
        """Return how many elements will come home done, at `reach` for each chunk at most."""
        return sum(min(len(flight.batch), reach) for flight in self._out.values())

    def indices(self) -> set[int]:
        """Return all elements that are out."""
        return {index for flight in self._out.values() for index in flight.batch.indices()}
