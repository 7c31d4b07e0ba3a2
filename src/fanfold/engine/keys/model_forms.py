"""The canonical form of objects: dataclasses, models of pydantic and attrs, and plain instances.

An instance is its class's qualified name and its state. Of a dataclass and a model that is what its
fields hold; of any other object what pickle would take along, for that is what a worker would see
of it. So an object that holds a lock, a file or a socket has no form, unless its class says by
`__getstate__` or `__reduce__` how to do without. What `functools.cached_property` has put into an
instance doesn't count.

State that lies in C can't be seen, so what a C type says of itself counts only for those listed.
"""

import array
import copyreg
import dataclasses
import functools
import operator
import types
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, cast

from fanfold.engine.keys.forms import (
    Above,
    EntryWriter,
    Unstable,
    Writer,
    as_text,
    container,
    head,
    type_name,
    write,
    write_items,
    write_str,
    write_type,
    write_under,
)

_TOLD_BY_C: tuple[type, ...] = (
    array.array,
    deque,
    operator.attrgetter,
    operator.itemgetter,
    operator.methodcaller,
    types.GenericAlias,
    types.SimpleNamespace,
    BaseException,
)
"""Types of C whose `__reduce__` tells all there is."""
_TEXTS = (
    ("pydantic_core._pydantic_core", "Url"),
    ("pydantic_core._pydantic_core", "MultiHostUrl"),
)


def find(kind: type) -> Writer | None:
    """Find how to write an object's type; asked last but for code, as most types fit somewhere."""
    if dataclasses.is_dataclass(kind):
        return _write_dataclass
    if hasattr(kind, "__pydantic_validator__") and hasattr(kind, "__pydantic_extra__"):
        return _write_pydantic
    if isinstance(getattr(kind, "__attrs_attrs__", None), tuple):
        return _write_attrs
    if (kind.__module__, kind.__qualname__) in _TEXTS:
        return as_text(b"x", str)
    if kind in copyreg.dispatch_table:
        return write_reduced
    for name in ("__reduce_ex__", "__reduce__"):
        maker = _maker(kind, name)
        if maker is not object:
            told = issubclass(maker, _TOLD_BY_C) or _in_python(maker, name)
            return write_reduced if told else None
    if kind is object or not all(_in_python(_maker(kind, name), name) for name in _STATES):
        return None
    return write_object


_STATES = ("__getstate__", "__getnewargs__", "__getnewargs_ex__")


def _maker(kind: type, name: str) -> type:
    """Return the class that a method comes from; `object` if there is none."""
    return next((base for base in kind.__mro__ if name in vars(base)), object)


def _in_python(maker: type, name: str) -> bool:
    return maker is object or isinstance(vars(maker)[name], types.FunctionType)


def _write_field(name: str, held: object, out: bytearray, above: Above) -> None:
    write_str(name, out, above)
    try:
        write(held, out, above)
    except Unstable as unstable:
        raise unstable.under(f".{name}") from None


def _write_fields(
    tag: bytes,
    value: object,
    names: Iterable[str],
    out: bytearray,
    above: Above,
    write_field: EntryWriter,
) -> None:
    names = tuple(names)
    out += head(tag, len(names))
    write_type(type(value), out, above)
    for name in names:
        write_field(name, getattr(value, name), out, above)


def _dataclass_fields(
    value: Any, out: bytearray, above: Above, write_field: EntryWriter = _write_field
) -> None:
    names = [field.name for field in dataclasses.fields(value)]
    _write_fields(b"D", value, names, out, above, write_field)


def _attrs_fields(
    value: Any, out: bytearray, above: Above, write_field: EntryWriter = _write_field
) -> None:
    names = [field.name for field in type(value).__attrs_attrs__]
    _write_fields(b"D", value, names, out, above, write_field)


def _pydantic_fields(
    value: Any, out: bytearray, above: Above, write_field: EntryWriter = _write_field
) -> None:
    # Which fields were given and which are defaults makes no difference to pydantic's `==` either.
    fields: dict[str, Any] = type(value).__pydantic_fields__
    names = [name for name in fields if name in vars(value)]
    _write_fields(b"Y", value, names, out, above, write_field)
    write_under("", value.__pydantic_extra__ or None, out, above)
    write_under(".__pydantic_private__", value.__pydantic_private__ or None, out, above)


_write_dataclass = container(_dataclass_fields)
_write_attrs = container(_attrs_fields)
_write_pydantic = container(_pydantic_fields)
FIELDS: dict[Writer, Callable[[Any, bytearray, Above, EntryWriter], None]] = {
    _write_dataclass: _dataclass_fields,
    _write_attrs: _attrs_fields,
    _write_pydantic: _pydantic_fields,
}
"""For writers of values with fields: what writes one whose fields are written by something else."""


@container
def write_object(value: Any, out: bytearray, above: Above) -> None:
    """Append a plain instance: its class, what `__new__` is given, and its state.

    Raises:
        Unstable: Something that it holds has no form, or it can't be pickled.
    """
    _, (kind, *given), state, *_ = _reduced(
        value, functools.partial(object.__reduce_ex__, value, 4)
    )
    out += b"O"
    write_type(kind, out, above)
    write_under(".__getnewargs__()", given, out, above)
    plain = _attributes(value, state)
    if plain is None:
        write_under(".__getstate__()", state, out, above)
        return
    out += head(b"j", len(plain))
    for name in sorted(plain):
        write_str(name, out, above)
        write_under(f".{name}", plain[name], out, above)


@container
def write_reduced(value: Any, out: bytearray, above: Above) -> None:
    """Append an object that says itself what it is made from, as pickle asks.

    Raises:
        Unstable: Something of that has no form, or it refuses.
    """
    reduce = copyreg.dispatch_table.get(type(value))
    if reduce is not None:
        told = _reduced(value, functools.partial(reduce, value))
    else:
        told = _reduced(value, functools.partial(value.__reduce_ex__, 4))
    out += b"J"
    write_type(type(value), out, above)
    if isinstance(told, str):
        write_str(told, out, above)
        return
    make, given, state, members, entries, _ = (*told, *(None,) * (6 - len(told)))
    write_under(".__reduce__()", (make, given), out, above)
    plain = _attributes(value, state)
    write_under(".__reduce__()[2]", state if plain is None else plain, out, above)
    for number, items in ((3, members), (4, entries)):
        found = list(items or ())
        out += head(b"l", len(found))
        try:
            write_items(found, out, above)
        except Unstable as unstable:
            raise unstable.under(f".__reduce__()[{number}]") from None


def _reduced(value: object, reduce: Any) -> Any:
    try:
        return reduce()
    except Exception as error:
        # A class may refuse to be pickled by any error; KeyNotStable tells of it.
        raise Unstable(type_name(type(value))) from error


def _attributes(value: object, state: Any) -> dict[str, Any] | None:
    """Return an instance's attributes by name; None if its state is something of its own."""
    parts: tuple[Any, ...] = (state,)
    if type(state) is tuple and len(cast(tuple[Any, ...], state)) == 2:
        parts = cast(tuple[Any, ...], state)
    if not all(part is None or type(part) is dict for part in parts):
        return None
    found: dict[Any, Any] = {name: held for part in parts for name, held in (part or {}).items()}
    if not all(isinstance(name, str) for name in found):
        return None
    for name in _computed(type(value)) & found.keys():
        del found[name]
    return cast(dict[str, Any], found)


@lru_cache(maxsize=1024)
def _computed(kind: type) -> frozenset[str]:
    """Return the attributes that appear in an instance once somebody asks for them."""
    return frozenset(
        name
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, functools.cached_property)
    )
