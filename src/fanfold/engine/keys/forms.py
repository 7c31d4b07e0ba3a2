"""The canonical form of a value, which keys digest; `keys` says what counts in it.

A form is a tag, then something of a fixed size or with its length in front, so forms can stand one
after another and no two values share one. Here are the builtin types and the way to all others:
those whose writers `look_in` made known. No module of this family imports what its values come
from, for an array or a table can only come from a program that has done so.
"""

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

from fanfold.values.errors import KeyNotStable

DEPTH_LIMIT = 100
"""Containers inside each other: far below what the interpreter's stack allows."""
VERSION = b"\x02"
"""In front of each form: a change of any form must change all keys."""
MAINS = ("__main__", "__mp_main__")
"""A spawned worker calls its copy of the driver's main module `__mp_main__`."""
CODE = 0
"""Where `Above` keeps the graph of `codes` that the value is part of; no object's id."""

_INLINE_BYTES = 4096
"""Longer contents enter the form as their digest."""
_NAN = struct.pack("<cd", b"f", float("nan"))

head = struct.Struct("<cQ").pack
"""A tag and a count."""
_short = struct.Struct("<cq").pack
_double = struct.Struct("<cd").pack

Above = dict[int, Any]
"""The level of each container that is being written, by its id, so that one that holds itself is
known again. What is raised leaves it as it is: whoever catches must not go on with it."""
Writer = Callable[[Any, bytearray, Above], None]
"""Appends a value's form."""
EntryWriter = Callable[[Any, Any, bytearray, Above], None]
"""Appends the forms of a name or key, and of what is held under it."""
Finder = Callable[[type], Writer | None]

_finders: tuple[Finder, ...] = ()


def look_in(*finders: Finder) -> None:
    """Make known where writers of other types are, in the order to ask."""
    global _finders
    _finders = finders
    writer_of.cache_clear()


class Unstable(Exception):
    """Unwinds from a value without a form, gathering where it was."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.steps: list[str] = []

    def under(self, step: str) -> "Unstable":
        """Note one more step of the way to it, from the inside out."""
        self.steps.append(step)
        return self

    def located(self, path: str) -> KeyNotStable:
        """Return what users are told."""
        steps = "".join(reversed(self.steps))
        if (not path or path.endswith(" ")) and steps.startswith("['"):
            name, _, rest = steps[2:].partition("']")
            steps = name + rest
        return KeyNotStable(path + steps, self.kind)


def form(value: object, path: str, before: bytes = b"") -> bytearray:
    """Return a value's form.

    Args:
        value: Anything.
        path: What errors call the value. If it is empty or ends with a space, the value is a dict
            and errors go on with the bare name of one of its keys.
        before: What to put in front of it.

    Raises:
        KeyNotStable: Something in it has no form.
    """
    out = bytearray(before)
    out += VERSION
    try:
        (_WRITERS.get(type(value)) or writer_of(type(value)))(value, out, {})
    except Unstable as unstable:
        raise unstable.located(path) from None
    return out


def write(value: object, out: bytearray, above: Above) -> None:
    """Append a value's form to those of others."""
    (_WRITERS.get(type(value)) or writer_of(type(value)))(value, out, above)


def write_under(step: str, value: object, out: bytearray, above: Above) -> None:
    """Append a part's form; errors say that it is under this step, such as `.name`."""
    try:
        write(value, out, above)
    except Unstable as unstable:
        raise unstable.under(step) from None


def container(write_content: Writer) -> Writer:
    """Make the writer of a type whose values may hold themselves.

    Where a value is met again inside itself, there stands how many levels up it is. That says the
    same wherever the value itself lies.
    """

    def write_container(value: object, out: bytearray, above: Above) -> None:
        mark, level = id(value), len(above)
        if mark in above:
            out += head(b"^", level - above[mark])
            return
        if level > DEPTH_LIMIT:
            raise Unstable(f"container nested deeper than {DEPTH_LIMIT} levels")
        above[mark] = level
        write_content(value, out, above)
        del above[mark]

    return write_container


def type_name(kind: type) -> str:
    """Return a type's name as a reader knows it."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def module_named(kind: Any) -> str:
    """Return the name of the module that a class or function comes from, the same everywhere."""
    return "__main__" if kind.__module__ in MAINS else str(kind.__module__)


def write_blob(tag: bytes, content: Any, out: bytearray) -> None:
    """Append bytes under a tag of their own."""
    size = len(content)
    out += head(tag, size)
    out += content if size <= _INLINE_BYTES else blake3(content).digest()


def write_name(kind: Any, out: bytearray) -> None:
    """Append the qualified name of a class or function."""
    name = f"{module_named(kind)}:{kind.__qualname__}"
    write_blob(b"q", name.encode("utf-8", "surrogatepass"), out)


def write_type(kind: type, out: bytearray, above: Above) -> None:
    """Append what a value is an instance of; in code, that is what its class does too."""
    if CODE in above:
        above[CODE].write(kind, out)
    else:
        write_name(kind, out)


# Atoms.


def constant(tag: bytes) -> Writer:
    """Make the writer of a type that has a single value."""

    def write_constant(value: object, out: bytearray, above: Above) -> None:
        out += tag

    return write_constant


def as_text(tag: bytes, text: Callable[[Any], str]) -> Writer:
    """Make the writer of a type whose values are told apart by a text."""

    def write_text(value: object, out: bytearray, above: Above) -> None:
        out += tag
        write_str(text(value), out, above)

    return write_text


def write_str(value: str, out: bytearray, above: Above) -> None:
    """Append a string."""
    try:
        content = value.encode()
    except UnicodeEncodeError:
        content = value.encode("utf-8", "surrogatepass")
    size = len(content)
    out += head(b"s", size)
    out += content if size <= _INLINE_BYTES else blake3(content).digest()


def write_int(value: int, out: bytearray, above: Above) -> None:
    """Append a whole number of any size."""
    try:
        out += _short(b"i", value)
    except struct.error:
        size = value.bit_length() // 8 + 1
        write_blob(b"I", value.to_bytes(size, "little", signed=True), out)


def write_float(value: float, out: bytearray, above: Above) -> None:
    """Append a number; every NaN is the same."""
    out += _double(b"f", value) if value == value else _NAN


def _write_bool(value: bool, out: bytearray, above: Above) -> None:
    out += b"1" if value else b"0"


def _write_complex(value: complex, out: bytearray, above: Above) -> None:
    out += b"c"
    write_float(value.real, out, above)
    write_float(value.imag, out, above)


def _write_bytes(value: bytes, out: bytearray, above: Above) -> None:
    write_blob(b"b", value, out)


def _write_bytearray(value: bytearray, out: bytearray, above: Above) -> None:
    write_blob(b"B", value, out)


def _write_memoryview(value: memoryview, out: bytearray, above: Above) -> None:
    out += b"V"
    write((value.format, value.shape), out, above)
    write_blob(b"b", value.tobytes(), out)


def _write_path(value: pathlib.PurePath, out: bytearray, above: Above) -> None:
    # The module that pathlib's classes live in differs between Python versions.
    write_blob(b"P", type(value).__name__.encode(), out)
    write_str(str(value), out, above)


def _write_time(value: Any, out: bytearray, above: Above) -> None:
    out += b"h" if type(value) is datetime.time else b"H"
    write_str(value.replace(tzinfo=None).isoformat(), out, above)
    out += b"1" if value.fold else b"0"
    write_under(".tzinfo", value.tzinfo, out, above)


def _write_timezone(value: datetime.timezone, out: bytearray, above: Above) -> None:
    out += b"z"
    write_str(value.tzname(None), out, above)
    _write_timedelta(value.utcoffset(None), out, above)


def _write_zone_info(value: Any, out: bytearray, above: Above) -> None:
    if value.key is None:
        raise Unstable("time zone without a key")
    out += b"Z"
    write_str(value.key, out, above)


def _write_timedelta(value: datetime.timedelta, out: bytearray, above: Above) -> None:
    out += struct.pack("<cqqq", b"t", value.days, value.seconds, value.microseconds)


def _write_enum(value: enum.Enum, out: bytearray, above: Above) -> None:
    out += b"e"
    write_type(type(value), out, above)
    # Combined flags may have no name; what they hold are numbers.
    write(value.value if value.name is None else value.name, out, above)


# Containers. Each says where it is when a member has no form.


def write_items(items: Iterable[object], out: bytearray, above: Above) -> None:
    """Append members in order; their number is up to the caller."""
    done = 0
    try:
        for item in items:
            (_WRITERS.get(type(item)) or writer_of(type(item)))(item, out, above)
            done += 1
    except Unstable as unstable:
        raise unstable.under(f"[{done}]") from None


def _sequence(tag: bytes) -> Writer:
    def write_sequence(value: Any, out: bytearray, above: Above) -> None:
        out += head(tag, len(value))
        write_items(value, out, above)

    return container(write_sequence)


def _write_entry(key: object, item: object, out: bytearray, above: Above) -> None:
    try:
        (_WRITERS.get(type(key)) or writer_of(type(key)))(key, out, above)
    except Unstable as unstable:
        raise unstable.under(".keys()") from None
    try:
        (_WRITERS.get(type(item)) or writer_of(type(item)))(item, out, above)
    except Unstable as unstable:
        raise unstable.under(f"[{key!r}]") from None


def write_entries(
    value: Any, out: bytearray, above: Above, write_entry: EntryWriter = _write_entry
) -> None:
    """Append a dict's entries, in an order that doesn't depend on its own."""
    out += head(b"d", len(value))
    if len(value) == 1:
        for key, item in value.items():
            write_entry(key, item, out, above)
        return
    entries: list[bytearray] = []
    for key, item in value.items():
        entry = bytearray()
        write_entry(key, item, entry, above)
        entries.append(entry)
    entries.sort()
    out += b"".join(entries)


def _write_ordered_dict(value: "OrderedDict[Any, Any]", out: bytearray, above: Above) -> None:
    out += head(b"o", len(value))
    for key, item in value.items():
        _write_entry(key, item, out, above)


def _write_defaultdict(value: "defaultdict[Any, Any]", out: bytearray, above: Above) -> None:
    out += b"y"
    write_under(".default_factory", value.default_factory, out, above)
    write_entries(value, out, above)


def _write_proxy(value: "types.MappingProxyType[Any, Any]", out: bytearray, above: Above) -> None:
    out += b"L"
    write_entries(value, out, above)


def _unordered(tag: bytes) -> Writer:
    def write_members(value: Any, out: bytearray, above: Above) -> None:
        out += head(tag, len(value))
        members: list[bytearray] = []
        for item in value:
            member = bytearray()
            write_under("{...}", item, member, above)
            members.append(member)
        members.sort()
        out += b"".join(members)

    return container(write_members)


def _write_range(value: range, out: bytearray, above: Above) -> None:
    # Ranges are equal when they count the same numbers; `len` fails on long ones.
    if not value:
        out += b"R"
        return
    first, last = value[0], value[-1]
    out += b"r"
    for number in (first, last, value.step if first != last else 0):
        write_int(number, out, above)


def _write_slice(value: slice, out: bytearray, above: Above) -> None:
    out += b":"
    write_items((value.start, value.stop, value.step), out, above)


# Types outside the table: subclasses, and what other modules know of.


@lru_cache(maxsize=1024)
def writer_of(kind: type) -> Writer:
    """Find how to write a type.

    Cached, but not in the table: that would keep each class that a program ever made.
    """
    if kind in _WRITERS:
        return _WRITERS[kind]
    if issubclass(kind, enum.Enum):
        return _write_enum
    for find in _finders:
        writer = find(kind)
        if writer is not None:
            return writer
    return write_unknown


def find_subclass(kind: type) -> Writer | None:
    """Find how to write a subclass of a builtin type."""
    for base, exact in _BASES.items():
        if issubclass(kind, base):
            return _subclass(_WRITERS[base], exact)
    zones = sys.modules.get("zoneinfo")
    return _write_zone_info if zones is not None and issubclass(kind, zones.ZoneInfo) else None


def write_unknown(value: object, out: bytearray, above: Above) -> None:
    """Tell that there is no form.

    Raises:
        Unstable: Always.
    """
    raise Unstable(type_name(type(value)))


def _subclass(write_content: Writer, exact: Callable[[Any], Any]) -> Writer:
    """Make the writer of a builtin's subclass: its name, content and state."""

    def write_subclass(value: Any, out: bytearray, above: Above) -> None:
        out += b"S"
        write_type(type(value), out, above)
        write_content(exact(value), out, above)
        write_under(".__getstate__()", value.__getstate__() or None, out, above)

    return container(write_subclass)


def _from_members(base: Any) -> Callable[[Any], Any]:
    return lambda value: base(base.__iter__(value))


def _from_items(base: Any) -> Callable[[Any], Any]:
    return lambda value: base(base.items(value))


def _plain_datetime(value: Any) -> datetime.datetime:
    return datetime.datetime.combine(value.date(), value.timetz())


_WRITERS: dict[type, Writer] = {
    type(None): constant(b"N"),
    type(...): constant(b"."),
    type(NotImplemented): constant(b"!"),
    bool: _write_bool,
    int: write_int,
    float: write_float,
    complex: _write_complex,
    str: write_str,
    bytes: _write_bytes,
    bytearray: _write_bytearray,
    memoryview: _write_memoryview,
    list: _sequence(b"l"),
    tuple: _sequence(b"u"),
    dict: container(write_entries),
    OrderedDict: container(_write_ordered_dict),
    defaultdict: container(_write_defaultdict),
    types.MappingProxyType: container(_write_proxy),
    set: _unordered(b"m"),
    frozenset: _unordered(b"M"),
    range: _write_range,
    slice: container(_write_slice),
    pathlib.PosixPath: _write_path,
    pathlib.WindowsPath: _write_path,
    pathlib.PurePosixPath: _write_path,
    pathlib.PureWindowsPath: _write_path,
    datetime.datetime: _write_time,
    datetime.time: _write_time,
    datetime.date: as_text(b"A", datetime.date.isoformat),
    datetime.timedelta: _write_timedelta,
    datetime.timezone: _write_timezone,
    decimal.Decimal: as_text(b"E", str),
    uuid.UUID: as_text(b"U", str),
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
    datetime.datetime: _plain_datetime,
}
"""How to see a builtin's content past what its subclass made of it; the more special first."""
