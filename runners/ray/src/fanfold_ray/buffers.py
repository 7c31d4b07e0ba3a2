"""Values as they lie in Ray: buffers that nobody looks into."""

import pickle
from collections.abc import Iterable, Sequence
from typing import Any


class Views(list[Any]):
    """Buffers as they are handed out, with the references to what their pickle names."""

    __slots__ = ("references",)

    def __init__(self, views: Iterable[Any], references: Sequence[Any]) -> None:
        super().__init__(views)
        self.references = references


class Buffers:
    """A list of buffers that Ray stores as they are and hands out without a copy.

    Ray copies `bytes` at every get (100 MB: 50 ms), but shows out-of-band buffers of pickle 5 in
    place, in memory that all processes of a node share, read-only.

    Args:
        buffers: Anything that has a buffer.
        references: What Ray keeps alive as long as the buffers.
    """

    __slots__ = ("views",)

    def __init__(self, buffers: Iterable[Any], references: Sequence[Any] = ()) -> None:
        self.views = Views([pickle.PickleBuffer(buffer).raw() for buffer in buffers], references)

    def __reduce_ex__(self, protocol: Any) -> tuple[type["Buffers"], tuple[list[Any], list[Any]]]:
        buffers = [pickle.PickleBuffer(view) for view in self.views]
        return Buffers, (buffers, list(self.views.references))


class Missing:
    """Lies where a chunk's values would be, if it came to none."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why

    def __reduce__(self) -> tuple[type["Missing"], tuple[str]]:
        return Missing, (self.why,)
