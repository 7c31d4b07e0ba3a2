"""The result store as commands look at it, and how people name tasks in it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from fanfold.cli.completion import words_like
from fanfold.cli.texts import clean
from fanfold.engine import registry, settings
from fanfold.engine.results import inventory
from fanfold.engine.results.inventory import Inventory
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.object_names import is_of_task, quoted
from fanfold.engine.results.signing_keys import keyring_of
from fanfold.engine.settings.lookup import nearest
from fanfold.ports.results import ResultStore
from fanfold.values.errors import UsageError

C = TypeVar("C", bound=Callable[..., Any])

_DIGEST_CHARS = 13
"""At the end of a task's folder, after its readable name: a dash and twelve digits."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store, and whose indexes are believed there."""

    store: ResultStore
    keyring: Keyring | None

    def inventory(self, tasks: Sequence[str] = (), *, others: bool = False) -> Inventory:
        """Look through the store.

        Args:
            tasks: As people name them; none for all.
            others: Whether what is of no task is listed as well.

        Raises:
            UsageError: There is no such task.
            StoreError: The store can't be read.
        """
        if not tasks:
            return inventory.taken(self.store, self.keyring, others=others)
        known = folders(self.store)
        wanted = dict.fromkeys(folder for task in tasks for folder in find(known, task))
        found = [
            inventory.taken(self.store, self.keyring, f"tasks/{folder}/").folders
            for folder in wanted
        ]
        return Inventory(folders=[folder for each in found for folder in each], others={})


def storage_option(command: C) -> C:
    """Give a command `--storage`, as its parameter `storage`."""
    option = click.option(
        "--storage",
        metavar="URL|PATH",
        help="Where the results are; the setting results.default_storage says it otherwise.",
    )
    return option(command)


def tasks_argument(command: C) -> C:
    """Give a command the argument TASK..., as its parameter `tasks`."""
    argument = click.argument("tasks", metavar="[TASK]...", nargs=-1, shell_complete=tasks_like)
    return argument(command)


def chosen(storage: str | None) -> Place:
    """Return the store that was named, or that of the settings.

    Raises:
        UsageError: The folder that was named isn't there, or nobody else can look into the store.
        FanfoldError: There is no such store, or its keys can't be had.
    """
    url = storage or settings.current().results_default_storage
    if url.startswith("memory://"):
        raise UsageError(f"{url} is in the memory of each process, and can't be seen from here.")
    if storage and "://" not in storage and not Path(storage).expanduser().exists():
        raise UsageError(f"There is no folder {storage}.")
    store = registry.result_store_of(storage)
    return Place(store, keyring_of(store))


def folders(store: ResultStore) -> list[str]:
    """Return the tasks' folders in a store, sorted."""
    ours = filter(is_of_task, store.names("tasks/"))
    return sorted({inventory.folder_of(name) for name in ours})


def find(known: Collection[str], task: str) -> list[str]:
    """Return the folders of a task: one, or several of one name; itself if it is one.

    Raises:
        UsageError: There is none; names the nearest one.
    """
    if quoted(task) in known:
        return [quoted(task)]
    found = [folder for folder in known if readable(folder) == task]
    if found:
        return found
    near = nearest(task, {*known, *map(readable, known)})
    raise UsageError(
        f"Nothing is kept of a task {clean(task, ' ')}.{clean(near, ' ')} "
        "`fanfold cache ls` lists those of which something is."
    )


def readable(folder: str) -> str:
    """Return the part of a folder's name that people gave it."""
    return folder[:-_DIGEST_CHARS]


def tasks_like(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the tasks of which something is kept, in the store that the settings name."""
    try:
        known = folders(chosen(context.params.get("storage")).store)
    except Exception:  # a message in the middle of what somebody types would harm more
        return []
    return words_like(dict.fromkeys([*map(readable, known), *known]), incomplete)
