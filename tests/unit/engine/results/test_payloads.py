"""Payloads: each type has its codec, and comes back as what it was."""

import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.extra import pandas as pdst

from fanfold.engine.keys import digest
from fanfold.engine.results import payloads
from fanfold.engine.results.payloads import (
    ARROW_BATCH,
    ARROW_TABLE,
    BYTES,
    CODECS,
    NPY,
    NPY_SCALAR,
    PANDAS_FRAME,
    PANDAS_SERIES,
    PICKLE,
    PLAIN,
    POLARS_FRAME,
    POLARS_SERIES,
    ZSTD,
    by_type,
)

SOME = np.random.default_rng(5)


def codec_of(value: Any) -> int:
    return by_type(value)[0]


def back(value: Any) -> Any:
    """Return a value as it is read from a segment, in which payloads stand anywhere."""
    codec, parts = by_type(value)
    segment = b"123" + b"".join(parts)
    return CODECS[codec](memoryview(segment)[3:])


def alone(value: Any) -> Any:
    """Return a value as it is read into a buffer of its own."""
    codec, parts = by_type(value)
    return CODECS[codec](bytearray().join(parts))


def values_of(floats: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | floats | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=50,
    )


plain = values_of(st.floats())
canonical = values_of(st.floats(allow_nan=False) | st.just(math.nan))
"""Of all the forms that NaN has, Python's own."""


OTHER_NAN = struct.unpack("<d", b"\1\0\0\0\0\0\xf8\x7f")[0]


class Color(IntEnum):
    RED = 1


def shared() -> list[Any]:
    inner = [1]
    return [inner, inner]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@given(plain)
def test_plain_values_come_back_whatever_their_codec(value: Any) -> None:
    for found in (back(value), alone(value)):
        assert pickle.dumps(found) == pickle.dumps(value) or digest(found) == digest(value)
        assert type(found) is type(value)
        assert repr(found) == repr(value)


@given(canonical)
def test_without_pickle_plain_values_are_json_and_come_back_too(value: Any) -> None:
    codec, parts = by_type(value, {"json"})

    found = CODECS[codec](b"".join(parts))

    assert repr(found) == repr(value)
    assert digest(found) == digest(value)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 2**64, 1.5, -0.0, math.inf, -math.inf, math.nan, "", "ä\u2028\0", True, None),
        *([], {}, [1, "a", [None, {"k": 2.5}]], {"a": {"b": []}}),
    ],
    ids=repr,
)
def test_plain_values_are_json(value: Any) -> None:
    assert codec_of(value) == PLAIN
    assert repr(back(value)) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        *((), (1,), {1: 2}, {1, 2}, 1j, Color.RED, OrderedDict(a=1), bytearray(b"x")),
        *(datetime(2024, 1, 1, tzinfo=UTC), Decimal("1.0"), 10**700, [10**700]),
        *("\ud800", ["\udc00"], {"\ud800": 1}, OTHER_NAN, [OTHER_NAN]),
        *([[[(1,)]]], list(range(1000)), nested(150), shared()),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_json_would_change_is_pickled(value: Any) -> None:
    assert codec_of(value) == PICKLE

    found = back(value)

    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_a_list_that_holds_itself_and_one_that_stands_twice_stay_what_they_are() -> None:
    around: list[Any] = []
    around.append(around)

    assert back(around)[0][0] is not around
    twice = back(shared())
    assert twice[0] is twice[1]


def test_bytes_are_themselves() -> None:
    codec, parts = by_type(b"\0abc")

    assert (codec, parts) == (BYTES, [b"\0abc"])
    assert type(alone(b"\0abc")) is bytes


# Arrays.

dtypes = (
    npst.scalar_dtypes()
    | npst.array_dtypes(max_size=3, allow_subarrays=True)
    | npst.nested_dtypes(max_leaves=4)
)
arrays = npst.arrays(dtypes, npst.array_shapes(min_dims=0, min_side=0, max_side=4))


def same_array(found: Any, array: Any) -> None:
    assert type(found) is np.ndarray
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable and found.flags.aligned
    assert digest(found) == digest(array)


@given(arrays)
@settings(max_examples=200, deadline=None)
def test_arrays_come_back_with_their_dtype(array: Any) -> None:
    for found in (back(array), alone(array)):
        same_array(found, array)
    if array.dtype.itemsize and array.dtype.names is None:
        assert codec_of(array) == NPY


def test_arrays_keep_their_order_in_memory() -> None:
    array = np.arange(60.0).reshape(3, 4, 5)

    assert back(array).flags.c_contiguous
    assert alone(np.asfortranarray(array)).strides == np.asfortranarray(array).strides
    same_array(back(array[::2, :, ::-1]), array[::2, :, ::-1])
    assert back(array.astype(">f4")).dtype.str == ">f4"


def test_big_arrays_are_not_copied_on_either_way() -> None:
    array = SOME.random((100, 1000))

    codec, parts = by_type(array)
    read = bytearray().join(parts)
    found: Any = CODECS[codec](read)

    assert np.shares_memory(np.frombuffer(parts[1], "u1"), array)
    assert np.shares_memory(np.frombuffer(read, "u1"), found)


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a", None], dtype=object),
        np.array([(1, None)], dtype=[("a", int), ("b", object)]),
        np.ma.masked_array([1, 2], [True, False]),
        np.array(["a", "bc"], dtype=np.dtypes.StringDType()),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "i8")], align=True)),
        np.zeros(2, np.dtype("i4", metadata={"unit": "m"})),
        np.zeros(2, np.dtype([("量", "i4")])),
        np.array(["", ""]).astype("S0"),
        np.array([(1, 2)], dtype=[("a", int), ("b", int)]).view(np.recarray),
    ],
    ids=lambda value: f"{type(value).__name__} {value.dtype}",
)
def test_what_a_header_can_not_say_is_pickled(value: Any) -> None:
    found = back(value)

    assert codec_of(value) in (PICKLE, NPY)
    assert type(found) is type(value)
    assert found.dtype == value.dtype
    assert found.dtype.metadata == value.dtype.metadata
    assert found.dtype.isalignedstruct == value.dtype.isalignedstruct
    assert found.tolist() == value.tolist()


def test_objects_in_an_array_are_never_unpickled() -> None:
    head, _ = by_type(np.zeros(3))[1]
    assert isinstance(head, bytes)
    with_objects = head.replace(b"'<f8'", b"'|O' ")

    with pytest.raises(ValueError, match="objects"):
        CODECS[NPY](with_objects + bytes(24))


@given(npst.scalar_dtypes().flatmap(npst.from_dtype))
def test_numbers_of_numpy_come_back_as_such(value: Any) -> None:
    found = back(value)

    assert type(found) is type(value)
    assert found.dtype == value.dtype
    assert found.tobytes() == value.tobytes()


def test_numbers_of_numpy_have_the_codec_of_arrays() -> None:
    assert codec_of(np.float64(1.5)) == NPY_SCALAR
    assert codec_of(np.datetime64("2024-01-01", "D")) == NPY_SCALAR
    assert codec_of(np.str_("a\0")) == PICKLE


# Tables and frames.


def table() -> Any:
    return pa.table(
        {
            "n": pa.array([1, None, 3], pa.int16()),
            "s": pa.array(["a", None, "c"]),
            "d": pa.array(["x", "y", "x"]).dictionary_encode(),
            "l": pa.array([[1], None, [2, 3]]),
            "t": pa.array([1, 2, None], pa.timestamp("us", "Europe/Berlin")),
            "m": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
        }
    ).replace_schema_metadata({"by": "hand"})


@pytest.mark.parametrize(
    ("value", "codec"),
    [
        (table(), ARROW_TABLE),
        (table().slice(1, 1), ARROW_TABLE),
        (table().slice(0, 0), ARROW_TABLE),
        (pa.concat_tables([table(), table()]), ARROW_TABLE),
        (table().to_batches()[0], ARROW_BATCH),
        (table().to_batches()[0].slice(0, 0), ARROW_BATCH),
    ],
)
def test_tables_of_pyarrow_come_back(value: Any, codec: int) -> None:
    assert codec_of(value) == codec
    for found in (back(value), alone(value)):
        assert found.equals(value, check_metadata=True)
        assert found.schema.equals(value.schema, check_metadata=True)
        assert digest(found) == digest(value)
        found.validate(full=True)


def test_big_tables_are_not_copied_on_either_way() -> None:
    value = pa.table({"x": SOME.random(100_000), "y": SOME.random(100_000)})

    codec, parts = by_type(value)
    read = bytearray().join(parts)
    found: Any = CODECS[codec](read)

    written = {memoryview(part).obj.address for part in parts if isinstance(part, memoryview)}
    assert {value[name].chunk(0).buffers()[1].address for name in "xy"} <= written
    low = np.frombuffer(read, "u1").ctypes.data
    assert low < found["x"].chunk(0).buffers()[1].address < low + len(read)


class Meters(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.float64(), "tests.meters")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> "Meters":
        return cls()


def test_extension_types_and_tables_without_columns_are_pickled() -> None:
    meters = pa.ExtensionArray.from_storage(Meters(), pa.array([1.0]))

    assert codec_of(pa.table({"a": meters})) == PICKLE
    assert codec_of(pa.table({"a": pa.StructArray.from_arrays([meters], ["b"])})) == PICKLE
    assert codec_of(table().select([])) == PICKLE


def frame(**options: Any) -> Any:
    return pd.DataFrame({"a": [1, 2, 3], "b": [1.5, math.nan, 3.0]}, **options)


def labelled(**labels: Any) -> Any:
    found = frame()
    for name, value in labels.items():
        setattr(found, name, value)
    return found


BERLIN = pd.to_datetime(["2024-01-01", None, "2024-03-01"]).tz_localize("Europe/Berlin")


@pytest.mark.parametrize(
    "value",
    [
        frame(),
        frame(index=pd.Index(["x", "y", "z"], name="key")),
        frame(index=pd.RangeIndex(5, 11, 2, name="n")),
        frame(index=pd.Index([3.5, 1.5, 2.5])),
        frame(index=BERLIN),
        frame().iloc[:0],
        frame().iloc[::2],
        pd.DataFrame({"s": pd.array(["a", None, "c"], dtype="str")}),
        pd.DataFrame({"s": pd.array(["a", None, "c"], dtype="string")}),
        pd.DataFrame(
            {"i": pd.array([1, None], dtype="Int16"), "b": pd.array([True, None], "boolean")}
        ),
        pd.DataFrame({"c": pd.Categorical(["x", "y", None], ["y", "x"], ordered=True)}),
        pd.DataFrame({"t": BERLIN, "d": pd.to_timedelta([1, 2, None], unit="s")}),
        pd.DataFrame(
            {"h": np.array([1, 2], "f2"), "u": np.array([1, 2], "u1"), "o": [True, False]}
        ),
    ],
    ids=lambda value: ",".join(map(str, value.dtypes)),
)
def test_frames_of_pandas_come_back(value: Any) -> None:
    assert codec_of(value) == PANDAS_FRAME
    for found in (back(value), alone(value)):
        pd.testing.assert_frame_equal(found, value, check_index_type="exact", check_freq=True)
        assert digest(found) == digest(value)
    for name in value:
        series = value[name].rename(None)
        assert codec_of(series) == PANDAS_SERIES
        pd.testing.assert_series_equal(back(series), series, check_index_type="exact")
        assert back(value[name]).name == name


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"o": pd.Series(["a", None, math.nan], dtype=object)}),
        pd.DataFrame(np.zeros((2, 2))),
        pd.DataFrame({"f": pd.array([1.5, None], dtype="Float64")}),
        pd.DataFrame({"z": [1j]}),
        pd.DataFrame({"p": pd.period_range("2024", periods=2, freq="M")}),
        pd.DataFrame({"v": pd.arrays.SparseArray([0, 0, 1])}),
        pd.DataFrame({"i": pd.arrays.IntervalArray.from_breaks([0, 1, 2])}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])),
        frame(index=pd.date_range("2024", periods=3, freq="D")),
        frame(index=pd.MultiIndex.from_tuples([(1, 2), (1, 3), (2, 3)])),
        frame(index=pd.Index([1, 2, 3], name=7)),
        frame(index=pd.Index([1, 2, 3], name="a")),
        labelled(attrs={"unit": "m"}),
        frame().set_flags(allows_duplicate_labels=False),
        frame().rename_axis(columns="axis"),
        pd.DataFrame(index=[1, 2]),
        pd.Series([1, 2], name=("a", 1)),
        pd.Series([1, 2], name=5),
        pd.Series([1, 2], index=pd.Index([1, 2], name="value")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_arrow_would_change_of_pandas_comes_back_too(value: Any) -> None:
    found = back(value)

    if isinstance(value, pd.Series):
        pd.testing.assert_series_equal(found, value, check_index_type="exact", check_flags=True)
    else:
        pd.testing.assert_frame_equal(found, value, check_index_type="exact", check_flags=True)
        assert found.columns.names == value.columns.names
    assert found.attrs == value.attrs


@given(
    pdst.data_frames(
        [pdst.column("a", dtype=float), pdst.column("b", dtype=int), pdst.column("c", dtype=bool)],
        index=pdst.range_indexes() | pdst.indexes(dtype=int, max_size=9),
    )
)
@settings(deadline=None)
def test_any_frame_of_pandas_comes_back(value: Any) -> None:
    pd.testing.assert_frame_equal(back(value), value, check_index_type="exact")
    assert digest(back(value)) == digest(value)


@pytest.mark.parametrize(
    "value",
    [
        pl.DataFrame({"a": [1, None], "s": ["x", None], "l": [[1], []], "o": [{"x": 1}, {"x": 2}]}),
        pl.DataFrame({"e": pl.Series(["x"], dtype=pl.Enum(["x", "y"]))}),
        pl.DataFrame({"d": [Decimal("1.50")], "t": [datetime(2024, 1, 1, tzinfo=UTC)]}),
        pl.DataFrame({"b": [b"x"], "n": [None], "a": pl.Series([[1, 2]], dtype=pl.Array(int, 2))}),
        pl.DataFrame({"a": [1]}).clear(),
        pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})], rechunk=False),
    ],
    ids=lambda value: str(value.schema),
)
def test_frames_of_polars_come_back(value: Any) -> None:
    assert codec_of(value) == POLARS_FRAME
    for found in (back(value), alone(value)):
        assert found.schema == value.schema
        assert found.equals(value, null_equal=True)
        assert digest(found) == digest(value)
    for series in value:
        assert codec_of(series) == POLARS_SERIES
        found = back(series)
        assert (found.name, found.dtype) == (series.name, series.dtype)
        assert found.equals(series, null_equal=True)


def test_objects_in_polars_are_pickled_or_refused_as_polars_does() -> None:
    value = pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)})

    assert payloads._WRITERS["polars"](value) is None  # pyright: ignore[reportPrivateUsage]
    assert codec_of(pl.DataFrame()) == PICKLE


# Compression.


@pytest.mark.parametrize(
    "make",
    [
        lambda: "word " * 100_000,
        lambda: np.zeros(1_000_000),
        lambda: pa.table({"x": np.zeros(1_000_000)}),
        lambda: {"a": np.arange(100_000) // 100},
        lambda: b"x" * (9 << 20),
    ],
)
def test_what_compresses_is_compressed(make: Callable[[], Any]) -> None:
    value = make()
    codec, parts = by_type(value)

    assert codec & ZSTD
    assert sum(map(len, parts)) < 1 << 18
    assert digest(back(value)) == digest(value)


def test_what_does_not_compress_and_what_is_small_stays_as_it_is() -> None:
    assert codec_of(SOME.bytes(1 << 20)) == BYTES
    assert codec_of(SOME.random(200_000)) == NPY
    assert codec_of("x" * 60_000) == PLAIN
    half = SOME.bytes(1 << 20) + bytes(1 << 20)
    assert codec_of(half) == BYTES | ZSTD


def test_a_compressed_payload_that_lies_about_its_size_is_refused() -> None:
    codec, parts = by_type("".join(map(str, range(50_000))))
    whole = b"".join(parts)

    with pytest.raises(ValueError, match="ends after"):
        CODECS[codec](whole[:-20])
