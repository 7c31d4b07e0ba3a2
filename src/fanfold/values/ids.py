"""Names for runs: unique, sortable by time of birth, safe in file names."""

import os
import random
import time

_random = random.Random(os.urandom(32))
"""Seeded by the system once: asking it for each id lets other threads in, which costs 20 µs."""


def new_id() -> str:
    """Return 24 hex digits: 12 of milliseconds since 1970, 12 random ones."""
    return f"{time.time_ns() // 1_000_000:012x}{_random.getrandbits(48):012x}"


def _seed() -> None:
    _random.seed(os.urandom(32))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_seed)
