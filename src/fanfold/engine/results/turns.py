"""Async elements of one chunk with equal keys go one after another, the others beside them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Task

Found = tuple[bytes | None, Any]
"""An element's key, and what is known of its value; None where it is to be made."""


class Turns:
    """Lets an element wait while another one makes what it looks for.

    Args:
        find: Looks an element up by its arguments, at once.
    """

    def __init__(self, find: Callable[[dict[str, Any]], Found]) -> None:
        self._find = find
        self._makers: dict[bytes, Task[Any]] = {}

    async def find(self, arguments: dict[str, Any]) -> Found:
        """Return what `find` does, once no other element is about to make it.

        Each element has to run in an asyncio task of its own, whose end lets the next one go.
        """
        import asyncio  # 10 ms, which only async tasks need

        key, answer = self._find(arguments)
        while key is not None and answer is None and key in self._makers:
            await asyncio.wait([self._makers[key]])
            key, answer = self._find(arguments)
        maker = asyncio.current_task()
        if key is not None and answer is None and maker is not None:
            self._makers[key] = maker
            # Comes before those who wait for it go on, for it is the first that was added.
            maker.add_done_callback(lambda _: self._makers.pop(key))
        return key, answer
