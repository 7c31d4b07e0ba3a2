"""The canonical form of a value, which keys digest; `keys` says what counts in it.

A form is a tag, then something of a fixed size or with its length in front, so forms can stand one
after another and no two values share one. Types are looked up in a table of writers; numpy is never
imported here, for an array can only come from a program that has done so.
"""

import dataclasses
import datetime
import decimal
import enum
import pathlib
import struct
import sys
import types
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from blake3 import blake3

from fanfold.engine.arrays import content_digest
from fanfold.values.errors import KeyNotStable

DEPTH_LIMIT = 100
"""Containers inside each other. Also what ends a container that holds itself."""
VERSION = b"\x01"
"""In front of each form: a change of any form must change all keys."""

_INLINE_BYTES = 4096
"""Longer contents enter the form as their digest."""
_MAINS = ("__main__", "__mp_main__")
_NAN = struct.pack("<cd", b"f", float("nan"))

_head = struct.Struct("<cQ").pack
_short = struct.Struct("<cq").pack
_double = struct.Struct("<cd").pack

Writer = Callable[[Any, bytearray, int], None]
"""Appends a value's form; told how many more levels of containers there may be."""


def form(value: object, path: str) -> bytearray:
    """Return a value's form.

    Args:
        value: Anything.
        path: What errors call the value. If it is empty or ends with a space, the value is a dict
            and errors go on with the bare name of one of its keys.

    Raises:
        KeyNotStable: Something in it has no form.
    """
    out = bytearray(VERSION)
    try:
        (_WRITERS.get(type(value)) or _writer(type(value)))(value, out, DEPTH_LIMIT)
    except _Unstable as unstable:
        raise unstable.located(path) from None
    return out


class _Unstable(Exception):
    """Unwinds from a value without a form, gathering where it was."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.steps: list[str] = []

    def under(self, step: str) -> "_Unstable":
        self.steps.append(step)
        return self

    def located(self, path: str) -> KeyNotStable:
        steps = "".join(reversed(self.steps))
        if (not path or path.endswith(" ")) and steps.startswith("['"):
            name, _, rest = steps[2:].partition("']")
            steps = name + rest
        return KeyNotStable(path + steps, self.kind)


def type_name(kind: type) -> str:
    """Return a type's name as a reader knows it."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _too_deep() -> _Unstable:
    return _Unstable(f"container nested deeper than {DEPTH_LIMIT} levels")


def write_blob(tag: bytes, content: Any, out: bytearray) -> None:
    """Append bytes under a tag of their own."""
    size = len(content)
    out += _head(tag, size)
    out += content if size <= _INLINE_BYTES else blake3(content).digest()


def _write_name(kind: Any, out: bytearray) -> None:
    # A spawned worker calls its copy of the driver's main module `__mp_main__`.
    module = "__main__" if kind.__module__ in _MAINS else kind.__module__
    write_blob(b"q", f"{module}:{kind.__qualname__}".encode("utf-8", "surrogatepass"), out)


# Atoms.


def _constant(tag: bytes) -> Writer:
    def write_constant(value: object, out: bytearray, depth: int) -> None:
        out += tag

    return write_constant


def _write_bool(value: bool, out: bytearray, depth: int) -> None:
    out += b"1" if value else b"0"


def _write_int(value: int, out: bytearray, depth: int) -> None:
    try:
        out += _short(b"i", value)
    except struct.error:
        size = value.bit_length() // 8 + 1
        write_blob(b"I", value.to_bytes(size, "little", signed=True), out)


def _write_float(value: float, out: bytearray, depth: int) -> None:
    out += _double(b"f", value) if value == value else _NAN


def _write_complex(value: complex, out: bytearray, depth: int) -> None:
    out += b"c"
    _write_float(value.real, out, depth)
    _write_float(value.imag, out, depth)


def _write_str(value: str, out: bytearray, depth: int) -> None:
    try:
        content = value.encode()
    except UnicodeEncodeError:
        content = value.encode("utf-8", "surrogatepass")
    size = len(content)
    out += _head(b"s", size)
    out += content if size <= _INLINE_BYTES else blake3(content).digest()


def _write_bytes(value: bytes, out: bytearray, depth: int) -> None:
    write_blob(b"b", value, out)


def _write_bytearray(value: bytearray, out: bytearray, depth: int) -> None:
    write_blob(b"B", value, out)


def _as_text(tag: bytes, text: Callable[[Any], str]) -> Writer:
    """Make the writer of a type whose values are told apart by a text."""

    def write_text(value: object, out: bytearray, depth: int) -> None:
        out += tag
        _write_str(text(value), out, depth)

    return write_text


def _write_path(value: pathlib.PurePath, out: bytearray, depth: int) -> None:
    # The module that pathlib's classes live in differs between Python versions.
    write_blob(b"P", type(value).__name__.encode(), out)
    _write_str(str(value), out, depth)


def _write_time(value: Any, out: bytearray, depth: int) -> None:
    out += b"h" if type(value) is datetime.time else b"H"
    _write_str(value.replace(tzinfo=None).isoformat(), out, depth)
    out += b"1" if value.fold else b"0"
    try:
        write(value.tzinfo, out, depth)
    except _Unstable as unstable:
        raise unstable.under(".tzinfo") from None


def _write_timezone(value: datetime.timezone, out: bytearray, depth: int) -> None:
    out += b"z"
    _write_str(value.tzname(None), out, depth)
    _write_timedelta(value.utcoffset(None), out, depth)


def _write_zone_info(value: Any, out: bytearray, depth: int) -> None:
    if value.key is None:
        raise _Unstable("time zone without a key")
    out += b"Z"
    _write_str(value.key, out, depth)


def _write_timedelta(value: datetime.timedelta, out: bytearray, depth: int) -> None:
    out += struct.pack("<cqqq", b"t", value.days, value.seconds, value.microseconds)


def _write_enum(value: enum.Enum, out: bytearray, depth: int) -> None:
    out += b"e"
    _write_name(type(value), out)
    # Combined flags may have no name; what they hold are numbers.
    write(value.value if value.name is None else value.name, out, depth)


def _write_importable(value: Any, out: bytearray, depth: int) -> None:
    module = getattr(value, "__module__", None)
    found: Any = None if module in _MAINS else sys.modules.get(module or "")
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not value:
        kind = "class" if isinstance(value, type) else "function"
        raise _Unstable(f"{kind} ({value.__qualname__}) that other processes can't import")
    out += b"T"
    _write_name(value, out)


# Containers. Each takes one level of depth and says where it is when a member has no form.


def write(value: object, out: bytearray, depth: int = DEPTH_LIMIT) -> None:
    """Append a value's form to those of others."""
    (_WRITERS.get(type(value)) or _writer(type(value)))(value, out, depth)


def _write_items(items: Iterable[object], out: bytearray, depth: int) -> None:
    if not depth:
        raise _too_deep()
    done = 0
    try:
        for item in items:
            (_WRITERS.get(type(item)) or _writer(type(item)))(item, out, depth - 1)
            done += 1
    except _Unstable as unstable:
        raise unstable.under(f"[{done}]") from None


def _sequence(tag: bytes) -> Writer:
    def write_sequence(value: Any, out: bytearray, depth: int) -> None:
        out += _head(tag, len(value))
        _write_items(value, out, depth)

    return write_sequence


def _write_entry(key: object, item: object, out: bytearray, depth: int) -> None:
    if not depth:
        raise _too_deep()
    try:
        (_WRITERS.get(type(key)) or _writer(type(key)))(key, out, depth - 1)
    except _Unstable as unstable:
        raise unstable.under(".keys()") from None
    try:
        (_WRITERS.get(type(item)) or _writer(type(item)))(item, out, depth - 1)
    except _Unstable as unstable:
        raise unstable.under(f"[{key!r}]") from None


def _write_dict(value: dict[Any, Any], out: bytearray, depth: int) -> None:
    out += _head(b"d", len(value))
    if len(value) == 1:
        for key, item in value.items():
            _write_entry(key, item, out, depth)
        return
    entries = []
    for key, item in value.items():
        entry = bytearray()
        _write_entry(key, item, entry, depth)
        entries.append(entry)
    entries.sort()
    out += b"".join(entries)


def _write_ordered_dict(value: "OrderedDict[Any, Any]", out: bytearray, depth: int) -> None:
    out += _head(b"o", len(value))
    for key, item in value.items():
        _write_entry(key, item, out, depth)


def _write_defaultdict(value: "defaultdict[Any, Any]", out: bytearray, depth: int) -> None:
    out += b"y"
    try:
        write(value.default_factory, out, depth)
    except _Unstable as unstable:
        raise unstable.under(".default_factory") from None
    _write_dict(value, out, depth)


def _unordered(tag: bytes) -> Writer:
    def write_members(value: Any, out: bytearray, depth: int) -> None:
        out += _head(tag, len(value))
        members = []
        for item in value:
            member = bytearray()
            try:
                write(item, member, depth)
            except _Unstable as unstable:
                raise unstable.under("{...}") from None
            members.append(member)
        members.sort()
        out += b"".join(members)

    return write_members


def _write_range(value: range, out: bytearray, depth: int) -> None:
    # Ranges are equal when they count the same numbers; `len` fails on long ones.
    if not value:
        out += b"R"
        return
    first, last = value[0], value[-1]
    out += b"r"
    for number in (first, last, value.step if first != last else 0):
        _write_int(number, out, depth)


def _write_slice(value: slice, out: bytearray, depth: int) -> None:
    out += b":"
    _write_items((value.start, value.stop, value.step), out, depth)


def _write_dataclass(value: Any, out: bytearray, depth: int) -> None:
    if not depth:
        raise _too_deep()
    fields = dataclasses.fields(value)
    out += _head(b"D", len(fields))
    _write_name(type(value), out)
    for field in fields:
        _write_str(field.name, out, depth)
        try:
            write(getattr(value, field.name), out, depth - 1)
        except _Unstable as unstable:
            raise unstable.under(f".{field.name}") from None


# Types outside the table: subclasses, dataclasses and, once somebody imported it, numpy.


@lru_cache(maxsize=1024)
def _writer(kind: type) -> Writer:
    """Find how to write a type that isn't in the table.

    Cached, but not in the table: that would keep each class that a program ever made.
    """
    numpy = sys.modules.get("numpy")
    # numpy's scalars come first: some are subclasses of float and str.
    if numpy is not None and issubclass(kind, numpy.generic):
        return _write_scalar
    if numpy is not None and issubclass(kind, numpy.ndarray):
        plain = (numpy.ndarray, numpy.matrix, numpy.recarray, numpy.memmap)
        return _write_array if kind in plain else _write_unknown
    if issubclass(kind, enum.Enum):
        return _write_enum
    if issubclass(kind, type):
        return _write_importable
    for base, exact in _BASES.items():
        if issubclass(kind, base):
            return _subclass(_WRITERS[base], exact)
    if dataclasses.is_dataclass(kind):
        return _write_dataclass
    if (kind.__module__, kind.__qualname__) == ("zoneinfo", "ZoneInfo"):
        return _write_zone_info
    return _write_unknown


def _write_unknown(value: object, out: bytearray, depth: int) -> None:
    raise _Unstable(type_name(type(value)))


def _subclass(write_content: Writer, exact: Callable[[Any], Any]) -> Writer:
    """Make the writer of a builtin's subclass: its name, content and state."""

    def write_subclass(value: Any, out: bytearray, depth: int) -> None:
        if not depth:
            raise _too_deep()
        out += b"S"
        _write_name(type(value), out)
        write_content(exact(value), out, depth)
        try:
            write(value.__getstate__() or None, out, depth - 1)
        except _Unstable as unstable:
            raise unstable.under(".__getstate__()") from None

    return write_subclass


def _from_members(base: Any) -> Callable[[Any], Any]:
    return lambda value: base(base.__iter__(value))


def _from_items(base: Any) -> Callable[[Any], Any]:
    return lambda value: base(base.items(value))


def _write_scalar(value: Any, out: bytearray, depth: int) -> None:
    dtype = value.dtype
    out += b"n"
    if dtype.kind in "biu":
        _write_str(dtype.str[1:], out, depth)
        _write_int(int(value), out, depth)
    elif dtype.char in "efd":
        _write_str(dtype.str[1:], out, depth)
        _write_float(float(value), out, depth)
    else:
        _write_array(sys.modules["numpy"].asarray(value), out, depth)


def _write_array(value: Any, out: bytearray, depth: int) -> None:
    out += b"a"
    numpy = sys.modules["numpy"]
    if type(value) is not numpy.ndarray:
        _write_name(type(value), out)
    _write_content(numpy, numpy.asarray(value), out, depth)


def _write_content(numpy: Any, array: Any, out: bytearray, depth: int) -> None:
    """Append dtype, shape and content; a structured array goes field by field.

    That leaves out the padding between fields, whose bytes are anything.
    """
    if not depth:
        raise _too_deep()
    dtype = array.dtype
    # The bytes of other libraries' dtypes may be pointers, and their names aren't unique.
    if dtype.type.__module__ != "numpy" or dtype.char in "gG":
        raise _Unstable(f"numpy array of {dtype}")
    write(tuple(array.shape), out, depth)
    if dtype.names is not None:
        out += _head(b"v", len(dtype.names))
        for name in dtype.names:
            _write_str(name, out, depth)
            try:
                _write_content(numpy, array[name], out, depth - 1)
            except _Unstable as unstable:
                raise unstable.under(f"[{name!r}]") from None
    elif dtype.kind in "OT":
        _write_str(dtype.kind, out, depth)
        _write_items(array.flat, out, depth)
    else:
        little = dtype.newbyteorder("<")
        _write_str(little.str, out, depth)
        out += content_digest(numpy, array, little)


_WRITERS: dict[type, Writer] = {
    type(None): _constant(b"N"),
    type(...): _constant(b"."),
    type(NotImplemented): _constant(b"!"),
    bool: _write_bool,
    int: _write_int,
    float: _write_float,
    complex: _write_complex,
    str: _write_str,
    bytes: _write_bytes,
    bytearray: _write_bytearray,
    list: _sequence(b"l"),
    tuple: _sequence(b"u"),
    dict: _write_dict,
    OrderedDict: _write_ordered_dict,
    defaultdict: _write_defaultdict,
    set: _unordered(b"m"),
    frozenset: _unordered(b"M"),
    range: _write_range,
    slice: _write_slice,
    pathlib.PosixPath: _write_path,
    pathlib.WindowsPath: _write_path,
    pathlib.PurePosixPath: _write_path,
    pathlib.PureWindowsPath: _write_path,
    datetime.datetime: _write_time,
    datetime.time: _write_time,
    datetime.date: _as_text(b"A", datetime.date.isoformat),
    datetime.timedelta: _write_timedelta,
    datetime.timezone: _write_timezone,
    decimal.Decimal: _as_text(b"E", str),
    uuid.UUID: _as_text(b"U", str),
    types.FunctionType: _write_importable,
    types.BuiltinFunctionType: _write_importable,
    type: _write_importable,
}

_BASES: dict[type, Callable[[Any], Any]] = {
    OrderedDict: _from_items(OrderedDict),
    defaultdict: lambda value: defaultdict(value.default_factory, dict[Any, Any].items(value)),
    dict: _from_items(dict),
    list: _from_members(list),
    tuple: _from_members(tuple),
    set: _from_members(set),
    frozenset: _from_members(frozenset),
    bytearray: bytearray,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
}
"""How to see a builtin's content past what its subclass made of it; the more special first."""
