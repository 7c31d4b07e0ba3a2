"""What the porter hears is meant for the chunk that ran when it was said, not for the next one."""

import signal
import threading
from collections.abc import Iterator

import pytest

from fanfold_ray.porter import Porter

DEADLINE_S = 30.0


class Chunk:
    """A chunk that notes what the porter does for it, and can make it wait."""

    def __init__(self, *, busy: bool = False) -> None:
        self.heeds = False
        self.heard = threading.Event()
        self.looked = threading.Event()
        self.released = threading.Event()
        if not busy:
            self.released.set()

    def post(self) -> None:
        self.looked.set()
        assert self.released.wait(DEADLINE_S)

    def signalled(self) -> bool:
        self.heard.set()
        return False

    def struck(self) -> None:
        raise AssertionError("nobody wanted that")


@pytest.fixture
def porter() -> Iterator[Porter]:
    numbers = (signal.SIGINT, signal.SIGURG)
    before = [signal.getsignal(number) for number in numbers]
    descriptor = signal.set_wakeup_fd(-1)
    opened = Porter()
    yield opened
    opened.attend(None)
    signal.set_wakeup_fd(descriptor)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def interrupt(porter: Porter, chunk: Chunk) -> None:
    """Do what `ray.cancel` does in a worker while a chunk runs there."""

    def heed(*_: object) -> None:
        chunk.heeds = True
        porter.wake()

    signal.signal(signal.SIGINT, heed)
    signal.raise_signal(signal.SIGINT)


def test_a_signal_is_taken_in_by_the_chunk_that_runs(porter: Porter) -> None:
    chunk = Chunk()
    porter.attend(chunk)

    interrupt(porter, chunk)

    assert chunk.heard.wait(DEADLINE_S)


def test_a_signal_that_the_porter_sees_late_leaves_the_next_chunk_alone(porter: Porter) -> None:
    first, second = Chunk(busy=True), Chunk()
    porter.attend(first)
    assert first.looked.wait(DEADLINE_S)

    # The porter is busy, or its thread has to wait for a processor.
    interrupt(porter, first)
    porter.attend(None)
    porter.attend(second)
    first.released.set()

    assert second.looked.wait(DEADLINE_S)
    assert not second.heard.is_set()
