"""Tells people, once each, that a history can't be reached, and that it can again."""

import logging
from urllib.parse import urlsplit

from fanfold.engine.recording.spool import Spool
from fanfold.values.facts import Receipt

MOST_RUNS = 10_000
"""Of which it is remembered that they were told of."""

logger = logging.getLogger("fanfold.history")


class Trouble:
    """What was told of one history. For one thread.

    Args:
        url: Of the history.
        journal: In which runs are noted meanwhile.
    """

    def __init__(self, url: str, journal: Spool) -> None:
        self.why = "it doesn't answer"
        """Why the history couldn't be reached the last time."""
        self._place = place(url)
        self._journal = journal
        self._told = False
        self._told_disk = False
        self._runs: set[str] = set()

    def kept(self) -> None:
        """Say that something is in the journal, not in the history."""
        self._told_disk = False
        if not self._told:
            self._told = True
            logger.warning(
                "History at %s can't be reached (%s): runs are noted in %s until it can",
                *(self._place, self._reason(), self._journal.path),
            )

    def not_kept(self, error: OSError) -> None:
        """Say that something couldn't be written to the journal either."""
        if not self._told_disk:
            self._told = self._told_disk = True
            logger.log(
                self._level(),
                "History at %s can't be reached (%s), nor can runs be noted on the disk (%s): "
                "they wait in memory",
                *(self._place, self._reason(), error),
            )

    def over(self) -> None:
        """Say that the history has everything."""
        if self._told:
            self._told = self._told_disk = False
            logger.warning("History at %s is well again: it has all runs", self._place)

    def lost(self, count: int) -> None:
        """Say that facts couldn't be recorded and never will be."""
        logger.log(
            self._level(),
            "History at %s can't be reached (%s): %s facts about runs are lost",
            *(self._place, self._reason(), count),
        )

    def _reason(self) -> str:
        """Return why, without what the sentence around it says as well."""
        why = self.why.removeprefix(f"The history {self._place} ")
        return f"it {why}".rstrip(".") if why != self.why else why.rstrip(".")

    def refused(self, receipt: Receipt) -> None:
        """Say what the history didn't take, once for each flow run."""
        for refusal in receipt.refused:
            flow_run_id = refusal.fact.flow_run_id
            if flow_run_id in self._runs:
                continue
            if len(self._runs) >= MOST_RUNS:
                self._runs.clear()
            self._runs.add(flow_run_id)
            logger.warning(
                "History at %s doesn't take all of flow run %s: %s",
                *(self._place, flow_run_id or "(none)", refusal.reason),
            )

    def _level(self) -> int:
        # Who removes the folder of everything, as tests do, wants no history of it.
        return logging.DEBUG if self._journal.gone else logging.WARNING


def place(url: str) -> str:
    """Return a URL without what may be secret in it."""
    whose = urlsplit(url).netloc
    user, _, host = whose.rpartition("@")
    user = user.partition(":")[0]
    # Not put together again from its parts: of sqlite:////data/runs.db two slashes would be gone.
    return url.partition("?")[0].replace(whose, f"{user}@{host}" if user else host, 1)
