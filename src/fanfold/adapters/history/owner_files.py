"""Who is alive on this machine: a locked file for each owner, free as soon as its process ends.

POSIX record locks: a forked child doesn't inherit them, so one that outlives its parent doesn't
keep the parent's runs alive. The trap: they belong to a process, and closing any descriptor of the
file drops them. So a process never opens the files of its own owners again, whichever object made
them.
"""

import os
import re
import secrets
import socket
from collections.abc import Collection
from contextlib import suppress

_SUFFIX = ".lock"
_NAME = re.compile("[0-9a-f]{16}")

_own: dict[str, int] = {}
"""Descriptors of the files that this process has locked, by path."""


def _forget_parents() -> None:
    for descriptor in _own.values():
        os.close(descriptor)
    _own.clear()


os.register_at_fork(after_in_child=_forget_parents)


class OwnerFiles:
    """The lock files of one history's owners.

    Args:
        folder: Where they are; made with the first owner.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def make(self) -> str:
        """Return a new owner, alive until this process ends or `drop` is called."""
        os.makedirs(self._folder, exist_ok=True)
        while True:
            name = secrets.token_hex(8)
            path = self._path(name)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            if _locked(descriptor) and _is_file(descriptor, path):
                _own[path] = descriptor
                return f"{socket.gethostname()}/{os.getpid()}/{name}"
            # Somebody took it for one that was left behind, and removed it before it was locked.
            os.close(descriptor)

    def alive(self, owner: str) -> bool:
        """Return whether the process that an owner stands for still lives."""
        name = owner.rpartition("/")[2]
        if not _NAME.fullmatch(name):
            return False
        path = self._path(name)
        if path in _own:
            return True
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            # Removed with the last lease; what was told of it later is of a dead process, too.
            return False
        except PermissionError:
            # Another user's, of whom nothing can be found out.
            return True
        try:
            # Only looks: one that locked would seem to be the living owner to others who look.
            os.lockf(descriptor, os.F_TEST, 0)
        except (BlockingIOError, PermissionError):
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def drop(self, owner: str) -> None:
        """Count an owner of this process as gone from now on."""
        path = self._path(owner.rpartition("/")[2])
        descriptor = _own.pop(path, None)
        if descriptor is not None:
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.close(descriptor)

    def sweep(self, holding: Collection[str]) -> None:
        """Remove files of processes that are gone.

        Args:
            holding: Owners that have leases; their files stay, whether they live or not.
        """
        kept = {owner.rpartition("/")[2] for owner in holding}
        try:
            names = [entry.removesuffix(_SUFFIX) for entry in os.listdir(self._folder)]
        except FileNotFoundError:
            return
        for name in names:
            path = self._path(name)
            if name not in kept and _NAME.fullmatch(name) and path not in _own:
                _remove_free(path)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name + _SUFFIX)


def _locked(descriptor: int) -> bool:
    """Lock a file; return False if another process has locked it."""
    try:
        os.lockf(descriptor, os.F_TLOCK, 0)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_file(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _remove_free(path: str) -> None:
    """Remove a file that nobody has locked."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        return
    try:
        if _locked(descriptor):
            with suppress(FileNotFoundError):
                os.unlink(path)
    finally:
        os.close(descriptor)
