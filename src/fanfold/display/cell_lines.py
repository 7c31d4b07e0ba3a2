"""Which log lines a notebook's cell shows: all of flows, the first few of what elements say.

An output with thousands of lines buries the bars above it and stays in the saved notebook, so what
goes beyond is left to the history. Without one all lines are shown: there they would be lost.
"""

import logging
from collections import OrderedDict

from fanfold.engine.recording import recorder
from fanfold.engine.tally import ID_DIGITS

LINES_MOST = 100
"""Of elements of maps, of one flow run; so many warnings and errors besides."""
RUNS_KEPT = 100


class CellLines:
    """Counts the lines of elements. Its owner sees that one thread asks at a time."""

    def __init__(self) -> None:
        self._shown: OrderedDict[tuple[str, bool], int] = OrderedDict()

    def take(self, record: logging.LogRecord) -> str | None:
        """Return what is to be said in a line's place; empty for nothing, None for the line."""
        flow_run_id = record.__dict__.get("flow_run_id")
        if not flow_run_id or not of_element(record):
            return None
        kind = flow_run_id, record.levelno >= logging.WARNING
        shown = self._shown.get(kind, 0)
        if shown < LINES_MOST:
            self._shown[kind] = shown + 1
            while len(self._shown) > RUNS_KEPT:
                self._shown.popitem(last=False)
            return None
        if recorder.current() is None:
            return None
        self._shown[kind] = shown + 1
        if shown > LINES_MOST:
            return ""
        what = "warnings and errors" if kind[1] else "lines"
        return (
            f"More {what} of elements aren't shown here, but in the history: "
            f"fanfold runs logs {flow_run_id[:ID_DIGITS]}"
        )


def of_element(record: logging.LogRecord) -> bool:
    """Return whether a line is from an element of a map."""
    return record.__dict__.get("map_index") is not None
