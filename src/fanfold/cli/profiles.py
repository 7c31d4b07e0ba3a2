"""Edits `profiles.toml` in place, so that a user's comments and order stay.

Lines are exchanged, added or taken out, and the new text is read before it is written: where it
doesn't say exactly what it should (somebody wrote a value over several lines, say), nothing is
written and the user is asked to edit the file.
"""

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fanfold.engine import settings
from fanfold.engine.settings.files import Profiles, parse_profiles
from fanfold.values.errors import UsageError

Names = tuple[str, ...]


class _Layout(NamedTuple):
    """The lines that can be edited, by the names of tables and keys that lead there."""

    headers: dict[Names, int]
    keys: dict[Names, int]


def put(known: Profiles, profile: str, values: Mapping[str, Any]) -> None:
    """Write values into a profile, which is made where there is none.

    Args:
        known: The file as it was read.
        profile: Its name.
        values: As settings have them, by names with dots.

    Raises:
        UsageError: The file is written in a way that can't be edited here.
    """
    lines = _lines(known.path)
    _make_table(lines, profile)
    plain = {name: _plain(value) for name, value in values.items()}
    for name, value in plain.items():
        _put_one(lines, profile, name, _toml(value))
    tables = {**known.tables, profile: {**known.tables.get(profile, {}), **plain}}
    _save(lines, known._replace(tables=tables))


def take_out(known: Profiles, profile: str, names: list[str]) -> None:
    """Take values out of a profile.

    Raises:
        UsageError: The file is written in a way that can't be edited here.
    """
    lines = _lines(known.path)
    for name in names:
        line = _layout(lines).keys.get(_key(lines, profile, name))
        if line is not None:
            del lines[line]
    left = {name: each for name, each in known.tables[profile].items() if name not in names}
    _save(lines, known._replace(tables={**known.tables, profile: left}))


def activate(known: Profiles, profile: str) -> None:
    """Make a profile the active one.

    Raises:
        UsageError: The file is written in a way that can't be edited here.
    """
    lines = _lines(known.path)
    _make_active(lines, profile)
    _save(lines, known._replace(active=profile))


def delete(known: Profiles, profile: str) -> None:
    """Delete a profile; where it was the active one, none is from then on.

    Raises:
        UsageError: The file is written in a way that can't be edited here.
    """
    lines = _lines(known.path)
    active = _layout(lines).keys.get(("active",))
    if known.active == profile and active is not None:
        del lines[active]
    headers = _layout(lines).headers
    ends = [*sorted(headers.values()), len(lines)]
    for names, start in sorted(headers.items(), key=lambda item: -item[1]):
        if names[:2] == ("profiles", profile):
            end = min(line for line in ends if line > start)
            while end < len(lines) and lines[end - 1].startswith("#"):
                end -= 1  # a comment right above a table is that table's
            del lines[start:end]
    tables = {name: table for name, table in known.tables.items() if name != profile}
    _save(
        lines,
        known._replace(tables=tables, active="" if known.active == profile else known.active),
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _layout(lines: list[str]) -> _Layout:
    layout, table = _Layout({}, {}), Names()
    for number, line in enumerate(lines):
        try:
            names = _only_path(tomllib.loads(line))
        except tomllib.TOMLDecodeError:
            continue  # part of a value over several lines: left alone
        if line.lstrip().startswith("["):
            table = names
            layout.headers[names] = number
        elif names:
            layout.keys[(*table, *names)] = number
    return layout


def _only_path(said: dict[str, Any]) -> Names:
    names = Names()
    at: Any = said
    while isinstance(at, dict) and at:
        name, at = next(iter(at.items()))
        names += (name,)
    return names


def _make_table(lines: list[str], profile: str) -> None:
    headers = _layout(lines).headers
    if any(names[:2] == ("profiles", profile) for names in headers):
        return
    if lines:
        lines.append("")
    lines.append(f"[profiles.{profile}]")


def _make_active(lines: list[str], profile: str) -> None:
    line = _layout(lines).keys.get(("active",))
    if line is None:
        lines[:0] = [f"active = {_toml(profile)}", *([""] if lines else [])]
    else:
        lines[line] = f"active = {_toml(profile)}"


def _put_one(lines: list[str], profile: str, name: str, value: str) -> None:
    layout = _layout(lines)
    line = layout.keys.get(_key(lines, profile, name))
    if line is not None:
        lines[line] = f"{lines[line].partition('=')[0].rstrip()} = {value}"
        return
    path = ("profiles", profile, *name.split("."))
    tables = [path[:length] for length in range(2, len(path)) if path[:length] in layout.headers]
    if not tables:
        return  # the profile is written without a table of its own; saving will say so
    # Right below the header: what comes last in a table may be a value over several lines.
    below = layout.headers[tables[-1]] + 1
    lines.insert(below, f"{'.'.join(path[len(tables[-1]) :])} = {value}")


def _key(lines: list[str], profile: str, name: str) -> Names:
    """Return the names that lead to a value, which may be split at its dots or not."""
    for names in _layout(lines).keys:
        if names[:2] == ("profiles", profile) and ".".join(names[2:]) == name:
            return names
    return ()


def _plain(value: Any) -> Any:
    """Return what TOML has for a setting's value."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return "none" if value is None else str(value)


def _toml(value: Any) -> str:
    # Numbers, truth values, lists and texts are written alike, but for characters above ASCII:
    # JSON has two escapes for one, which TOML refuses.
    return json.dumps(value, ensure_ascii=False)


def _save(lines: list[str], wanted: Profiles) -> None:
    text = "\n".join(lines).strip("\n") + "\n"
    try:
        parsed = parse_profiles(text.encode(), wanted.path)
    except UsageError as error:
        raise _by_hand(wanted.path) from error
    if parsed != wanted:
        raise _by_hand(wanted.path)
    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    target = wanted.path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".new")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
    settings.reload()


def _by_hand(path: Path) -> UsageError:
    return UsageError(
        f"{path} is written in a way that can't be edited from here. Nothing was changed; "
        "please edit the file."
    )
