"""Looks settings up: the first layer that has a value for one wins.

What a setting is and who may set it; which settings there are is the table in `settings`.
"""

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar, overload

from fanfold.engine.settings import files as setting_files
from fanfold.engine.settings.files import (
    PROFILES_FILE,
    PROJECT_FILE,
    Profiles,
    project_tables,
    read_profiles,
)
from fanfold.engine.settings.kinds import Kind
from fanfold.values.errors import UsageError
from fanfold.values.secrets import COVER

HOME = "FANFOLD_HOME"

T = TypeVar("T")
_PREFIX = "FANFOLD_"
_TEMPORARY = "temporary settings"
_logger = logging.getLogger("fanfold.settings")


class Layer(StrEnum):
    """Who may set a value, the strongest first."""

    TEMPORARY = "temporary"
    ENVIRONMENT = "environment"
    PROJECT = "project"
    PROFILE = "profile"
    DEFAULT = "default"


class Variable:
    """An environment variable, ready to be looked up."""

    __slots__ = ("_key", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        # As the live environment has it: encoded, on Windows in capitals.
        self._key = os.environ.encodekey(name)

    def raw(self) -> Any:
        """Return what it is set to, as encoded as it lies there; None where it isn't set.

        `os.environ` raises and catches a KeyError for each variable that isn't set, which is 0.6 µs
        where the dict below it takes 0.02. A test may put something else in its place.
        """
        if os.environ is _ENVIRONMENT:
            return _VARIABLES.get(self._key)
        return os.environ.get(self.name)

    def text(self) -> str:
        """Return what it is set to, or an empty text."""
        return os.fsdecode(self.raw() or "")


_ENVIRONMENT = os.environ if isinstance(vars(os.environ).get("_data"), dict) else None
_VARIABLES: Mapping[object, Any] = vars(os.environ).get("_data", {})
PROFILE = Variable(f"{_PREFIX}PROFILE")
"""Names the profile that holds, whatever the file of profiles says."""
_HOME = Variable(HOME)
_USER_HOME = Variable("HOME")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting(Generic[T]):
    """One setting; as an attribute of `current()` it is the value that holds now."""

    name: str
    """With dots, as in files and on the command line."""
    kind: Kind[T]
    default: T
    derive: Callable[[Path], T] | None = None
    """Makes the default from the home, in place of `default`."""
    description: str
    """One line, for the command line and the documentation."""
    variable: Variable = field(init=False)

    def __post_init__(self) -> None:
        name = _PREFIX + self.name.replace(".", "_").upper()
        object.__setattr__(self, "variable", Variable(name))

    def __set_name__(self, owner: type, attribute: str) -> None:
        TABLE[self.name] = self
        _BY_VARIABLE[self.variable.name] = self

    @overload
    def __get__(self, owner: None, kind: type) -> "Setting[T]": ...
    @overload
    def __get__(self, owner: object, kind: type) -> T: ...
    def __get__(self, owner: object, kind: type) -> "Setting[T] | T":
        return self if owner is None else self.value()

    def value(self) -> T:
        """Return what holds now.

        Raises:
            UsageError: What a variable or a file says isn't understood.
        """
        overrides = _overrides.get()
        if self in overrides:
            return overrides[self]
        situation = _situation()
        raw = self.variable.raw()
        if raw:
            known = situation.parsed.get(self)
            if known is not None and known[0] == raw:
                return known[1]
            return situation.parse(self, raw)
        if overrides and self.derive is not None and self not in situation.written:
            return self.derive(_home_setting().value())
        return situation.values[self]

    def read(self, written: object, where: str, folder: str) -> T:
        """Return the value that was written.

        Args:
            written: Text, or what TOML made of it.
            where: Who says so, for the error: a variable, a file, the command line.
            folder: Where relative paths start from.

        Raises:
            UsageError: The setting doesn't take that.
        """
        try:
            return self.kind.parse(written, folder)
        except (ValueError, TypeError, KeyError) as error:
            told = COVER if self.kind.hidden else repr(written)
            raise UsageError(
                f"{self.name} can't be {told} ({where}): it takes {self.kind.allowed}."
            ) from (None if self.kind.hidden else error)


TABLE: dict[str, Setting[Any]] = {}
"""Every setting by its name, in the order of the class that lists them."""
_BY_VARIABLE: dict[str, Setting[Any]] = {}
_folder: ContextVar[str | None] = ContextVar("fanfold_folder", default=None)
_overrides: ContextVar[Mapping[Setting[Any], Any]] = ContextVar(
    "fanfold_settings", default=MappingProxyType({})
)


class Found(NamedTuple):
    """The value of a setting, and who said so."""

    name: str
    value: Any
    layer: Layer
    source: str
    """For people: `environment`, the path of a file, `profile dev`, `default`."""


@contextmanager
def temporary(values: Mapping[str, object]) -> Generator[None]:
    """Let these values hold for the code inside, in its own thread or asyncio task.

    An inner `temporary` adds to an outer one. Another `home` doesn't change which profiles there
    are.

    Args:
        values: By the names of settings, such as `tasks.default_retries`.

    Raises:
        UsageError: A name isn't known, or the setting doesn't take the value.
    """
    where, folder = _TEMPORARY, working_directory()
    parsed = {
        setting: setting.read(value, where, folder)
        for setting, value in ((named(name, where), value) for name, value in values.items())
    }
    token = _overrides.set({**_overrides.get(), **parsed})
    try:
        yield
    finally:
        _overrides.reset(token)


@contextmanager
def staying() -> Generator[None]:
    """Let the settings of the folder that is the working one now hold wherever the code goes.

    It also spares each look at a setting the question for that folder, which lets other threads in:
    with a busy one beside, that makes a direct call of a task slower by a fifth.
    """
    token = _folder.set(working_directory())
    try:
        yield
    finally:
        _folder.reset(token)


def found() -> list[Found]:
    """Return all settings in the order of the table, each with its value and who said so.

    Raises:
        UsageError: What a variable or a file says isn't understood.
    """
    return [_found(setting) for setting in TABLE.values()]


def source(name: str) -> str:
    """Return who says what a setting is, as errors name it: a variable, a file, a profile."""
    setting = TABLE[name]
    said = _found(setting)
    if said.layer is Layer.ENVIRONMENT:
        return f"environment variable {setting.variable.name}"
    return _TEMPORARY if said.layer is Layer.TEMPORARY else said.source


def named(name: str, where: str) -> Setting[Any]:
    """Return the setting of that name, or of that variable.

    Args:
        name: Such as `tasks.default_retries` or `FANFOLD_TASKS_DEFAULT_RETRIES`.
        where: Who asks for it, for the error.

    Raises:
        UsageError: There is none; names the nearest one.
    """
    setting = TABLE.get(name) or _BY_VARIABLE.get(name)
    if setting is None:
        names = _BY_VARIABLE if name.startswith(_PREFIX) else TABLE
        raise UsageError(f"There is no setting {name} ({where}).{nearest(name, names)}")
    return setting


def nearest(name: str, names: Iterable[str]) -> str:
    """Return " Did you mean ...?", or an empty text where nothing is near."""
    from difflib import get_close_matches  # for errors alone

    close = get_close_matches(name, list(names), 1)
    return f" Did you mean {close[0]}?" if close else ""


def profiles() -> Profiles:
    """Return the profiles below the home that variables and the project's files name.

    Raises:
        UsageError: One of the files isn't understood.
    """
    return read_profiles(_lasting_home(working_directory()) / PROFILES_FILE)


def selected_profile(known: Profiles) -> str:
    """Return the name of the profile that holds, by variable or file; empty where none does.

    Raises:
        UsageError: There is no profile of that name; names the nearest one.
    """
    name = PROFILE.text() or known.active
    if name and name not in known.tables:
        where = f"environment variable {PROFILE.name}" if PROFILE.text() else "active"
        raise UsageError(
            f"There is no profile {name} in {known.path} ({where}).{nearest(name, known.tables)}"
        )
    return name


def reload() -> None:
    """Forget what was read from files, so that the next read sees them as they are then."""
    setting_files.forget()
    _situations.clear()


class _Situation:
    """What holds in one working directory, for one home and profile.

    Args:
        folder: The working directory.
        values: What files say, and the defaults.
        written: What files say, and which.
    """

    __slots__ = ("folder", "parsed", "values", "written")

    def __init__(
        self,
        folder: str,
        values: dict[Setting[Any], Any],
        written: dict[Setting[Any], Found],
    ) -> None:
        self.folder = folder
        self.values = values
        self.written = written
        self.parsed: dict[Setting[Any], tuple[Any, Any]] = {}
        """What variables were when last asked: as it lay there, and the value."""

    def parse(self, setting: Setting[T], raw: Any) -> T:
        where = f"environment variable {setting.variable.name}"
        value = setting.read(os.fsdecode(raw), where, self.folder)
        self.parsed[setting] = (raw, value)
        return value


_situations: dict[tuple[Any, ...], _Situation] = {}


def _situation() -> _Situation:
    key = (working_directory(), _HOME.raw(), PROFILE.raw(), _USER_HOME.raw())
    return _situations.get(key) or _situated(key)


def _situated(key: tuple[Any, ...]) -> _Situation:
    _tell_unknown_variables()
    folder: str = key[0]
    written: dict[Setting[Any], Found] = {}
    home = _lasting_home(folder)
    for setting, each in (*_from_project(folder), *_from_profile(home)):
        written.setdefault(setting, each)
    values = {
        setting: setting.default if setting.derive is None else setting.derive(home)
        for setting in TABLE.values()
    }
    values |= {setting: each.value for setting, each in written.items()}
    values[_home_setting()] = home
    situation = _Situation(folder=folder, values=values, written=written)
    _situations[key] = situation
    return situation


def _from_project(folder: str) -> Iterator[tuple[Setting[Any], Found]]:
    for table in project_tables(folder):
        source, base = str(table.path), str(table.path.parent)
        for setting, value in _recognised(table.values, source):
            read = setting.read(value, source, base)
            yield setting, Found(name=setting.name, value=read, layer=Layer.PROJECT, source=source)


def _recognised(values: Mapping[str, object], where: str) -> Iterator[tuple[Setting[Any], object]]:
    seen: set[Setting[Any]] = set()
    for name, value in values.items():
        setting = named(name, where)
        if setting in seen:
            raise UsageError(f"{setting.name} is there twice ({where}), by two of its names.")
        seen.add(setting)
        yield setting, value


def _from_profile(folder: Path) -> Iterator[tuple[Setting[Any], Found]]:
    known = read_profiles(folder / PROFILES_FILE)
    profile = selected_profile(known)
    where = f"{known.path}, profile {profile}"
    for setting, value in _recognised(known.tables.get(profile, {}), where):
        if setting is _home_setting():
            raise UsageError(
                f"home can't be in a profile ({where}), for profiles are kept there. Set {HOME}, "
                f"or home in {PROJECT_FILE}."
            )
        read = setting.read(value, where, str(folder))
        source = f"profile {profile}"
        yield setting, Found(name=setting.name, value=read, layer=Layer.PROFILE, source=source)


def _lasting_home(folder: str) -> Path:
    """Return the home without `temporary` and profiles, neither of which has a say in it."""
    text, setting = _HOME.text(), _home_setting()
    if text:
        return setting.read(text, f"environment variable {HOME}", folder)
    said = (found.value for each, found in _from_project(folder) if each is setting)
    return next(said, None) or setting.default.expanduser()


def _home_setting() -> Setting[Path]:
    return TABLE["home"]


def _found(setting: Setting[Any]) -> Found:
    value = setting.value()
    written = _situation().written.get(setting)
    if setting in _overrides.get():
        layer, source = Layer.TEMPORARY, Layer.TEMPORARY.value
    elif setting.variable.raw():
        layer, source = Layer.ENVIRONMENT, Layer.ENVIRONMENT.value
    elif written is not None:
        layer, source = written.layer, written.source
    else:
        layer, source = Layer.DEFAULT, Layer.DEFAULT.value
    return Found(name=setting.name, value=value, layer=layer, source=source)


def working_directory() -> str:
    """Return where relative paths start; empty when the folder is gone, which stops no run."""
    stayed = _folder.get()
    if stayed is not None:
        return stayed
    try:
        return os.getcwd()
    except OSError:
        return ""


@cache
def _results_below(folder: Path) -> str:
    return str(folder / "results")


_told: set[str] = set()
"""Variables that were told to be unknown."""


def _tell_unknown(name: str) -> None:
    # Before it is told: whoever writes the line may ask for settings to do so, and come by here.
    _told.add(name)
    # A log line and no warning: under -W error somebody else's variable would stop a run.
    _logger.warning(
        "There is no setting %s; the environment variable does nothing.%s",
        name,
        nearest(name, _BY_VARIABLE),
    )


def _tell_unknown_variables() -> None:
    for name in os.environ:
        known = name in _BY_VARIABLE or name == PROFILE.name or name in _told
        if name.startswith(_PREFIX) and not known:
            _tell_unknown(name)
