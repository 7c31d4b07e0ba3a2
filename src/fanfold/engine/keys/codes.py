"""Functions and classes by what they do: their code, and that of the project which they reach.

What a function does is its bytecode with names and constants, its defaults, what its closure holds,
and the globals that it reads, followed from one function to the next: functions, classes, constants
and tables, and what is read from modules as in `helpers.clean`. Names of files, line numbers,
annotations and a function's own name don't count. Another minor version of Python makes other
bytecode and so another digest.

- *Of the project* is what wasn't installed: neither the standard library nor what lies in a folder
  of installed packages, unless it is of the very package that the function is of. The rest counts
  by qualified name.
- A task or flow is the function that it was made from.
- A global that is a plain object, or holds something without a form, counts by the name of its type
  and by what its class does: programs change such things as they run. What the function itself
  closes over, or has as a default, must have a form.
- A global or closure variable that the function itself assigns to is its state and counts by name.
- The digest of a function is made again once one of its names stands for something else; what a
  program changes in place, such as a list, counts as it was when the digest was first made.
- What is imported inside a function's body counts by name.

Functions may call each other in circles. So each first has a *colour* from its own code alone, then
again and again a new one, from its code and the colours of those it reaches, until no more of them
become different. That tells apart what behaves differently, in whatever order one gets there.
"""

import copyreg
import enum
import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from blake3 import blake3

from fanfold.engine.keys.bytecode import Name, globals_read, names_written, own_digest
from fanfold.engine.keys.forms import (
    CODE,
    MAINS,
    VERSION,
    Above,
    Unstable,
    head,
    type_name,
    write,
    write_name,
    write_str,
    write_unknown,
    writer_of,
)
from fanfold.engine.keys.model_forms import write_object, write_reduced
from fanfold.values.errors import KeyNotStable

DIGEST_BYTES = 16
PART_BYTES = 8
"""Of the digests by which parts of a function are compared, by people: two in a billion are equal
with a probability of 1e-10."""
CODES_KEPT = 256
"""Functions whose parts are remembered."""
Memory = tuple[Mapping[str, Any], str, Any]
"""A name, where it was looked up and what it stood for."""

_INSTALLED = ("site-packages", "dist-packages")
_MISSING = object()
_parts: dict[bytes, Mapping[str, str]] = {}


def code_digest(function: Callable[..., Any], *held: object) -> bytes:
    """Return 16 bytes that change with what a function does, as said on top of this module.

    Args:
        function: A plain function.
        held: What it is called with besides its arguments, such as a method's instance; what the
            classes of these do counts too.

    Raises:
        KeyNotStable: It has no bytecode, or a default or closure variable has no form; `path` is
            then like `default config` or `closure lock`.
    """
    if not isinstance(function, types.FunctionType):
        raise KeyNotStable("task", type_name(type(function)))
    kinds = tuple(type(each) for each in held)
    remembered = _remembered(function, kinds)
    for digest, memories in remembered:
        if all(where.get(name, _MISSING) is value for where, name, value in memories):
            return digest
    graph = Graph(function, {})
    try:
        digest = graph.digest(*kinds)
        parts = graph.parts()
    except Unstable as unstable:
        raise unstable.located("") from None
    remembered[:] = [(digest, graph.memories)]
    while len(_parts) >= CODES_KEPT:
        _parts.pop(next(iter(_parts)), None)
    _parts[digest] = parts
    return digest


def code_parts(digest: bytes) -> Mapping[str, str]:
    """Return what a digest of this process was made from: digests of parts, by name.

    The names are like `body`, `closure rate`, `default depth`, `global LIMIT`, and `clean's body`
    for a function that is reached. A part doesn't change with what it reaches, which has its own.
    Empty for other digests, and for those that are forgotten.
    """
    return _parts.get(digest, {})


@lru_cache(maxsize=256)
def _remembered(
    function: types.FunctionType, kinds: tuple[type, ...]
) -> list[tuple[bytes, list[Memory]]]:
    """Return where a function's digest is kept; whoever loses it makes it again."""
    return []


def installed(module: str) -> bool:
    """Tell if a module is part of Python or of an installed package."""
    package = module.partition(".")[0]
    if package in MAINS:
        return False
    if package == "fanfold" or package in sys.stdlib_module_names:
        return True
    found = sys.modules.get(module) or sys.modules.get(package)
    file = getattr(found, "__file__", None)
    return isinstance(file, str) and any(folder in file for folder in _INSTALLED)


def plain_function(value: Any) -> Any:
    """Return the function behind a task, a flow or a cache; anything else as it is."""
    while True:
        if made_by_us(type(value)):
            value = value.fn
        elif isinstance(value, functools._lru_cache_wrapper):  # pyright: ignore[reportPrivateUsage]
            value = value.__wrapped__
        else:
            return value


def made_by_us(kind: type) -> bool:
    """Tell if values of a type are tasks or flows, whose classes lie on a floor above this one."""
    ours = (("fanfold.tasks", "Task"), ("fanfold.flows", "Flow"))
    return any((base.__module__, base.__qualname__) in ours for base in kind.__mro__)


class _Live(Mapping[str, Any]):
    """Looks at what a function is made of as at a table, to see later if it is still that."""

    def __init__(self, function: types.FunctionType) -> None:
        self._function = function

    def __getitem__(self, name: str) -> Any:
        part = getattr(self._function, name, _MISSING)
        if part is not _MISSING:
            return part
        return _held_by(self._function).get(name, _MISSING)

    def __iter__(self) -> Iterator[str]:
        return iter(("__code__", "__defaults__", "__kwdefaults__", *_held_by(self._function)))

    def __len__(self) -> int:
        return 3 + len(_held_by(self._function))


def _held_by(function: types.FunctionType) -> dict[str, Any]:
    """Return what a closure holds by name, without the cells that aren't filled yet."""
    held: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            held[name] = cell.cell_contents
        except ValueError:
            continue
    return held


def _defaults_of(function: types.FunctionType) -> dict[str, Any]:
    defaults = function.__defaults__ or ()
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
    keywords = sorted((function.__kwdefaults__ or {}).items())
    return {**dict(zip(positional, defaults, strict=True)), **dict(keywords)}


class Graph:
    """What a function or class reaches, with the colours of all of it so far.

    Args:
        root: Where it starts; counts by its code wherever it comes from.
        above: The containers around it.
    """

    def __init__(self, root: types.FunctionType | type, above: Above) -> None:
        self._root = root
        self._home = str(root.__module__).partition(".")[0]
        self._above: Above = {**above, CODE: self}
        self._nodes: list[Any] = []
        self._colours: dict[int, bytes] = {}
        self._strict: set[int] = set()
        self._writes_strictly = True
        self._labels: dict[int, str] = {}
        """Names of functions and classes, while parts are told: they stand for their colours."""
        self._told: dict[str, bytes] | None = None
        self.memories: list[Memory] = []
        """What has to be still the same for the digest to hold."""

    def digest(self, *more: type) -> bytes:
        """Return 16 bytes for all that the root, and these classes, can do.

        Raises:
            Unstable: What the root closes over or has as a default has no form.
        """
        self._add(self._root)
        rounds, out = 0, bytearray(VERSION + b"code")
        for kind in more:
            self.write(kind, bytearray())
        while True:
            rounds += 1
            # The list grows while it is walked along.
            colours = {id(node): self._recoloured(node) for node in self._nodes}
            different = len({*self._colours.values()})
            self._colours = colours
            if len({*colours.values()}) <= different:
                break
        for each in (self._root, *more):
            self.write(each, out)
        out += head(b"w", rounds) + b"".join(sorted({*self._colours.values()}))
        return blake3(out).digest(DIGEST_BYTES)

    def parts(self) -> dict[str, str]:
        """Return digests of all that it is made from by name; once its own is made."""
        taken: dict[str, int] = {}
        for node in self._nodes:
            name = str(node.__qualname__)
            taken[name] = taken.get(name, 0) + 1
            again = f" ({taken[name]})" if taken[name] > 1 else ""
            self._labels[id(node)] = name + again
        memories, self.memories = self.memories, []
        self._told = told = {}
        for node in self._nodes:
            self._recoloured(node)
        self._told, self.memories = None, memories
        self._labels.clear()
        return {name: blake3(part).hexdigest(PART_BYTES) for name, part in told.items()}

    def write(self, value: Any, out: bytearray) -> None:
        """Append a function's or class's colour, or its name if it isn't of the project."""
        mark = id(value)
        if mark in self._labels:
            write_str(self._labels[mark], out, {})
            return
        if mark not in self._colours:
            package = str(value.__module__).partition(".")[0]
            if package != self._home and installed(str(value.__module__)):
                out += b"T"
                write_name(value, out)
                return
            self._add(value)
        out += b"@" + self._colours[mark]

    def _add(self, node: Any) -> None:
        out = bytearray(b"K" if isinstance(node, type) else b"F")
        if isinstance(node, type):
            write_name(node, out)
        else:
            out += own_digest(node.__code__)
        self._colours[id(node)] = blake3(out).digest(DIGEST_BYTES)
        if self._writes_strictly:
            self._strict.add(id(node))
        self._nodes.append(node)

    def _recoloured(self, node: Any) -> bytes:
        out = bytearray(VERSION)
        if isinstance(node, type):
            self._write_class(node, out)
        else:
            self._write_function(node, out)
        return blake3(out).digest(DIGEST_BYTES)

    def _write_function(self, function: types.FunctionType, out: bytearray) -> None:
        own = own_digest(function.__code__)
        out += b"F" + own
        live, whose = _Live(function), self._whose(function)
        self._tell(f"{whose}body", own)
        for part in ("__code__", "__defaults__", "__kwdefaults__"):
            self.memories.append((live, part, getattr(function, part)))
        strict = id(function) in self._strict
        for name, default in _defaults_of(function).items():
            self._write_part(f"{whose}default ", name, default, out, strict=strict)
        written = names_written(function.__code__)
        for name, held in _held_by(function).items():
            if name in written:
                continue
            self.memories.append((live, name, held))
            self._write_part(f"{whose}closure ", name, held, out, strict=strict)
        for name in globals_read(function.__code__):
            if name[0] in written:
                continue
            value = self._looked_up(function.__globals__, name)
            if value is not _MISSING:
                self._write_part(f"{whose}global ", ".".join(name), value, out, strict=False)

    def _whose(self, node: Any) -> str:
        """Return what the names of a function's parts begin with."""
        if node is self._root:
            return ""
        return f"{self._labels.get(id(node), node.__qualname__)}'s "

    def _tell(self, name: str, part: bytes | bytearray) -> None:
        if self._told is not None:
            self._told[name] = self._told.get(name, b"") + part

    def _looked_up(self, names: Mapping[str, Any], name: Name) -> Any:
        """Return what a name stands for; nothing for a module, and for what installed ones hold."""
        value: Any = None
        for at, part in enumerate(name):
            if at:
                if not isinstance(value, types.ModuleType) or self._foreign(value.__name__):
                    return _MISSING
                names = vars(value)
            value = names.get(part, _MISSING)
            self.memories.append((names, part, value))
            # What a class body reads as `__name__` is where the function lies.
            if value is _MISSING or part.startswith("__"):
                return _MISSING
        return _MISSING if isinstance(value, types.ModuleType) else value

    def _foreign(self, module: str) -> bool:
        return module.partition(".")[0] != self._home and installed(module)

    def _write_part(
        self, kind: str, name: str, value: Any, out: bytearray, *, strict: bool
    ) -> None:
        """Append what a name stands for.

        Args:
            kind: What people read in front of the name.
            name: As the code calls it.
            value: What it stands for.
            out: Where to.
            strict: Whether it must have a form; otherwise its type may stand for it.
        """
        write_str(name, out, {})
        value = plain_function(value)
        self._writes_strictly = strict
        part = bytearray()
        try:
            if not strict and not _is_data(type(value)):
                write_unknown(value, part, {})
            # A copy, for what is raised leaves marks in it.
            write(value, part, self._above.copy())
        except Unstable as unstable:
            if strict:
                raise unstable.under(kind + name) from None
            part = bytearray(b"?")
            self.write(type(value), part)
        self._tell(kind + name, part)
        out += part

    def _write_class(self, kind: type, out: bytearray) -> None:
        out += b"K"
        write_name(kind, out)
        self._writes_strictly = False
        for base in kind.__bases__:
            self.write(base, out)
        label = self._labels.get(id(kind), kind.__qualname__)
        self._tell(f"class {label}", out)
        for name, member in sorted(_members(kind)):
            self.memories.append((vars(kind), name, vars(kind).get(name, _MISSING)))
            for each in member:
                self._write_part(f"{label}.", name, each, out, strict=False)


def _members(kind: type) -> Iterable[tuple[str, list[Any]]]:
    """Yield what a class does: its methods by their functions, its constants, its fields."""
    for name, member in vars(kind).items():
        functions = _functions(member)
        if functions:
            yield name, functions
        elif not name.startswith("__"):
            yield name, [member]
    if issubclass(kind, enum.Enum):
        yield "__members__", [[(name, each.value) for name, each in kind.__members__.items()]]
    yield "__fields__", [part for field in _fields(kind) for part in field]


def _functions(member: Any) -> list[Any]:
    if isinstance(member, property):
        return [each for each in (member.fget, member.fset, member.fdel) if each is not None]
    if isinstance(member, functools.cached_property):
        return [member.func]
    if isinstance(member, (staticmethod, classmethod)):
        return [plain_function(member.__func__)]
    function = plain_function(member)
    return [function] if isinstance(function, types.FunctionType) else []


def _fields(kind: type) -> Iterable[list[Any]]:
    """Yield the fields of models, whose defaults and limits lie in no method."""
    for name, field in (vars(kind).get("__pydantic_fields__") or {}).items():
        yield [name, field.default, field.default_factory, *field.metadata]
    for field in vars(kind).get("__attrs_attrs__") or ():
        yield [field.name, field.default, getattr(field.default, "factory", None)]


def _is_data(kind: type) -> bool:
    """Tell if a global of this type counts by what it holds."""
    writer = writer_of(kind)
    return writer is not write_object and (
        writer is not write_reduced or kind in copyreg.dispatch_table
    )
