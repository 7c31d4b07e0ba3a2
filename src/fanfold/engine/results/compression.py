"""Payloads under zstd, where that pays: measured on a sample, and in pieces that need no memory."""

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from fanfold.ports.results import Buffer

LEAST_BYTES = 64 << 10
"""Below, a request or a system call costs more than the bytes that compression saves."""
PAYS = 0.75
"""What is left of a sample, at most, for a payload to be compressed."""
BIG_BYTES = 64 << 20
BIG_PAYS = 0.25
"""For a bigger one, of which value and compressed copy are in memory at a time."""
_LEVEL = 1
"""300 MB/s and more, as fast as most storages; level 3 takes 1.4 times as long and saves 5 %."""
_SAMPLES = 8
_SAMPLE_BYTES = 8 << 10
_PIECE_BYTES = 4 << 20
"""What goes in or comes out at a time."""


def compressed(parts: Sequence[Buffer], size: int) -> Sequence[Buffer] | None:
    """Return the parts of a payload of this size compressed; None where that doesn't pay."""
    if size < LEAST_BYTES:
        return None
    pays = PAYS if size <= BIG_BYTES else BIG_PAYS
    sample = b"".join(_sample(parts, size))
    zstd = _zstd()
    if len(zstd.compress(sample, _LEVEL)) > pays * len(sample):
        return None
    compressor = zstd.ZstdCompressor(_LEVEL)
    compressor.set_pledged_input_size(size)
    done = [compressor.compress(piece) for part in parts for piece in _pieces(part)]
    return [piece for piece in (*done, compressor.flush()) if piece]


def decompressed(payload: Buffer) -> bytearray:
    """Return what was compressed, in a buffer of its own.

    Raises:
        ValueError: It isn't as long as it says.
    """
    zstd = _zstd()
    whole = bytearray(zstd.get_frame_info(bytes(payload[:32])).decompressed_size)
    decompressor, at = zstd.ZstdDecompressor(), 0
    pieces = _pieces(payload)
    while not decompressor.eof:
        more = next(pieces, None) if decompressor.needs_input else b""
        if more is None:
            break
        out = decompressor.decompress(more, _PIECE_BYTES)
        if at + len(out) > len(whole):
            raise ValueError("it is longer than it says")
        whole[at : at + len(out)] = out
        at += len(out)
    if at != len(whole) or not decompressor.eof:
        raise ValueError(f"it ends after {at} of {len(whole)} bytes")
    return whole


def _zstd() -> Any:
    """Return the module, which most processes never need."""
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def _pieces(part: Buffer) -> Iterator[memoryview]:
    view = memoryview(part).cast("B")
    for start in range(0, len(view), _PIECE_BYTES):
        yield view[start : start + _PIECE_BYTES]


def _sample(parts: Sequence[Buffer], size: int) -> Iterator[memoryview]:
    """Yield bytes from places all over a payload."""
    wanted = [place * size // _SAMPLES for place in range(_SAMPLES)]
    at = 0
    for part in parts:
        view = memoryview(part).cast("B")
        while wanted and wanted[0] < at + len(view):
            start = wanted.pop(0) - at
            yield view[start : start + _SAMPLE_BYTES]
        at += len(view)
