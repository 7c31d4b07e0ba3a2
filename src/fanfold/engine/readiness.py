"""Which elements have everything that they wait for: one byte per element and upstream column."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fanfold.engine.chunking import Span
from fanfold.engine.sources import From, Sources, spans_of
from fanfold.values.states import FINAL, WITH_VALUE, StateName

if TYPE_CHECKING:
    from fanfold.engine.run import Run

_ONES = re.compile(b"\x01+")
_NO_VALUE = re.compile(b"[" + re.escape(bytes(sorted(FINAL - WITH_VALUE))) + b"]")
_NOT_YET = re.compile(b"[^" + re.escape(bytes(sorted(WITH_VALUE))) + b"]")
_ALL_FINAL = re.compile(b"[" + re.escape(bytes(sorted(FINAL))) + b"]*")


class Readiness:
    """The waiting elements of one run; driven by that run's thread."""

    def __init__(self, sources: Sources, count: int) -> None:
        self._sources = sources
        self._count = count
        self._free = bytearray(b"\x01") * count
        """1: neither handed out nor failed."""
        self._columns = [column for column in sources.columns if isinstance(column, From)]
        self._arrived = [bytearray(count) for _ in self._columns]
        self._missing = {number: sources.fills[number] for number in sources.fills}
        self._common = set(sources.common)
        self._waiting = {index: set(holes) for index, holes in sources.of.items()}
        self._elements: dict[int, list[int]] = defaultdict(list)
        for index, holes in sources.of.items():
            for number in holes:
                self._elements[number].append(index)
        self._numbers: dict[Run, set[int]] = defaultdict(set)
        for number, source in self._missing.items():
            self._numbers[source.run].add(number)
        self._news: list[Span] = []

    def ready(self, start: int, stop: int) -> list[Span]:
        """Return the elements of a span that may go now, each only once."""
        if self._common:
            return []
        mask = self._free[start:stop]
        for arrived in self._arrived:
            mask = _both(mask, arrived[start:stop])
        found: list[Span] = []
        for match in _ONES.finditer(mask):
            found += self._without_waiting(start + match.start(), start + match.end())
        for low, high in found:
            self._free[low:high] = bytes(high - low)
        return found

    def news(self) -> list[Span]:
        """Return the elements that may go since this was asked before."""
        spans, self._news = self._news, []
        return [ready for span in spans for ready in self.ready(*span)]

    def failure(self, element: int) -> str | None:
        """Return why an element can never have what it needs, None if it may."""
        return next(filter(None, map(lacking, self._needed(element))), None)

    def complete(self, element: int) -> bool:
        """Return whether all that an element needs has a value at this moment."""
        return all(
            final(source) if source.failures else _first(_NOT_YET, source) is None
            for source in self._needed(element)
        )

    def _needed(self, element: int) -> Iterator[From]:
        """Yield what an element is called with; what was only waited for is behind it."""
        for column in self._columns:
            index = column.indices[element]
            yield replace(column, indices=range(index, index + 1))
        for number in (*self._sources.common, *self._sources.of.get(element, ())):
            if self._sources.fills[number].value:
                yield self._sources.fills[number]

    def arrive(self, run: "Run", spans: Iterable[Span]) -> Iterator[tuple[int, str]]:
        """Take in that elements of a run are final; yield those that fail by it, with the cause."""
        for column, arrived in zip(self._columns, self._arrived, strict=True):
            if column.run is run:
                for span in spans:
                    yield from self._column_arrives(column, arrived, span)
        for number in list(self._numbers.get(run, ())):
            if final(self._missing[number]):
                self._numbers[run].discard(number)
                yield from self._fill_arrives(number)

    def _column_arrives(
        self, column: From, arrived: bytearray, span: Span
    ) -> Iterator[tuple[int, str]]:
        indices = column.indices
        if indices.step == 1:
            start = max(span[0] - indices.start, 0)
            stop = min(span[1] - indices.start, len(indices))
            if start >= stop:
                return
            arrived[start:stop] = b"\x01" * (stop - start)
            self._news.append((start, stop))
            if column.failures:
                return
            for match in _NO_VALUE.finditer(
                column.run.states, start + indices.start, stop + indices.start
            ):
                yield from self._fail(match.start() - indices.start, column.run, match.start())
            return
        for index in range(*span):
            if index in indices:
                element = indices.index(index)
                arrived[element] = 1
                self._news.append((element, element + 1))
                if not column.failures and column.run.states[index] not in WITH_VALUE:
                    yield from self._fail(element, column.run, index)

    def _fill_arrives(self, number: int) -> Iterator[tuple[int, str]]:
        source = self._missing.pop(number)
        elements: Iterable[int] = self._elements.get(number, ())
        if number in self._common:
            self._common.discard(number)
            elements = range(self._count)
            self._news.append((0, self._count))
        failed = None if source.failures else _first(_NO_VALUE, source)
        for element in elements:
            holes = self._waiting.get(element)
            if holes is not None and number in holes:
                holes.discard(number)
                if not holes:
                    del self._waiting[element]
                self._news.append((element, element + 1))
            if failed is not None:
                yield from self._fail(element, source.run, failed)

    def _fail(self, element: int, run: "Run", index: int) -> Iterator[tuple[int, str]]:
        """Fail an element, unless it was handed out before the value it needs was lost."""
        if self._free[element]:
            self._free[element] = 0
            yield element, root_cause(run, index)

    def _without_waiting(self, start: int, stop: int) -> list[Span]:
        """Cut the elements that still have holes out of a span."""
        if not self._waiting:
            return [(start, stop)]
        found: list[Span] = []
        for index in range(start, stop):
            if index in self._waiting:
                continue
            if found and found[-1][1] == index:
                found[-1] = (found[-1][0], index + 1)
            else:
                found.append((index, index + 1))
        return found


def root_cause(run: "Run", index: int) -> str:
    """Return the sentence that names what failed first, over any number of dependents."""
    failure = run.error(index)
    if failure is None:
        return f"{run.label(index)} has no value"
    if run.states[index] == StateName.UPSTREAM_FAILED:
        return failure.message
    state = StateName(run.states[index]).label
    return f"{run.label(index)} {state}: {failure.kind}: {failure.message}"


def lacking(source: From) -> str | None:
    """Return why dependents of these elements fail now, None if they don't."""
    failed = None if source.failures else _first(_NO_VALUE, source)
    return None if failed is None else root_cause(source.run, failed)


def final(source: From) -> bool:
    """Return whether all these elements are final."""
    return all(_ALL_FINAL.fullmatch(source.run.states, *span) for span in spans_of(source.indices))


def _first(states: re.Pattern[bytes], source: From) -> int | None:
    """Return the first of a source's elements that is in one of these states."""
    for span in spans_of(source.indices):
        match = states.search(source.run.states, *span)
        if match:
            return match.start()
    return None


def _both(first: bytearray, second: bytearray) -> bytearray:
    """Return the bytewise minimum of two masks of equal length, at the speed of big integers."""
    both = int.from_bytes(first, "little") & int.from_bytes(second, "little")
    return bytearray(both.to_bytes(len(first), "little"))
