"""What calls were made with, pickled to be called again: small, and only where it is possible.

Classes and functions of the script that was run are named in it, not copied: whoever reads it has
loaded the script, and needs its own. Reading runs whatever the pickle says, so only those read it
who would run the flow anyway.
"""

import pickle
import types
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import cloudpickle

from fanfold.engine.entrypoints import MAINS
from fanfold.engine.spec import Layout, taken_apart
from fanfold.values.errors import UsageError

ELEMENT_BYTES = 65_536
"""What an element was called with is kept up to this size."""
FLOW_BYTES = 1_048_576
"""What a flow run was called with is kept up to this size."""
MOST_OF_CHUNK = 100
"""Failed elements of one chunk whose arguments are kept."""

Packed = tuple[tuple[Any, ...], dict[str, Any]]

_script: ContextVar[types.ModuleType | None] = ContextVar("fanfold_script", default=None)


class _TooLarge(Exception):
    """There is more than may be kept."""


class _HoldsSecret(Exception):
    """It isn't to be kept where others may read it."""


def packed(args: Sequence[Any], kwargs: Mapping[str, Any], limit: int) -> bytes | None:
    """Return (args, kwargs) as a pickle; None if they can't be, hold secrets, or are too large.

    It stops as soon as there is more: big arrays, buffers and strings are neither copied nor
    looked at, but for strings inside of something else.

    Args:
        args: As the function gets them; one that it has changed since is packed as it is now.
        kwargs: Alike.
        limit: Most bytes.
    """
    file = _Bounded(limit)
    try:
        if any(isinstance(arg, str) and len(arg) > limit for arg in (*args, *kwargs.values())):
            return None
        _Pickler(file, limit).dump((tuple(args), dict(kwargs)))
    except Exception:  # told by the missing arguments: whoever wants them hears that
        return None
    return b"".join(file.parts)


def packed_element(fn: Any, layout: Layout, row: Sequence[Any]) -> bytes | None:
    """Return what one element of a map was called with; as the plain function behind it gets it."""
    _, given, named = taken_apart(fn)
    args, kwargs = layout.arguments(row)
    return packed((*given, *args), {**named, **kwargs}, ELEMENT_BYTES)


def packed_flow(fn: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes | None:
    """Return what a flow was called with, and whether its function is of the script that was run.

    Of a method, the instance comes first.
    """
    function, given, named = taken_apart(fn)
    if given and isinstance(given[0], type):
        given = ()  # a class method's class is found where the flow is
    held = packed((*given, *args), {**named, **kwargs}, FLOW_BYTES)
    main = getattr(function, "__module__", None) in MAINS
    return None if held is None else pickle.dumps((main, held), protocol=5)


def unpacked_flow(payload: bytes) -> tuple[bool, bytes]:
    """Return whether a flow was of the script that was run, and what it was called with, packed.

    Raises:
        UsageError: It isn't what `packed_flow` returned.
    """
    try:
        main, held = pickle.loads(payload)
    except Exception as error:
        raise _unreadable(error) from error
    return main, held


def unpacked(payload: bytes, script: types.ModuleType | None) -> Packed:
    """Return (args, kwargs) of a pickle. Whatever it says is run.

    Args:
        payload: What was packed.
        script: Where the classes and functions of the script are to be found, if it is loaded.

    Raises:
        UsageError: It can't be unpickled here.
    """
    with _with_script(script):
        try:
            return pickle.loads(payload)
        except Exception as error:
            raise _unreadable(error) from error


def script_attribute(name: str) -> Any:
    """Return a class or function of the script; a pickle calls this."""
    found: Any = _script.get()
    if found is None:
        raise LookupError(f"{name} is of the script that was run, which isn't loaded here")
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _unreadable(error: Exception) -> UsageError:
    told = f"{type(error).__name__}: {error}"
    return UsageError(f"What it was called with can't be read here: {told}.")


@contextmanager
def _with_script(script: types.ModuleType | None) -> Generator[None]:
    token = _script.set(script)
    try:
        yield
    finally:
        _script.reset(token)


class _Bounded:
    """A file that refuses more than some bytes."""

    def __init__(self, limit: int) -> None:
        self.parts: list[bytes] = []
        self._left = limit

    def write(self, data: Any) -> None:
        """Take bytes in.

        Raises:
            _TooLarge: There is no room for them.
        """
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise _TooLarge
        self.parts.append(bytes(data))


class _Pickler(cloudpickle.CloudPickler):
    """Names what is of the script, where cloudpickle would copy it.

    Args:
        file: Takes the pickle.
        limit: Arrays of more bytes aren't begun with; others that aren't contiguous are copied.
    """

    def __init__(self, file: _Bounded, limit: int) -> None:
        super().__init__(file, protocol=5)
        self._limit = limit

    def reducer_override(self, obj: Any) -> Any:
        """Name classes and functions of the script that others can name."""
        if isinstance(obj, (type, types.FunctionType)):
            name = obj.__qualname__
            if obj.__module__ in MAINS and "<" not in name:
                return script_attribute, (name,)
        elif hasattr(type(obj), "get_secret_value"):  # ours and pydantic's
            raise _HoldsSecret
        elif isinstance(size := getattr(obj, "nbytes", None), int) and size > self._limit:
            raise _TooLarge
        return super().reducer_override(obj)
