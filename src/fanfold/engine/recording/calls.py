"""Makes the writer's calls to a history: one at a time, in a thread that may hang for itself."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from fanfold.engine.recording.renewing import Renewals
from fanfold.ports.history import History
from fanfold.values.errors import HistoryError
from fanfold.values.facts import Batch, FlowRunMade, Receipt, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a call."""

    what: str
    """Which call it was."""
    value: Any = None
    error: Exception | None = None


class Caller:
    """A thread that makes one call at a time for one who must not be held up by it.

    Args:
        name: Of the thread.
        rang: Called, in that thread, when a call is over.
    """

    def __init__(self, name: str, rang: Callable[[], None]) -> None:
        self._rang = rang
        self._bell = threading.Lock()
        self._bell.acquire()
        self._call: tuple[str, Callable[[], Any]] | None = None
        self._outcome: Outcome | None = None
        self._over = threading.Event()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def start(self, what: str, call: Callable[[], Any]) -> None:
        """Have something called; only after the outcome of the call before was taken."""
        self._over.clear()
        self._call = (what, call)
        self._bell.release()

    def wait(self, timeout_s: float) -> Outcome | None:
        """Return what becomes of the call, once; None if it isn't over in time."""
        self._over.wait(timeout_s)
        return self.take()

    def take(self) -> Outcome | None:
        """Return what became of the call, once; None while it isn't over."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def end(self) -> None:
        """Let the thread end, after the call that is under way."""
        self._call = None
        with suppress(RuntimeError):  # it has been rung, and wasn't heard yet
            self._bell.release()

    def _work(self) -> None:
        while True:
            self._bell.acquire()
            called, self._call = self._call, None
            if called is None:
                return
            what, call = called
            try:
                self._outcome = Outcome(what=what, value=call())
            except Exception as error:  # told by whoever takes the outcome
                self._outcome = Outcome(what=what, error=error)
            del called, call
            self._over.set()
            self._rang()


class Link:
    """A history as its writer reaches it: opened by the first call. For one thread at a time.

    Args:
        url: Of the history.
        load: Makes it.
    """

    def __init__(self, url: str, load: Callable[[], History]) -> None:
        self._url = url
        self._load = load
        self._history: History | None = None
        self._owner = ""
        self._renewals: Renewals | None = None

    @property
    def opened(self) -> bool:
        """Whether there is something to be closed."""
        return self._history is not None

    @property
    def renewal_s(self) -> float | None:
        """How often `renew` is to be called; None: never."""
        return self._history.renewal_s if self._history is not None and self._owner else None

    def history(self) -> History:
        """Return the history, connected when it is used.

        Raises:
            Exception: It can't be made: no such kind is installed, or its driver isn't.
        """
        if self._history is None:
            self._history = self._load()
        return self._history

    def owner(self) -> str:
        """Return this process, as holder of leases.

        Raises:
            Exception: The history can't make one.
        """
        if not self._owner:
            self._owner = self.history().owner()
        return self._owner

    def record(self, batch: Batch) -> Receipt:
        """Have a batch recorded, its runs leased to this process.

        Raises:
            Exception: Nothing of it is recorded.
        """
        return record(self.history(), owned(batch, self.owner()))

    def cancelled(self) -> list[str]:
        """Return this process's runs that somebody asked to be cancelled.

        Raises:
            HistoryUnavailable: It can't be reached.
        """
        return self.history().cancelled(self._owner) if self._owner else []

    def renew(self) -> None:
        """See to it that this process's leases go on.

        Raises:
            HistoryUnavailable: They didn't.
        """
        if self._renewals is None:
            self._renewals = Renewals(self.history(), self._url, self._owner)
        self._renewals.see_to_it()

    def close(self, *, abandoned: bool) -> None:
        """Let go of the history.

        Args:
            abandoned: Runs of this process aren't over and never will be: whoever looks at the
                history next finds them crashed.

        Raises:
            HistoryUnavailable: The leases go by themselves, some time later.
        """
        history, self._history = self._history, None
        owner, self._owner = self._owner, ""
        renewals, self._renewals = self._renewals, None
        if history is None:
            return
        try:
            if abandoned and owner:
                history.abandon(owner)
        finally:
            history.close()
            if renewals is not None:
                renewals.stop()


def owned(batch: Batch, owner: str) -> Batch:
    """Return a batch whose new runs are leased to an owner."""
    if not any(type(fact) is FlowRunMade for fact in batch.facts):
        return batch
    facts = (
        replace(fact, owner=owner) if isinstance(fact, FlowRunMade) and not fact.owner else fact
        for fact in batch.facts
    )
    return replace(batch, facts=tuple(facts))


def record(history: History, batch: Batch) -> Receipt:
    """Have a batch recorded; a fact that the history chokes on is refused by itself.

    Raises:
        HistoryError: Nothing of it is recorded.
    """
    try:
        return history.record(batch)
    except HistoryError:
        raise
    except Exception:  # by one fact, which must not hold up all that come after it
        return _record_each(history, batch)


def _record_each(history: History, batch: Batch) -> Receipt:
    """Record the facts of a batch in batches of their own, named so that each is recorded once."""
    writer = f"{batch.writer}.{batch.number}"
    refused: list[Refusal] = []
    for number, fact in enumerate(batch.facts, start=1):
        part = replace(batch, writer=writer, number=number, facts=(fact,))
        try:
            refused += history.record(part).refused
        except HistoryError:
            raise
        except Exception as error:  # this is the one; it is told as all that are refused
            refused.append(Refusal(fact=fact, reason=f"{type(error).__name__}: {error}"))
    # Ends the batch under its own number, and raises where it isn't the facts that are wrong.
    history.record(replace(batch, facts=()))
    return Receipt(refused=tuple(refused))
