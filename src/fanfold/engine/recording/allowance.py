"""How many lines a process may send home: so many a second, and more for a moment. Pure.

A bucket that fills steadily. Once it is down to what is kept for warnings, other lines are refused
until a second's worth is in there again: so what is let through comes in stretches that can be
read, not as every hundredth line.
"""

HEARD_PER_S = 10_000
"""Lines that a driver can hear from all processes together: they take a third of its time."""
MOST_PER_S = 2_000
LEAST_PER_S = 10
"""Of one process, however many there are."""
BURST_S = 10.0
LEAST_BURST = 1_000
"""Lines at once after a quiet time: what a long `describe()` prints, from each of many workers."""
KEPT_FOR_URGENT = 0.25
"""Of the burst, for warnings and errors alone."""
SHUT_S = 1.0
"""How long lines are refused at least, once the allowance is used up."""
LINE_BYTES = 256
"""A longer line counts as several."""


class Allowance:
    """Tells which lines may go. Its owner sees that one thread asks at a time.

    Args:
        now: The time, by the monotonic clock in seconds, as for all methods.
    """

    def __init__(self, now: float) -> None:
        self.per_s = float(MOST_PER_S)
        self._burst = BURST_S * MOST_PER_S
        self._left = self._burst
        self._at = now
        self._opens_at = now
        """When lines that aren't urgent may go again."""
        self._urgent_at = now

    def share(self, slots: int) -> None:
        """Take into account how many slots speak to the driver at the same time."""
        self.per_s = min(max(HEARD_PER_S / max(1, slots), LEAST_PER_S), MOST_PER_S)
        self._burst = max(BURST_S * self.per_s, LEAST_BURST)

    def shut(self, now: float, *, urgent: bool = False) -> bool:
        """Return whether any line would be refused; takes 0.1 µs."""
        return now < (self._urgent_at if urgent else self._opens_at)

    def take(self, size: int, now: float, *, urgent: bool = False) -> bool:
        """Return whether a line may go, which then counts.

        Args:
            size: Of the line, in bytes.
            now: The time.
            urgent: Whether it is a warning or worse.
        """
        if self.shut(now, urgent=urgent):
            return False
        self._left = min(self._burst, self._left + (now - self._at) * self.per_s)
        self._at = now
        floor = 0.0 if urgent else self._burst * KEPT_FOR_URGENT
        if self._left <= floor:
            opens_at = now + SHUT_S + (floor - self._left) / self.per_s
            if urgent:
                self._urgent_at = opens_at
            else:
                self._opens_at = opens_at
            return False
        # May go below the floor by one line: else one that is larger than all would never go.
        self._left -= 1 + size // LINE_BYTES
        return True
