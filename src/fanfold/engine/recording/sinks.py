"""Where facts go, and how those are told that are made later.

What makes facts is loaded by whoever makes the first one, which is the recorder's thread: the
classes of all facts take 10 ms, and nobody's flow waits for that.
"""

from collections.abc import Callable
from typing import Any, Protocol

FACTS = b"H"
"""First byte of a message that holds facts, on their way home from another process."""

LINE = b"L"
"""First byte of a message that holds lines of logs (see `bundles`)."""


class Sink(Protocol):
    """Takes what is to be recorded: the recorder, or the way to it from another process."""

    def put(self, make: Callable[..., Any], *args: Any) -> None:
        """Have `make(*args)` called later; the facts that it returns are recorded."""
        ...


class Later:
    """A function of `recording.notes`, found when it is called.

    Args:
        name: Of the function.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: Any) -> Any:
        """Load it, and call it."""
        from fanfold.engine.recording import notes

        return getattr(notes, self._name)(*args)


flow_run_made = Later("flow_run_made")
flow_run_resumed = Later("flow_run_resumed")
flow_run_named = Later("flow_run_named")
flow_run_moved = Later("flow_run_moved")
task_run_made = Later("task_run_made")
chunk_done = Later("chunk_done")
keys_told = Later("keys_told")
elements_ended = Later("elements_ended")
task_run_ended = Later("task_run_ended")
line = Later("line")
lines_dropped = Later("lines_dropped")
travelled = Later("travelled")
problem = Later("problem")
