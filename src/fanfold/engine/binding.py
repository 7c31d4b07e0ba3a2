"""Turns a call's arguments into the shape of its elements' calls and sources of values."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanfold.engine.dataflow import plain, substitute
from fanfold.engine.futures import Future, MapFuture, TaskFuture
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import Hole, Layout, Mapped
from fanfold.ports.runner import Session
from fanfold.values.errors import MappingLengthMismatch, MappingMissingIterable


@dataclass(frozen=True, slots=True)
class Unmapped:
    """Marks an argument of a map that is the same for all calls."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A call, taken apart."""

    layout: Layout
    sources: Sources
    count: int


@dataclass(slots=True)
class _Binder:
    """Collects columns and holes while arguments are looked at."""

    session: Session
    columns: list[Given | From] = field(default_factory=list)
    lengths: dict[str, int] = field(default_factory=dict)
    fills: dict[int, From] = field(default_factory=dict)
    common: set[int] = field(default_factory=set)
    of: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _numbers: dict[Any, int] = field(default_factory=dict)

    def static(self, value: Any) -> Any:
        """Return the value with a hole for each future inside."""
        return substitute(value, Future, lambda future: self._hole(future, self.common))

    def mapped(self, name: str, value: Any) -> Any:
        """Return a column's stand-in for what can be mapped over, else the value itself."""
        if isinstance(value, Unmapped):
            return self.static(value.value)
        if isinstance(value, TaskFuture):
            value = value.result()
        if isinstance(value, MapFuture):
            column, length = self._from(value), len(value)
        elif _mappable(value):
            items = value if _sliceable(value) else list(value)
            column, length = self._given(items), len(items)
        else:
            return self.static(value)
        self.columns.append(column)
        self.lengths[name] = length
        return Mapped(len(self.columns) - 1)

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any], count: int) -> Bound:
        sources = Sources(
            columns=tuple(self.columns),
            fills=self.fills,
            common=frozenset(self.common),
            of=self.of,
        )
        layout = Layout(args=args, kwargs=kwargs, holes=bool(self.common))
        return Bound(layout=layout, sources=sources, count=count)

    def _hole(self, future: Future, holes: set[int]) -> Any:
        source = future.source()
        if source.run.session is not self.session:
            return future.result()  # type: ignore[attr-defined]
        number = self._numbers.setdefault(
            (source.run, source.indices, source.whole), len(self.fills)
        )
        self.fills[number] = source
        holes.add(number)
        return Hole(number)

    def _from(self, futures: MapFuture[Any]) -> Given | From:
        source = futures.source()
        if source.run.session is not self.session:
            return Given(items=futures.result())
        return source

    def _given(self, items: Sequence[Any]) -> Given | From:
        if isinstance(items, range) or plain(items):
            return Given(items=items)
        whole = _consecutive(items)
        if whole is not None:
            return self._from(whole)
        changed: list[Any] = []
        for index, item in enumerate(items):
            holes: set[int] = set()
            changed.append(
                substitute(item, Future, lambda future, into=holes: self._hole(future, into))
            )
            if holes:
                self.of[index] = (*self.of.get(index, ()), *sorted(holes))
        return Given(items=changed, holes=True) if self.of else Given(items=items)


def bind_submit(args: tuple[Any, ...], kwargs: Mapping[str, Any], session: Session) -> Bound:
    """Take a single call apart: futures inside arguments become what it waits for."""
    binder = _Binder(session)
    static_args = tuple(binder.static(arg) for arg in args)
    return binder.bound(static_args, {k: binder.static(v) for k, v in kwargs.items()}, 1)


def bind_map(
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    session: Session,
    names: Sequence[str],
) -> Bound:
    """Take a map apart: iterables become columns, the rest is the same for all calls.

    Args:
        name: The task's, for errors.
        args: Positional arguments; strings and bytes are never mapped over.
        kwargs: Keyword arguments, alike.
        session: Where it will run; values of other sessions are fetched and sent along.
        names: Of the positional parameters, for errors.

    Raises:
        MappingMissingIterable: Nothing can be mapped over.
        MappingLengthMismatch: The lengths differ.
    """
    binder = _Binder(session)
    called = [*names[: len(args)], *(f"argument {at}" for at in range(len(names), len(args)))]
    mapped_args = tuple(binder.mapped(n, arg) for n, arg in zip(called, args, strict=True))
    mapped_kwargs = {k: binder.mapped(k, v) for k, v in kwargs.items()}
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
    return binder.bound(mapped_args, mapped_kwargs, next(iter(binder.lengths.values())))


def resolved(value: Any) -> Any:
    """Return a value with each future inside replaced by its result, waiting for them."""
    get: Callable[[Any], Any] = lambda future: future.result()  # noqa: E731
    return substitute(value, Future, get)


def _mappable(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray))


def _sliceable(value: Any) -> bool:
    """Whether slices of it are sequences of the same elements: lists, tuples, ranges, arrays."""
    if isinstance(value, (list, tuple, range)):
        return True
    return type(value).__module__ == "numpy" and getattr(value, "ndim", 0) > 0


def _consecutive(items: Sequence[Any]) -> MapFuture[Any] | None:
    """Return the slice of a map that these futures are, one after another; None if they aren't."""
    head = items[0] if len(items) else None
    if not isinstance(head, TaskFuture):
        return None
    start = head.index
    for offset, item in enumerate(items):
        if type(item) is not TaskFuture or item.run is not head.run or item.index != start + offset:
            return None
    return MapFuture(head.run, range(start, start + len(items)))
