"""Turns a call's arguments into the shape of its elements' calls and sources of values."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import IOBase
from operator import is_
from typing import Any, cast

from fanfold.engine.arguments import FOUND, consecutive, dependencies_in, placed, settle
from fanfold.engine.arguments import resolved as resolved
from fanfold.engine.arguments import settled as settled
from fanfold.engine.dataflow import hollow, is_model
from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.engine.here import HERE
from fanfold.engine.marks import BaseAnnotation, allow_failure, opaque, quote, unmapped
from fanfold.engine.readiness import lacking
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import Hole, Layout, Mapped
from fanfold.ports.runner import Session
from fanfold.values.errors import MappingLengthMismatch, MappingMissingIterable, UpstreamFailed
from fanfold.values.states import WITH_VALUE, State

_STATIC = (str, bytes, bytearray, memoryview, IOBase)
"""Iterable, but never mapped over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A call, taken apart."""

    layout: Layout
    sources: Sources
    count: int

    @property
    def cause(self) -> str | None:
        """Why a single call can never go: what failed first; None if nothing has, by now."""
        return next(filter(None, map(lacking, self.sources.fills.values())), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peeled:
    """An argument of a map without its marks."""

    value: Any
    static: bool = False
    failures: bool = False
    quoted: bool = False
    opaque: bool = False

    def marked(self, value: Any) -> Any:
        """Return another value with the same marks, but for `unmapped`."""
        for wanted, mark in ((self.failures, allow_failure), (self.opaque, opaque)):
            value = mark(value) if wanted else value
        return quote(value) if self.quoted else value


@dataclass(slots=True)
class _Binder:
    """Collects columns and holes while arguments are looked at."""

    session: Session
    columns: list[Given | From] = field(default_factory=list)
    lengths: dict[str, int] = field(default_factory=dict)
    fills: dict[int, From] = field(default_factory=dict)
    static_holes: set[int] = field(default_factory=set)
    waits: set[int] = field(default_factory=set)
    of: dict[int, tuple[int, ...]] = field(default_factory=dict)
    cause: str | None = None
    """Why something that might have been mapped over has no value."""
    _numbers: dict[From, int] = field(default_factory=dict)
    _fetched: dict[From, Any] = field(default_factory=dict)

    def static(self, value: Any) -> Any:
        """Return the value with a hole for each future inside."""
        return placed(value, lambda source: self._standing(source, self.static_holes))

    def mapped(self, name: str, value: Any) -> Any:
        """Return a column's stand-in for what can be mapped over, else the value itself."""
        peeled = unmarked(value)
        items = None if peeled.static else self._items(peeled)
        if items is None:
            return self.static(peeled.marked(peeled.value))
        self.columns.append(self._column(items, peeled))
        self.lengths[name] = len(items)
        return Mapped(len(self.columns) - 1)

    def wait_for(self, dependencies: Iterable[Any]) -> None:
        """Let all elements wait for whatever is inside, without its values."""
        for source in dependencies_in(dependencies):
            if self.session is HERE:
                settle(source)
            self.waits.add(self._number(source))

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any], count: int) -> Bound:
        sources = Sources(
            columns=tuple(self.columns),
            fills=self.fills,
            common=frozenset(self.static_holes | self.waits),
            of=self.of,
        )
        layout = Layout(args=args, kwargs=kwargs, holes=bool(self.static_holes))
        return Bound(layout=layout, sources=sources, count=count)

    def _standing(self, source: From, holes: set[int]) -> Any:
        """Return a hole, or the value itself where another session's run makes it."""
        if source.run.session is not self.session:
            if source not in self._fetched:
                self._fetched[source] = settle(source)
            values = self._fetched[source]
            if values is not None:
                return values if source.whole else values[0]
        number = self._number(source)
        holes.add(number)
        return Hole(number)

    def _number(self, source: From) -> int:
        number = self._numbers.setdefault(source, len(self.fills))
        self.fills[number] = source
        return number

    def _items(self, peeled: _Peeled) -> Sequence[Any] | MapFuture[Any] | None:
        """Return what is mapped over; None if it is the same for all calls."""
        value = peeled.value
        if not peeled.quoted:
            if isinstance(value, State) and isinstance(value.source, (MapFuture, TaskFuture)):
                value = value.source
            if isinstance(value, MapFuture):
                return cast(MapFuture[Any], value)
            if isinstance(value, (TaskFuture, State)):
                value = placed(peeled.marked(value), self._awaited)
        if not mappable(value):
            return None
        return value if _sliceable(value) else list(value)

    def _awaited(self, source: From) -> Any:
        """Return the one value of a source; None if there is none, which all elements fail by."""
        values = settle(source)
        if values is None:
            self.cause = self.cause or lacking(source)
            return None
        return values if source.whole else values[0]

    def _column(self, items: Sequence[Any] | MapFuture[Any], peeled: _Peeled) -> Given | From:
        if isinstance(items, MapFuture):
            return self._from(items.source(), peeled.failures)
        if peeled.quoted or _cannot_hold(items):
            return Given(items=items)
        whole = consecutive(items)
        if whole is not None:
            return self._from(whole.source(), peeled.failures)
        return self._with_holes(items, peeled.marked)

    def _from(self, source: From, failures: bool) -> Given | From:
        source = replace(source, failures=failures)
        if source.run.session is self.session:
            return source
        values = settle(replace(source, failures=True))
        assert values is not None
        lacks = [
            place
            for place, index in enumerate(source.indices)
            if source.run.states[index] not in WITH_VALUE
        ]
        if not lacks:
            return Given(items=values)
        for place in lacks:
            index = source.indices[place]
            one = replace(source, indices=range(index, index + 1), whole=False)
            number = self._number(one)
            values[place] = Hole(number)
            self._needs(place, {number})
        return Given(items=values, holes=True)

    def _with_holes(self, items: Sequence[Any], marked: Callable[[Any], Any]) -> Given:
        changed: list[Any] = []
        holes: set[int] = set()
        for index, item in enumerate(items):
            changed.append(placed(marked(item), lambda source: self._standing(source, holes)))
            if holes:
                self._needs(index, holes)
                holes.clear()
        if all(map(is_, changed, items)):
            return Given(items=items)
        return Given(items=changed, holes=bool(self.of))

    def _needs(self, element: int, holes: set[int]) -> None:
        self.of[element] = (*self.of.get(element, ()), *sorted(holes))


def bind_submit(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    session: Session,
    wait_for: Iterable[Any] | None = None,
) -> Bound:
    """Take a single call apart: futures inside arguments become what it waits for.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        session: Where it will run. Values of other sessions are waited for, fetched and sent along;
            so for a direct call (`HERE`) everything has its value, or is a failure, afterwards.
        wait_for: Futures, states and containers of them that must be over first.

    Raises:
        ValueError: It would wait for the run that it is called in.
    """
    binder = _Binder(session)
    static_args = tuple(binder.static(arg) for arg in args)
    static_kwargs = {k: binder.static(v) for k, v in kwargs.items()}
    binder.wait_for(wait_for or ())
    return binder.bound(static_args, static_kwargs, 1)


def bind_map(
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    session: Session,
    names: Sequence[str],
    wait_for: Iterable[Any] | None = None,
) -> Bound:
    """Take a map apart: iterables become columns, the rest is the same for all calls.

    Args:
        name: The task's, for errors.
        args: Positional arguments; strings, bytes, files and models are never mapped over.
        kwargs: Keyword arguments, alike.
        session: Where it will run; values of other sessions are fetched and sent along.
        names: Of the positional parameters, for errors.
        wait_for: Futures, states and containers of them that must be over before any element goes.

    A future or state of a single call that stands alone is waited for here, to see whether it can
    be mapped over. If it has no value, all elements fail by it.

    Raises:
        MappingMissingIterable: Nothing can be mapped over.
        MappingLengthMismatch: The lengths differ.
        UpstreamFailed: The only thing that could be mapped over has no value.
        ValueError: It would wait for the run that it is called in.
    """
    binder = _Binder(session)
    called = [*names[: len(args)], *(f"argument {at}" for at in range(len(names), len(args)))]
    mapped_args = tuple(binder.mapped(n, arg) for n, arg in zip(called, args, strict=True))
    mapped_kwargs = {k: binder.mapped(k, v) for k, v in kwargs.items()}
    if not binder.columns and binder.cause is not None:
        raise UpstreamFailed(binder.cause)
    if not binder.columns:
        raise MappingMissingIterable(
            f"{name}.map has nothing to map over: none of its arguments is a list or another "
            "iterable. Call the task itself or submit it for a single call."
        )
    if len(set(binder.lengths.values())) > 1:
        told = ", ".join(f"{n} has {length}" for n, length in binder.lengths.items())
        raise MappingLengthMismatch(
            f"{name}.map needs inputs of equal length, but {told}. Wrap what is the same for all "
            "calls in unmapped(...)."
        )
    binder.wait_for(wait_for or ())
    return binder.bound(mapped_args, mapped_kwargs, next(iter(binder.lengths.values())))


def unmarked(value: Any) -> _Peeled:
    """Take the marks around an argument of a map off; inside `quote`, `unmapped` alone counts."""
    peeled = _Peeled(value=value)
    while isinstance(mark := peeled.value, BaseAnnotation) and (
        not peeled.quoted or isinstance(mark, unmapped)
    ):
        peeled = _Peeled(
            value=cast(Any, mark.value),
            static=peeled.static or isinstance(mark, unmapped),
            failures=peeled.failures or isinstance(mark, allow_failure),
            quoted=peeled.quoted or isinstance(mark, quote),
            opaque=peeled.opaque or isinstance(mark, opaque),
        )
    return peeled


def mappable(value: Any) -> bool:
    """Return whether a map goes over its elements, rather than giving all calls the same."""
    if isinstance(value, _STATIC) or is_model(value) or getattr(value, "shape", None) == ():
        return False
    kind = type(value)
    return isinstance(value, Iterable) or (
        hasattr(kind, "__getitem__") and hasattr(kind, "__len__")
    )


def _sliceable(value: Any) -> bool:
    """Whether slices of it are sequences of the same elements: lists, tuples, ranges, arrays."""
    if isinstance(value, (list, tuple, range)):
        return True
    return type(value).__module__ == "numpy" and getattr(value, "ndim", 0) > 0


def _cannot_hold(items: Sequence[Any]) -> bool:
    """Return whether there is certainly nothing to be found in a column's items."""
    numbers = not getattr(getattr(items, "dtype", None), "hasobject", True)
    return numbers or isinstance(items, range) or hollow(items, FOUND)
