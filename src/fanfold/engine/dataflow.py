"""Finds what a value is waiting for, however deep it sits, and puts the real things there."""

import copy
import dataclasses
from collections import deque
from collections.abc import Callable, Collection, Mapping, MutableMapping
from functools import lru_cache, partial
from itertools import chain
from operator import countOf, is_
from typing import Any

ATOMS = frozenset({int, float, str, bytes, bool, type(None), complex, bytearray, range, slice})
"""Types that hold nothing: a list of a million of them is passed over in some 15 ms."""

Kind = type | tuple[type, ...]
Visit = Callable[[Any], Any]
Opened = tuple[Collection[Any], Callable[[list[Any]], Any]]
"""A container's parts, and how to make it again from changed ones."""

_ROWS = frozenset({tuple, list, set, frozenset, deque})
_UNSET = object()


def substitute(value: Any, kind: Kind, visit: Visit) -> Any:
    """Return `value` with each instance of `kind` inside replaced by `visit(instance)`.

    Lists, tuples, dicts, sets, deques, partials, dataclasses, pydantic models and attrs classes are
    looked into; what `visit` returns is not. Containers without any instance are returned as they
    are. Others are copied, without running their `__init__` or validation again, so the caller's
    objects never change; one that stands in several places stays one. A container that holds
    itself is copied once, and points to the original inside.
    """
    return _substitute(value, kind, visit, {})


def plain(items: Collection[Any]) -> bool:
    """Return whether none of the items can hold anything: they are numbers, strings and the like.

    A million takes 11 ms where all are of one type, which is looked at first.
    """
    kind = type(next(iter(items), None))
    if kind in ATOMS and countOf(map(type, items), kind) == len(items):
        return True
    return ATOMS.issuperset(map(type, items))


def hollow(items: Collection[Any], kind: Kind) -> bool:
    """Return whether it is certain by the items' types alone that no `kind` is inside.

    That is so for objects that aren't looked into, such as arrays, and for rows (tuples, lists,
    dicts) of atoms; a million take some 50 ms. False means that a walk is needed.
    """
    if plain(items):
        return True
    kinds = set(map(type, items))
    if all(_opener(each) is None and not issubclass(each, kind) for each in kinds - ATOMS):
        return True
    if kinds <= _ROWS:
        return ATOMS.issuperset(map(type, chain.from_iterable(items)))
    if kinds == {dict}:
        values = chain.from_iterable(map(dict[Any, Any].values, items))
        return ATOMS.issuperset(map(type, chain(chain.from_iterable(items), values)))
    return False


def held_in(value: Any) -> Collection[Any] | None:
    """Return what a container holds, keys of dicts too; None for what isn't looked into."""
    opener = _opener(type(value))
    return None if opener is None else opener(value)[0]


def is_model(value: Any) -> bool:
    """Return whether it is a pydantic model: those can be walked, but are one value."""
    return _is_pydantic(type(value))


def _substitute(value: Any, kind: Kind, visit: Visit, seen: dict[int, tuple[Any, Any]]) -> Any:
    if type(value) in ATOMS:
        return value
    if isinstance(value, kind):
        return visit(value)
    opener = _opener(type(value))
    if opener is None:
        return value
    parts, build = opener(value)
    if plain(parts):
        return value
    if id(value) in seen:
        return seen[id(value)][1]
    # The value itself is kept beside its copy, so that its id stays its own for the walk.
    seen[id(value)] = (value, value)
    changed = [_substitute(part, kind, visit, seen) for part in parts]
    if all(map(is_, changed, parts)):
        return value
    new = build(changed)
    seen[id(value)] = (value, new)
    return new


def _open_dict(value: dict[Any, Any]) -> Opened:
    keys, size = list(value), len(value)
    parts = [*keys, *value.values()]
    return parts, lambda new: _refilled(value, dict(zip(new[:size], new[size:], strict=True)))


def _open_tuple(value: tuple[Any, ...]) -> Opened:
    return value, getattr(type(value), "_make", type(value))


def _open_items(value: Any) -> Opened:
    return value, partial(_refilled, value)


def _open_partial(value: "partial[Any]") -> Opened:
    places = len(value.args) + 1

    def build(new: list[Any]) -> Any:
        keywords = dict(zip(value.keywords, new[places:], strict=True))
        made = type(value)(new[0], *new[1:places], **keywords)
        made.__dict__.update(value.__dict__)
        return made

    return [value.func, *value.args, *value.keywords.values()], build


def _open_dataclass(value: Any) -> Opened:
    return _open_attributes(value, [field.name for field in dataclasses.fields(value)])


def _open_attrs(value: Any) -> Opened:
    return _open_attributes(value, [attribute.name for attribute in value.__attrs_attrs__])


def _open_attributes(value: Any, names: list[str]) -> Opened:
    parts = [getattr(value, name, _UNSET) for name in names]

    def build(changed: list[Any]) -> Any:
        new = copy.copy(value)
        for name, before, after in zip(names, parts, changed, strict=True):
            if after is not before:
                object.__setattr__(new, name, after)  # frozen ones refuse their own
        return new

    return parts, build


def _open_model(value: Any) -> Opened:
    """Open a pydantic model: its fields, what else it was given, and its private attributes."""
    places = [
        (number, name)
        for number, content in enumerate(_contents(value))
        if content
        for name in content
    ]

    def build(changed: list[Any]) -> Any:
        new = copy.copy(value)
        contents = _contents(new)
        for (number, name), part in zip(places, changed, strict=True):
            contents[number][name] = part
        return new

    contents = _contents(value)
    return [contents[number][name] for number, name in places], build


def _contents(model: Any) -> list[MutableMapping[str, Any]]:
    """Return where a pydantic model keeps what; written to, nothing is validated or refused."""
    extra = getattr(model, "__pydantic_extra__", None)
    private = getattr(model, "__pydantic_private__", None)
    return [model.__dict__, extra or {}, private or {}]


def _is_pydantic(kind: type) -> bool:
    return hasattr(kind, "__pydantic_fields__") and not dataclasses.is_dataclass(kind)


_OPENERS: Mapping[Callable[[type], bool], Callable[[Any], Opened]] = {
    lambda kind: issubclass(kind, dict): _open_dict,
    lambda kind: issubclass(kind, tuple): _open_tuple,
    lambda kind: issubclass(kind, (list, set, frozenset, deque)): _open_items,
    lambda kind: issubclass(kind, partial): _open_partial,
    dataclasses.is_dataclass: _open_dataclass,
    _is_pydantic: _open_model,
    lambda kind: hasattr(kind, "__attrs_attrs__"): _open_attrs,
}


@lru_cache(maxsize=1024)
def _opener(kind: type) -> Callable[[Any], Opened] | None:
    """Return what opens containers of a type, None for what isn't looked into."""
    return next((opener for fits, opener in _OPENERS.items() if fits(kind)), None)


def _refilled(value: Any, content: Any) -> Any:
    """Return a container of the same type and options (a default factory) with other content."""
    if isinstance(value, frozenset):
        return type(value)(content)
    new = copy.copy(value)
    new.clear()
    (new.extend if isinstance(new, (list, deque)) else new.update)(content)
    return new
