"""Whether a folder is this user's alone, by the modes of all that leads to it."""

import os
import stat

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 40
"""As Linux follows."""


class Unclaimed(Exception):
    """A folder isn't there, and somebody else could make it."""


def only_ours(folder: str) -> bool:
    """Return whether nobody but this user may write to a folder, or put another in its place.

    It is walked to from the top as the system does, so that the folders count in which a link was
    looked up as well as those that it leads through.

    Raises:
        Unclaimed: That can't be said yet.
    """
    if os.name == "nt":
        return False  # modes say nothing there
    trusted = (os.geteuid(), 0)
    pending, path, links = _parts(folder), "/", 0
    found = os.lstat(path)
    while found.st_uid in trusted:
        # In a folder such as /tmp others may not rename what isn't theirs.
        sticky = bool(found.st_mode & stat.S_ISVTX and pending)
        shared = bool(found.st_mode & OTHERS_WRITE)
        if shared and not sticky:
            return False
        if not pending:
            return True
        part = pending.pop()
        if part == "..":
            path = os.path.dirname(path)
            found = os.lstat(path)
            continue
        try:
            below = os.lstat(os.path.join(path, part))
        except FileNotFoundError:
            if shared:
                raise Unclaimed from None
            return True
        if stat.S_ISLNK(below.st_mode):
            links += 1
            if below.st_uid not in trusted or links > _MOST_LINKS:
                return False
            target = os.readlink(os.path.join(path, part))
            pending += _parts(target)
            if target.startswith("/"):
                path, found = "/", os.lstat("/")
            continue
        path, found = os.path.join(path, part), below
    return False


def _parts(path: str) -> list[str]:
    """Return the parts of a path, the first of them last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
