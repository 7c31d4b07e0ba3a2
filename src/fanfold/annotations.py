"""Marks for arguments of a map."""

from typing import Any

from fanfold.engine.binding import Unmapped


def unmapped(value: Any) -> Any:
    """Return `value` marked as the same for all calls of a map, though it could be mapped over.

    On a cluster it reaches each worker process at most once.
    """
    return Unmapped(value)
