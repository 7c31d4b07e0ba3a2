"""The canonical form of numpy's arrays, scalars and dtypes."""

import sys
from typing import Any

from fanfold.engine.keys.arrays import content_digest
from fanfold.engine.keys.forms import (
    Above,
    Unstable,
    Writer,
    container,
    head,
    write,
    write_float,
    write_int,
    write_items,
    write_name,
    write_str,
    write_unknown,
)


def find(kind: type) -> Writer | None:
    """Find how to write a type of numpy's; asked early, as some scalars are subclasses of float."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if issubclass(kind, numpy.generic):
        return _write_scalar
    if issubclass(kind, numpy.dtype):
        return _write_dtype
    if issubclass(kind, numpy.ndarray):
        plain = (numpy.ndarray, numpy.matrix, numpy.recarray, numpy.memmap)
        return write_array if kind in plain else write_unknown
    return None


def _write_scalar(value: Any, out: bytearray, above: Above) -> None:
    dtype = value.dtype
    out += b"n"
    if dtype.kind in "biu":
        write_str(dtype.str[1:], out, above)
        write_int(int(value), out, above)
    elif dtype.char in "efd":
        write_str(dtype.str[1:], out, above)
        write_float(float(value), out, above)
    else:
        write_array(sys.modules["numpy"].asarray(value), out, above)


def _write_dtype(value: Any, out: bytearray, above: Above) -> None:
    # Two structured dtypes may differ in nothing but where their fields lie.
    out += b"k"
    write_str(value.str, out, above)
    write(value.subdtype, out, above)
    fields = None if value.fields is None else [(n, *value.fields[n]) for n in value.names]
    write(fields, out, above)


def _write_array(value: Any, out: bytearray, above: Above) -> None:
    out += b"a"
    numpy = sys.modules["numpy"]
    if type(value) is not numpy.ndarray:
        write_name(type(value), out)
    _write_content(numpy, numpy.asarray(value), out, above)


write_array = container(_write_array)
"""Appends dtype, shape and content; an array of objects may hold itself."""


def _write_content(numpy: Any, array: Any, out: bytearray, above: Above) -> None:
    """Append dtype, shape and content; a structured array goes field by field.

    That leaves out the padding between fields, whose bytes are anything.
    """
    dtype = array.dtype
    # The bytes of other libraries' dtypes may be pointers, and their names aren't unique.
    if dtype.type.__module__ != "numpy" or dtype.char in "gG":
        raise Unstable(f"numpy array of {dtype}")
    write(tuple(array.shape), out, above)
    if dtype.names is not None:
        out += head(b"v", len(dtype.names))
        for name in dtype.names:
            write_str(name, out, above)
            try:
                _write_content(numpy, array[name], out, above)
            except Unstable as unstable:
                raise unstable.under(f"[{name!r}]") from None
    elif dtype.kind in "OT":
        write_str(dtype.kind, out, above)
        write_items(array.flat, out, above)
    else:
        little = dtype.newbyteorder("<")
        write_str(little.str, out, above)
        out += content_digest(numpy, array, little)
