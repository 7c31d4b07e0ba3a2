"""Writes batches of facts as text, and reads them again: JSON, with bytes as base64.

Made from the fields of the facts' classes, so a new fact needs nothing here. Fields that are at
their defaults aren't written.
"""

import base64
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import IntEnum
from functools import cache
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from fanfold.values import facts as kinds
from fanfold.values.facts import Batch, Fact

Convert = Callable[[Any], Any]
_KIND = "fact"
"""Under which the name of a fact's class is written; no fact has a field of that name."""


def write(batch: Batch) -> str:
    """Return a batch as one line of ASCII."""
    written = {
        "writer": batch.writer,
        "number": batch.number,
        "epochs": dict(batch.epochs),
        "facts": [{_KIND: type(fact).__name__, **_plain(fact)} for fact in batch.facts],
    }
    return json.dumps(written, separators=(",", ":"))


def read(text: str | bytes) -> Batch:
    """Return the batch that was written.

    Raises:
        ValueError: It isn't one, or a newer version wrote it.
    """
    try:
        written = json.loads(text)
        return Batch(
            writer=written["writer"],
            number=written["number"],
            epochs=written["epochs"],
            facts=tuple(_fact(one) for one in written["facts"]),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"This is no batch of facts: {error!r}") from error


def _fact(written: dict[str, Any]) -> Fact:
    kind = _classes()[written.pop(_KIND)]
    return cast(Fact, _read_as(kind)(written))


@cache
def _classes() -> dict[str, type]:
    return {kind.__name__: kind for kind in get_args(kinds.Fact)}


def _plain(value: Any) -> dict[str, Any]:
    """Return a dataclass's fields that aren't at their defaults, as JSON takes them."""
    plain: dict[str, Any] = {}
    for name, default, write in _writers(type(value)):
        field = getattr(value, name)
        # By identity first: a float that isn't a number is unequal to itself.
        if default is MISSING or (field is not default and field != default):
            plain[name] = write(field)
    return plain


@cache
def _writers(kind: type) -> list[tuple[str, Any, Convert]]:
    hints = get_type_hints(kind)
    return [(one.name, _default(one), _writer(hints[one.name])) for one in fields(kind)]


def _default(one: Field[Any]) -> Any:
    return (
        MISSING
        if one.default_factory is MISSING and one.default is MISSING
        else (one.default if one.default_factory is MISSING else one.default_factory())
    )


def _writer(hint: Any) -> Convert:
    """Return what makes a value of an annotated type one that JSON takes."""
    optional, bare = _without_none(hint)
    if optional:
        write = _writer(bare)
        return lambda value: None if value is None else write(value)
    origin: Any = get_origin(bare)
    arguments = get_args(bare)
    if bare is bytes:
        return lambda value: base64.b64encode(value).decode("ascii")
    if is_dataclass(bare):
        return _plain
    if origin is tuple:
        writes = [_writer(one) for one in arguments if one is not Ellipsis]
        if Ellipsis in arguments:
            write = writes[0]
            return lambda value: [write(one) for one in value]
        return lambda value: [write(one) for write, one in zip(writes, value, strict=True)]
    if origin is not None and issubclass(origin, Mapping):
        return dict
    if isinstance(bare, type) and issubclass(bare, IntEnum):
        return int
    return _same


@cache
def _read_as(hint: Any) -> Convert:
    """Return what makes a value of an annotated type of what JSON gave."""
    optional, bare = _without_none(hint)
    if optional:
        read = _read_as(bare)
        return lambda value: None if value is None else read(value)
    origin: Any = get_origin(bare)
    arguments = get_args(bare)
    if bare is bytes:
        return lambda value: base64.b64decode(value, validate=True)
    if is_dataclass(bare):
        return _class_reader(cast("Callable[..., Any]", bare), get_type_hints(bare))
    if origin is tuple:
        reads = [_read_as(one) for one in arguments if one is not Ellipsis]
        if Ellipsis in arguments:
            read = reads[0]
            return lambda value: tuple(read(one) for one in value)
        return lambda value: tuple(read(one) for read, one in zip(reads, value, strict=True))
    if isinstance(bare, type) and issubclass(bare, IntEnum):
        return bare
    return _same


def _class_reader(kind: Callable[..., Any], hints: Mapping[str, Any]) -> Convert:
    def read(written: Mapping[str, Any]) -> Any:
        return kind(**{name: _read_as(hints[name])(value) for name, value in written.items()})

    return read


def _without_none(hint: Any) -> tuple[bool, Any]:
    if get_origin(hint) not in (Union, types.UnionType):
        return False, hint
    others = [one for one in get_args(hint) if one is not type(None)]
    return len(others) < len(get_args(hint)), others[0]


def _same(value: Any) -> Any:
    return value
