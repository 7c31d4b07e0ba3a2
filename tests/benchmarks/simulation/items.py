"""Arguments of elements that weigh something and aren't there before they are pickled."""

from collections.abc import Iterator, Sequence
from typing import Any, overload


class Padded(Sequence[bytes]):
    """So many byte strings of one length; slices of it pickle as if they held them."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._size = size

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return (bytes(self._size) for _ in range(self._count))

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "Padded": ...
    def __getitem__(self, index: int | slice) -> "bytes | Padded":
        if isinstance(index, slice):
            return Padded(len(range(self._count)[index]), self._size)
        return bytes(self._size)

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (bytes(self._count * self._size),)
