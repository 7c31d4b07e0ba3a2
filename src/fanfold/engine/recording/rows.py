"""Values as JSON: tables as rows, and cells that JSON doesn't know as what people read.

Frames are known by what they can do, so that none of their packages is imported.
"""

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, cast

from fanfold.engine.recording.masking import MASK
from fanfold.engine.recording.showing import shown
from fanfold.values.errors import UsageError

LONGEST_BYTES = 1 << 20
"""Of an artifact as JSON."""
_LEAST_CELL_BYTES = 2
"""Of a cell in JSON, with the comma: a table of more cells than that allows isn't looked at."""
_TAKEN = (
    "A table is a list of dicts, a list of lists, a dict of columns, or a frame of pandas, polars "
    "or pyarrow"
)


def written(value: Any, what: str) -> str:
    """Return a value as JSON.

    Raises:
        UsageError: It is too large to be kept and looked at.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LONGEST_BYTES:
        raise _too_large(f"{what} is {size / LONGEST_BYTES:,.1f} MiB as JSON")
    return text


def rows(table: Any) -> list[Any]:
    """Return a table's rows as JSON has them: dicts by column, or lists where no column has a name.

    NaN and other missing values are null, dates are ISO 8601. The index of a frame of pandas is
    left out.

    Raises:
        UsageError: It is no table, or too large.
    """
    _check_size(table)
    frame = _frame_rows(table)
    if frame is not None:
        return [_row(row) for row in frame]
    if isinstance(table, Mapping):
        return _by_columns(cast("Mapping[Any, Any]", table))
    if isinstance(table, (list, tuple)):
        return [_row(row) for row in cast("list[Any]", table)]
    raise UsageError(f"{_TAKEN}; this is of type {type(table).__name__}.")


def cell(value: Any) -> Any:
    """Return a value as JSON has it; what it doesn't know as a short text."""
    kind = type(value)
    if value is None or kind in (str, int, bool):
        return value
    if isinstance(value, float):
        number = float(value)
        return number if math.isfinite(number) else None if math.isnan(number) else str(number)
    if _is_missing(value):
        return None
    if hasattr(kind, "get_secret_value"):
        return MASK
    if isinstance(value, enum.Enum):
        return cell(value.value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        return {_title(name): cell(item) for name, item in entries.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [cell(item) for item in cast("Iterable[Any]", value)]
    return _text(value)


def _text(value: Any) -> Any:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (str, decimal.Decimal, uuid.UUID, pathlib.PurePath, datetime.timedelta)):
        return str(value)
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind in ("M", "m"):  # numpy's own dates; as numbers they would lose what they are
        return str(value) if getattr(value, "shape", None) == () else shown(value)
    size = getattr(value, "size", 0)
    if kind and isinstance(size, int) and size <= LONGEST_BYTES // _LEAST_CELL_BYTES:
        return cell(value.tolist())
    return shown(value)


def _is_missing(value: Any) -> bool:
    """Return whether it is NaT or NA, which differ from themselves in their own ways."""
    return type(value).__name__ in ("NaTType", "NAType") or (
        getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m")
        and getattr(value, "shape", None) == ()
        and bool(value != value)
    )


def _frame_rows(table: Any) -> list[Any] | None:
    """Return the rows of a frame; None if it is none."""
    if isinstance(table, (Mapping, list, tuple)):
        return None
    for name in ("to_dicts", "to_pylist"):  # polars; pyarrow
        if hasattr(table, name):
            return list(getattr(table, name)())
    if hasattr(table, "to_dict") and hasattr(table, "iloc") and hasattr(table, "columns"):
        return list(table.to_dict(orient="records"))
    if hasattr(table, "collect") or hasattr(table, "compute"):
        raise UsageError(
            f"A {type(table).__name__} is only a plan of a table. Give what its collect() or "
            "compute() returns."
        )
    return None


def _by_columns(columns: Mapping[Any, Any]) -> list[dict[str, Any]]:
    found: dict[str, list[Any]] = {}
    for name, column in columns.items():
        as_list = getattr(column, "tolist", None) or getattr(column, "to_list", None)
        values = as_list() if as_list is not None else column
        if not isinstance(values, (list, tuple)):
            raise UsageError(f"{_TAKEN}; its column {name!r} is of type {type(column).__name__}.")
        found[_title(name)] = [cell(value) for value in cast("list[Any]", values)]
    length = max(map(len, found.values()), default=0)
    return [
        {name: column[row] if row < len(column) else None for name, column in found.items()}
        for row in range(length)
    ]


def _row(row: Any) -> Any:
    if isinstance(row, Mapping):
        return cell(row)
    if isinstance(row, tuple) and hasattr(row, "_asdict"):
        return cell(cast("Any", row)._asdict())
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {field.name: cell(getattr(row, field.name)) for field in dataclasses.fields(row)}
    if isinstance(row, (list, tuple)):
        return cell(row)
    raise UsageError(f"{_TAKEN}; one of its rows is of type {type(row).__name__}.")


def _title(name: Any) -> str:
    if isinstance(name, tuple):  # a column of several levels
        return " ".join(map(str, cast("tuple[Any, ...]", name)))
    return str(name)


def _check_size(table: Any) -> None:
    """Refuse what can't fit before it is made rows of, which may take long."""
    shape = getattr(table, "shape", None)
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in cast("tuple[Any, ...]", shape)):
        cells = math.prod(cast("tuple[int, ...]", shape))
    elif isinstance(table, (list, tuple)):
        cells = len(cast("list[Any]", table))
    else:
        return
    if cells * _LEAST_CELL_BYTES > LONGEST_BYTES:
        raise _too_large(f"The table has {cells:,} cells or rows")


def _too_large(what: str) -> UsageError:
    return UsageError(
        f"{what}, and an artifact takes up to 1 MiB. Make it of a summary or of the first rows, "
        "and keep the whole as a file or as the result of a task (persist_result=True)."
    )
