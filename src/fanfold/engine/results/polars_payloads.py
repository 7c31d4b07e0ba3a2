"""Frames and series of polars as Arrow's IPC stream, which polars writes without pyarrow.

Objects are left to others, and so is what doesn't come back with the same schema.
"""

import io
import sys
from collections.abc import Sequence
from typing import Any

from fanfold.ports.results import Buffer


def written_frame(frame: Any) -> Sequence[Buffer] | None:
    """Return a frame as the parts of a stream; None if it isn't exact."""
    if not frame.width or not _comes_back(frame.clear()):
        return None
    return [_stream(frame).getbuffer()]


def written_series(series: Any) -> Sequence[Buffer] | None:
    """Return a series as the parts of a stream; None if it isn't exact."""
    return written_frame(series.to_frame())


def read_frame(payload: Buffer) -> Any:
    """Return the frame of a payload."""
    import polars  # whose value it is

    return polars.read_ipc_stream(io.BytesIO(payload))


def read_series(payload: Buffer) -> Any:
    """Return the series of a payload."""
    return read_frame(payload).to_series()


def _comes_back(head: Any) -> bool:
    errors = sys.modules["polars"].exceptions
    try:
        return read_frame(_stream(head).getbuffer()).schema == head.schema
    except (errors.PolarsError, errors.PanicException):  # it has no form in Arrow
        return False


def _stream(frame: Any) -> io.BytesIO:
    out = io.BytesIO()
    frame.write_ipc_stream(out, compat_level=sys.modules["polars"].CompatLevel.newest())
    return out
