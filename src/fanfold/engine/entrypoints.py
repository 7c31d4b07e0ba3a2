"""Where flows and tasks are written, and how to get at them again from there.

An entrypoint is "path/file.py:flow" or "package.module:flow"; a dotted name after the colon goes
into classes. What nobody can import again has none: what was typed into a notebook, into an
interpreter or given to `exec`, and what is made inside of a function, for its name leads nowhere.

A file that lies in a package is imported under the package's name, with the folder above it on
`sys.path`. Any other file is loaded as Python runs a script, with its folder on `sys.path`, but
under the name that multiprocessing gives to copies of a main module: so `__name__ == "__main__"`
doesn't hold in it, and its functions travel to other processes by value as those of a script do.
Tasks are told apart by the name that their file has when it is imported, however that was run.

No flow runs while a file is loaded. A script that calls one at its end, without a guard, is loaded
as far as there: what the call needs is defined by then.
"""

import inspect
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import MethodType, ModuleType, TracebackType
from typing import Any

import cloudpickle

from fanfold.engine.failures import users_frames
from fanfold.engine.loading import CalledWhileLoading, only_loading
from fanfold.engine.settings.lookup import nearest
from fanfold.values.errors import UsageError

SCRIPT = "__mp_main__"
"""What a file outside of packages is loaded as; the latest one has the name."""
MAINS = ("__main__", SCRIPT)
_MOST_NAMED = 10
"""Flows of a file that an error names."""
_GUARD = 'if __name__ == "__main__":'
_CALLS = "__fanfold_calls__"
"""Says in a module of which only a part is loaded what it calls there."""


def of(function: Any) -> str:
    """Return where a flow's or task's function is written, such as "/home/ada/etl.py:main".

    Empty if it can't be found again there. Some 300 ns.
    """
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, MethodType):
        function = function.__func__
    name = getattr(function, "__qualname__", None)
    if not inspect.isroutine(function) or name is None or "<" in name:
        return ""
    while (inner := getattr(function, "__wrapped__", None)) is not None:
        function = inner
    code = getattr(function, "__code__", None)
    file = _file(code.co_filename) if code is not None else ""
    return f"{file}:{name}" if file else ""


def imported_as(function: Any) -> str:
    """Return the name of a function's module; of a script's, the one that it has when imported.

    So a script shares what it has kept with those that import it. What was typed into a notebook or
    an interpreter has no file, and is of `__main__`; so is what can't be imported for its name.
    """
    module = str(function.__module__)
    if module not in MAINS:
        return module
    # Not that of the module of this name, which is another one where its functions travel to.
    file = getattr(function, "__globals__", {}).get("__file__")
    return _imported_as(file) if isinstance(file, str) and file.endswith(".py") else "__main__"


@lru_cache(maxsize=4096)
def _imported_as(file: str) -> str:
    stem = Path(file).stem
    package, _ = _package(os.path.abspath(file))
    return f"{package}.{stem}".lstrip(".") if stem.isidentifier() else "__main__"


def split(entrypoint: str) -> tuple[str, str]:
    """Return the file or module of an entrypoint, and the name in it; empty if none is given."""
    place, colon, name = entrypoint.rpartition(":")
    return (place, name) if colon else (entrypoint, "")


def load(entrypoint: str, kind: type, called: str, *, main: bool | None = None) -> Any:
    """Return what an entrypoint leads to.

    Args:
        entrypoint: Without a name, what is meant is the only one of its kind there.
        kind: What it must be an instance of, such as `Flow`; it has the function as `fn`.
        called: That kind, for errors: "flow".
        main: Whether its file was the script that was run. None: if it lies in no package.

    Raises:
        UsageError: There is no such file, module or name, it is something else, or the import
            failed; then its error is the cause.
    """
    place, name = split(entrypoint)
    module = module_at(place, main=main)
    there = _all_in(module, kind)
    if not name:
        if len(there) == 1:
            return next(iter(there.values()))
        if not there:
            raise UsageError(f"There are no {called}s in {place}.{_cut(module)}")
        raise UsageError(
            f"{place} has {len(there)} {called}s; say which one, as {place}:NAME. "
            f"{_listed(there, called)}"
        )
    try:
        found = _attribute(module, name)
    except AttributeError:
        known = there or [each for each in vars(module) if not each.startswith("_")]
        told = f"There is no {name} in {place}.{nearest(name, known)}"
        raise UsageError(f"{told} {_listed(there, called)}{_cut(module)}") from None
    if isinstance(found, kind):
        return found
    made = [each for each in there.values() if _plain(getattr(each, "fn", None)) is _plain(found)]
    if len(made) == 1:
        return made[0]
    raise UsageError(
        f"{place}:{name} is no {called}, but a {type(found).__name__}. {_listed(there, called)}"
    )


def module_at(place: str, *, main: bool | None = None) -> ModuleType:
    """Return the module of a file or of a dotted name, imported unless it is there already.

    Args:
        place: Path of a file, or name of a module.
        main: As in `load`.

    Raises:
        UsageError: There is none, or the import failed; then its error is the cause.
    """
    if not place:
        raise UsageError("An entrypoint is written as path/file.py:flow or package.module:flow.")
    if not place.endswith(".py") and os.sep not in place:
        _put_on_path(os.getcwd(), front=True)
        return _imported(place, place)
    file = os.path.abspath(os.path.expanduser(place))
    if not os.path.isfile(file):
        raise UsageError(f"There is no file {file}.{_near(file)}")
    package, root = _package(file)
    if main is None:
        main = not package
    if main:
        return _script(file, package, root)
    _put_on_path(root, front=True)
    module = _imported(f"{package}.{Path(file).stem}".lstrip("."), file)
    there = getattr(module, "__file__", None)
    if there is None or not os.path.samefile(there, file):
        raise UsageError(
            f"{file} can't be imported as {module.__name__}, for that is {there or 'built in'} "
            "here. Give one of the two another name."
        )
    return module


@contextmanager
def as_main(module: ModuleType) -> Generator[None]:
    """Let a loaded file be this process's main module, as if it had been run as a script.

    So processes that multiprocessing spawns from here find in it what was pickled by its name.
    Other modules than those loaded as a script stay what they are.
    """
    before, arguments = sys.modules["__main__"], sys.argv
    if module.__name__ == SCRIPT:
        sys.modules["__main__"], sys.argv = module, [str(module.__file__)]
    try:
        yield
    finally:
        sys.modules["__main__"], sys.argv = before, arguments


@lru_cache(maxsize=4096)
def _file(filename: str) -> str:
    """Return a source file's path; empty for what isn't one, such as a notebook's cell."""
    return os.path.abspath(filename) if os.path.isfile(filename) else ""


def _package(file: str) -> tuple[str, str]:
    """Return the package that a file lies in, empty if in none, and the folder to import from."""
    folder, parts = Path(file).parent, list[str]()
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        parts.append(folder.name)
        folder = folder.parent
    if not Path(file).stem.isidentifier():
        return "", str(Path(file).parent)
    return ".".join(reversed(parts)), str(folder)


def _put_on_path(folder: str, *, front: bool) -> None:
    if folder in sys.path:
        return
    if front:
        sys.path.insert(0, folder)
    else:
        sys.path.append(folder)


def _imported(name: str, told: str) -> ModuleType:
    try:
        with only_loading():
            return import_module(name)
    except CalledWhileLoading as call:
        raise UsageError(f"{told} can't be imported: {_called_at(call)}.") from None
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and told == name and f"{name}.".startswith(f"{missing}."):
            raise UsageError(
                f"There is no module {missing} (from {os.getcwd()}). For a file, write "
                "path/file.py:flow."
            ) from error
        raise _failed(told, error) from error


def _script(file: str, package: str, root: str) -> ModuleType:
    """Load a file as a script, once."""
    held = sys.modules.get(SCRIPT)
    if held is not None and getattr(held, "__file__", None) == file:
        return held
    folder = os.path.dirname(os.path.realpath(file))
    _put_on_path(root if package else folder, front=True)
    _put_on_path(folder, front=False)
    module = ModuleType(SCRIPT)
    loader = SourceFileLoader(SCRIPT, file)
    # Without a spec, as scripts are: else a spawned process would look for the module by its name.
    given: dict[str, Any] = {"__file__": file, "__package__": package or None, "__loader__": loader}
    module.__dict__.update(given, __spec__=None)
    sys.modules[SCRIPT] = module
    try:
        code = loader.get_code(SCRIPT)
        assert code is not None
        with only_loading():
            exec(code, module.__dict__)
    except CalledWhileLoading as call:
        setattr(module, _CALLS, _called_at(call))
    except BaseException as error:
        if held is None:
            del sys.modules[SCRIPT]
        else:
            sys.modules[SCRIPT] = held
        if isinstance(error, (Exception, SystemExit)):
            raise _failed(file, error) from error
        raise
    cloudpickle.register_pickle_by_value(module)
    return module


def _called_at(call: CalledWhileLoading) -> str:
    """Return which line of which file calls what while it is loaded, and what to do about it."""
    lines = traceback.extract_tb(call.__traceback__)
    at = [each for each in lines if each.name == "<module>" and os.path.isfile(each.filename)][-1]
    return (
        f"{at.filename} calls {call} where it is loaded, in line {at.lineno} ({at.line}). Put that "
        f"below `{_GUARD}`"
    )


def _cut(module: ModuleType) -> str:
    """Return why there isn't all of a module, if so."""
    told = getattr(module, _CALLS, "")
    return f" What comes later in it isn't loaded: {told}." if told else ""


def _failed(place: str, error: BaseException) -> UsageError:
    """Return the error for an import that raised, with the user's frames."""
    frames = _without_import(users_frames(error.__traceback__))
    told = "".join(traceback.format_exception(error.with_traceback(frames)))
    return UsageError(f"{place} can't be imported:\n{told.rstrip()}")


def _without_import(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the user's first frame on."""
    at = frames
    while at is not None:
        filename = at.tb_frame.f_code.co_filename
        if not filename.startswith("<frozen importlib") and filename != _IMPORTLIB:
            return at
        at = at.tb_next
    return None


_IMPORTLIB = import_module.__code__.co_filename


def _attribute(module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _all_in(module: ModuleType, kind: type) -> dict[str, Any]:
    """Return the objects of a kind in a module, by name; those written there, if any is."""
    every = {name: held for name, held in vars(module).items() if isinstance(held, kind)}
    every = {name: held for name, held in every.items() if not name.startswith("_")} or every
    own = {
        name: held
        for name, held in every.items()
        if getattr(_plain(getattr(held, "fn", None)), "__module__", None) == module.__name__
    }
    return own or every


def _plain(function: Any) -> Any:
    while isinstance(function, (partial, MethodType)):
        function = function.func if isinstance(function, partial) else function.__func__
    return function


def _listed(there: dict[str, Any], called: str) -> str:
    if not there:
        return f"There are no {called}s in it."
    more = ", ..." if len(there) > _MOST_NAMED else ""
    names = ", ".join(list(there)[:_MOST_NAMED])
    return f"The {called}s in it: {names}{more}."


def _near(file: str) -> str:
    """Return which file may be meant."""
    with suppress(OSError):
        folder = os.path.dirname(file)
        names = [name for name in os.listdir(folder) if name.endswith(".py")]
        return nearest(os.path.basename(file), names)
    return " Its folder isn't there either."
