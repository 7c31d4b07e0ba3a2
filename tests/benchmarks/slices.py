"""The yardstick: a map cut by hand, with bytes in and out, as one would write it for a cluster.

The driver pickles slices, sends each to one call of `run_slice`, gathers what they return, and
joins it. Which call a cluster wants for that stands in `grounds`.
"""

import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def cut(items: Sequence[Any], pieces: int) -> list[bytes]:
    """Return pickled slices of equal length, the last one maybe shorter."""
    size = -(-len(items) // pieces)
    return [
        pickle.dumps(items[start : start + size], protocol=5)
        for start in range(0, len(items), size)
    ]


def run_slice(payload: bytes, function: Callable[[Any], Any]) -> bytes:
    """Apply a function to all of a slice, on a worker."""
    return pickle.dumps(list(map(function, pickle.loads(payload))), protocol=5)


def join(payloads: Iterable[bytes]) -> list[Any]:
    """Return what the slices came to, as one list."""
    joined: list[Any] = []
    for payload in payloads:
        joined.extend(pickle.loads(payload))
    return joined
