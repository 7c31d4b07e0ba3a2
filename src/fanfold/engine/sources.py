"""Where a map's arguments come from, at the driver: the caller's data, or other runs."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fanfold.engine.chunking import Batch, Span
from fanfold.engine.failures import capture
from fanfold.engine.inputs import Column, Inputs, Literal, Piece, Taken
from fanfold.engine.recording.showing import shown
from fanfold.engine.spec import Layout, Mapped
from fanfold.ports.runner import Ref
from fanfold.values.errors import RunError
from fanfold.values.messages import Failure
from fanfold.values.states import FINAL, WITH_VALUE

if TYPE_CHECKING:
    from fanfold.engine.run import Run

SHOWN = 80
"""Characters of an argument in a message."""

_STRETCH = re.compile(
    b"(?P<valued>[%b]+)|(?P<lacking>[%b]+)"
    % (re.escape(bytes(sorted(WITH_VALUE))), re.escape(bytes(sorted(FINAL - WITH_VALUE))))
)


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
    failures: bool = False
    """Where there is no value, its exception stands there, and the dependents don't fail by it."""
    value: bool = True
    """False: it is only waited for, and nothing is moved. As a fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that the elements of a run are called with."""

    columns: tuple[Given | From, ...] = ()
    fills: dict[int, From] = field(default_factory=dict)
    """By hole number."""
    common: frozenset[int] = frozenset()
    """Holes of static arguments, and whatever else every element waits for."""
    of: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Holes in the items of columns, by element."""

    def upstream(self) -> list["Run"]:
        """Return the runs that something here comes from, each once, in a stable order."""
        if not self.fills and not any(isinstance(column, From) for column in self.columns):
            return []
        sources = (*self.columns, *self.fills.values())
        return list(dict.fromkeys(source.run for source in sources if isinstance(source, From)))

    def inputs(self, batch: Batch, *, travels: bool = False) -> tuple[Inputs, list[Ref]]:
        """Return what a chunk of these elements is called with, and the refs it needs.

        Args:
            batch: The elements.
            travels: Whether it goes to another process.

        Raises:
            LookupError: Some value has no place at the moment; args are its run and its index.
        """
        needs = _Needs(travels)
        holes = set(self.common)
        if self.of:
            holes.update(number for index in batch.indices() for number in self.of.get(index, ()))
        return Inputs(
            columns=tuple(_column(source, batch, needs) for source in self.columns),
            fills={
                number: needs.fill(self.fills[number])
                for number in sorted(holes)
                if self.fills[number].value
            },
        ), needs.refs

    def called(self, layout: Layout, index: int) -> str:
        """Return what an element is called with as a short text: "'a.txt', depth=2"."""
        args = [self._shown(arg, index) for arg in layout.args]
        named = [f"{name}={self._shown(arg, index)}" for name, arg in layout.kwargs.items()]
        return ", ".join([*args, *named])

    def _shown(self, arg: Any, index: int) -> str:
        if not isinstance(arg, Mapped):
            return shown(arg, SHOWN)
        column = self.columns[arg.column]
        if isinstance(column, From):
            return f"<{column.run.label(column.indices[index])}>"
        return shown(column.items[index], SHOWN)

    def brought(self) -> "Sources | None":
        """Return what is left without other runs: None if values of some are among it."""
        if any(isinstance(column, From) for column in self.columns):
            return None
        if any(source.value for source in self.fills.values()):
            return None
        return replace(self, fills={}, common=frozenset()) if self.fills else self


class _Needs:
    """Numbers the refs that a chunk needs."""

    def __init__(self, travels: bool) -> None:
        self.refs: list[Ref] = []
        self._travels = travels
        self._numbers: dict[Ref, int] = {}

    def taken(self, source: From, spans: Iterable[Span]) -> Taken:
        """Return what is wanted of a source; the spans are its run's elements."""
        if source.failures:
            return self._with_failures(source, spans)
        found = (piece for span in spans for piece in self._pieces(source.run, *span))
        return Taken(pieces=tuple(found), whole=source.whole)

    def fill(self, source: From) -> Taken:
        return self.taken(source, spans_of(source.indices))

    def _pieces(self, run: "Run", start: int, stop: int) -> Iterator[Piece]:
        at = start
        for stretch in run.locations.find(start, stop):
            if stretch.first != at:
                raise LookupError(run, at)
            need = self._number(stretch.ref)
            yield Piece(need=need, slot=stretch.slot, count=stretch.count)
            at += stretch.count
        if at != stop:
            raise LookupError(run, at)

    def _with_failures(self, source: From, spans: Iterable[Span]) -> Taken:
        """Tell by the states what has a value: failed elements may have places all the same."""
        run, place = source.run, 0
        pieces: list[Piece] = []
        failures: dict[int, Failure] = {}
        for start, stop in spans:
            at = start
            for match in _STRETCH.finditer(run.states, start, stop):
                low, high = match.span()
                if low != at:
                    raise LookupError(run, at)
                if match.lastgroup == "valued":
                    pieces += self._pieces(run, low, high)
                else:
                    for index in range(low, high):
                        failures[place + index - low] = self._failure(run, index)
                place += high - low
                at = high
            if at != stop:
                raise LookupError(run, at)
        return Taken(pieces=tuple(pieces), whole=source.whole, failures=failures)

    def _failure(self, run: "Run", index: int) -> Failure:
        failure = run.error(index)
        if failure is None:
            lacking = RunError(f"{run.label(index)} has no value")
            return capture(lacking, travels=self._travels)
        if self._travels and failure.live is not None:
            return capture(failure.live, travels=True)
        return failure

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
        return needs.taken(source, [span for indices in wanted for span in spans_of(indices)])
    return Literal(items=_slice(source.items, batch.spans), holes=source.holes)


def _slice(items: Sequence[Any], spans: Sequence[Span]) -> Sequence[Any]:
    if len(spans) == 1:
        return items[slice(*spans[0])]
    return [item for start, stop in spans for item in items[start:stop]]
