"""How a value becomes the bytes of a payload, and back.

A payload is the number of its buffers, their sizes (negative: read-only), and the buffers. The
first one is a pickle of protocol 5, the others are what that left out of band, such as arrays.
"""

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence

import cloudpickle

from fanfold.ports.results import Buffer

PICKLE = 1
"""The codec of payloads that `pack` made."""

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


CODECS: Mapping[int, Callable[[Buffer], object]] = {PICKLE: unpack}
"""What a reader accepts, whatever a record says."""
