"""Shows values to people as short texts: bounded in size, depth and cost, whatever the value.

Only code that is known to be cheap is called. So objects of others are named by their type, with
their shape if that is at hand: their own `repr` may copy an array, ask a database or start a
cluster. Fields that a dataclass or a model keeps out of its `repr` are kept out here as well.
"""

import dataclasses
import datetime
import decimal
import enum
import pathlib
import types
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, cast

from fanfold.engine.recording.masking import mask
from fanfold.values.secrets import COVER, KNOWN

LONGEST = 200
"""Characters of a value, unless somebody asks for more."""
DEEPEST = 4
"""Containers inside each other."""
_ITEMS = 20
"""Of a container."""
_DIGITS = 1_000
"""Bits of a whole number from which on writing it may take long."""
_BEYOND = 1_000
"""Characters of a longer text that are looked at for secrets, so that none is halved."""
_MORE = "..."
_SHAPED = frozenset({"numpy", "pandas", "polars", "pyarrow", "torch", "xarray", "scipy", "jax"})
"""Packages whose `shape` is at hand: others may have to compute it."""


def shown(value: object, limit: int = LONGEST) -> str:
    """Return a value as a short text for people, without secrets. Never raises.

    Args:
        value: Anything; it is neither changed nor copied, and nothing lazy in it is evaluated.
        limit: Characters.
    """
    try:
        text = mask(_Shower(limit).show(value, DEEPEST))
    except Exception:  # what a user's type does when it is looked at: its name says the rest
        text = _named(value)
    return text if len(text) <= limit else text[: max(0, limit - len(_MORE))] + _MORE


class _Shower:
    """Writes one value; what is left to be written goes down with each part."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit

    def show(self, value: Any, depth: int) -> str:
        if hasattr(type(value), "get_secret_value"):
            return f"{type(value).__name__}({COVER!r})" if value else "''"
        for kinds, show in _SHOWERS:
            if isinstance(value, kinds):
                text = show(self, value, depth)
                self._left -= len(text)
                return text
        text = self._object(value, depth)
        self._left -= len(text)
        return text

    def text(self, value: Any, depth: int) -> str:
        """Return the beginning of a text or of bytes, with the secrets that begin in it."""
        base: Any = str if isinstance(value, str) else bytes
        size = base.__len__(value)
        if size <= self._limit + _BEYOND:
            return _cut(mask(base.__repr__(value)), self._limit)
        beginning = base.__getitem__(value, slice(self._limit + max(_BEYOND, KNOWN.longest)))
        return _cut(mask(base.__repr__(beginning)), self._limit)

    def number(self, value: Any, depth: int) -> str:
        if int.bit_length(value) > _DIGITS:
            return f"<{type(value).__name__} of {int.bit_length(value):,} bits>"
        return int.__repr__(value) if type(value) is not bool else repr(value)

    def items(self, value: Any, depth: int) -> str:
        kind, base = type(value), next(b for b in _BRACKETS if isinstance(value, b))
        if hasattr(kind, "_fields") and base is tuple:
            pairs = zip(kind._fields, tuple.__iter__(value), strict=False)
            return self._call(kind.__name__, pairs, depth)
        begin, end = _BRACKETS[base]
        if base in (set, frozenset) and not base.__len__(value):
            return f"{kind.__name__}()"
        if base is tuple and tuple.__len__(value) == 1:
            end = ",)"
        size = base.__len__(value)
        parts = (self.show(item, depth - 1) for item in base.__iter__(value))
        return begin + self._joined(parts, size, depth) + end

    def entries(self, value: Any, depth: int) -> str:
        parts = (
            f"{self.show(key, depth - 1)}: {self.show(item, depth - 1)}"
            for key, item in dict.items(value)
        )
        return "{" + self._joined(parts, dict.__len__(value), depth) + "}"

    def _joined(self, parts: Iterable[str], size: int, depth: int) -> str:
        if not size:
            return ""
        if depth <= 0:
            return _MORE
        written: list[str] = []
        for part in islice(parts, _ITEMS):
            written.append(part)
            if self._left <= 0:
                break
        if size > len(written):
            written.append(f"{_MORE} {size:,} in all")
        return ", ".join(written)

    def _object(self, value: Any, depth: int) -> str:
        kind = type(value)
        if dataclasses.is_dataclass(kind):
            return self._call(kind.__name__, _dataclass_fields(value), depth)
        if hasattr(kind, "__pydantic_fields__"):
            return self._call(kind.__name__, _model_fields(value), depth)
        if isinstance(getattr(kind, "__attrs_attrs__", None), tuple):
            return self._call(kind.__name__, _attrs_fields(value), depth)
        return _named(value)

    def _call(self, name: str, fields: Iterable[tuple[str, Any]], depth: int) -> str:
        pairs = list(fields)
        parts = (f"{field}={self.show(part, depth - 1)}" for field, part in pairs)
        return f"{name}({self._joined(parts, len(pairs), depth)})"


def _plainly(shower: _Shower, value: Any, depth: int) -> str:
    return repr(value)


def _as_text(shower: _Shower, value: Any, depth: int) -> str:
    return str(value)


def _as_member(shower: _Shower, value: Any, depth: int) -> str:
    return f"{type(value).__name__}.{value.name}" if value.name else type(value).__name__


def _as_code(shower: _Shower, value: Any, depth: int) -> str:
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    return name if module in (None, "builtins", "__main__") else f"{module}.{name}"


_BRACKETS: dict[Any, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    deque: ("deque([", "])"),
}
_SHOWERS: tuple[tuple[Any, Callable[[_Shower, Any, int], str]], ...] = (
    (enum.Enum, _as_member),
    ((str, bytes), _Shower.text),
    (int, _Shower.number),
    ((float, complex, type(None), type(...), range), _plainly),
    ((datetime.date, datetime.time, datetime.timedelta), _as_text),
    ((decimal.Decimal, uuid.UUID, pathlib.PurePath), _as_text),
    (tuple(_BRACKETS), _Shower.items),
    (dict, _Shower.entries),
    ((type, types.FunctionType, types.BuiltinFunctionType, types.MethodType), _as_code),
    (types.ModuleType, lambda shower, value, depth: f"<module {value.__name__}>"),
)
"""Subclasses of builtin types are written as these are: their own methods aren't asked."""


def _dataclass_fields(value: Any) -> Iterable[tuple[str, Any]]:
    return _held(value, [field.name for field in dataclasses.fields(value) if field.repr])


def _model_fields(value: Any) -> Iterable[tuple[str, Any]]:
    fields: dict[str, Any] = type(value).__pydantic_fields__
    return _held(value, [name for name, field in fields.items() if field.repr])


def _attrs_fields(value: Any) -> Iterable[tuple[str, Any]]:
    attributes = cast("tuple[Any, ...]", type(value).__attrs_attrs__)
    return _held(value, [attribute.name for attribute in attributes if attribute.repr])


def _held(value: Any, names: Iterable[str]) -> Iterable[tuple[str, Any]]:
    """Return fields that are there already; a descriptor may make others when it is asked."""
    state = getattr(value, "__dict__", None)
    if state is None:
        return [(name, getattr(value, name)) for name in names if hasattr(value, name)]
    return [(name, state[name]) for name in names if name in state]


def _named(value: object) -> str:
    """Return what kind of object it is, and how large where that is at hand."""
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    if kind.__module__.partition(".")[0] in _SHAPED:
        name += _size(value)
    return f"<{name}>"


def _size(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not all(
        isinstance(length, int) for length in cast("tuple[Any, ...]", shape)
    ):
        return ""
    kind = getattr(value, "dtype", None)
    if not shape and type(value).__module__ == "numpy":
        return f" {value!s}"  # a single number
    size = " x ".join(f"{length:,}" for length in cast("tuple[int, ...]", shape))
    return f" {size}" + (f" {kind}" if kind is not None else "")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + _MORE
