"""Types of arguments that stand for values elsewhere, such as a cluster's own references.

A task in another process that is called with one of them gets the value. One that sits deeper in an
argument stays what it is, unless its kind says otherwise. Who knows such a type says so once it has
met one; where nobody has, nothing is looked at.
"""

from collections.abc import Callable, Sequence
from typing import Any, overload

_value_of: dict[type, Callable[[Any], Any]] = {}
_inside: set[type] = set()
_CONTAINERS = frozenset({list, tuple, dict})


class NotHad:
    """In the place of a value that can't be had."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


def stands_in(kind: type, value_of: Callable[[Any], Any], *, inside: bool = False) -> None:
    """Say how to get what a type stands for.

    Args:
        kind: The type itself, not those derived from it.
        value_of: Blocks, and raises whatever keeps it from that.
        inside: Whether it stands for values inside of lists, tuples and dicts too.
    """
    _value_of[kind] = value_of
    if inside:
        _inside.add(kind)


def stood_for(items: Sequence[Any]) -> Sequence[Any]:
    """Return items with the values in the places of those that stand for them, or a NotHad.

    Each is got when it is asked for, so that no more than one has to be in memory. Where there is
    none, the items themselves are returned.
    """
    if not _value_of or not isinstance(items, (list, tuple)):
        return items
    kinds = set(map(type, items))
    if _value_of.keys().isdisjoint(kinds) and not (_inside and kinds & _CONTAINERS):
        return items
    return _StoodFor(items)


def had(items: Sequence[Any]) -> Sequence[Any]:
    """Return items that are all there.

    Raises:
        Exception: Whatever kept the first from being had that isn't.
    """
    for item in items:
        if type(item) is NotHad:
            raise item.error
    return items


def _value(item: Any) -> Any:
    value_of = _value_of.get(type(item))
    if value_of is not None:
        return value_of(item)
    return _opened(item) if _inside and type(item) in _CONTAINERS else item


def _opened(container: Any) -> Any:
    """Return a container with values inside; itself where nothing in it stands for any."""
    looked_at = _inside | _CONTAINERS
    parts = list(container.values() if isinstance(container, dict) else container)
    new = [_value(part) if type(part) in looked_at else part for part in parts]
    if all(one is other for one, other in zip(parts, new, strict=True)):
        return container
    if isinstance(container, dict):
        return dict(zip(container, new, strict=True))
    return type(container)(new)


class _StoodFor(Sequence[Any]):
    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return _StoodFor(self._items[index])
        item = self._items[index]
        try:
            return _value(item)
        except Exception as error:
            # Whatever keeps it: it is raised where the value is used, and fails that call alone.
            return NotHad(error)
