"""What a chunk's elements are called with: what came along, and what other chunks made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanfold.engine import wire
from fanfold.engine.dataflow import substitute
from fanfold.engine.failures import restore
from fanfold.engine.results import stored
from fanfold.engine.results.stored import Stored
from fanfold.engine.spec import Hole
from fanfold.ports.runner import Values
from fanfold.values.errors import ValuesLost
from fanfold.values.messages import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Neighbouring values among those of one need."""

    need: int
    slot: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Values that other chunks made, in the order of this chunk's elements."""

    pieces: tuple[Piece, ...]
    whole: bool = True
    """As a hole: fill it with the list of the values, not with the only one."""
    failures: Mapping[int, Failure] = field(default_factory=dict)
    """Why there is no value, by place in the order of the elements: the exception stands there.

    The pieces hold the values for the other places.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """Values that came with the chunk."""

    items: Sequence[Any]
    holes: bool = False


Column = Taken | Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a chunk's elements are called with."""

    columns: tuple[Column, ...]
    fills: Mapping[int, Taken] = field(default_factory=dict)
    """By hole number."""


class Needs:
    """The values that other chunks made, unpickled when first asked for."""

    def __init__(self, needs: Sequence[Values], remote: bool) -> None:
        self._needs = needs
        self._remote = remote
        self._lists: dict[int, list[Any]] = {}

    def take(self, taken: Taken) -> list[Any]:
        """Return values in the order of the pieces, stored ones loaded."""
        found: list[Any] = []
        for piece in taken.pieces:
            values = self._list(piece.need)
            if piece.slot + piece.count > len(values):
                raise ValuesLost(
                    "A chunk that was run again came less far than before.", [piece.need]
                )
            found.extend(values[piece.slot : piece.slot + piece.count])
        return _among(taken.failures, load_stored(found))

    def fill(self, taken: Taken) -> Any:
        """Return what belongs in a hole."""
        values = self.take(taken)
        return values if taken.whole else values[0]

    def column(self, column: Column, fills: Mapping[int, Any]) -> Sequence[Any]:
        """Return a column's values, the holes in them filled."""
        if isinstance(column, Taken):
            return self.take(column)
        if not column.holes:
            return column.items
        return [substitute(item, Hole, lambda hole: fills[hole.number]) for item in column.items]

    def _list(self, need: int) -> list[Any]:
        if need not in self._lists:
            values = self._needs[need]
            self._lists[need] = wire.load(values) if self._remote else values
        return self._lists[need]


def _among(failures: Mapping[int, Failure], values: list[Any]) -> list[Any]:
    """Return the values with exceptions between them, at their places."""
    if not failures:
        return values
    others = iter(values)
    return [
        restore(failures[place]) if place in failures else next(others)
        for place in range(len(values) + len(failures))
    ]


def load_stored(values: list[Any]) -> list[Any]:
    """Return the values with references to stored ones replaced by what they refer to."""
    if Stored not in set(map(type, values)):
        return values
    places = [at for at, value in enumerate(values) if type(value) is Stored]
    loaded = list(values)
    for at, value in zip(places, stored.load_all([values[at] for at in places]), strict=True):
        loaded[at] = value
    return loaded
