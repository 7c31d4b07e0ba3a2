"""Elements of a map with equal arguments: the first of them runs, the others wait for it. Pure.

Who waits isn't decided by keys, which are made where elements run and would cost 5 to 10 us each at
the driver, but by arguments that look equal: 0.05 us each where all differ, 0.2 us where they don't
(a million ints or strings). The ones that waited make their keys like any other element, and find
what the first has made under theirs. So one that waited in vain, for its key is another one, has
lost some time and nothing else.

Compared are numbers, strings, bytes, dates and paths by type and value, in lists, tuples and
one-dimensional arrays. All others are equal where they are one and the same object; lists, tuples,
sets and dictionaries of up to `MOST_ITEMS` things are compared by their content, too, in maps of up
to `MOST_ROWS` elements.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import PosixPath
from types import NoneType
from typing import Any

from fanfold.engine import chunking
from fanfold.engine.calls import Call
from fanfold.engine.chunking import Batch, Span
from fanfold.engine.masks import ones
from fanfold.engine.sources import Given
from fanfold.engine.spec import Mapped

MOST_ROWS = 2_000
"""Longer maps compare containers by identity only: a copy of each would cost 1 us per item."""
MOST_ITEMS = 100
"""A container of more is compared by identity."""
DEEPEST = 4
"""What lies deeper in containers is compared by identity."""

_NUMBERS = frozenset({bool, int, float, complex})
_PLAIN = _NUMBERS | {NoneType, str, bytes, date, datetime, time, timedelta, PosixPath}


class Twins:
    """The elements of one run that wait for another with equal arguments.

    Args:
        groups: Those that wait, by the element that they wait for.
        count: Of the run's elements.
    """

    def __init__(self, groups: dict[int, list[int]], count: int) -> None:
        self._groups = groups
        self._goes = bytearray(b"\1" * count) if groups else bytearray()
        for waiting in groups.values():
            for index in waiting:
                self._goes[index] = 0

    def first(self, spans: Iterable[Span]) -> list[Span]:
        """Return what is left of some spans without the elements that wait."""
        if not self._groups:
            return list(spans)
        return [
            (start + low, start + high)
            for start, stop in spans
            for low, high in ones(self._goes[start:stop])
        ]

    def freed(self, spans: Iterable[Span], after: str = "") -> list[Batch]:
        """Return the elements that need not wait any more, for these others are final.

        Args:
            spans: Elements that are final.
            after: The chunk that they came home in, if it kept something.
        """
        if not self._groups:
            return []
        free: list[Span] = []
        for start, stop in spans:
            for leader in range(start, stop):
                free += [(index, index + 1) for index in self._groups.pop(leader, ())]
        return [Batch(spans=tuple(chunking.joined(free)), after=after)] if free else []

    def drop(self) -> None:
        """Let nothing wait any more: all is final."""
        self._groups.clear()


def twins(call: Call) -> Twins:
    """Return which elements of a run wait for others: none where results aren't shared by key.

    Only what the driver has is compared, not what other runs make.
    """
    return Twins(_groups(call), call.count)


def _groups(call: Call) -> dict[int, list[int]]:
    cache, sources = call.spec.cache, call.sources
    if call.count < 2 or cache is None or cache.ignored is None or not cache.reads or sources.of:
        return {}
    ignored = _ignored_columns(call, cache.ignored)
    columns: list[Sequence[Any]] = []
    for number, column in enumerate(sources.columns):
        if number in ignored:
            continue
        if not isinstance(column, Given) or column.holes:
            return {}
        columns.append(column.items)
    return equal_rows(columns, call.count)


def _ignored_columns(call: Call, ignored: frozenset[str]) -> set[int]:
    """Return the columns of arguments that no key is made from."""
    if not ignored:
        return set()
    layout = call.spec.layout
    by_name = [value for value in layout.kwargs.values() if isinstance(value, Mapped)]
    try:
        bound = layout.bind(call.spec.fn, [*layout.args, *by_name])
    except TypeError:  # the elements say so when they are called
        return set()
    named = [value for name, value in bound.items() if name in ignored]
    return {value.column for value in named if isinstance(value, Mapped)}


def equal_rows(columns: Sequence[Sequence[Any]], count: int) -> dict[int, list[int]]:
    """Return the rows that look like an earlier one, by the first that looks so."""
    if not columns:
        return {0: list(range(1, count))}
    compared: list[Sequence[Hashable]] = []
    for column in columns:
        if isinstance(column, range):  # no two are equal
            return {}
        tokens = _tokens(column)
        if tokens is None or len(set(tokens)) == count:
            return {}
        compared.append(tokens)
    rows = compared[0] if len(compared) == 1 else list(zip(*compared, strict=True))
    if len(set(rows)) == count:
        return {}
    first: dict[Hashable, int] = {}
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        leader = first.setdefault(row, index)
        if leader != index:
            groups[leader].append(index)
    return dict(groups)


def _tokens(column: Any) -> Sequence[Hashable] | None:
    """Return something for each item that is equal for items that look equal; None: none do."""
    items = column
    if not isinstance(column, (list, tuple)):
        # Rows of a matrix are made anew each time, so that being the same says nothing of them.
        if getattr(column, "ndim", 0) != 1 or not hasattr(column, "tolist"):
            return None
        items = column.tolist()
    kinds = set(map(type, items))
    if kinds <= _PLAIN:
        # True == 1 == 1.0, and they are different arguments.
        mixed = len(kinds & _NUMBERS) > 1
        return [(type(item), item) for item in items] if mixed else items
    depth = DEEPEST if len(items) <= MOST_ROWS else 0
    return [_token(item, depth) for item in items]


def _token(item: Any, depth: int) -> Hashable:
    kind: type[Any] = type(item)
    if kind in _PLAIN:
        return kind, item
    if not depth or kind not in _CONTAINERS or len(item) > MOST_ITEMS:
        return object, id(item)
    parts = [_token(part, depth - 1) for part in (item.items() if kind is dict else item)]
    return kind, tuple(parts) if kind in (list, tuple) else frozenset(parts)


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
