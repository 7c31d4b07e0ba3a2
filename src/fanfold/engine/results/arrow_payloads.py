"""Tables and record batches of pyarrow, and frames and series of pandas, as Arrow's IPC stream.

Buffers aren't copied, neither on the way out nor on the way in. Extension types, which may run code
when they are read, are left to others, and so is all of pandas that Arrow would change: objects,
labels that aren't texts, attributes, the frequency of an index. What becomes of types, index and
names is tried with a frame that has no rows.
"""

import io
import json
import sys
from collections.abc import Sequence
from types import NoneType
from typing import Any

from fanfold.ports.results import Buffer

_EXACT_KINDS = "biufMm"
"""Of numpy's dtypes in pandas; not objects, complex numbers and texts of fixed length."""
_EXACT_TYPES = frozenset(
    {"Int8Dtype", "Int16Dtype", "Int32Dtype", "Int64Dtype", "BooleanDtype", "StringDtype"}
    | {"UInt8Dtype", "UInt16Dtype", "UInt32Dtype", "UInt64Dtype", "DatetimeTZDtype"}
)
"""Of pandas' own dtypes; not masked floats, of which Arrow takes NaN for missing."""
_SERIES = b"fanfold.series"
_COLUMN = "value"


def written_table(table: Any) -> Sequence[Buffer] | None:
    """Return a pyarrow table as the parts of a stream; None if it has extension types."""
    return _written(table, table.to_batches())


def written_batch(batch: Any) -> Sequence[Buffer] | None:
    """Return a pyarrow record batch as the parts of a stream; None if it has extension types."""
    return _written(batch, [batch])


def written_frame(frame: Any) -> Sequence[Buffer] | None:
    """Return a frame of pandas as the parts of a stream; None if Arrow would change anything."""
    table = _table(frame)
    return None if table is None else _written(table, table.to_batches())


def written_series(series: Any) -> Sequence[Buffer] | None:
    """Return a series of pandas as the parts of a stream; None if Arrow would change anything."""
    if type(series.name) not in (str, NoneType) or series.index.name == _COLUMN or series.attrs:
        return None
    table = _table(series.to_frame(_COLUMN))
    if table is None:
        return None
    known = {**table.schema.metadata, _SERIES: json.dumps(series.name).encode()}
    return _written(table.replace_schema_metadata(known), table.to_batches())


def read_table(payload: Buffer) -> Any:
    """Return the table of a payload; its columns live in there."""
    return _stream(payload).read_all()


def read_batch(payload: Buffer) -> Any:
    """Return the record batch of a payload; its columns live in there."""
    return _stream(payload).read_next_batch()


def read_frame(payload: Buffer) -> Any:
    """Return the frame of a payload."""
    return read_table(payload).to_pandas()


def read_series(payload: Buffer) -> Any:
    """Return the series of a payload."""
    table = read_table(payload)
    return table.to_pandas()[_COLUMN].rename(json.loads(table.schema.metadata[_SERIES]))


def _written(value: Any, batches: Sequence[Any]) -> Sequence[Buffer] | None:
    arrow, schema = sys.modules["pyarrow"], value.schema
    if any(_is_extension(arrow, field.type) for field in schema) or not len(schema):
        return None
    sink = _Parts()
    with arrow.ipc.new_stream(arrow.PythonFile(sink, "w"), schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    return sink.parts


def _is_extension(arrow: Any, kind: Any) -> bool:
    if isinstance(kind, arrow.BaseExtensionType):
        return True
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    if arrow.types.is_dictionary(kind):
        inner.append(kind.value_type)
    return any(_is_extension(arrow, one) for one in inner)


class _Parts(io.RawIOBase):
    """A file that keeps what is written into it as it is: buffers of columns, uncopied."""

    def __init__(self) -> None:
        self.parts: list[Buffer] = []

    def writable(self) -> bool:
        return True

    def write(self, part: Any, /) -> int:
        self.parts.append(part if type(part) is bytes else memoryview(part))
        return len(part)


def _stream(payload: Buffer) -> Any:
    import pyarrow  # whose value it is, or which pandas needs for it

    view = memoryview(payload)
    # A table would keep all that a part was read from.
    alone = type(payload) is bytes or not view.readonly
    return pyarrow.ipc.open_stream(pyarrow.py_buffer(payload if alone else bytes(view)))


def _table(frame: Any) -> Any:
    """Return a frame of pandas as a table, None if it would come back as something else."""
    arrow = sys.modules.get("pyarrow")  # pandas has imported it if it is there
    index = frame.index
    if arrow is None or frame.attrs or not frame.flags.allows_duplicate_labels:
        return None
    if index.nlevels > 1 or getattr(index, "freq", None) is not None:
        return None
    if type(index.name) not in (str, NoneType):
        return None
    if not all(map(_is_exact, (index.dtype, *frame.dtypes))):
        return None
    head, of = frame.iloc[:0], arrow.Table.from_pandas
    try:
        return of(frame) if _shape(of(head).to_pandas()) == _shape(head) else None
    except (arrow.ArrowException, ValueError, TypeError, NotImplementedError):
        return None


def _is_exact(dtype: Any) -> bool:
    if type(dtype).__module__.startswith("numpy"):
        return dtype.kind in _EXACT_KINDS and dtype.isnative
    if type(dtype).__name__ == "CategoricalDtype":
        return dtype.categories is not None and _is_exact(dtype.categories.dtype)
    return type(dtype).__name__ in _EXACT_TYPES


def _shape(head: Any) -> list[Any]:
    """Return what frames without rows are compared by; equality of frames ignores some of it."""
    index, columns = head.index, head.columns
    labels = [*index.names, *columns, *columns.names]
    dtypes = [index.dtype, columns.dtype, *head.dtypes]
    categories = [getattr(dtype, "categories", None) for dtype in dtypes]
    return [
        *(type(index), type(columns), labels, [type(label) for label in labels], dtypes),
        *([(repr(dtype), type(getattr(dtype, "tz", None))) for dtype in dtypes],),
        [(type(some), getattr(some, "name", None)) for some in categories],
    ]
