"""Takes rows from iterators in step: as many as wanted, and no longer than a moment."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from fanfold.engine.futures import TaskFuture
from fanfold.values.errors import MappingLengthMismatch

PULL_S = 0.05
"""One pull lasts about this long, however slow the iterator: the reader has other things to do."""


class Puller:
    """Some iterators, advanced only in the thread that calls `fill`; not thread-safe.

    What an iterator raises is kept as `error`: the rows before it are as good as any.
    """

    def __init__(self, iterables: Iterable[Iterable[Any]]) -> None:
        self._iterators: list[Iterator[Any]] = [iter(iterable) for iterable in iterables]
        self._columns: list[list[Any]] = [[] for _ in self._iterators]
        self.exhausted = False
        self.error: BaseException | None = None

    def __len__(self) -> int:
        return min(map(len, self._columns))

    @property
    def over(self) -> bool:
        """Whether no rows are left."""
        return self.exhausted and not len(self)

    def fill(self, most: int) -> None:
        """Pull until there are `most` rows, or for a moment, but at least one.

        Raises:
            BaseException: An interrupt came out of an iterator; it is over then.
        """
        end, block = time.monotonic() + PULL_S, 1
        while not self.exhausted and len(self) < most:
            began = time.monotonic()
            self._advance(min(len(self) + block, most))
            now = time.monotonic()
            block = block * 2 if now - began < PULL_S / 16 else max(1, block // 2)
            if now > end:
                break

    def take(self, most: int) -> list[list[Any]]:
        """Return up to `most` rows that were pulled, as columns.

        Futures of elements come from one run at a time: as a slice of it they cost nothing.
        """
        most = min(most, *(_of_one_run(column) for column in self._columns))
        taken = [column[:most] for column in self._columns]
        for column in self._columns:
            del column[:most]
        return taken

    def close(self) -> None:
        """Pull nothing more, and close generators."""
        self.exhausted = True
        self._columns = [[] for _ in self._iterators]
        for iterator in self._iterators:
            close = getattr(iterator, "close", None)
            # A generator that is just running is its own reader's to close.
            with suppress(ValueError):
                if close is not None:
                    close()

    def _advance(self, target: int) -> None:
        try:
            for column, iterator in zip(self._columns, self._iterators, strict=True):
                # `extend` keeps what came before an exception.
                column.extend(islice(iterator, target - len(column)))
        except BaseException as error:
            self._end(error)
            if not isinstance(error, Exception):
                raise
            return
        lengths = {len(column) for column in self._columns}
        if len(lengths) > 1:
            told = " and ".join(str(len(column)) for column in self._columns)
            self._end(
                MappingLengthMismatch(
                    "A map over iterators needs them to be equally long, but one ended before the "
                    f"others: of the last rows there were {told}. Wrap what is the same for all "
                    "calls in unmapped(...)."
                )
            )
        elif len(self) < target:
            self.exhausted = True

    def _end(self, error: BaseException) -> None:
        self.exhausted = True
        self.error = error
        shortest = len(self)
        for column in self._columns:
            del column[shortest:]


def _of_one_run(column: list[Any]) -> int:
    """Return how many futures of one run stand at the column's start, all if it has others."""
    head = column[0] if column else None
    if not isinstance(head, TaskFuture):
        return len(column)
    for at, item in enumerate(column):
        if not isinstance(item, TaskFuture) or item.run is not head.run:
            return at
    return len(column)
