"""The fast path is a shortcut: random task programs come to the same end by it and by the book."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine import wire
from fanfold.engine.chunking import Batch
from fanfold.engine.context import RunInfo
from fanfold.engine.inputs import Inputs, Literal
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.spec import CacheSpec, Hooks, Layout, Mapped, TaskSpec
from fanfold.engine.work import Work
from fanfold.states import Cancelled, Completed, Crashed, Failed, Running
from fanfold.values.errors import TimedOut
from fanfold.values.states import StateName

STORE = FsspecStore("memory://attempt-paths")
NEVER_HIT = CacheSpec(
    key=lambda spec, arguments: None, store=STORE, folder="", lookup=Lookup.merge(STORE, [])
)
"""Makes a spec that isn't plain, and changes nothing else."""
LAYOUTS: Mapping[str, Layout] = {
    "positional": Layout(args=(Mapped(0),)),
    "beside static": Layout(args=("static", Mapped(0)), kwargs={"word": "static"}),
    "by name": Layout(kwargs={"index": Mapped(0)}),
    "two columns": Layout(args=(Mapped(0),), kwargs={"other": Mapped(1), "word": "static"}),
}
BOOKS = ("cache", "name", "hook")
"""What keeps a spec off the fast path without making any other difference."""


class Ends(StopIteration):
    """Would end a loop around the task without a trace."""


class Wanting(Exception):
    """Can't be made again from its message."""

    def __init__(self, index: int, wanted: str) -> None:
        super().__init__(f"{index} wants {wanted}")


RAISED = (
    lambda index: ValueError(index),
    lambda index: Wanting(index, "more"),
    lambda index: TimeoutError(index),
    lambda index: TimedOut("something else", index + 1),
    lambda index: StopIteration(index),
    lambda index: Ends(index),
    lambda index: StopAsyncIteration(index),
    lambda index: GeneratorExit(index),
    lambda index: KeyboardInterrupt(index),
    lambda index: SystemExit(index),
)
MADE = (
    lambda index: Completed(data=[index]),
    lambda index: Completed("Skipped", message=f"no need for {index}"),
    lambda index: Failed(message=f"rejects {index}"),
    lambda index: Failed("Rejected", data=ValueError(index)),
    lambda index: Failed(data={"index": index}),
    lambda index: Cancelled(message=f"enough of {index}"),
    lambda index: Crashed(message=f"gone with {index}"),
    lambda index: Running(message=f"not yet {index}"),
)
RETURNS, RETURNS_A_LOCK = "returns", "returns a lock"

Step = Any
"""What one call of an element does: one of the above."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a task's calls do: all return, but for the steps of some elements."""

    count: int
    steps: Mapping[int, Sequence[Step]]
    """By element; the last one is repeated."""
    retries: int
    delays_s: tuple[float, ...]
    layout: str
    remote: bool
    answers: Sequence[bool | None] | None = None
    """Of the condition, by try, the last one repeated; it raises for None. No condition if None."""


class Silent:
    """A site that keeps the complaints about conditions without answer to itself."""

    worker = "here"

    def say(self, message: bytes) -> None:
        """Let nobody hear of it."""

    def session(self, heard: Any) -> None:
        """Carry nothing further."""

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def stopping(self) -> bool:
        return False


@dataclass
class Task:
    """Runs a program; counts the calls of each element, and what is asked and told of it."""

    program: Program
    calls: list[int] = field(default_factory=list)
    heard: list[tuple[Any, ...]] = field(default_factory=list)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        index = next(arg for arg in (*args, *kwargs.values()) if isinstance(arg, int))
        steps = self.program.steps.get(index, (RETURNS,))
        step = steps[min(self.calls.count(index), len(steps) - 1)]
        self.calls.append(index)
        if step is RETURNS:
            return args, kwargs
        if step is RETURNS_A_LOCK:
            return threading.Lock() if self.program.remote else "a lock"
        if step in MADE:
            return step(index)
        raise step(index)

    def hear(self, what: str) -> Callable[..., Any]:
        """Return a hook or condition that notes what it is told of which element."""

        def heard(owner: Any, run: Any, state: Any) -> Any:
            (index,) = {arg for arg in _flat(run.parameters) if isinstance(arg, int)}
            error = repr(state.result(raise_on_failure=False))
            self.heard.append((index, run.run_count, what, state.name, state.message, error))
            if what == "asked":
                answers = self.program.answers or ()
                answer = answers[min(run.run_count, len(answers)) - 1]
                if answer is None:
                    raise RuntimeError("no answer")
                return answer
            return None

        return heard


def _flat(parameters: Mapping[str, Any]) -> list[Any]:
    args, kwargs = parameters.get("args", ()), parameters.get("kwargs", {})
    return [*args, *kwargs.values()]


def spec_of(program: Program, task: Task, book: str | None) -> TaskSpec:
    failure = (task.hear("failed"),)
    running = (lambda *_: None,) if book == "hook" else ()
    return TaskSpec(
        fn=task,
        layout=LAYOUTS[program.layout],
        info=RunInfo(kind="Task run", id="run", name="task", single=False),
        retries=program.retries,
        delays_s=program.delays_s,
        condition=task.hear("asked") if program.answers else None,
        hooks=Hooks(failure=failure, running=running),
        run_name="task" if book == "name" else None,
        cache=NEVER_HIT if book == "cache" else None,
    )


def history(
    program: Program, book: str | None
) -> tuple[list[int], list[tuple[Any, ...]], list[list[Any]]]:
    """Run a program to its end, as the driver does, and return all that was told on the way.

    Without the order of the elements: the fast path looks at states that functions made only when
    it has called some more.
    """
    task = Task(program)
    spec = spec_of(program, task, book)
    assert spec.plain == (book is None)
    told: list[list[Any]] = [[] for _ in range(program.count)]
    going, tries = list(range(program.count)), dict[int, int]()
    while going:
        work = Work(
            id="chunk",
            label="task",
            spec_key="run",
            spec=spec,
            inputs=Inputs(columns=(Literal(items=going), Literal(items=[str(at) for at in going]))),
            batch=Batch(spans=((0, len(going)),)),
            tries={at: tries[index] for at, index in enumerate(going) if index in tries},
            remote=program.remote,
        )
        report, values = work.run((), (), Silent())
        values = wire.load(values) if program.remote else values
        assert report.error is None and report.reached == len(going) == len(values)
        states = [StateName(code) for code, count in report.states for _ in range(count)]
        again: list[int] = []
        for at, (index, state, value) in enumerate(zip(going, states, values, strict=True)):
            detail = report.details.get(at)
            failure = detail.failure if detail else None
            told[index].append(
                (
                    state.label,
                    value,
                    detail and (detail.attempts, detail.again_in_s, detail.message, detail.label),
                    failure and (failure.kind, failure.message),
                )
            )
            if detail is not None and detail.again_in_s is not None:
                again.append(index)
                tries[index] = detail.attempts
        going = again
    return sorted(task.calls), sorted(task.heard), told


steps = st.sampled_from([RETURNS, RETURNS_A_LOCK, *RAISED, *MADE])
programs = st.integers(1, 40).flatmap(
    lambda count: st.builds(
        Program,
        count=st.just(count),
        steps=st.dictionaries(
            st.integers(0, count - 1), st.lists(steps, min_size=1, max_size=4), max_size=6
        ),
        retries=st.integers(0, 3),
        delays_s=st.sampled_from([(), (0.0,), (5.0,), (0.0, 5.0), (5.0, 0.0), (1.0, 2.0)]),
        layout=st.sampled_from(sorted(LAYOUTS)),
        remote=st.booleans(),
        answers=st.none()
        | st.lists(st.sampled_from([True, True, False, None]), min_size=1, max_size=3),
    )
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the complaints about conditions without answer out of the output."""
    caplog.set_level("CRITICAL", "fanfold")


@settings(max_examples=300)
@given(programs, st.sampled_from(BOOKS))
@example(
    Program(
        count=20,
        steps={12: [RAISED[4], RAISED[0], RETURNS]},
        retries=2,
        delays_s=(0.0, 5.0),
        layout="two columns",
        remote=True,
    ),
    "cache",
)
@example(
    Program(
        count=5,
        steps={0: [MADE[2], RETURNS], 3: [MADE[0]], 4: [MADE[7], MADE[5]]},
        retries=2,
        delays_s=(),
        layout="positional",
        remote=False,
        answers=[True, None],
    ),
    "hook",
)
def test_by_the_fast_path_and_by_the_book_the_same_is_told(program: Program, book: str) -> None:
    by_the_book = history(program, book)

    assert history(program, book=None) == by_the_book
