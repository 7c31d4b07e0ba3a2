"""Has a flow run again from what is kept of it, up to one element, to learn what that gets.

While a flow is replayed, its tasks take their values from the cache alone: one that isn't kept
fails, unless the replay may run it. The element that is looked for isn't called either; what it
would be called with is noted, and the flow ends. Everything happens in this process, no hook is
called and the flow's own result isn't kept. The flow's own code does run.
"""

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from fanfold.engine.calls import Call
from fanfold.engine.context import RunInfo
from fanfold.engine.sources import Given, Sources
from fanfold.engine.spec import taken_apart
from fanfold.values.errors import FanfoldError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class NotKept(FanfoldError):
    """A value is needed that isn't kept."""


class Reached(BaseException):
    """Ends a flow that has come to the element that is looked for."""


class _Noted(Exception):
    """Ends the element that is looked for."""


@dataclass(slots=True, kw_only=True)
class Replay:
    """Which element is looked for, and what was found out. One flow at a time replays it."""

    task: str
    """Name of the task."""
    nth: int
    """Which of its calls and maps, from 0, in the order in which they are made."""
    index: int = 0
    """The element, counted from the beginning of a streamed map."""
    reruns: bool = False
    """Whether tasks that aren't kept are run."""
    arguments: Arguments | None = None
    """What the element is called with, as the plain function behind its task gets it."""
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Why values of tasks couldn't be had, by the name of the task."""
    _calls: int = -1

    def instead(self, call: Call) -> Call:
        """Return what is to be run in place of a call or a map.

        Raises:
            Reached: Nothing more is, for the element's arguments are known.
        """
        if self.arguments is not None:
            raise Reached
        spec, info = call.spec, call.spec.info
        quiet = replace(spec, hooks=None, condition=None, retries=0, timeout_s=None)
        column = self._column(info, call.count)
        if column is not None:
            noting = replace(quiet, fn=_standing_in(spec.fn, self._note), cache=None)
            return replace(call, spec=noting, sources=_only(call.sources, column), count=1)
        if self.reruns:
            return replace(call, spec=quiet)
        told = _why(info.of, kept=spec.cache is not None)
        missing = functools.partial(self._miss, info.of, told)
        return replace(call, spec=replace(quiet, fn=_standing_in(spec.fn, missing)))

    def _column(self, info: RunInfo, count: int) -> int | None:
        """Return where the element is in a call or map, None if it isn't in it."""
        if info.of != self.task:
            return None
        self._calls += info.first == 0
        column = self.index - info.first
        return column if self._calls == self.nth and 0 <= column < count else None

    def _note(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        self.arguments = (args, kwargs)
        raise _Noted("what it is called with is known now")

    def _miss(
        self, task: str, told: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> NoReturn:
        self.missing[task] = told
        raise NotKept(told)


_replay: ContextVar[Replay | None] = ContextVar("fanfold_replay", default=None)


def replaying() -> Replay | None:
    """Return the replay that the caller's code runs in, None if it runs for real."""
    return _replay.get()


@contextmanager
def replayed(replay: Replay) -> Generator[None]:
    """Let flows inside be replayed; ends when the element's arguments are known."""
    token = _replay.set(replay)
    try:
        yield
    except Reached:
        pass
    finally:
        _replay.reset(token)


def _why(task: str, *, kept: bool) -> str:
    if kept:
        return (
            f"no result of {task} is kept that fits: it had none, or the task's code or what it "
            "is called with is different now"
        )
    return f"{task} isn't kept (persist_result isn't on for it)"


def _standing_in(
    fn: Callable[..., Any], act: Callable[[tuple[Any, ...], dict[str, Any]], Any]
) -> Callable[..., Any]:
    """Return what is called in place of a function, and looks like it."""
    function, given, named = taken_apart(fn)

    @functools.wraps(function)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return act(args, kwargs)

    return functools.partial(stand_in, *given, **named) if given or named else stand_in


def _only(sources: Sources, column: int) -> Sources:
    """Return what one element alone is called with."""
    here = slice(column, column + 1)
    columns = tuple(
        replace(each, items=each.items[here])
        if isinstance(each, Given)
        else replace(each, indices=each.indices[here])
        for each in sources.columns
    )
    holes = sources.of.get(column)
    return replace(sources, columns=columns, of={0: holes} if holes else {})
