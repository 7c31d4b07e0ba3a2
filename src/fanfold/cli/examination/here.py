"""Checks of this machine and process: versions, settings, the home, room on disks."""

import os
import platform
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.cli.examination.findings import Finding, ok, problem, warning
from fanfold.cli.examination.patient import SQLITE, Patient
from fanfold.cli.examination.visits import MISSING, versions
from fanfold.cli.texts import size
from fanfold.engine import settings
from fanfold.engine.settings.files import PROFILES_FILE
from fanfold.engine.settings.lookup import PROFILE, Found, Layer, nearest
from fanfold.values.errors import UsageError

ROOM_LEAST_BYTES = 100 << 20
"""Less than this is a problem: a flow of a million elements may write as much."""
ROOM_BYTES = 1 << 30
_PREFIX = "FANFOLD_"


def look_at_versions(patient: Patient) -> Iterator[Finding]:
    """Name what is installed here."""
    found = versions(patient.packages)
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    missing = [name for name, version in found.items() if version == MISSING]
    if missing:
        yield problem(told, f"Install what is missing: pip install {' '.join(missing)}")
    else:
        yield ok(f"{told}, on {platform.system()} {platform.machine()}")


def look_at_settings(patient: Patient) -> Iterator[Finding]:
    """Name where settings come from, and variables that do nothing."""
    try:
        said = [each for each in settings.found() if each.layer is not Layer.DEFAULT]
    except UsageError as error:
        yield problem(str(error), "Correct it: no flow runs under settings that aren't understood.")
        return
    by_source: dict[str, list[str]] = {}
    for each in said:
        by_source.setdefault(each.source, []).append(each.name)
    told = "; ".join(f"{', '.join(names)} from {source}" for source, names in by_source.items())
    yield ok(told or "all have their defaults")
    yield from _unknown_variables()
    for each in said:
        yield from _written_secret(each)


def look_at_home(patient: Patient) -> Iterator[Finding]:
    """See whether the home can be written here, and only by its owner."""
    home = settings.home()
    if not home.exists():
        above = next(folder for folder in home.parents if folder.exists())
        if os.access(above, os.W_OK | os.X_OK):
            yield ok(f"{home} isn't there yet; the first run makes it")
        else:
            yield problem(
                f"{home} isn't there and can't be made: {above} isn't writable",
                f"Choose another folder with {settings.HOME}.",
            )
        return
    status = home.stat()
    mode = stat.S_IMODE(status.st_mode)
    if not home.is_dir() or not os.access(home, os.W_OK | os.X_OK):
        advice = f"Give it to yourself, or choose another folder with {settings.HOME}."
        yield problem(f"{home} isn't a folder that can be written", advice)
    elif mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        # Results are pickles: who can write them can run code as whoever reads them.
        yield problem(
            f"{home} can be written by everybody ({mode:03o}), who could so run code as you",
            f"chmod go-w {home}",
        )
    elif hasattr(os, "getuid") and status.st_uid != os.getuid():
        yield warning(
            f"{home} belongs to user {status.st_uid}, not to you ({os.getuid()})",
            f"Choose a folder of your own with {settings.HOME}, unless that is meant.",
        )
    elif mode & stat.S_IWGRP:
        yield warning(
            f"{home} can be written by its group ({mode:03o}), whose members could so run code "
            "as you",
            f"chmod g-w {home}",
        )
    else:
        yield ok(f"{home} is yours ({mode:03o})")


def look_at_room(patient: Patient) -> Iterator[Finding]:
    """See how much room is left where the home, results and the history are kept."""
    places = {"the home": settings.home()}
    if isinstance(patient.store, FsspecStore) and "://" not in patient.store.url:
        places["results"] = Path(patient.store.url)
    if patient.history_url.startswith(SQLITE):
        places["the history"] = Path(patient.history_url.removeprefix(SQLITE))
    disks: dict[int, tuple[list[str], Path]] = {}
    for name, path in places.items():
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        disks.setdefault(there.stat().st_dev, ([], there))[0].append(name)
    for names, folder in disks.values():
        total, _, free = shutil.disk_usage(folder)
        if not total:
            continue  # no disk, such as /proc
        told = f"{size(free)} free for {' and '.join(names)}"
        if free < ROOM_LEAST_BYTES:
            yield problem(told, f"Make room on the disk of {folder}; `fanfold db prune` helps.")
        elif free < ROOM_BYTES:
            yield warning(told, f"Make room on the disk of {folder} before it is full.")
        else:
            yield ok(told)


def _unknown_variables() -> Iterator[Finding]:
    known = {setting.variable.name for setting in settings.TABLE.values()} | {PROFILE.name}
    for name in sorted(os.environ):
        if name.startswith(_PREFIX) and name not in known:
            advice = nearest(name, known).strip() or "See `fanfold config --show-defaults`."
            yield warning(f"{name} in the environment does nothing: no such setting", advice)


def _written_secret(found: Found) -> Iterator[Finding]:
    """Tell of a password or key that lies where others may read it."""
    secret = _secret(found)
    if not secret:
        return
    if found.layer is Layer.PROJECT:
        yield warning(
            f"{found.name} in {found.source} holds a {secret}, which goes into the repository",
            f"Put it into {settings.TABLE[found.name].variable.name} instead.",
        )
    path = settings.home() / PROFILES_FILE
    if found.layer is Layer.PROFILE and path.exists() and path.stat().st_mode & stat.S_IROTH:
        yield warning(
            f"{found.name} in {path} holds a {secret}, which everybody here can read",
            f"chmod go-r {path}",
        )


def _secret(found: Found) -> str:
    """Return what secret is written in a setting's value; empty if none is."""
    value = found.value
    if found.name == settings.Settings.results_signing_keys.name:
        return "key" if any(":" not in key for key in value) else ""
    return "password" if "://" in str(value) and urlsplit(str(value)).password else ""
