"""Faults for users' own tasks: what which attempt of which input does before the task's function.

    faults = Faults(tmp_path, {3: [Raise(OSError("gone"))], 5: [Sleep(0.1), Exit(1)]})
    with faults.injected(load):
        my_flow()
    assert faults.calls(3) == 2

They are counted in files, so this works in any process of the machine.
"""

import asyncio
import hashlib
import inspect
import os
import time
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fanfold.tasks import Task
from fanfold.testing.faults import Fault
from fanfold.testing.ledger import Ledger
from fanfold.values.errors import UsageError

CALLED = "called"


@dataclass(frozen=True, slots=True)
class Sleep:
    """Takes longer; then the task's function is called."""

    seconds: float

    def strike(self, x: Any, ledger: Ledger) -> None:
        """Sleep."""
        time.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class Exit:
    """Ends the worker process at once, as a crash does; not the process of the test itself."""

    code: int = 1

    def strike(self, x: Any, ledger: Ledger) -> None:
        """Exit, unless there is no other process to end."""
        if ledger.lines("driver") == [[str(os.getpid())]]:
            raise UsageError(
                "Exit would end the test itself: its task runs in the same process. Give the flow "
                'a runner with processes, such as task_runner="processes".'
            )
        os._exit(self.code)


class Faults:
    """Faults by input, each a sequence over the attempts; after the last one all goes well.

    `Raise` raises its exception, `Sleep` takes longer and `Exit` ends the worker; whatever has
    `strike(x, ledger)` will do. Attempts are counted for each input, over all that the faults are
    injected into; two inputs are the same if they look the same (`repr`).

    Args:
        folder: An empty folder, to count attempts in.
        plan: Faults by input.
        by: Returns the input that a call has; called as the function is. By default it is the
            first argument.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        plan: Mapping[Hashable, Sequence[Fault]],
        *,
        by: Callable[..., Hashable] | None = None,
    ) -> None:
        self.ledger = Ledger(os.fspath(folder))
        self.plan = {x: tuple(faults) for x, faults in plan.items()}
        self.by = by
        self.ledger.note("driver", os.getpid())

    def calls(self, x: object) -> int:
        """Return how often the task was called with an input, in vain or not."""
        return self.ledger.lines(CALLED).count([_name(x)])

    @property
    def total(self) -> int:
        """How often it was called in all."""
        return len(self.ledger.lines(CALLED))

    @contextmanager
    def injected(self, task: Task[..., Any]) -> Generator[None]:
        """Let the calls of a task meet the faults while the code inside runs.

        It holds for the object, wherever it is used, and for methods and `with_options` of it that
        are made meanwhile.
        """
        before = task.fn
        task.fn = self.into(before)
        try:
            yield
        finally:
            task.fn = before

    def into(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that meets the faults, then does what the given one does."""
        kind = _FaultyAsync if inspect.iscoroutinefunction(fn) else _Faulty
        return kind(fn, self)

    def met(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[tuple[Fault, Any]]:
        """Count a call, and yield the fault of its attempt with its input, if there is one."""
        x = self._input(args, kwargs)
        self.ledger.note(CALLED, _name(x))
        faults = self.plan.get(x, ()) if _hashes(x) else ()
        if faults:
            attempt = self.ledger.claim(f"attempt-{_name(x)}")
            if attempt < len(faults):
                yield faults[attempt], x

    def _input(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.by is not None:
            return self.by(*args, **kwargs)
        given = (*args, *kwargs.values())
        return given[0] if given else None


class _Faulty:
    """A function that meets faults first."""

    def __init__(self, fn: Callable[..., Any], faults: Faults) -> None:
        self.fn = fn
        self.faults = faults
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)
        self.__signature__ = inspect.signature(fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for fault, x in self.faults.met(args, kwargs):
            fault.strike(x, self.faults.ledger)
        return self.fn(*args, **kwargs)


class _FaultyAsync(_Faulty):
    """The same of an async function; it sleeps without blocking the loop."""

    is_async = True

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for fault, x in self.faults.met(args, kwargs):
            if isinstance(fault, Sleep):
                await asyncio.sleep(fault.seconds)
            else:
                fault.strike(x, self.faults.ledger)
        return await self.fn(*args, **kwargs)


def _hashes(x: object) -> bool:
    """Return whether it can be in a plan."""
    try:
        hash(x)
    except TypeError:
        return False
    return True


def _name(x: object) -> str:
    """Return what stands for an input in the ledger and in names of files."""
    return hashlib.sha256(repr(x).encode()).hexdigest()[:16]
