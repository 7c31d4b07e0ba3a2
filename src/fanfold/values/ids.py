"""Names for runs: unique, sortable by time of birth, safe in file names."""

import os
import time


def new_id() -> str:
    """Return 24 hex digits: 12 of milliseconds since 1970, 12 random ones."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(6).hex()}"
