"""JSON for values that JSON itself doesn't know: read back as what they were.

Each is written as `{"__class__": "module.Name", "data": ...}`, as Prefect writes them. What is read
back is of a type listed here, a pydantic model or a dataclass; nothing else is ever made.
"""

import dataclasses
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, cast
from uuid import UUID

CLASS, DATA = "__class__", "data"

Write = Callable[[Any], Any]
Read = Callable[[Any], Any]


def encoded(value: Any) -> Any:
    """Return a value as something that JSON knows; the `default` of `json.dumps`.

    Raises:
        TypeError: There is no such form of it.
    """
    kind = type(value)
    for known, (write, _) in _KNOWN.items():
        if kind is known or (known is Path and isinstance(value, PurePath)):
            return {CLASS: _name(known), DATA: write(value)}
    if _is_model(kind):
        return {CLASS: _name(kind), DATA: value.model_dump(mode="json")}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {CLASS: _name(kind), DATA: fields}
    raise TypeError(f"a {kind.__qualname__} has no form in JSON")


def decoded(value: Any, *, classes: bool = True) -> Any:
    """Return what `encoded` was given, wherever it stands in a value read from JSON.

    Args:
        value: As it was read.
        classes: Whether models and dataclasses may be imported by the names that it has for them.

    Raises:
        ValueError: A class is named that can't be read.
    """
    if isinstance(value, list):
        return [decoded(item, classes=classes) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    items = cast("dict[str, Any]", value).items()
    members = {key: decoded(item, classes=classes) for key, item in items}
    if members.keys() != {CLASS, DATA}:
        return members
    return _made(members[CLASS], members[DATA], classes)


def _made(name: str, data: Any, classes: bool) -> Any:
    for known, (_, read) in _KNOWN.items():
        if name == _name(known):
            return read(data)
    if not classes:
        raise ValueError(f"{name} isn't imported, as results.accepted_codecs leaves out pickle")
    kind = _class(name)
    if _is_model(kind):
        return kind.model_validate(data)
    if dataclasses.is_dataclass(kind):
        # pydantic makes what the annotations say of nested members, where they are plain by now.
        from pydantic import TypeAdapter  # 30 ms, which only dataclasses need

        adapter: Any = TypeAdapter
        return adapter(kind).validate_python(data)
    raise ValueError(f"{name} is no class that is read from JSON")


def _class(name: str) -> Any:
    """Return a class by its module and qualified name, which may have dots in it."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        try:
            found: Any = sys.modules.get(module) or import_module(module)
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        if isinstance(found, type):
            return found
    raise ValueError(f"There is no class {name}")


def _is_model(kind: type) -> bool:
    """Return whether a class is a pydantic model, without importing pydantic for it."""
    models = sys.modules.get("pydantic")
    return models is not None and issubclass(kind, models.BaseModel)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _parts(value: complex) -> list[float]:
    return [value.real, value.imag]


_KNOWN: Mapping[type, tuple[Write, Read]] = {
    datetime: (datetime.isoformat, datetime.fromisoformat),
    date: (date.isoformat, date.fromisoformat),
    time: (time.isoformat, time.fromisoformat),
    timedelta: (timedelta.total_seconds, lambda seconds: timedelta(seconds=seconds)),
    UUID: (str, UUID),
    Decimal: (str, Decimal),
    Path: (str, Path),
    bytes: (_base64, b64decode),
    set: (list, set),
    frozenset: (list, frozenset),
    complex: (_parts, lambda parts: complex(*parts)),
}
