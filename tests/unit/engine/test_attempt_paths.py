"""The fast path is a shortcut: random task programs come to the same end by it and by the book."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine import wire
from fanfold.engine.chunking import Batch
from fanfold.engine.context import RunInfo
from fanfold.engine.direct import HERE
from fanfold.engine.inputs import Inputs, Literal
from fanfold.engine.segments import Lookup
from fanfold.engine.spec import CacheSpec, Layout, Mapped, TaskSpec
from fanfold.engine.work import Work
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


class Ends(StopIteration):
    """Would end a loop around the task without a trace."""


class Wanting(Exception):
    """Can't be made again from its message."""

    def __init__(self, index: int, wanted: str) -> None:
        super().__init__(f"{index} wants {wanted}")


RAISED = (
    lambda index: ValueError(index),
    lambda index: Wanting(index, "more"),
    lambda index: StopIteration(index),
    lambda index: Ends(index),
    lambda index: StopAsyncIteration(index),
    lambda index: GeneratorExit(index),
    lambda index: KeyboardInterrupt(index),
    lambda index: SystemExit(index),
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


@dataclass
class Task:
    """Runs a program; counts the calls of each element."""

    program: Program
    calls: list[int] = field(default_factory=list)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        index = next(arg for arg in (*args, *kwargs.values()) if isinstance(arg, int))
        steps = self.program.steps.get(index, (RETURNS,))
        step = steps[min(self.calls.count(index), len(steps) - 1)]
        self.calls.append(index)
        if step is RETURNS:
            return args, kwargs
        if step is RETURNS_A_LOCK:
            return threading.Lock() if self.program.remote else "a lock"
        raise step(index)


def history(program: Program, cache: CacheSpec | None) -> tuple[list[int], list[list[Any]]]:
    """Run a program to its end, as the driver does, and return all that was told on the way."""
    task = Task(program)
    spec = TaskSpec(
        fn=task,
        layout=LAYOUTS[program.layout],
        info=RunInfo(kind="Task run", id="run", name="task"),
        retries=program.retries,
        delays_s=program.delays_s,
        cache=cache,
    )
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
        report, values = work.run((), (), HERE)
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
                    detail and (detail.attempts, detail.again_in_s),
                    failure and (failure.kind, failure.message),
                )
            )
            if detail is not None and detail.again_in_s is not None:
                again.append(index)
                tries[index] = detail.attempts
        going = again
    return task.calls, told


steps = st.sampled_from([RETURNS, RETURNS_A_LOCK, *RAISED])
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
    )
)


@given(programs)
@example(
    Program(
        count=20,
        steps={12: [RAISED[2], RAISED[0], RETURNS]},
        retries=2,
        delays_s=(0.0, 5.0),
        layout="two columns",
        remote=True,
    )
)
def test_by_the_fast_path_and_by_the_book_the_same_is_told(program: Program) -> None:
    by_the_book = history(program, cache=NEVER_HIT)

    assert history(program, cache=None) == by_the_book
