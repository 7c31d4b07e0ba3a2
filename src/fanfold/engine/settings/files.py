"""The files that settings are read from: `fanfold.toml`, `pyproject.toml`, `profiles.toml`.

Names and values come out as they were written, with dots between the names of tables; what they
mean isn't known here. Files are read once per process, until `forget()`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fanfold.values.errors import UsageError

PROJECT_FILE = "fanfold.toml"
PYPROJECT_FILE = "pyproject.toml"
PROFILES_FILE = "profiles.toml"

_TABLE = (
    rb"""(?m)^[ \t]*\[?[ \t]*(["']?tool["']?[ \t]*\.[ \t]*)?"""
    rb"""(fanfold|"fanfold"|'fanfold')[ \t]*[].=]"""
)
"""Whether a pyproject.toml is worth parsing: with loading tomllib that takes some 7 ms, and few
have a table of ours. Matches `[tool.fanfold]` in all spellings, and a little more."""


class Table(NamedTuple):
    """What one table of a file says about settings."""

    path: Path
    values: Mapping[str, Any]
    """As TOML has them, by names with dots."""


class Profiles(NamedTuple):
    """What `profiles.toml` says."""

    path: Path
    active: str
    """Empty where none is."""
    tables: Mapping[str, Mapping[str, Any]]
    """For each profile its values, by names with dots."""


@cache
def project_tables(folder: str) -> tuple[Table, ...]:
    """Return what the files of the project say that the folder is in, the strongest first.

    Args:
        folder: An absolute path; empty where the working directory is gone.

    Raises:
        UsageError: A file can't be read.
    """
    own = next(_tables(folder, PROJECT_FILE), None)
    shared = next(_tables(folder, PYPROJECT_FILE), None)
    return tuple(table for table in (own, shared) if table is not None)


@cache
def read_profiles(path: Path) -> Profiles:
    """Return what a file of profiles says; nothing where there is no file.

    Raises:
        UsageError: It can't be read, or isn't made of `active` and `[profiles.name]`.
    """
    return parse_profiles(_content(str(path)) or b"", path)


def parse_profiles(content: bytes, path: Path) -> Profiles:
    """Return what a file of profiles with that content says.

    Raises:
        UsageError: It isn't TOML, or isn't made of `active` and `[profiles.name]`.
    """
    data = _parsed(content, str(path))
    active, tables = data.pop("active", ""), data.pop("profiles", {})
    whole = isinstance(tables, dict) and all(isinstance(each, dict) for each in tables.values())
    if data or not whole or not isinstance(active, str):
        what = ", ".join(sorted(data)) or "active or profiles"
        raise UsageError(
            f'{path} is damaged at {what}: it takes active = "name" and tables [profiles.name].'
        )
    return Profiles(
        path=path,
        active=active,
        tables={name: flat(table, f"{path}, profile {name}") for name, table in tables.items()},
    )


def forget() -> None:
    """Let the next read see the files as they are then."""
    project_tables.cache_clear()
    read_profiles.cache_clear()


def flat(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values of nested tables by names with dots.

    Raises:
        UsageError: One name is there twice, as in `"tasks.x" = 1` beside `[tasks]`.
    """
    values: dict[str, Any] = {}
    for name, value in _leaves(table, ""):
        if name in values:
            raise UsageError(f"{name} is there twice ({where}).")
        values[name] = value
    return values


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _tables(folder: str, name: str) -> Iterator[Table]:
    """Yield what the files of that name say, the nearest first."""
    while folder:
        path = os.path.join(folder, name)
        content = _content(path)
        if content is not None and name == PROJECT_FILE:
            yield Table(path=Path(path), values=flat(_parsed(content, path), path))
        elif content is not None and re.search(_TABLE, content):
            table = _parsed(content, path).get("tool", {}).get("fanfold")
            if table is not None:
                yield Table(path=Path(path), values=flat(table, path))
        above = os.path.dirname(folder)
        folder = above if above != folder else ""


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"Settings can't be read from {path}: {error.strerror}") from error


def _parsed(content: bytes, path: str) -> dict[str, Any]:
    if not content:
        return {}
    import tomllib  # 5 ms, for those who have a file

    try:
        return tomllib.loads(content.decode())
    except ValueError as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from error
