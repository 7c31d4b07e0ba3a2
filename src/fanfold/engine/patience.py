"""How long a run waits for its cluster. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What a user fixed about waiting, in seconds."""

    worker_s: float = 120.0
    """For a worker that could run the task at all."""
    word_s: float = 60.0
    """For a word of a chunk; then the cluster is to look after it."""
    speculative: bool = False
    """Whether a silent chunk gets a copy even where its process seems to be fine."""


TOLD_AFTER_S = 5.0
"""A cluster that is only starting need not be spoken of."""
LOOK_S = 1.0
"""Between two looks whether what was lacking is there."""


class Wait:
    """How long one run has waited for a worker that could run it."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: float | None = None
        self._told = False
        self.what = ""
        """What is lacking, in words; empty if nothing is."""

    def lacks(self, what: str, now: float) -> None:
        """Take in what keeps chunks from starting; empty: nothing does."""
        if not what:
            self._since, self._told = None, False
        elif self._since is None:
            self._since = now
        self.what = what

    def news(self, now: float) -> str:
        """Return what is to be told, once, of a wait that has become long."""
        if self._told or self._since is None or now - self._since < TOLD_AFTER_S:
            return ""
        self._told = True
        left = self._patience_s - (now - self._since)
        return f"waits up to {left:.0f} s more for a worker: {self.what}"

    def over(self, now: float) -> str:
        """Return why to wait no longer; empty if there is patience left."""
        if self._since is None or now - self._since < self._patience_s:
            return ""
        return f"no worker could run it for {self._patience_s:g} s: {self.what}"

    def due(self, now: float) -> float | None:
        """Return when to look again."""
        return None if self._since is None else now + LOOK_S
