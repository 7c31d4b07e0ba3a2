"""Arrays of numpy as `.npy`: a header, then the raw buffer; never anything that is pickled.

Memory order, byte order and dtype are kept, those of structured arrays too. What has objects in it,
what the header can't say (metadata of a dtype, aligned structures, dtypes of other libraries) and
subclasses of arrays are left to others. Numbers and dates of numpy are arrays without dimensions.
"""

import io
import struct
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fanfold.ports.results import Buffer

COPIED_BYTES = 64 << 10
"""A smaller array is copied, so that it may change before its segment is written."""
_KINDS = "biufcmMSUV"
_SCALAR_KINDS = "biufcmM"
_MOST_HEADER_BYTES = 1 << 20


def written(array: Any) -> Sequence[Buffer] | None:
    """Return an array as the parts of a `.npy` file, its buffer not copied; None if it has none."""
    dtype = array.dtype
    if not _is_plain(dtype):
        return None
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    header = _header(dtype, array.shape, fortran)
    if header is None:
        return None
    if array.nbytes < COPIED_BYTES:
        return [header, array.tobytes("F" if fortran else "C")]
    flat = array.T if fortran else sys.modules["numpy"].ascontiguousarray(array)
    return [header, flat.reshape(-1).view("u1").data]


def written_scalar(scalar: Any) -> Sequence[Buffer] | None:
    """Return a number or date of numpy's as the parts of a `.npy` file."""
    dtype = scalar.dtype
    if dtype.kind not in _SCALAR_KINDS or not _is_plain(dtype):
        return None
    header = _header(dtype, (), False)
    return None if header is None else [header, scalar.tobytes()]


def read(payload: Buffer) -> Any:
    """Return the array of a payload: a writable one, which lives in the payload if that is.

    Raises:
        ValueError: It has objects in it, which would have to be unpickled.
    """
    view = memoryview(payload)
    start, dtype, shape, fortran = _parsed(bytes(view[: _header_bytes(view)]))
    numpy = sys.modules["numpy"]
    order = "F" if fortran else "C"
    content, at = (bytearray(view[start:]), 0) if view.readonly else (view, start)
    array = numpy.ndarray(shape, dtype, content, at, order=order)
    return array if array.flags.aligned else array.copy(order)


def read_scalar(payload: Buffer) -> Any:
    """Return the number or date of a payload."""
    return read(payload)[()]


def _is_plain(dtype: Any) -> bool:
    """Return whether a header says all of a dtype; equal ones may differ in what it leaves out."""
    if dtype.kind not in _KINDS or dtype.hasobject or not dtype.itemsize:
        return False
    if dtype.metadata is not None or dtype.isalignedstruct or dtype.isbuiltin == 2:
        return False
    if dtype.subdtype is not None:
        return _is_plain(dtype.subdtype[0])
    return all(_is_plain(field[0]) for field in (dtype.fields or {}).values())


@lru_cache(maxsize=256)
def _header(dtype: Any, shape: tuple[int, ...], fortran: bool) -> bytes | None:
    numpy = sys.modules["numpy"]
    form = numpy.lib.format
    descr = form.dtype_to_descr(dtype)
    out = io.BytesIO()
    try:
        if form.descr_to_dtype(descr) != dtype:
            return None
        fields = {"descr": descr, "fortran_order": fortran, "shape": shape}
        form.write_array_header_2_0(out, fields)
    except (ValueError, TypeError, UnicodeEncodeError):  # such as names of fields in Chinese
        return None
    return out.getvalue()


def _header_bytes(view: memoryview) -> int:
    if bytes(view[:8]) != b"\x93NUMPY\x02\x00":
        raise ValueError("it doesn't begin like an array")
    (length,) = struct.unpack_from("<I", view, 8)
    return 12 + length


@lru_cache(maxsize=256)
def _parsed(header: bytes) -> tuple[int, Any, tuple[int, ...], bool]:
    import numpy  # whose value it is

    stream = io.BytesIO(header)
    numpy.lib.format.read_magic(stream)
    shape, fortran, dtype = numpy.lib.format.read_array_header_2_0(stream, _MOST_HEADER_BYTES)
    if dtype.hasobject:
        raise ValueError("it has objects in it")
    return len(header), dtype, shape, fortran
