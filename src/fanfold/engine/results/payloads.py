"""How a value becomes the bytes of a payload, and back.

A pickled payload is the number of its buffers, their sizes (negative: read-only), and the buffers.
The first one is a pickle of protocol 5, the others are what that left out of band, such as arrays.
The other payloads are what their serializer writes; that of a user's own serializer is a pickled
pair of the serializer and its bytes, so that whoever has the payload can read it.
"""

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, cast

import cloudpickle

from fanfold.engine.results.serializers import NAMES, PickleSerializer, Serializer, serializer
from fanfold.ports.results import Buffer

PICKLE = 1
"""The codec of payloads that `pack` made."""
JSON = 2
COMPRESSED_PICKLE = 3
COMPRESSED_JSON = 4
OWN = 5
"""The codec of payloads that hold a user's serializer beside its bytes."""
RAW = 6
"""What stands alone in an object and needs its serializer to be read; in no segment."""

Encode = Callable[[Any], Sequence[Buffer]]

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


def pack(value: object) -> Sequence[Buffer]:
    """Return a value as the parts of a payload; its big buffers are not copied.

    Raises:
        Exception: Whatever the pickling of this value raises.
    """
    if type(value) in _ATOMS:
        # Many times as fast as cloudpickle, and the same bytes.
        pickled = pickle.dumps(value, protocol=5)
        return [_frame([pickled]), pickled]
    buffers: list[pickle.PickleBuffer] = []
    dumps: Callable[..., bytes] = cloudpickle.dumps  # pyright: ignore[reportUnknownMemberType]
    pickled = dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [pickled, *(buffer.raw() for buffer in buffers)]
    return [_frame(parts), *parts]


def unpack(payload: Buffer) -> object:
    """Return the value of a payload that `pack` made; only for bytes that were verified.

    Its buffers are copies, writable where the originals were.
    """
    content = memoryview(payload)
    (count,) = struct.unpack_from("<I", content)
    if count == 1:  # most values; a map has a million of them
        return pickle.loads(content[12:])
    sizes = struct.unpack_from(f"<{count}q", content, 4)
    at = 4 + 8 * count
    parts: list[memoryview] = []
    for size in sizes:
        parts.append(content[at : at + abs(size)])
        at += abs(size)
    # Views would be read-only, and an array would keep all that was read along with it.
    buffers = [
        bytearray(part) if size > 0 else bytes(part)
        for part, size in zip(parts[1:], sizes[1:], strict=True)
    ]
    return pickle.loads(parts[0], buffers=buffers)


def size_bytes(part: Buffer) -> int:
    """Return a buffer's size, whatever its items are."""
    return part.nbytes if isinstance(part, memoryview) else len(part)


def _frame(parts: Sequence[Buffer]) -> bytes:
    sizes = [-size_bytes(part) if memoryview(part).readonly else size_bytes(part) for part in parts]
    return struct.pack(f"<I{len(sizes)}q", len(sizes), *sizes)


def encoding(choice: Any) -> tuple[int, Encode]:
    """Return the codec of what a serializer writes into segments, and what writes it.

    Args:
        choice: A serializer or its name; None for pickle.
    """
    if choice is None or choice == "pickle" or choice == PickleSerializer():
        return PICKLE, pack
    for name, codec in _BY_NAME.items():
        if choice == name or choice == _named(name):
            return codec, partial(_written, name)
    own: Serializer = serializer(choice)
    return OWN, lambda value: pack((own, _checked(own.dumps(value))))


def raw(choice: Any, value: object) -> bytes:
    """Return the bytes of a value as its serializer writes them, and nothing beside them.

    Raises:
        Exception: Whatever the serializer raises.
    """
    return _checked(serializer("pickle" if choice is None else choice).dumps(value))


def from_raw(choice: Any, payload: Buffer) -> object:
    """Return the value of such bytes."""
    return serializer("pickle" if choice is None else choice).loads(bytes(payload))


def _checked(written: object) -> bytes:
    if not isinstance(written, (bytes, bytearray, memoryview)):
        raise TypeError(f"the serializer returned a {type(written).__name__}, not bytes")
    return bytes(cast(Buffer, written))


@lru_cache(maxsize=len(NAMES))
def _named(name: str) -> Serializer:
    return serializer(name)


def _written(name: str, value: Any) -> Sequence[Buffer]:
    return [_named(name).dumps(value)]


def _unpack_own(payload: Buffer) -> object:
    own, written = cast("tuple[Serializer, bytes]", unpack(payload))
    return own.loads(written)


_BY_NAME = {
    "json": JSON,
    "compressed/pickle": COMPRESSED_PICKLE,
    "compressed/json": COMPRESSED_JSON,
}

CODECS: Mapping[int, Callable[[Buffer], object]] = {
    PICKLE: unpack,
    JSON: lambda payload: _named("json").loads(bytes(payload)),
    COMPRESSED_PICKLE: lambda payload: _named("compressed/pickle").loads(bytes(payload)),
    COMPRESSED_JSON: lambda payload: _named("compressed/json").loads(bytes(payload)),
    OWN: _unpack_own,
}
"""What a reader accepts, whatever a record says."""
