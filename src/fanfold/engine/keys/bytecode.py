"""Compiled code: what it does in a canonical form, and which globals it reads."""

import dis
import types
from functools import lru_cache

from blake3 import blake3

from fanfold.engine.keys.forms import write, write_blob

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"})
_GOES_ON = frozenset({"LOAD_ATTR", "LOAD_METHOD"})

Name = tuple[str, ...]
"""A global and the attributes that are read from it: `("helpers", "clean")`."""


@lru_cache(maxsize=1024)
def own_digest(code: types.CodeType) -> bytes:
    """Return 32 bytes that change with the instructions, names and constants of some code.

    Names of files and line numbers don't count.
    """
    out = bytearray()
    _write_code(code, out)
    return blake3(out).digest()


@lru_cache(maxsize=1024)
def globals_read(code: types.CodeType) -> tuple[Name, ...]:
    """Return the globals that some code and the functions inside it read, in their order."""
    found: dict[Name, None] = {}
    name: Name = ()
    for instruction in dis.get_instructions(code):
        if instruction.opname in _READS:
            name = (instruction.argval,)
        elif instruction.opname in _GOES_ON and name:
            name = (*name, instruction.argval)
        elif instruction.opname != "EXTENDED_ARG":
            name = ()
        if name:
            found[name] = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(dict.fromkeys(globals_read(constant)))
    return tuple(found)


@lru_cache(maxsize=1024)
def names_written(code: types.CodeType) -> frozenset[str]:
    """Return the globals and closure variables that some code and what is inside it change."""
    found = {each.argval for each in dis.get_instructions(code) if each.opname in _WRITES}
    inside = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return frozenset(found).union(*map(names_written, inside))


def _write_code(code: types.CodeType, out: bytearray) -> None:
    write_blob(b"C", code.co_code, out)
    write_blob(b"x", code.co_exceptiontable, out)
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    write((shape, names), out, {})
    write(len(code.co_consts), out, {})
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _write_code(constant, out)
        else:
            write(constant, out, {})
