"""What somebody does who can write to the storage: damage, swaps, and pickles that run code."""

import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 64
"""Of what a mutation takes out, moves or puts in."""


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


def bomb(mark: Path) -> bytes:
    """Return a pickle that makes a folder where it is read."""
    return pickle.dumps(Bomb(mark), 5)


def mutated(payload: bytes, chance: random.Random) -> bytes:
    """Return bytes that aren't these: flipped, cut, grown, moved about or blanked, by chance.

    Args:
        payload: At least one byte.
        chance: Decides; a seeded one makes the same of the same.
    """
    while True:
        changed = chance.choice(_MUTATIONS)(bytearray(payload), chance)
        if changed != payload:
            return bytes(changed)


def damages(payload: bytes, flip: int = 1) -> Iterator[bytes]:
    """Return an object with each of its bytes changed, cut off at each of them, and with one more.

    Args:
        payload: The object.
        flip: Which bits are changed, as the bits of a byte.
    """
    for place in range(len(payload)):
        yield payload[:place] + bytes([payload[place] ^ flip]) + payload[place + 1 :]
    for size in range(len(payload)):
        yield payload[:size]
    yield payload + b"\0"


def _flipped(payload: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.randint(1, 3)):
        payload[chance.randrange(len(payload))] ^= 1 << chance.randrange(8)
    return payload


def _cut(payload: bytearray, chance: random.Random) -> bytearray:
    return payload[: chance.randrange(len(payload))]


def _without(payload: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(payload))
    del payload[start : start + chance.randint(1, MOST_BYTES)]
    return payload


def _grown(payload: bytearray, chance: random.Random) -> bytearray:
    place = chance.randint(0, len(payload))
    payload[place:place] = chance.randbytes(chance.randint(1, MOST_BYTES))
    return payload


def _moved(payload: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(payload))
    piece = payload[start : start + chance.randint(1, MOST_BYTES)]
    del payload[start : start + len(piece)]
    place = chance.randint(0, len(payload))
    payload[place:place] = piece
    return payload


def _blanked(payload: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(payload))
    stop = min(len(payload), start + chance.randint(1, MOST_BYTES))
    payload[start:stop] = bytes(stop - start)
    return payload


_MUTATIONS: list[Callable[[bytearray, random.Random], bytearray]] = [
    _flipped,
    _cut,
    _without,
    _grown,
    _moved,
    _blanked,
]
