"""A chunk's slot on its worker: a thread of Dask's pool, and what the chunk holds."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from distributed import Worker
from distributed.metrics import time
from distributed.threadpoolexecutor import thread_state, threads_lock
from distributed.worker_state_machine import SecedeEvent

from fanfold_dask.holds import Amount, Holds

_HERE, _AWAY, _RETURNING, _OVER = range(4)


class Slot:
    """The slot of the chunk that the calling thread is about to run; `take` it first.

    `distributed.secede` and `rejoin` do the same for the calling thread alone. But whoever waits
    inside an element may be any of its threads, such as the one that a time limit runs it in.

    Args:
        worker: Where the chunk runs.
        key: What Dask calls the chunk.
        holds: What the worker has.
        amount: What the chunk takes of it.
    """

    def __init__(self, worker: Worker, key: str, holds: Holds, amount: Amount) -> None:
        self._worker = worker
        self._key = key
        self._holds = holds
        self._amount = amount
        self._thread = threading.current_thread()
        self._pool: Any = getattr(thread_state, "executor", None)
        self._began = time()
        self._lock = threading.Lock()
        self._waiters = 0
        self._state = _HERE

    def take(self, unwanted: Callable[[], bool]) -> bool:
        """Wait for what the chunk holds; return whether it has it now, or isn't wanted any more.

        It waits outside the pool: what it waits for may be with a task that has seceded by itself,
        as `frame.compute()` does, and comes to its end only once a thread has left for it.
        """
        if self._holds.take_now(self._amount):
            return True
        self._leave_pool()
        if self._holds.take(self._amount, unwanted):
            self._rejoin_pool()
            return True
        self._state = _OVER
        thread_state.proceed = self._pool is None
        return False

    @contextmanager
    def free(self) -> Generator[None]:
        """Let others have the slot while the code inside waits; nothing more if they have it."""
        with self._lock:
            self._waiters += 1
            leaves = self._waiters == 1 and self._state == _HERE
            if leaves:
                self._state = _AWAY
                self._leave()
        try:
            yield
        finally:
            with self._lock:
                self._waiters -= 1
                returns = not self._waiters and self._state == _AWAY
                if returns:
                    self._state = _RETURNING
            if returns:
                self._return()

    def end(self) -> None:
        """Give the slot back for good; called once, by the chunk's own thread."""
        with self._lock:
            before, self._state = self._state, _OVER
        if before == _HERE:
            self._holds.give(self._amount)
            if self._pool is not None:
                # `frame.compute()` tries to secede; where we had done so, that fails half way, and
                # the thread would end with this task though the pool counts on it.
                thread_state.proceed = self._thread in self._pool._threads
        else:
            # Somebody still waits whom the chunk has given up: another thread is in the pool for
            # this one, which therefore ends with its task.
            thread_state.proceed = False

    def _leave(self) -> None:
        self._holds.give(self._amount)
        if self._pool is None:
            return
        self._leave_pool()
        # For Dask it is `long-running` from now on, to its end: it counts as running nothing here.
        event = SecedeEvent(
            key=self._key,
            compute_duration=time() - self._began,
            stimulus_id=f"fanfold-waits-{time()}",
        )
        self._worker.loop.add_callback(self._worker.handle_stimulus, event)

    def _return(self) -> None:
        """Wait for a thread to leave the pool for ours, then for what the chunk holds.

        In this order: whoever has taken its share already would wait for a thread that may wait for
        that share.
        """
        self._rejoin_pool()
        self._holds.take_back(self._amount)
        with self._lock:
            if self._state == _RETURNING:
                self._state = _HERE
                # Whoever came meanwhile to wait finds the slot taken.
                if self._waiters:
                    self._state = _AWAY
                    self._leave()
                return
        self._holds.give(self._amount)
        self._leave_pool()

    def _leave_pool(self) -> None:
        if self._pool is not None:
            with threads_lock:
                self._pool._threads.discard(self._thread)
                self._pool._adjust_thread_count()

    def _rejoin_pool(self) -> None:
        if self._pool is not None:
            place = threading.Event()
            with self._pool._rejoin_lock:
                self._pool._rejoin_list.append((self._thread, place))
            # Wakes a thread that is idle.
            self._pool.submit(_nothing)
            place.wait()


def _nothing() -> None:
    return None
