"""How a value becomes the bytes of a payload, and back; and what a reader accepts.

Where nobody chose a serializer, the type of the value does: plain values are JSON, arrays `.npy`,
tables and frames Arrow, bytes themselves, and everything else is pickled. Of those a payload from
64 KiB on is compressed, if that pays. The other payloads are what their serializer writes; that of
a user's own serializer is a pickled pair of the serializer and its bytes, so that whoever has the
payload can read it.

A payload that is writable is its reader's alone, and the value may live in it.
"""

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, cast

from fanfold.engine.results import array_payloads as arrays
from fanfold.engine.results import arrow_payloads as arrow
from fanfold.engine.results import compression, plain_values
from fanfold.engine.results import polars_payloads as polars
from fanfold.engine.results.codec_names import ACCEPTED
from fanfold.engine.results.pickles import pack, size_bytes, unpack
from fanfold.engine.results.serializers import (
    AUTO,
    NAMES,
    CompressedSerializer,
    JSONSerializer,
    PickleSerializer,
    Serializer,
    data_only,
    decoded,
    serializer,
)
from fanfold.ports.results import Buffer
from fanfold.values.errors import UsageError

PICKLE = 1
"""The codec of payloads that `pack` made."""
JSON = 2
COMPRESSED_PICKLE = 3
COMPRESSED_JSON = 4
OWN = 5
"""The codec of payloads that hold a user's serializer beside its bytes."""
RAW = 6
"""What stands alone in an object and needs its serializer to be read; in no segment."""
PLAIN = 7
"""JSON of plain values, in which nothing stands for anything else."""
BYTES = 8
NPY = 9
NPY_SCALAR = 10
ARROW_TABLE = 11
ARROW_BATCH = 12
PANDAS_FRAME = 13
PANDAS_SERIES = 14
POLARS_FRAME = 15
POLARS_SERIES = 16
JSON_DATA = 66
"""In no record: how JSON is read where nothing may be unpickled, and no classes be imported."""
COMPRESSED_JSON_DATA = 68
ZSTD = 128
"""Is added to the codec of a payload that is compressed beside that."""

Encoded = tuple[int, Sequence[Buffer]]
Encode = Callable[[Any], Encoded]


def by_type(value: Any, accepted: Collection[str] = ACCEPTED) -> Encoded:
    """Return the codec and the payload of a value whose serializer nobody chose.

    Args:
        value: What is kept.
        accepted: What its readers accept.

    Raises:
        UsageError: They accept nothing that could hold it.
        Exception: Whatever the pickling of this value raises.
    """
    pickles = "pickle" in accepted
    if "json" in accepted:
        text = plain_values.written(value, plain_values.MOST_VALUES if pickles else math.inf)
        if text is not None:
            return _compact(PLAIN, [text])
    write = _WRITERS.get(type(value).__module__.partition(".")[0])
    made = write(value) if write is not None else None
    if made is not None and _NEEDS[made[0]] in accepted:
        return _compact(*made)
    if not pickles:
        raise _unaccepted(f"a {type(value).__qualname__}", "pickle")
    return _compact(PICKLE, pack(value))


def encoder(choice: Any, accepted: Collection[str] = ACCEPTED) -> Encode:
    """Return what makes payloads for segments: of a value its codec and its parts.

    Args:
        choice: A serializer or its name; None or "auto" to go by type.
        accepted: What readers accept; anything else raises a UsageError.
    """
    if choice is None or choice == AUTO:
        return partial(by_type, accepted=frozenset(accepted))
    own = serializer(choice)
    codec = next((_BY_NAME[name] for name in NAMES if own == _named(name)), OWN)
    if _NEEDS[codec] not in accepted:
        return partial(_refuse, f"what {choice!r} writes into segments", _NEEDS[codec])
    if codec == PICKLE:
        return lambda value: (PICKLE, pack(value))
    if codec == OWN:
        return lambda value: (OWN, pack((own, _checked(own.dumps(value)))))
    return lambda value: (codec, [own.dumps(value)])


def raw(choice: Serializer | str, value: object) -> bytes:
    """Return the bytes of a value as its serializer writes them, and nothing beside them.

    Raises:
        Exception: Whatever the serializer raises.
    """
    return _checked(serializer(choice).dumps(value))


def from_raw(choice: Serializer | str, payload: Buffer) -> object:
    """Return the value of such bytes.

    Raises:
        Exception: Whatever the serializer raises.
    """
    return serializer(choice).loads(bytes(payload))


def raw_serializer(choice: Any, accepted: Collection[str] = ACCEPTED) -> Serializer | str:
    """Return the serializer of objects that stand alone; it reads nothing that isn't accepted.

    Args:
        choice: A serializer or its name; None or "auto" for pickle, or JSON where that isn't
            accepted.
        accepted: What readers accept.

    Raises:
        UsageError: They don't accept what this serializer writes.
    """
    if choice is None or choice == AUTO:
        choice = "pickle" if "pickle" in accepted else "json"
    if "pickle" in accepted and "json" in accepted:
        return choice
    return _careful(serializer(choice), accepted)


def readable(codec: int, accepted: Collection[str]) -> int | None:
    """Return the codec by which a reader takes a record's payload; None if it accepts no such one.

    Args:
        codec: The record's; whatever it says, the reader decides.
        accepted: What the reader accepts.
    """
    needed = _NEEDS.get(codec & ~ZSTD, "")
    if codec == RAW or ("pickle" in accepted and needed in accepted):
        return codec
    return _DATA_ONLY.get(codec, codec) if needed in accepted else None


def codec_name(codec: int) -> str:
    """Return what `results.accepted_codecs` calls a codec."""
    return _NEEDS.get(codec & ~ZSTD, f"number {codec}")


def _compact(codec: int, parts: Sequence[Buffer]) -> Encoded:
    if len(parts) == 1 and len(parts[0]) < compression.LEAST_BYTES:  # bytes, as most values are
        return codec, parts
    smaller = compression.compressed(parts, sum(map(size_bytes, parts)))
    return (codec, parts) if smaller is None else (codec | ZSTD, smaller)


def _unaccepted(what: str, needed: str) -> UsageError:
    return UsageError(f"{what} needs the codec {needed}, which results.accepted_codecs leaves out")


def _refuse(what: str, needed: str, value: object) -> Encoded:
    raise _unaccepted(what, needed)


def _careful(chosen: Any, accepted: Collection[str]) -> Any:
    """Return a serializer that does the same, but makes of JSON no classes that are imported."""
    if isinstance(chosen, CompressedSerializer):
        return replace(chosen, serializer=_careful(chosen.serializer, accepted))
    if isinstance(chosen, PickleSerializer) and "pickle" not in accepted:
        raise _unaccepted("what a PickleSerializer writes", "pickle")
    if isinstance(chosen, JSONSerializer):
        if "json" not in accepted:
            raise _unaccepted("what a JSONSerializer writes", "json")
        if chosen.object_decoder is decoded:
            return replace(chosen, object_decoder=data_only)
    return chosen


def _checked(written: object) -> bytes:
    if not isinstance(written, (bytes, bytearray, memoryview)):
        raise TypeError(f"the serializer returned a {type(written).__name__}, not bytes")
    return bytes(cast(Buffer, written))


@lru_cache(maxsize=len(NAMES))
def _named(name: str) -> Serializer:
    return serializer(name)


def _loads(name: str, payload: Buffer) -> object:
    return _named(name).loads(bytes(payload))


def _loads_data(name: str, payload: Buffer) -> object:
    return _careful(_named(name), {"json"}).loads(bytes(payload))


def _unpack_own(payload: Buffer) -> object:
    own, written = cast("tuple[Serializer, bytes]", unpack(payload))
    return own.loads(written)


def _unzipped(read: Callable[[Buffer], object], payload: Buffer) -> object:
    return read(compression.decompressed(payload))


def _found(
    library: str, writers: Mapping[str, tuple[int, Callable[[Any], Any]]], value: Any
) -> Encoded | None:
    """Return the payload of a value if it is of exactly one of these types of a library."""
    kind = type(value)
    known = writers.get(kind.__name__)
    if known is None or getattr(sys.modules.get(library), kind.__name__, None) is not kind:
        return None
    codec, write = known
    parts = write(value)
    return None if parts is None else (codec, parts)


def _of_numpy(value: Any) -> Encoded | None:
    numpy = sys.modules["numpy"]
    if type(value) is numpy.ndarray:
        codec, parts = NPY, arrays.written(value)
    elif isinstance(value, numpy.generic) and type(value) is value.dtype.type:
        codec, parts = NPY_SCALAR, arrays.written_scalar(value)
    else:
        return None
    return None if parts is None else (codec, parts)


_FRAMES: Mapping[str, Mapping[str, tuple[int, Callable[[Any], Any]]]] = {
    "pyarrow": {
        "Table": (ARROW_TABLE, arrow.written_table),
        "RecordBatch": (ARROW_BATCH, arrow.written_batch),
    },
    "pandas": {
        "DataFrame": (PANDAS_FRAME, arrow.written_frame),
        "Series": (PANDAS_SERIES, arrow.written_series),
    },
    "polars": {
        "DataFrame": (POLARS_FRAME, polars.written_frame),
        "Series": (POLARS_SERIES, polars.written_series),
    },
}
_WRITERS: Mapping[str, Callable[[Any], Encoded | None]] = {
    "builtins": lambda value: (BYTES, [value]) if type(value) is bytes else None,
    "numpy": _of_numpy,
    **{library: partial(_found, library, writers) for library, writers in _FRAMES.items()},
}
"""By the module of a value's type, so that no library is imported but by those who use it."""

_BY_NAME = {
    "pickle": PICKLE,
    "json": JSON,
    "compressed/pickle": COMPRESSED_PICKLE,
    "compressed/json": COMPRESSED_JSON,
}
_NEEDS: Mapping[int, str] = {
    **dict.fromkeys((PICKLE, COMPRESSED_PICKLE, OWN), "pickle"),
    **dict.fromkeys((JSON, COMPRESSED_JSON, PLAIN), "json"),
    BYTES: "bytes",
    **dict.fromkeys((NPY, NPY_SCALAR), "npy"),
    **dict.fromkeys((ARROW_TABLE, ARROW_BATCH, PANDAS_FRAME, PANDAS_SERIES), "arrow"),
    **dict.fromkeys((POLARS_FRAME, POLARS_SERIES), "arrow"),
}
"""What a reader has to accept for a codec."""
_DATA_ONLY = {JSON: JSON_DATA, COMPRESSED_JSON: COMPRESSED_JSON_DATA}
_READERS: Mapping[int, Callable[[Buffer], object]] = {
    PICKLE: unpack,
    PLAIN: plain_values.read,
    BYTES: bytes,
    NPY: arrays.read,
    NPY_SCALAR: arrays.read_scalar,
    ARROW_TABLE: arrow.read_table,
    ARROW_BATCH: arrow.read_batch,
    PANDAS_FRAME: arrow.read_frame,
    PANDAS_SERIES: arrow.read_series,
    POLARS_FRAME: polars.read_frame,
    POLARS_SERIES: polars.read_series,
}

CODECS: Mapping[int, Callable[[Buffer], object]] = {
    **_READERS,
    **{codec | ZSTD: partial(_unzipped, read) for codec, read in _READERS.items()},
    JSON: partial(_loads, "json"),
    COMPRESSED_PICKLE: partial(_loads, "compressed/pickle"),
    COMPRESSED_JSON: partial(_loads, "compressed/json"),
    JSON_DATA: partial(_loads_data, "json"),
    COMPRESSED_JSON_DATA: partial(_loads_data, "compressed/json"),
    OWN: _unpack_own,
}
"""How payloads are read."""
