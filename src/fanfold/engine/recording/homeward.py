"""Takes facts home from a worker's process: what is started there is recorded by the driver."""

import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from fanfold.engine.recording.bundles import MOST_BYTES
from fanfold.engine.recording.masking import masked
from fanfold.engine.recording.sinks import FACTS

if TYPE_CHECKING:
    from fanfold.values.facts import Fact

MOST_FACTS = 200
"""That one message takes along."""


class Homeward:
    """A sink whose facts go home with what a chunk says. Thread-safe.

    Args:
        send: Sends a message to the driver.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._facts: list[Fact] = []
        self._lock = threading.Lock()

    def put(self, make: Callable[..., Any], *args: Any) -> None:
        """Make facts now, as what they are made of stays here; they go home with others."""
        made = make(*args)
        if made is None:
            return
        facts = cast("Iterable[Fact]", made) if isinstance(made, Iterable) else (made,)
        # Here, for the driver doesn't know what is secret in this process.
        facts = [masked(fact) for fact in facts]
        with self._lock:
            self._facts.extend(facts)
            full = len(self._facts) >= MOST_FACTS
        if full:
            self.send()

    def send(self) -> None:
        """Send what is there."""
        with self._lock:
            facts, self._facts = self._facts, []
        for message in _packed(facts) if facts else ():
            self._send(message)


def _packed(facts: "list[Fact]") -> Iterator[bytes]:
    """Yield messages that aren't too long, in order; a single fact may be as long as it is."""
    message = FACTS + pickle.dumps(facts, protocol=5)
    if len(message) <= MOST_BYTES or len(facts) == 1:
        yield message
        return
    half = len(facts) // 2
    yield from _packed(facts[:half])
    yield from _packed(facts[half:])
