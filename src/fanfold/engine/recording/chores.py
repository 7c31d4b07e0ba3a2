"""When a recorder does what else is to be done in its history; apart from threads and clocks."""

from typing import Literal

Chore = Literal["renew", "cancelled", "tend", "prune"]
ASK_S = 1.0
"""How often it is asked whether watched runs are to be cancelled."""
NEVER = float("inf")
PRUNE_S = 3_600.0
"""How often it is looked whether it is time to remove old runs."""


class Chores:
    """Says what is due, the most urgent first. For one thread."""

    def __init__(self) -> None:
        self._at: dict[Chore, float] = {}
        self._asked = False
        self._pruned = False

    def recorded(self, now: float) -> None:
        """Say that the history took something: from then on there are chores."""
        if "tend" not in self._at:
            self._at |= {"tend": now, "prune": now}

    def plan(self, now: float, *, renewing: bool, watching: bool) -> None:
        """Say what there is to do.

        Args:
            now: What time it is.
            renewing: Whether there are leases that have to be renewed.
            watching: Whether anybody wants to know that a run is to be cancelled.
        """
        wanted: tuple[tuple[Chore, bool], ...] = (("renew", renewing), ("cancelled", watching))
        for chore, there in wanted:
            if there and self._at:
                self._at.setdefault(chore, now)
            else:
                self._at.pop(chore, None)

    def due(self, now: float, *, closing: bool) -> Chore | None:
        """Return what is to be done now.

        Args:
            now: What time it is.
            closing: The recorder is to end: old runs that are left are for the next one.
        """
        return next((one for one in self._open(closing) if self._at.get(one, now + 1) <= now), None)

    def next(self, *, closing: bool) -> float | None:
        """Return when something is due, in the same sense."""
        times = (self._at.get(one, NEVER) for one in self._open(closing))
        return min((time for time in times if time < NEVER), default=None)

    def done(self, chore: Chore, now: float, again_s: float | None) -> None:
        """Say that something is done.

        Args:
            chore: What.
            now: What time it is.
            again_s: After how many seconds it is due again; None: never.
        """
        self._pruned |= chore == "prune"
        self._at[chore] = now + again_s if again_s is not None else NEVER

    def _open(self, closing: bool) -> tuple[Chore, ...]:
        if not closing:
            return ("renew", "cancelled", "tend", "prune")
        return ("tend",) if self._pruned else ("tend", "prune")
