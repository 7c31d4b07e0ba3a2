"""What a run does in a transaction: holds its indexes, and knows whose hooks are to be called."""

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fanfold.engine import hooks
from fanfold.engine.context import RunContext, running
from fanfold.engine.hooks import Hook
from fanfold.engine.results.clerk import clerk
from fanfold.engine.results.transaction import OVER, CommitMode, Transaction, inside
from fanfold.values.errors import RunError
from fanfold.values.messages import Detail, Failure
from fanfold.values.states import FINAL, WITH_VALUE, StateName

if TYPE_CHECKING:
    from fanfold.engine.chunking import Span
    from fanfold.engine.effects import Commit
    from fanfold.engine.run import Run

_COMPLETED = re.compile(re.escape(bytes([StateName.COMPLETED])) + b"+")
_WITHOUT_VALUE = re.compile(b"[" + re.escape(bytes(sorted(FINAL - WITH_VALUE))) + b"]")


class Part:
    """What one run does in a transaction; without one, when its hooks are to be called.

    Args:
        transaction: The one that it is in.
        on_commit: The task's hooks.
        on_rollback: The task's hooks.
        write: Writes an index of the run.
    """

    def __init__(
        self,
        transaction: Transaction | None,
        on_commit: Sequence[Hook],
        on_rollback: Sequence[Hook],
        write: Callable[["Run", "Commit"], None],
    ) -> None:
        self.transaction = transaction
        self.run: Run | None = None
        self._hooks = {"commit": on_commit, "rollback": on_rollback}
        self._write = write
        self._held: list[Commit] = []
        self._noted = bytearray()
        self._elements: dict[int, Transaction] = {}
        """Of elements whose code could ask for theirs."""
        self._told = False
        if transaction is not None:
            transaction.include(self)

    def of(self, run: "Run") -> "Part":
        """Return the part of a run: this one for the first that asks, then others like it."""
        if self.run is not None:
            hooks = self._hooks
            part = Part(self.transaction, hooks["commit"], hooks["rollback"], self._write)
            return part.of(run)
        self.run = run
        return self

    @property
    def is_open(self) -> bool:
        """Whether its run was handed out and isn't over; direct calls are their caller's."""
        return self.run is not None and self.run.owner is not None and not self.run.finished

    @contextmanager
    def entered(self, index: int) -> Generator[None]:
        """Let an element's code run in a transaction of its own.

        It is rolled back if the code raises, or if something inside has failed, even if the code
        goes on: the next try begins with a new one.
        """
        own = self._elements[index] = self._own(index)
        try:
            with inside(own):
                yield
        except BaseException:
            del self._elements[index]
            own.rollback()
            raise
        own.end_with_its_code()

    def roll_back(self) -> None:
        """Take the transaction back at once."""
        if self.transaction is not None:
            self.transaction.rollback()

    def news(self, run: "Run", spans: Iterable["Span"]) -> bool:
        """Take in what became final; return whether something failed."""
        transaction = self.transaction
        if transaction is None:
            return False
        failed = False
        self._noted = self._noted or bytearray(run.count)
        for start, stop in spans:
            for match in _COMPLETED.finditer(run.states, start, stop):
                # Elements that are made again, as their values were lost, are done already.
                if not self._noted[match.start()]:
                    transaction.note((self, *match.span()))
                    self._noted[match.start() : match.end()] = b"\1" * len(match[0])
            failed = failed or _WITHOUT_VALUE.search(run.states, start, stop) is not None
        if failed:
            transaction.fail()
        return failed

    def hold(self, commit: "Commit") -> bool:
        """Keep an index for the transaction's commit; return whether there is one to wait for."""
        if self.transaction is None:
            return False
        if self.transaction.is_rolled_back():
            self._give_back(commit)
        elif commit.leases:
            clerk().detach(commit.leases)
        self._held.append(commit)
        return True

    def write(self) -> None:
        """Write what was held.

        Raises:
            StoreError: It can't be written.
        """
        while self._held:
            assert self.run is not None
            self._write(self.run, self._held[0])
            del self._held[0]

    def write_inside(self, indices: range) -> None:
        """Write what tasks held that these elements have called."""
        for index in indices if self._elements else ():
            own = self._elements.get(index)
            if own is not None and own.state not in OVER:
                own._write()  # pyright: ignore[reportPrivateUsage]

    def tell_committed(self, indices: Iterable[int]) -> None:
        """Call the hooks of elements whose results are committed."""
        for index in indices if self._elements or self._hooks["commit"] else ():
            own = self._elements.pop(index, None) or self._own(index)
            if own.state not in OVER:
                own._tell_committed()  # pyright: ignore[reportPrivateUsage]
            self._call("commit", own)

    def take_back(self, indices: range) -> None:
        """Call the hooks of elements that are rolled back, the last one first."""
        assert self.run is not None
        for commit in self._held:
            self._give_back(commit)
        for index in reversed(indices) if self._elements or self._hooks["rollback"] else ():
            own = self._elements.pop(index, None) or self._own(index)
            self._call("rollback", own)
            own.rollback()
        _mark(self.run, indices)

    def due(self, run: "Run") -> list[int]:
        """Return the elements whose commit hooks are to be called now, outside of transactions."""
        if self.transaction is not None or self._told or run.left or run.commits:
            return []
        self._told = True
        return [at for at, code in enumerate(run.states) if code == StateName.COMPLETED]

    def _give_back(self, commit: "Commit") -> None:
        """Let others make what won't be committed."""
        if commit.leases:
            clerk().release(commit.leases)

    def _own(self, index: int) -> Transaction:
        info = self.run.call.spec.info if self.run is not None else None
        key = info.element_id(index) if info is not None else None
        own = Transaction(key=key, parent=self.transaction, commit_mode=CommitMode.LAZY)
        own.begin()
        return own

    def _call(self, which: str, own: Transaction) -> None:
        assert self.run is not None
        with running(RunContext(info=self.run.call.spec.info)):
            hooks.told(hooks.calling(self._hooks[which], own))


def _mark(run: "Run", indices: range) -> None:
    """Let futures say that these elements were rolled back."""
    error = RunError(f"{run.name} was rolled back with its transaction, so it has no value.")
    failure = Failure(kind=type(error).__name__, message=str(error), traceback="", live=error)
    with run.changed:
        run.details.update(dict.fromkeys(indices, Detail(failure=failure)))
        codes = bytes([StateName.ROLLED_BACK]) * len(indices)
        run.states[indices.start : indices.stop] = codes
        run.window = (0, 0, [])
        run.changed.notify_all()
