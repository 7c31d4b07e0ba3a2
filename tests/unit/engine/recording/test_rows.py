"""Tables as JSON: whatever they come from, and whatever is in their cells."""

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanfold.engine.recording.masking import MASK
from fanfold.engine.recording.rows import rows, written
from fanfold.values.errors import UsageError
from fanfold.values.secrets import Secret

DAY = datetime.date(2026, 1, 2)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Fruit:
    name: str
    weight: float


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ([{"a": 1, "b": "x"}], [{"a": 1, "b": "x"}]),
        ({"a": [1, 2], "b": [3]}, [{"a": 1, "b": 3}, {"a": 2, "b": None}]),
        ({"a": np.arange(2)}, [{"a": 0}, {"a": 1}]),
        ([[1, None], (2, "y")], [[1, None], [2, "y"]]),
        ([Fruit("apple", 1.5)], [{"name": "apple", "weight": 1.5}]),
        ([], []),
    ],
)
def test_a_table_may_be_given_by_rows_or_by_columns(table: Any, found: Any) -> None:
    assert rows(table) == found


@pytest.mark.parametrize("package", ["pandas", "polars", "pyarrow"])
def test_frames_are_tables(package: str) -> None:
    module = pytest.importorskip(package)
    columns = {"n": [1, 2], "x": [1.5, float("nan")], "day": [DAY, None]}
    table = module.table(columns) if package == "pyarrow" else module.DataFrame(columns)

    assert rows(table) == [
        {"n": 1, "x": 1.5, "day": "2026-01-02"},
        {"n": 2, "x": None, "day": None},
    ]


def test_missing_values_of_pandas_are_null() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "at": pandas.to_datetime(["2026-01-02 03:04", None]),
            "n": pandas.array([1, None], dtype="Int64"),
        }
    )

    assert rows(frame) == [{"at": "2026-01-02T03:04:00", "n": 1}, {"at": None, "n": None}]
    assert rows({"at": frame["at"]}) == [{"at": "2026-01-02T03:04:00"}, {"at": None}]


def test_cells_that_json_does_not_know_are_what_people_read() -> None:
    given = {
        **{"day": DAY, "colour": Colour.RED, "price": decimal.Decimal("1.10"), "path": Path("a/b")},
        **{"id": uuid.UUID(int=1), "numpy": np.float32(2.5), "many": np.ones(2), "set": {1}},
        **{"np day": np.datetime64("2026-01-02"), "np none": np.datetime64("NaT")},
        **{"infinite": float("inf"), "secret": Secret("hunter2"), "other": object(), 5: [None]},
    }

    (row,) = rows([given])

    assert row == {
        **{"day": "2026-01-02", "colour": "red", "price": "1.10", "path": "a/b"},
        **{"id": str(uuid.UUID(int=1)), "numpy": 2.5, "many": [1.0, 1.0], "set": [1]},
        **{"np day": "2026-01-02", "np none": None},
        **{"infinite": "inf", "secret": MASK, "other": "<object>", "5": [None]},
    }
    assert json.loads(written([row], "The table")) == [row]


@pytest.mark.parametrize("table", [5, "text", [5], {"a": 5}, None, b"x"])
def test_what_is_no_table_is_refused(table: Any) -> None:
    with pytest.raises(UsageError, match="A table is a list of dicts"):
        rows(table)


def test_a_table_that_is_only_planned_is_refused() -> None:
    polars = pytest.importorskip("polars")

    with pytest.raises(UsageError, match=r"collect\(\)"):
        rows(polars.DataFrame({"a": [1]}).lazy())


def test_what_is_too_large_is_refused_before_it_is_converted() -> None:
    class Huge:
        shape = (10_000_000, 10)

        def to_dicts(self) -> Any:
            raise AssertionError("it was converted")

    with pytest.raises(UsageError, match=r"100,000,000 cells.*Make it of a summary"):
        rows(Huge())
    with pytest.raises(UsageError, match=r"The text is 2.0 MiB as JSON.*up to 1 MiB"):
        written("x" * (2 << 20), "The text")
