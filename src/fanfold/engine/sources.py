"""Where a map's arguments come from, at the driver: the caller's data, or other runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fanfold.engine.chunking import Batch, Span
from fanfold.engine.inputs import Column, Inputs, Literal, Piece, Taken
from fanfold.ports.runner import Ref

if TYPE_CHECKING:
    from fanfold.engine.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A column that the caller brought: a list, a range, an array."""

    items: Sequence[Any]
    holes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """Values of another run: as a column, one for each element; as a fill, all of them."""

    run: "Run"
    indices: range
    whole: bool = True
    """As a fill: the list of the values, not the only value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that the elements of a run are called with."""

    columns: tuple[Given | From, ...] = ()
    fills: dict[int, From] = field(default_factory=dict)
    """By hole number."""
    common: frozenset[int] = frozenset()
    """Holes of static arguments, which every element needs."""
    of: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Holes in the items of columns, by element."""

    def upstream(self) -> list["Run"]:
        """Return the runs that something here comes from, each once, in a stable order."""
        sources = (*self.columns, *self.fills.values())
        return list(dict.fromkeys(source.run for source in sources if isinstance(source, From)))

    def inputs(self, batch: Batch) -> tuple[Inputs, list[Ref]]:
        """Return what a chunk of these elements is called with, and the refs it needs.

        Raises:
            LookupError: Some value has no place at the moment; args are its run and its index.
        """
        needs = _Needs()
        holes = set(self.common)
        if self.of:
            holes.update(number for index in batch.indices() for number in self.of.get(index, ()))
        return Inputs(
            columns=tuple(_column(source, batch, needs) for source in self.columns),
            fills={number: needs.fill(self.fills[number]) for number in sorted(holes)},
        ), needs.refs


class _Needs:
    """Numbers the refs that a chunk needs."""

    def __init__(self) -> None:
        self.refs: list[Ref] = []
        self._numbers: dict[Ref, int] = {}

    def pieces(self, run: "Run", indices: Iterable[Span]) -> tuple[Piece, ...]:
        found: list[Piece] = []
        for start, stop in indices:
            at = start
            for stretch in run.locations.find(start, stop):
                if stretch.first != at:
                    raise LookupError(run, at)
                need = self._number(stretch.ref)
                found.append(Piece(need=need, slot=stretch.slot, count=stretch.count))
                at += stretch.count
            if at != stop:
                raise LookupError(run, at)
        return tuple(found)

    def fill(self, source: From) -> Taken:
        return Taken(pieces=self.pieces(source.run, spans_of(source.indices)), whole=source.whole)

    def _number(self, ref: Ref) -> int:
        if ref not in self._numbers:
            self._numbers[ref] = len(self.refs)
            self.refs.append(ref)
        return self._numbers[ref]


def spans_of(indices: range) -> list[Span]:
    """Return a range of elements as spans, one where its step is 1."""
    if indices.step == 1:
        return [(indices.start, indices.stop)] if indices else []
    return [(index, index + 1) for index in indices]


def _column(source: Given | From, batch: Batch, needs: _Needs) -> Column:
    if isinstance(source, From):
        wanted = (source.indices[start:stop] for start, stop in batch.spans)
        spans = [span for indices in wanted for span in spans_of(indices)]
        return Taken(pieces=needs.pieces(source.run, spans))
    return Literal(items=_slice(source.items, batch.spans), holes=source.holes)


def _slice(items: Sequence[Any], spans: Sequence[Span]) -> Sequence[Any]:
    if len(spans) == 1:
        return items[slice(*spans[0])]
    return [item for start, stop in spans for item in items[start:stop]]
