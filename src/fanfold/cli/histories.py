"""The history as commands look at it: dead runs are ended before each look."""

from collections.abc import Generator
from contextlib import contextmanager, suppress

from fanfold.engine import registry, settings
from fanfold.engine.recording.reaping import tend
from fanfold.engine.settings.kinds import OFF
from fanfold.ports.history import History
from fanfold.values.errors import HistoryUnavailable, UsageError

LOOK_EVERY_S = 1.0
"""How often commands look that follow a run."""


class Lookout:
    """A history that is looked at.

    Args:
        history: The history.
        url: By which it was opened.
    """

    def __init__(self, history: History, url: str) -> None:
        self.history = history
        self._url = url
        self._reaper = ""

    def reap(self) -> None:
        """End the runs whose processes are gone, so that nobody reads that they still run.

        Where the history can't be written, they are shown as they were recorded.
        """
        with suppress(HistoryUnavailable):
            # One for all looks: each owner costs a file, or a row.
            self._reaper = self._reaper or self.history.owner()
            tend(self.history, self._url, settings.home(), self._reaper)


@contextmanager
def opened(*, reap: bool = True) -> Generator[Lookout]:
    """Open the history that the settings name, for a `with`.

    Args:
        reap: Whether dead runs are ended first.

    Raises:
        UsageError: The settings say that none is kept.
    """
    url = settings.current().history_url
    if url == OFF:
        raise UsageError(
            "No history is kept, for history.url is off: `fanfold config` shows who says so."
        )
    history = registry.history(url)
    try:
        lookout = Lookout(history, url)
        if reap:
            lookout.reap()
        yield lookout
    finally:
        history.close()
