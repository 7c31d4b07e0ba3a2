"""Finds adapters by name, through entry points, and says what to install for missing ones."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanfold.engine import settings
from fanfold.ports.results import ResultStore
from fanfold.ports.runner import TaskRunner
from fanfold.values.cards import drawn_by
from fanfold.values.errors import UnknownAdapter, UnknownHistory, UnknownRunner, UsageError

if TYPE_CHECKING:  # some 10 ms, which only readers of histories need
    from fanfold.ports.history import History

RUNNERS = "fanfold.runners"
RESULTS = "fanfold.results"
HISTORIES = "fanfold.histories"
DISPLAYS = "fanfold.displays"

_OURS = {
    (RUNNERS, "inline"): "fanfold.adapters.runners.inline:InlineTaskRunner",
    (RUNNERS, "threads"): "fanfold.adapters.runners.threads:ThreadPoolTaskRunner",
    (RUNNERS, "processes"): "fanfold.adapters.runners.processes:ProcessTaskRunner",
    (RESULTS, "fsspec"): "fanfold.adapters.results.fsspec_store:FsspecStore",
    (HISTORIES, "memory"): "fanfold.adapters.history.memory:MemoryHistory",
    (HISTORIES, "postgresql"): "fanfold.adapters.history.postgresql:PostgresqlHistory",
    (HISTORIES, "sqlite"): "fanfold.adapters.history.sqlite:SqliteHistory",
    (DISPLAYS, "cards"): "fanfold.display.cards:card",
    (DISPLAYS, "log"): "fanfold.display.logs:LineHandler",
    (DISPLAYS, "notebook"): "fanfold.display.notebook:Notebook",
    (DISPLAYS, "terminal"): "fanfold.display.terminal:Terminal",
}
"""The same as in pyproject.toml: reading the entry points of all packages takes some 10 ms."""
_WORKERS = {
    "threads": "runner_thread_pool_max_workers",
    "processes": "runner_process_pool_max_workers",
}
"""Settings that say how wide a runner is that was chosen by its name."""
_EXTRAS = {"dask": "fanfold[dask]", "ray": "fanfold[ray]"}
_KINDS = {RUNNERS: ("task runner", UnknownRunner), HISTORIES: ("history", UnknownHistory)}


def runner(choice: TaskRunner | str | None) -> TaskRunner:
    """Return the runner that was chosen by name or given as an object.

    Raises:
        UnknownRunner: Nothing of that name is installed; says what is.
        UsageError: It is neither a name nor a runner.
    """
    if not choice:
        with _said_by("default_runner"):
            return _named_runner(settings.current().default_runner)
    if isinstance(choice, str):
        return _named_runner(choice)
    if isinstance(choice, type) or not hasattr(choice, "open"):
        raise UsageError(
            f"task_runner={choice!r} is no task runner. Give a name such as 'threads', or an "
            "instance such as DaskTaskRunner()."
        )
    return choice


def _named_runner(name: str) -> TaskRunner:
    workers = getattr(settings.current(), _WORKERS[name]) if name in _WORKERS else None
    kind = _load(RUNNERS, name)
    return kind(max_workers=workers) if workers else kind()


def result_store(url: str) -> ResultStore:
    """Return the store at a folder or URL, the latter with the options of the settings.

    Raises:
        UnknownStorage: Nothing is installed for such a URL; says what to install.
    """
    remote = "://" in url and not url.startswith(("file://", "local://", "memory://"))
    options = settings.current().results_storage_options if remote else ""
    return _load(RESULTS, "fsspec")(url, json.loads(options or "{}"))


def result_store_of(choice: Any) -> ResultStore:
    """Return the store that was chosen by a folder, a URL, or given as an object.

    That of the setting where none was.

    Raises:
        UnknownStorage: Nothing is installed for such a URL; says what to install.
    """
    if not choice:
        with _said_by("results.default_storage"):
            return result_store(settings.current().results_default_storage)
    return result_store(str(choice)) if isinstance(choice, (str, Path)) else choice


def history(url: str) -> "History":
    """Return the history at a URL; the part before `:` names its kind. It connects when used.

    Raises:
        UnknownHistory: Nothing of that kind is installed; says what is.
    """
    return _load(HISTORIES, url.partition(":")[0])(url)


def check_history(url: str) -> None:
    """See that a history of the kind in the settings is installed; our own aren't loaded for it.

    Raises:
        UnknownHistory: None is.
    """
    kind = url.partition(":")[0]
    if (HISTORIES, kind) not in _OURS:
        with _said_by("history.url"):
            _load(HISTORIES, kind)


@contextmanager
def _said_by(name: str) -> Generator[None]:
    """Have errors about what a setting names tell that it does, and where it is from."""
    try:
        yield
    except UnknownAdapter as error:
        raise type(error)(f"{name} ({settings.source(name)}): {error}") from None


@cache
def display(name: str) -> Any:
    """Return what shows maps, by its name; one for the process."""
    return _load(DISPLAYS, name)()


def card(thing: object) -> str | None:
    """Return what notebooks show of a thing, as HTML."""
    return _load(DISPLAYS, "cards")(thing)


@cache
def _load(group: str, name: str) -> Any:
    target = _OURS.get((group, name))
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
    from importlib.metadata import entry_points  # 15 ms, which our own adapters don't need

    found = {entry.name: entry for entry in entry_points(group=group)}
    if name in found:
        return found[name].load()
    known = sorted({*found, *(ours for kind, ours in _OURS if kind == group)})
    install = f" Install it with: pip install '{_EXTRAS[name]}'." if name in _EXTRAS else ""
    kind, error = _KINDS.get(group, ("adapter", UnknownAdapter))
    raise error(f"There is no {kind} {name!r} here, only {', '.join(known)}.{install}")


drawn_by(card)
