"""What results are written with: pickle, JSON, either of them compressed, or a user's own.

A serializer turns a value into bytes and back. Its bytes are what an object of the user's naming
holds; among others in a segment the same value may have another form, see `payloads`.
"""

import difflib
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import cloudpickle

from fanfold.values.errors import UsageError


def encoded(value: Any) -> Any:
    """Return a value that JSON doesn't know as one that it knows."""
    from fanfold.engine.results import json_values  # 3 ms, which only JSON needs

    return json_values.encoded(value)


def decoded(value: Any) -> Any:
    """Return what stands for a value read from JSON; the inverse of `encoded`."""
    from fanfold.engine.results import json_values  # 3 ms, which only JSON needs

    return json_values.decoded(value)


def data_only(value: Any) -> Any:
    """Return the same where that imports no class; for readers that don't unpickle either."""
    from fanfold.engine.results import json_values  # 3 ms, which only JSON needs

    return json_values.decoded(value, classes=False)


@runtime_checkable
class Serializer(Protocol):
    """Anything with these two methods; it must be picklable."""

    def dumps(self, obj: Any, /) -> bytes:
        """Return a value as bytes; whatever it raises means that the value isn't kept."""
        ...

    def loads(self, blob: bytes, /) -> Any:
        """Return the value of such bytes."""
        ...


@dataclass(frozen=True)
class PickleSerializer:
    """Writes any value that can be pickled, functions and classes of scripts too.

    Args:
        picklelib: The module that pickles: "cloudpickle", "pickle", or another one that has
            `dumps` and `loads`.
    """

    picklelib: str = "cloudpickle"

    def __post_init__(self) -> None:
        _module(self.picklelib, "dumps", "loads")

    def dumps(self, obj: Any) -> bytes:
        """Return the pickle of a value."""
        if self.picklelib == "cloudpickle":
            dumps: Callable[..., bytes] = cloudpickle.dumps  # pyright: ignore[reportUnknownMemberType]
            return dumps(obj, protocol=5)
        return _module(self.picklelib, "dumps").dumps(obj)

    def loads(self, blob: bytes) -> Any:
        """Return the value of a pickle; only for bytes from a store that is trusted."""
        module = pickle if self.picklelib == "cloudpickle" else _module(self.picklelib, "loads")
        return module.loads(blob)


@dataclass(frozen=True)
class JSONSerializer:
    """Writes values that JSON knows, and dates, paths, sets, models and dataclasses beside them.

    Tuples come back as lists, and keys of dicts as strings, as JSON has neither.

    Args:
        jsonlib: The module that writes and reads: "json", or another with its `dumps` and `loads`.
        object_encoder: Is given what JSON doesn't know, and returns what it does.
        object_decoder: Is given the whole value as it was read, and returns what it stands for.
        dumps_kwargs: Further arguments of `dumps`, such as `{"indent": 2}`.
        loads_kwargs: Further arguments of `loads`.
    """

    jsonlib: str = "json"
    object_encoder: Callable[[Any], Any] | None = encoded
    object_decoder: Callable[[Any], Any] | None = decoded
    dumps_kwargs: dict[str, Any] = field(default_factory=dict[str, Any], hash=False)
    loads_kwargs: dict[str, Any] = field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        _module(self.jsonlib, "dumps", "loads")

    def dumps(self, obj: Any) -> bytes:
        """Return a value as JSON in UTF-8."""
        options = self.dumps_kwargs
        if self.jsonlib == "json":
            options = {"ensure_ascii": False, **options}
        if self.object_encoder is not None:
            options = {"default": self.object_encoder, **options}
        written: str | bytes = _module(self.jsonlib, "dumps").dumps(obj, **options)
        return written.encode() if isinstance(written, str) else written

    def loads(self, blob: bytes) -> Any:
        """Return the value of such bytes."""
        value = _module(self.jsonlib, "loads").loads(blob, **self.loads_kwargs)
        return value if self.object_decoder is None else self.object_decoder(value)


@dataclass(frozen=True)
class CompressedSerializer:
    """Writes with another serializer and compresses what that wrote.

    Args:
        serializer: The other one, by name or as an object.
        compressionlib: The module that compresses: "zlib", "lzma", "bz2", or another one that has
            `compress` and `decompress`.
    """

    serializer: Any = "pickle"
    compressionlib: str = "zlib"

    def __post_init__(self) -> None:
        object.__setattr__(self, "serializer", serializer(self.serializer))
        _module(self.compressionlib, "compress", "decompress")

    def dumps(self, obj: Any) -> bytes:
        """Return a value's bytes, compressed."""
        return _module(self.compressionlib, "compress").compress(self.serializer.dumps(obj))

    def loads(self, blob: bytes) -> Any:
        """Return the value of such bytes."""
        return self.serializer.loads(_module(self.compressionlib, "decompress").decompress(blob))


def CompressedPickleSerializer(**options: Any) -> CompressedSerializer:
    """Return what "compressed/pickle" stands for; takes `compressionlib`."""
    return CompressedSerializer(serializer="pickle", **options)


def CompressedJSONSerializer(**options: Any) -> CompressedSerializer:
    """Return what "compressed/json" stands for; takes `compressionlib`."""
    return CompressedSerializer(serializer="json", **options)


_MAKERS: dict[str, Callable[[], Serializer]] = {
    "pickle": PickleSerializer,
    "json": JSONSerializer,
    "compressed/pickle": CompressedPickleSerializer,
    "compressed/json": CompressedJSONSerializer,
}
NAMES = tuple(_MAKERS)
"""What can be chosen by name."""
AUTO = "auto"
"""Chosen where nobody has: the type of a value decides, see `payloads`."""


def serializer(choice: Any) -> Serializer:
    """Return the serializer that was chosen by name or given as an object.

    Raises:
        UsageError: There is none of that name, or the object is none.
    """
    if isinstance(choice, str):
        make = _MAKERS.get(choice)
        if make is not None:
            return make()
        near = difflib.get_close_matches(choice, _MAKERS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(_MAKERS)}."
        raise UsageError(f"There is no serializer {choice!r}.{hint}")
    if isinstance(choice, type) or not isinstance(choice, Serializer):
        raise UsageError(
            f"{choice!r} is no serializer. Give one of {', '.join(_MAKERS)}, or an object with "
            "dumps(obj), which returns bytes, and loads(bytes)."
        )
    return choice


def checked_serializer(name: str, choice: Any) -> Any:
    """Return an option's value if it chooses a serializer, "auto" or None.

    Raises:
        UsageError: It doesn't; names the task or flow.
    """
    if choice is None or choice == AUTO:
        return choice
    try:
        serializer(choice)
    except UsageError as error:
        raise UsageError(f"result_serializer of {name}: {error}") from None
    return choice


def _module(name: str, *functions: str) -> Any:
    """Return a module that has these functions.

    Raises:
        UsageError: It can't be imported, or lacks one.
    """
    try:
        module: Any = import_module(name)
    except ImportError as error:
        raise UsageError(f"The module {name!r} can't be imported: {error}") from error
    missing = [function for function in functions if not hasattr(module, function)]
    if missing:
        raise UsageError(f"The module {name!r} can't serialize, for it has no {missing[0]}.")
    return module
