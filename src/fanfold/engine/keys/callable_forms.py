"""The canonical form of what can be called, and of modules.

A function or class that was installed is its qualified name. One of the project, of `__main__` or
from inside a function is what it does, as `codes` says; a class that any process can import is its
name all the same, for so are its instances. A bound method is its function and its instance, a
`functools.partial` its function and what it was given, a task or flow its function.
"""

import functools
import sys
import types
from typing import Any

from fanfold.engine.keys.codes import Graph, installed, made_by_us, plain_function
from fanfold.engine.keys.forms import (
    CODE,
    MAINS,
    Above,
    Unstable,
    Writer,
    container,
    type_name,
    write,
    write_name,
    write_str,
    write_under,
)


def find(kind: type) -> Writer | None:
    """Find how to write something that can be called; asked before other kinds of objects."""
    if issubclass(kind, type):
        return _write_class
    if issubclass(kind, functools.partial):
        return _write_partial
    if made_by_us(kind):
        return _write_task
    return _WRITERS.get(kind)


def find_by_name(kind: type) -> Writer:
    """Find how to write anything else: by where it can be imported from, if anywhere."""
    return _write_named


def _importable(value: Any) -> bool:
    """Tell if any process that imports a value's module finds it there."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module in MAINS:
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def _write_named(value: Any, out: bytearray, above: Above) -> None:
    if not _importable(value):
        raise Unstable(type_name(type(value)))
    out += b"T"
    write_name(value, out)


def _write_builtin(value: Any, out: bytearray, above: Above) -> None:
    if not _importable(value):
        raise Unstable(f"function ({value.__qualname__}) that other processes can't import")
    _write_named(value, out, above)


def _write_function(value: types.FunctionType, out: bytearray, above: Above) -> None:
    if CODE in above:
        above[CODE].write(value, out)
    elif installed(str(value.__module__)) and _importable(value):
        _write_named(value, out, above)
    else:
        _write_graph(b"F", value, out, above)


def _write_class(value: type, out: bytearray, above: Above) -> None:
    if CODE in above:
        above[CODE].write(value, out)
    elif _importable(value):
        _write_named(value, out, above)
    else:
        _write_graph(b"K", value, out, above)


def _write_graph(tag: bytes, value: Any, out: bytearray, above: Above) -> None:
    out += tag
    try:
        out += Graph(value, above).digest()
    except Unstable as unstable:
        raise unstable.under(": ") from None


def _write_cached(value: Any, out: bytearray, above: Above) -> None:
    out += b"G"
    write(plain_function(value), out, above)


def _write_task(value: Any, out: bytearray, above: Above) -> None:
    out += b"G"
    write_str(value.name, out, above)
    write_under(".fn", value.fn, out, above)


@container
def _write_method(value: Any, out: bytearray, above: Above) -> None:
    out += b"g"
    write_under(".__func__", value.__func__, out, above)
    write_under(".__self__", value.__self__, out, above)


@container
def _write_partial(value: Any, out: bytearray, above: Above) -> None:
    out += b"p"
    write_name(type(value), out)
    write_under(".func", value.func, out, above)
    write_under(".args", value.args, out, above)
    write_under(".keywords", value.keywords, out, above)


def _write_module(value: types.ModuleType, out: bytearray, above: Above) -> None:
    if value.__name__ in MAINS or sys.modules.get(value.__name__) is not value:
        raise Unstable(f"module ({value.__name__}) that other processes can't import")
    out += b"Q"
    write_str(value.__name__, out, above)


_WRITERS: dict[type, Writer] = {
    types.FunctionType: _write_function,
    types.BuiltinFunctionType: _write_builtin,
    types.MethodType: _write_method,
    types.ModuleType: _write_module,
    functools._lru_cache_wrapper: _write_cached,  # pyright: ignore[reportPrivateUsage]
}
