"""Lets nobody fork while SQLite is at work: a child would inherit what it was about to do.

SQLite keeps for the whole process which of its connections holds which lock, and guards that by
mutexes. A child that is forked in the middle of a write takes over the notes, not the connection,
so its own ones find the database locked for ever, or wait for a thread that it doesn't have.
"""

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

PATIENCE_S = 1.0
"""That a fork waits at most; a commit takes some milliseconds."""


class Gate:
    """Work of many threads, none of which goes on during a fork."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew; after a fork, in the child, which has none of the threads."""
        self._changed = threading.Condition()
        self._working: dict[int, int] = {}
        """Threads that are at work, and how deep in it."""
        self._forking = False

    @contextmanager
    def working(self) -> Generator[None]:
        """Keep forks waiting meanwhile, and wait for one that is under way; may be nested."""
        me = threading.get_ident()
        with self._changed:
            if me not in self._working:
                self._changed.wait_for(lambda: not self._forking, PATIENCE_S)
            self._working[me] = self._working.get(me, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._working[me] -= 1
                if not self._working[me]:
                    del self._working[me]
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody begin, and wait for those who have; before a fork."""
        me = threading.get_ident()
        with self._changed:
            self._forking = True
            self._changed.wait_for(lambda: not (self._working.keys() - {me}), PATIENCE_S)

    def open(self) -> None:
        """Let all go on; after a fork, in the parent."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()


GATE = Gate()
os.register_at_fork(before=GATE.close, after_in_parent=GATE.open, after_in_child=GATE.renew)
