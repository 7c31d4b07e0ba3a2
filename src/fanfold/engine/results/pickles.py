"""Pickles of protocol 5 as payloads: what they leave out of band stands behind them, uncopied.

The payload is the number of its buffers, their sizes (negative: read-only), and the buffers. The
first one is the pickle, the others are what that left out of band, such as arrays.
"""

import pickle
import struct
from collections.abc import Callable, Sequence

import cloudpickle

from fanfold.ports.results import Buffer

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_ALIGNMENT = 64
"""Of the first buffer behind the pickle, in bytes: what numbers in it need to be used in place."""
_NEEDED_ALIGNMENT = 16


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
    if buffers:
        # What follows the end of a pickle isn't looked at.
        pickled += bytes(-(4 + 8 * (1 + len(buffers)) + len(pickled)) % _ALIGNMENT)
    parts = [pickled, *(buffer.raw() for buffer in buffers)]
    return [_frame(parts), *parts]


def unpack(payload: Buffer) -> object:
    """Return the value of a payload that `pack` made; only for bytes that were verified.

    Its buffers are writable where the originals were. They live in the payload if that is writable,
    else they are copies: an array would keep all that was read along with it.
    """
    content = memoryview(payload)
    (count,) = struct.unpack_from("<I", content)
    if count == 1:  # most values; a map has a million of them
        return pickle.loads(content[12:])
    sizes = struct.unpack_from(f"<{count}q", content, 4)
    at = 4 + 8 * count + abs(sizes[0])
    pickled = content[4 + 8 * count : at]
    buffers: list[Buffer] = []
    for size in sizes[1:]:
        part = content[at : at + abs(size)]
        if content.readonly or at % _NEEDED_ALIGNMENT:
            buffers.append(bytearray(part) if size >= 0 else bytes(part))
        else:
            buffers.append(part if size >= 0 else part.toreadonly())
        at += abs(size)
    return pickle.loads(pickled, buffers=buffers)


def size_bytes(part: Buffer) -> int:
    """Return a buffer's size, whatever its items are."""
    return part.nbytes if isinstance(part, memoryview) else len(part)


def _frame(parts: Sequence[Buffer]) -> bytes:
    sizes = [-size_bytes(part) if memoryview(part).readonly else size_bytes(part) for part in parts]
    return struct.pack(f"<I{len(sizes)}q", len(sizes), *sizes)
