"""Removes runs that ended long ago: at most once a day per history, in small slices.

Who does it is decided by a document in the history's catalog that says when it was done last: of
those who want to replace it one succeeds.
"""

import json
from collections.abc import Iterable

from fanfold.engine import settings
from fanfold.ports.history import History
from fanfold.values.records import Retention
from fanfold.values.states import StateName

DAY_US = 86_400_000_000
FOR_EVER_US = 10**17
"""Some 3,000 years: nothing is as old."""
TURN_US = 300_000_000
"""Who has begun and said nothing more for so long may have ended: another goes on with it."""
RUNS_AT_ONCE = 20
"""Others who write wait for no more than the removal of so many."""
KIND = "upkeep"
NAME = "pruning"
"""Kind and name of the document."""

_BY_LABEL = {state.label: state for state in StateName}


def retention() -> Retention:
    """Return how long runs are kept by the settings that hold here and now.

    Raises:
        UsageError: What a variable or a file says about settings isn't understood.
    """
    now = settings.current()
    return retention_of(now.history_keep_days, now.history_keep_days_by_state)


def retention_of(days: float, days_by_state: Iterable[str]) -> Retention:
    """Return how long runs are kept by the values of the two settings."""
    by_label = (each.split("=") for each in days_by_state)
    return Retention(
        keep_us=_microseconds(days),
        by_state={_BY_LABEL[label]: _microseconds(float(days)) for label, days in by_label},
    )


def prunes(kept: Retention) -> bool:
    """Return whether anything is ever removed."""
    return min(kept.keep_us, *kept.by_state.values(), FOR_EVER_US) < FOR_EVER_US


class Pruning:
    """Removes old runs bit by bit, where it is this process's turn.

    Args:
        kept: How long runs are kept.
    """

    def __init__(self, kept: Retention) -> None:
        self._kept = kept
        self._version = 0
        """Of the document by which it is this process's turn; 0: it isn't."""

    def some(self, history: History, now_us: int) -> bool:
        """Remove some runs; return whether more may be left, for this process to remove.

        Raises:
            HistoryUnavailable: It can't be reached.
        """
        if not prunes(self._kept):
            return False
        if not self._version:
            self._version = _turn(history, now_us)
        if not self._version:
            return False
        if history.prune(self._kept, now_us, RUNS_AT_ONCE) >= RUNS_AT_ONCE:
            return True
        version, self._version = self._version, 0
        history.put(KIND, NAME, json.dumps({"at_us": now_us, "all": True}), version)
        return False


def _turn(history: History, now_us: int) -> int:
    """Return the document's version if it is the caller's turn, and nobody else's; else 0."""
    last = history.get(KIND, NAME)
    if last is not None:
        when_us, everything = _said(last.body)
        if 0 <= now_us - when_us < (DAY_US if everything else TURN_US):
            return 0
    body = json.dumps({"at_us": now_us, "all": False})
    mine = history.put(KIND, NAME, body, last.version if last else 0)
    return mine.version if mine else 0


def _microseconds(days: float) -> int:
    return min(int(days * DAY_US), FOR_EVER_US) if days else FOR_EVER_US


def _said(body: str) -> tuple[int, bool]:
    """Return when it was done last, and whether nothing was left; long ago if it doesn't say."""
    try:
        said = json.loads(body)
        return int(said["at_us"]), bool(said["all"])
    except (ValueError, LookupError, TypeError):
        return 0, False
