"""Plain values as JSON: only those that come back as exactly what they were.

Numbers, texts, booleans, None, and lists and dicts of them. Whatever JSON would change is left to
others: tuples, keys that aren't texts, subclasses, lists that stand in two places, unpaired
surrogates, and integers that are too long to be read back.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, cast

from fanfold.ports.results import Buffer

MOST_VALUES = 8
"""Up to so many values inside, JSON costs about what cloudpickle costs to begin with (2 us); from
there on a pickle is faster, of numbers up to 20 times. A single value is faster as JSON."""
_MOST_BITS = 2048
"""617 digits: Python can be told to refuse to read more than 640."""
_MOST_DEPTH = 100
"""Deeper ones might not be read back where the stack is deep already."""

_encode = json.JSONEncoder(ensure_ascii=False).encode
_scan = cast(Any, json.JSONDecoder()).scan_once
_NAN = struct.pack("<d", math.nan)


def written(value: object, most: float = MOST_VALUES) -> bytes | None:
    """Return a value as JSON, None if that wouldn't be exact, or if it has more values inside."""
    kind = type(value)
    write = _ATOMS.get(kind)
    try:
        if write is not None:
            return write(value)
        if kind in _CONTAINERS and _exact(value, most):
            return _encode(value).encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    return None


def read(payload: Buffer) -> object:
    """Return the value of such bytes; classes are never made."""
    text = str(payload, "utf-8")
    value, end = _scan(text, 0)
    if end != len(text):
        raise ValueError("it goes on behind the end of a JSON value")
    return value


def _exact(value: Any, most: float) -> bool:
    pending, seen, count = [(value, 1)], set[int](), 0
    while pending:
        container, depth = pending.pop()
        if id(container) in seen or depth > _MOST_DEPTH:
            return False
        seen.add(id(container))
        items = cast("list[Any]", container)
        if type(container) is dict:
            members = cast("dict[Any, Any]", container)
            if any(type(key) is not str for key in members):
                return False
            items = members.values()
        count += len(items)
        if count > most:
            return False
        for item in items:
            kind = type(item)
            if kind in _CONTAINERS:
                pending.append((item, depth + 1))
            elif kind not in _ATOMS or (kind in _NUMBERS and _ATOMS[kind](item) is None):
                return False
    return True


def _integer(value: Any) -> bytes | None:
    return b"%d" % value if value.bit_length() <= _MOST_BITS else None


def _number(value: Any) -> bytes | None:
    if math.isfinite(value):
        return repr(value).encode()
    if value != value and struct.pack("<d", value) != _NAN:
        return None  # NaN has 2**53 forms, and JSON one
    return _encode(value).encode()


def _text(value: Any) -> bytes:
    return _encode(value).encode()


_CONTAINERS = frozenset({list, dict})
_NUMBERS = frozenset({int, float})
_ATOMS: Mapping[type, Callable[[Any], bytes | None]] = {
    int: _integer,
    float: _number,
    str: _text,
    bool: lambda value: b"true" if value else b"false",
    NoneType: lambda value: b"null",
}
