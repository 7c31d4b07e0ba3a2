"""Keys of tables and columns: by content, however it lies in memory."""

import datetime
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.engine.keys import digest

pd: Any = pytest.importorskip("pandas", reason="tables of pandas are digested")
pa: Any = pytest.importorskip("pyarrow", reason="tables of pyarrow are digested")


def frame() -> Any:
    return pd.DataFrame(
        {
            "ints": [1, 2, 3],
            "texts": ["x", None, "z"],
            "floats": [1.0, np.nan, -0.0],
            "kinds": pd.Categorical(["u", "v", "u"]),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "flags": pd.array([True, None, False], dtype="boolean"),
            "zoned": pd.to_datetime(["2024-01-01"] * 3).tz_localize("Europe/Berlin"),
            "months": pd.period_range("2024", periods=3, freq="M"),
            "between": pd.interval_range(0, 3),
            "spans": pd.to_timedelta([1, 2, 3], unit="s"),
            "objects": [[1], {"a": 2}, None],
            "sparse": pd.arrays.SparseArray([0, 0, 1]),
            "arrow": pd.array([1, 2, None], dtype="int64[pyarrow]"),
            "strings": pd.array(["x", None, "z"], dtype="string"),
        }
    )


LETTERS = pd.MultiIndex.from_product([["a", "b"], [1, 2]])


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (frame(), frame()),
        (frame(), frame().copy()),
        (frame(), pickle.loads(pickle.dumps(frame()))),
        (frame(), pd.concat([frame().iloc[:1], frame().iloc[1:]])),
        (pd.Index([0, 1, 2]), pd.RangeIndex(3)),
        (LETTERS[:2], pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])),
        (pd.Series([1, 2, 3])[1:], pd.Series([2, 3], index=[1, 2])),
        (
            pd.array(["a", None], dtype=pd.StringDtype("python")),
            pd.array(["a", None], dtype=pd.StringDtype("pyarrow")),
        ),
    ],
)
def test_equal_tables_of_pandas_have_one_key(one: Any, same: Any) -> None:
    assert digest(one) == digest(same)


def test_tables_of_pandas_that_differ_have_different_keys() -> None:
    table = frame()
    noted = frame()
    noted.attrs["note"] = 1
    changed = [table.drop(columns=name) for name in table.columns]
    for name in table.columns:
        changed.append(table.assign(**{name: table[name].array[::-1]}))
        changed.append(table.rename(columns={name: "renamed"}))
    values = [
        *(table, noted, table.iloc[:2], table.set_index("ints"), table[table.columns[::-1]]),
        *(table.astype({"ints": "int32"}), table.assign(floats=[1.0, np.nan, 0.0]), LETTERS),
        *(LETTERS.set_names(["x", "y"]), pd.Index(["a"]), pd.Index(["a"], name="n")),
        *(pd.Series(["a"]), pd.Series(["a"], name="n"), pd.array(["a"], dtype="string"), ["a"]),
        *(pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["a"], ["a"])),
        *(pd.Categorical(["a"], ["a"], ordered=True), pd.Interval(0, 1), pd.Period("2024-01")),
        *(pd.Timestamp("2024"), pd.Timestamp("2024", tz="UTC"), datetime.datetime(2024, 1, 1)),
        *(pd.NaT, pd.NA, None, pd.Timedelta(1), pd.Timedelta(2), pd.offsets.Day(1)),
        *(pd.DateOffset(months=1), pd.DateOffset(months=2), pd.Int64Dtype(), np.dtype("i8")),
    ]

    # Both columns that don't change when they are turned around are the table itself.
    same = [each for each in changed if digest(each) == digest(table)]
    keys = {digest(value) for value in [*values, *changed]}
    assert all(each.equals(table) for each in same)
    assert len(keys) == len(values) + len(changed) - len(same)


def columns() -> dict[str, Any]:
    texts = pa.array(["a", None, "ccc", ""])
    return {
        "ints": pa.array([1, None, 3, 4]),
        "texts": texts,
        "views": texts.cast(pa.string_view()),
        "dictionary": texts.dictionary_encode(),
        "bytes": pa.array([b"a", b"", None, b"x"]),
        "floats": pa.array([1.0, float("nan"), None, -0.0]),
        "halves": pa.array(np.array([1, 2, np.nan, 4], "f2")),
        "lists": pa.array([[1, 2], None, [], [None, 3]]),
        "pairs": pa.array([[1, 2], None, [3, None], [5, 6]], pa.list_(pa.int32(), 2)),
        "structs": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 2}]),
        "maps": pa.array([[("a", 1)], None, [], [("b", None)]], pa.map_(pa.string(), pa.int64())),
        "times": pa.array([datetime.datetime(2024, 1, day) for day in (1, 2, 3, 4)]),
        "flags": pa.array([True, None, False, True]),
        "nothing": pa.nulls(4),
        "decimals": pa.array([1, 2, None, 4]).cast(pa.decimal128(25, 2)),
        "fixed": pa.array([b"ab", None, b"cd", b"ef"], pa.binary(2)),
    }


@pytest.mark.parametrize("name", columns())
@settings(max_examples=20)
@given(st.data())
def test_chunks_and_slices_do_not_count(name: str, data: st.DataObject) -> None:
    column = columns()[name]
    start = data.draw(st.integers(0, 4))
    stop = data.draw(st.integers(start, 4))
    cut = data.draw(st.integers(start, stop))
    part = column[start:stop]
    chunked = pa.chunked_array([column[start:cut], column[cut:stop]], column.type)

    fresh = pa.array(part.to_pylist(), column.type)
    assert digest(part) == digest(fresh) == digest(pickle.loads(pickle.dumps(part)))
    assert digest(chunked) == digest(pa.chunked_array([fresh]))
    assert (digest(part) == digest(column)) == (len(part) == 4)


def test_tables_of_pyarrow_count_by_content() -> None:
    table = pa.table(columns())
    batch = pa.record_batch({"a": [1]})
    values = [
        *columns().values(),
        *(table, table[1:], table.drop_columns(["ints"]), batch, pa.table(batch.to_pydict())),
        *(pa.chunked_array([[1]]), pa.array([1]), pa.array([1, None]), pa.array([None, 1])),
        *(pa.scalar(1), pa.scalar(1, pa.int32()), pa.scalar("x"), pa.scalar(None, pa.int64())),
        *(pa.array([[1], [2]]), pa.array([[1, 2]]), pa.array([[1, 2], []]), pa.int64()),
        *(pa.field("a", pa.int64()), pa.field("b", pa.int64()), pa.schema([("a", pa.int64())])),
        *(pa.struct([("a", pa.int64())]), pa.list_(pa.int64()), pa.list_(pa.int64(), 2)),
    ]

    assert len({digest(value) for value in values}) == len(values)
    assert digest(pa.concat_tables([table[:1], table[1:]])) == digest(table)
    assert digest(table.replace_schema_metadata({"note": "n"})) == digest(table)


def test_tables_of_polars_count_by_content() -> None:
    pl: Any = pytest.importorskip("polars", reason="tables of polars are digested")
    table = pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [[1], [2]]})
    values = [table, table[:1], table.rename({"a": "z"}), *table.get_columns(), pl.Series([1])]

    assert digest(pl.concat([table[:1], table[1:]])) == digest(table)
    assert digest(pickle.loads(pickle.dumps(table))) == digest(table)
    assert len({digest(value) for value in values}) == len(values)
