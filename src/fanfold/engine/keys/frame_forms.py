"""The canonical form of tables, columns and indexes of pandas and polars.

A pandas table is its columns in order, its index and its `attrs`; a column its dtype and content.
How blocks lie in memory doesn't count, nor whether strings lie in Python or in Arrow, nor which
levels a MultiIndex has that no row uses, nor if an index is kept as a range. The order of a
categorical's categories counts, for grouping shows it.
"""

import sys
from typing import Any

from fanfold.engine.keys import arrow_forms
from fanfold.engine.keys.arrays import content_digest
from fanfold.engine.keys.forms import (
    Above,
    Unstable,
    Writer,
    as_text,
    constant,
    container,
    head,
    write,
    write_items,
    write_name,
    write_str,
    write_under,
)


def find(kind: type) -> Writer | None:
    """Find how to write a type of pandas, pyarrow or polars."""
    return _find_pandas(kind) or arrow_forms.find(kind) or _find_polars(kind)


def _named(kind: type, module: str) -> bool:
    return any(base.__module__.partition(".")[0] == module for base in kind.__mro__)


def _find_pandas(kind: type) -> Writer | None:
    pandas = sys.modules.get("pandas")
    if pandas is None or not _named(kind, "pandas"):
        return None
    if kind is type(pandas.NaT):
        return constant(b"wN")
    if kind is type(pandas.NA):
        return constant(b"wA")
    extensions = pandas.api.extensions
    for base, writer in (
        (pandas.DataFrame, _write_frame),
        (pandas.Series, _write_series),
        (pandas.Index, _write_index),
        (extensions.ExtensionArray, _write_array_alone),
        (extensions.ExtensionDtype, _write_dtype),
        (pandas.Timestamp, _write_timestamp),
        (pandas.Timedelta, _write_timedelta),
        (pandas.Period, as_text(b"wP", lambda value: f"{value.ordinal} {value.freqstr}")),
        (pandas.Interval, _write_interval),
        (pandas.tseries.offsets.BaseOffset, _write_offset),
    ):
        if issubclass(kind, base):
            return writer
    return None


def _write_kind(tag: bytes, value: Any, plain: type, out: bytearray) -> None:
    out += tag
    if type(value) is not plain:
        write_name(type(value), out)


@container
def _write_frame(value: Any, out: bytearray, above: Above) -> None:
    _write_kind(b"wF", value, sys.modules["pandas"].DataFrame, out)
    write_under(".columns", value.columns, out, above)
    write_under(".index", value.index, out, above)
    write_under(".attrs", value.attrs or None, out, above)
    out += head(b"l", len(value.columns))
    for name, column in value.items():
        try:
            _write_array(column.array, out, above)
        except Unstable as unstable:
            raise unstable.under(f"[{name!r}]") from None


@container
def _write_series(value: Any, out: bytearray, above: Above) -> None:
    _write_kind(b"wS", value, sys.modules["pandas"].Series, out)
    write_under(".name", value.name, out, above)
    write_under(".index", value.index, out, above)
    write_under(".attrs", value.attrs or None, out, above)
    _write_array(value.array, out, above)


@container
def _write_index(value: Any, out: bytearray, above: Above) -> None:
    out += b"wI"
    write_under(".names", list(value.names), out, above)
    if isinstance(value, sys.modules["pandas"].MultiIndex):
        out += head(b"m", value.nlevels)
        for level in range(value.nlevels):
            _write_array(value.get_level_values(level).array, out, above)
    else:
        _write_array(value.array, out, above)


@container
def _write_array_alone(value: Any, out: bytearray, above: Above) -> None:
    out += b"wV"
    _write_array(value, out, above)


def _write_array(value: Any, out: bytearray, above: Above) -> None:
    """Append a column's dtype and content."""
    pandas = sys.modules["pandas"]
    dtype, kinds = value.dtype, pandas.arrays
    # Strings may lie in a subclass of it.
    if type(value) is kinds.NumpyExtensionArray:
        write(value.to_numpy(), out, above)
        return
    _write_dtype(dtype, out, above)
    if isinstance(dtype, pandas.StringDtype):
        _write_texts(value, out)
    elif isinstance(value, pandas.Categorical):
        write(value.codes, out, above)
    elif isinstance(value, (kinds.DatetimeArray, kinds.TimedeltaArray, kinds.PeriodArray)):
        write(value.asi8, out, above)
    elif isinstance(value, (kinds.IntegerArray, kinds.FloatingArray, kinds.BooleanArray)):
        write(value.isna(), out, above)
        plain = dtype.numpy_dtype
        write(value.to_numpy(dtype=plain, na_value=plain.type(0)), out, above)
    elif isinstance(value, kinds.IntervalArray):
        write(pandas.Index(value.left), out, above)
        write(pandas.Index(value.right), out, above)
    elif isinstance(value, kinds.ArrowExtensionArray):
        column = value.__arrow_array__()
        chunks = column.chunks if hasattr(column, "chunks") else [column]
        arrow_forms.write_column(column.type, chunks, out, above)
    else:
        # Sparse arrays, and those of other packages.
        out += head(b"l", len(value))
        write_items(value, out, above)


def _write_texts(value: Any, out: bytearray) -> None:
    numpy = sys.modules["numpy"]
    missing = value.isna()
    texts = value.to_numpy(dtype=object)[~missing].tolist()
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    out += content_digest(numpy, missing, numpy.dtype("?")) + head(b"l", len(value))
    lengths = numpy.fromiter(map(len, encoded), "<i8", len(encoded))
    arrow_forms.write_texts(lengths, [b"".join(encoded)], out)


def _write_dtype(value: Any, out: bytearray, above: Above) -> None:
    out += b"wD"
    write_name(type(value), out)
    pandas = sys.modules["pandas"]
    if isinstance(value, pandas.CategoricalDtype):
        write((value.categories, value.ordered), out, above)
    else:
        # The module names say where strings lie; the text doesn't.
        write_str(str(value), out, above)


def _write_timestamp(value: Any, out: bytearray, above: Above) -> None:
    out += b"wT"
    write(value.asm8, out, above)
    write_under(".tzinfo", value.tzinfo, out, above)
    out += b"1" if value.fold else b"0"


def _write_timedelta(value: Any, out: bytearray, above: Above) -> None:
    out += b"wL"
    write(value.asm8, out, above)


@container
def _write_interval(value: Any, out: bytearray, above: Above) -> None:
    out += b"wi"
    write((value.left, value.right, value.closed), out, above)


def _write_offset(value: Any, out: bytearray, above: Above) -> None:
    out += b"wO"
    write_name(type(value), out)
    write((value.freqstr, value.n, value.normalize, getattr(value, "kwds", None)), out, above)


def _find_polars(kind: type) -> Writer | None:
    polars = sys.modules.get("polars")
    if polars is None or not _named(kind, "polars"):
        return None
    if issubclass(kind, polars.DataFrame):
        return _write_polars_frame
    return _write_polars_series if issubclass(kind, polars.Series) else None


@container
def _write_polars_frame(value: Any, out: bytearray, above: Above) -> None:
    out += head(b"v", value.width)
    write_name(type(value), out)
    for column in value.get_columns():
        _write_polars_series(column, out, above)


@container
def _write_polars_series(value: Any, out: bytearray, above: Above) -> None:
    out += b"wp"
    write((value.name, str(value.dtype)), out, above)
    try:
        array = value.to_arrow()
    except ImportError as error:
        raise Unstable("polars column without pyarrow") from error
    arrow_forms.write_column(array.type, [array], out, above)
