"""What the demo's calls came to, counted from the states of its runs."""

from collections import Counter
from collections.abc import Mapping

_noted: dict[str, Counter[str]] = {}


def note(part: str, states: Mapping[str, int]) -> None:
    """Add the final states of some runs, such as `{"Cached": 12}`; for a driver's one thread."""
    _noted.setdefault(part, Counter()).update(states)


def told(part: str) -> str:
    """Return how much of a part came from the cache, such as `12 of 40 from the cache`."""
    states = _noted.get(part, Counter())
    return f"{states['Cached']:,} of {states.total():,} from the cache"
