"""The canonical form of pyarrow's arrays, tables and scalars.

Content counts, not how it lies in memory: neither chunks, slices and padding nor what stands where
a null is, nor which dictionary encodes it, nor a schema's metadata. A column is written piece by
piece: its type, which rows are null, and then the rest in buffers whose bytes mean one thing only.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from blake3 import blake3

from fanfold.engine.keys.arrays import content_digest
from fanfold.engine.keys.forms import (
    Above,
    Unstable,
    Writer,
    container,
    head,
    write,
    write_items,
    write_str,
)


def find(kind: type) -> Writer | None:
    """Find how to write a type of pyarrow's."""
    arrow = sys.modules.get("pyarrow")
    if arrow is None or not any(base.__module__.startswith("pyarrow") for base in kind.__mro__):
        return None
    for name, writer in _WRITERS.items():
        if issubclass(kind, getattr(arrow, name)):
            return writer
    return None


def write_column(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    """Append a column's type and content.

    Args:
        kind: The type of all chunks.
        chunks: Arrays that stand one after another.
        out: Where to.
        above: The containers around it.
    """
    _write_type(kind, out, above)
    _write_content(kind, chunks, out, above)


def write_texts(lengths: Any, content: Iterable[Any], out: bytearray) -> None:
    """Append strings by their lengths, an array of 8-byte numbers, and all of their bytes."""
    hasher = blake3()
    for block in content:
        hasher.update(block)
    numpy = sys.modules["numpy"]
    out += content_digest(numpy, lengths, numpy.dtype("<i8")) + hasher.digest()


def _write_content(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    out += head(b"w", sum(map(len, chunks)))
    types = sys.modules["pyarrow"].types
    if types.is_string_view(kind) or types.is_binary_view(kind):
        chunks = _widened(chunks, types.is_string_view(kind))
    for fits, writer in _CONTENTS:
        if any(getattr(types, name)(kind) for name in fits):
            writer(kind, _write_nulls(chunks, out), out, above)
            return
    # What is left is rare: unions, run ends, views of lists, days with months.
    write_items((item for chunk in chunks for item in chunk.to_pylist()), out, above)


def _widened(chunks: Sequence[Any], text: bool) -> list[Any]:
    """Return strings or bytes with long offsets; views have none, and can't be filtered."""
    arrow = sys.modules["pyarrow"]
    return [chunk.cast(arrow.large_string() if text else arrow.large_binary()) for chunk in chunks]


def _write_nulls(chunks: Sequence[Any], out: bytearray) -> list[Any]:
    """Append where the nulls are and return the rest, for what lies under a null is anything."""
    if not any(chunk.null_count for chunk in chunks):
        out += b"0"
        return [*chunks]
    out += b"1"
    hasher = blake3()
    for chunk in chunks:
        valid = chunk.is_valid().cast("uint8")
        hasher.update(_bytes_of(valid, 1))
    out += hasher.digest()
    try:
        return [chunk.drop_null() for chunk in chunks]
    except sys.modules["pyarrow"].ArrowNotImplementedError as error:
        raise Unstable(f"pyarrow array of {chunks[0].type} with nulls") from error


def _bytes_of(array: Any, width: int) -> memoryview:
    """Return the bytes of an array of fixed width that has no nulls."""
    buffer = array.buffers()[1]
    if buffer is None:
        return memoryview(b"")
    return memoryview(buffer)[array.offset * width : (array.offset + len(array)) * width]


def _write_nothing(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    pass


def _write_bits(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    _write_fixed(None, [chunk.cast("uint8") for chunk in chunks], out, above)


def _write_fixed(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    hasher = blake3()
    for chunk in chunks:
        hasher.update(_bytes_of(chunk, chunk.type.bit_width // 8))
    out += hasher.digest()


def _write_floats(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    numpy = _numpy()
    dtype = numpy.dtype(f"<f{kind.bit_width // 8}")
    whole = _joined(numpy, [numpy.frombuffer(_bytes_of(c, dtype.itemsize), dtype) for c in chunks])
    out += content_digest(numpy, whole, dtype)


def _write_strings(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    types, numpy = sys.modules["pyarrow"].types, _numpy()
    text = any(fits(kind) for fits in (types.is_string, types.is_large_string))
    wide = _widened(chunks, text or types.is_string_view(kind))
    lengths: list[Any] = []
    blocks: list[memoryview] = []
    for array in wide:
        _, offsets, content = array.buffers()
        if not len(array):
            continue
        ends = numpy.frombuffer(offsets, "<i8")[array.offset : array.offset + len(array) + 1]
        lengths.append(numpy.diff(ends))
        if content is not None:
            blocks.append(memoryview(content)[int(ends[0]) : int(ends[-1])])
    write_texts(_joined(numpy, lengths, "<i8"), blocks, out)


def _write_dictionary(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    plain = [chunk.dictionary_decode() for chunk in chunks]
    _write_content(kind.value_type, plain, out, above)


def _write_lists(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    numpy = _numpy()
    lengths = [chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in chunks]
    out += content_digest(numpy, _joined(numpy, lengths, "<i8"), numpy.dtype("<i8"))
    _write_content(kind.value_type, [chunk.flatten() for chunk in chunks], out, above)


def _write_sized_lists(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    _write_content(kind.value_type, [chunk.flatten() for chunk in chunks], out, above)


def _write_structs(kind: Any, chunks: Sequence[Any], out: bytearray, above: Above) -> None:
    flat = [chunk.flatten() for chunk in chunks]
    for number in range(kind.num_fields):
        parts = [fields[number] for fields in flat]
        _write_content(kind.field(number).type, parts, out, above)


def _numpy() -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        raise Unstable("pyarrow array without numpy")
    return numpy


def _joined(numpy: Any, parts: Sequence[Any], dtype: str | None = None) -> Any:
    if not parts:
        return numpy.zeros(0, dtype or "<i8")
    whole = parts[0] if len(parts) == 1 else numpy.concatenate(parts)
    return whole if dtype is None else whole.astype(dtype, copy=False)


_CONTENTS: list[tuple[tuple[str, ...], Callable[[Any, Sequence[Any], bytearray, Above], None]]] = [
    (("is_null",), _write_nothing),
    (("is_boolean",), _write_bits),
    (("is_floating",), _write_floats),
    (("is_integer", "is_temporal", "is_decimal", "is_fixed_size_binary"), _write_fixed),
    (("is_string", "is_large_string", "is_string_view"), _write_strings),
    (("is_binary", "is_large_binary", "is_binary_view"), _write_strings),
    (("is_dictionary",), _write_dictionary),
    (("is_list", "is_large_list"), _write_lists),
    (("is_fixed_size_list",), _write_sized_lists),
    (("is_struct",), _write_structs),
]


def _write_type(kind: Any, out: bytearray, above: Above) -> None:
    """Append a type; that of what it holds comes on its own, as names may hold anything."""
    fields = [kind.field(number) for number in range(kind.num_fields)]
    out += head(b"W", len(fields))
    write_str(f"{kind.id} {kind}" if not fields else str(kind.id), out, above)
    if sys.modules["pyarrow"].types.is_fixed_size_list(kind):
        write(kind.list_size, out, above)
    for field in fields:
        _write_field(field, out, above)


def _write_field(field: Any, out: bytearray, above: Above) -> None:
    write((field.name, field.nullable), out, above)
    _write_type(field.type, out, above)


def _write_type_alone(value: Any, out: bytearray, above: Above) -> None:
    out += b"Wt"
    _write_type(value, out, above)


def _write_field_alone(value: Any, out: bytearray, above: Above) -> None:
    out += b"Wf"
    _write_field(value, out, above)


def _write_schema(value: Any, out: bytearray, above: Above) -> None:
    out += head(b"W", len(value))
    for field in value:
        _write_field(field, out, above)


def _write_table(value: Any, out: bytearray, above: Above) -> None:
    out += b"WT"
    _write_schema(value.schema, out, above)
    out += head(b"l", value.num_rows)
    for number, field in enumerate(value.schema):
        try:
            _write_content(field.type, value.column(number).chunks, out, above)
        except Unstable as unstable:
            raise unstable.under(f"[{field.name!r}]") from None


def _write_batch(value: Any, out: bytearray, above: Above) -> None:
    out += b"WB"
    _write_schema(value.schema, out, above)
    out += head(b"l", value.num_rows)
    for field, column in zip(value.schema, value.columns, strict=True):
        try:
            _write_content(field.type, [column], out, above)
        except Unstable as unstable:
            raise unstable.under(f"[{field.name!r}]") from None


def _write_chunked(value: Any, out: bytearray, above: Above) -> None:
    out += b"WC"
    write_column(value.type, value.chunks, out, above)


def _write_array(value: Any, out: bytearray, above: Above) -> None:
    out += b"WA"
    write_column(value.type, [value], out, above)


def _write_scalar(value: Any, out: bytearray, above: Above) -> None:
    out += b"WS"
    write_column(value.type, [sys.modules["pyarrow"].repeat(value, 1)], out, above)


_WRITERS: dict[str, Writer] = {
    "Table": container(_write_table),
    "RecordBatch": container(_write_batch),
    "ChunkedArray": container(_write_chunked),
    "Array": container(_write_array),
    "Scalar": container(_write_scalar),
    "DataType": _write_type_alone,
    "Field": _write_field_alone,
    "Schema": container(_write_schema),
}
