"""Keys of values: equal values give equal keys, different values different ones, in any process.

A value is written in a canonical form, which is digested with blake3. There is no second digest to
fall back on, for another digest would be another key.

The form is typed, and every piece of it starts with a tag and either has a fixed size or says its
length, so that no two values share a form: `1`, `True`, `1.0` and `numpy.int64(1)` are four values,
`["ab"]` and `["a", "b"]` are two. What counts, where one could decide either way:

- The order of a dict's and a set's members doesn't count, that of an `OrderedDict` does.
- Every NaN is the same NaN, also inside arrays; `-0.0` and `0.0` are different.
- An array is its dtype, shape and content. Strides, memory order, padding and byte order don't
  count, so a `>i4` array has the key of the `<i4` array that equals it. `longdouble` has no form,
  for its bytes mean something else on other machines.
- An aware datetime is its fields and its time zone, not its instant.
- An instance of a subclass is its type's qualified name, its content and its state.
- A class or function is its qualified name, and only if any process can import it: what lives in
  `__main__` is something else in a worker.
- An enum member is its type's qualified name and its own name.

What isn't listed here or in the table of `forms` has no key, rather than one that holds by
accident. Big contents (text, bytes, arrays) enter the form as their own digest, so an array is
never copied.
"""

import types
from collections.abc import Callable
from typing import Any

from blake3 import blake3

from fanfold.engine.forms import VERSION, form, type_name, write, write_blob
from fanfold.values.errors import KeyNotStable

KEY_BYTES = 16
"""Size of a key: two of a billion keys are equal with a probability of 1e-21."""


def digest(value: object, path: str = "value") -> bytes:
    """Return the key of a value, 16 bytes.

    Args:
        value: Anything; not changed, and not to be changed meanwhile.
        path: What errors call the value. If it is empty, the value is a dict of arguments and
            errors begin with the name of one of them, as in `config.lock`.

    Raises:
        KeyNotStable: Something in it has no form that is the same in every process.
    """
    return blake3(form(value, path)).digest(KEY_BYTES)


def encode(value: object, path: str = "value") -> bytes:
    """Return the canonical form that `digest` digests; big contents are in it as digests.

    Raises:
        KeyNotStable: Something in it has no form that is the same in every process.
    """
    return bytes(form(value, path))


def code_digest(function: Callable[..., Any]) -> bytes:
    """Return 16 bytes that change with what a function's own code does.

    That is its bytecode, names and constants, those of the functions inside it, its defaults and
    what its closure holds. Names of files, line numbers, annotations and its own name don't count.
    Another minor version of Python makes other bytecode and so another digest.

    Raises:
        KeyNotStable: It has no bytecode, or a default or closure variable has no form; `path` is
            then like `default config` or `closure lock`.
    """
    if not isinstance(function, types.FunctionType):
        raise KeyNotStable("task", type_name(type(function)))
    code = function.__code__
    out = bytearray(VERSION + b"function")
    _write_code(code, out)
    defaults = function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
    for name, default in zip(positional, defaults, strict=True):
        out += form({name: default}, "default ")
    for name, default in sorted((function.__kwdefaults__ or {}).items()):
        out += form({name: default}, "default ")
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        out += form(_held(cell, name), "closure ")
    return blake3(out).digest(KEY_BYTES)


def _held(cell: types.CellType, name: str) -> dict[str, object]:
    """Return what a closure's cell holds by its name; nothing if it isn't filled yet."""
    try:
        return {name: cell.cell_contents}
    except ValueError:
        return {}


def _write_code(code: types.CodeType, out: bytearray) -> None:
    write_blob(b"C", code.co_code, out)
    write_blob(b"x", code.co_exceptiontable, out)
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    write((shape, names), out)
    write(len(code.co_consts), out)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _write_code(constant, out)
        else:
            write(constant, out)
