"""Hooks: whose functions are called when runs of flows and tasks change their states."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fanfold import flow, get_run_logger, runtime, task
from fanfold.states import Cancelled, Completed, Crashed, Failed
from fanfold.values.errors import ParameterTypeError

FLOW_HOOKS = ("on_completion", "on_failure", "on_cancellation", "on_crashed", "on_running")
TASK_HOOKS = ("on_completion", "on_failure", "on_running")


class Told(list[tuple[str, str, int]]):
    """What hooks were told: which hook, the state's name, the run count."""

    def hook(self, option: str, asynchronous: bool = False) -> Callable[..., Any]:
        """Return a hook that notes what it is told."""

        def noted(owner: Any, run: Any, state: Any) -> None:
            assert run.state is state
            self.append((option, state.name, run.run_count))

        async def noted_later(owner: Any, run: Any, state: Any) -> None:
            await asyncio.sleep(0)
            noted(owner, run, state)

        return noted_later if asynchronous else noted

    def hooks(self, *options: str, asynchronous: bool = False) -> dict[str, Any]:
        """Return them as options."""
        return {option: [self.hook(option, asynchronous)] for option in options}


@pytest.fixture
def told() -> Told:
    return Told()


def called(made: Any, *args: Any) -> None:
    """Call a flow or task, sync or async; what it raises doesn't matter."""
    try:
        came = made(*args)
        if made.is_async:
            asyncio.run(came)
    except (Exception, KeyboardInterrupt, asyncio.CancelledError):
        return


def sync_and_async(ends: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    yield lambda: ends()

    async def later() -> Any:
        return ends()

    yield later


def raising(error: BaseException) -> Callable[[], Any]:
    def ends() -> None:
        raise error

    return ends


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync hooks", "async hooks"])
@pytest.mark.parametrize("decorated", [False, True], ids=["options", "decorators"])
@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (lambda: 5, ("on_completion", "Completed", 1)),
        (lambda: Completed("Skipped"), ("on_completion", "Skipped", 1)),
        (raising(ValueError("no")), ("on_failure", "Failed", 1)),
        (lambda: Failed(message="no"), ("on_failure", "Failed", 1)),
        (lambda: Cancelled(), ("on_cancellation", "Cancelled", 1)),
        (lambda: Crashed(), ("on_crashed", "Crashed", 1)),
        (raising(KeyboardInterrupt()), ("on_crashed", "Crashed", 1)),
        (raising(asyncio.CancelledError()), ("on_crashed", "Crashed", 1)),
    ],
    ids=[
        *("value", "made", "raised", "made failed", "cancelled"),
        *("crashed", "Ctrl-C", "cancelled task"),
    ],
)
def test_a_flow_tells_each_hook_of_its_state_alone(
    told: Told, ends: Any, expected: Any, decorated: bool, asynchronous: bool
) -> None:
    for body in sync_and_async(ends):
        if decorated:
            made = flow(body)
            for option in FLOW_HOOKS:
                hook = told.hook(option, asynchronous)
                assert getattr(made, option)(hook) is hook
        else:
            made = flow(body, **told.hooks(*FLOW_HOOKS, asynchronous=asynchronous))
        told.clear()

        called(made)

        assert told == [("on_running", "Running", 1), expected]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync hooks", "async hooks"])
@pytest.mark.parametrize("way", ["called", "submitted", "mapped"])
def test_a_task_tells_its_hooks_once_for_all_its_tries(
    told: Told, asynchronous: bool, way: str
) -> None:
    calls: list[None] = []

    def work(_: int) -> None:
        calls.append(None)
        if len(calls) < 5:
            raise ValueError("no")

    async def work_later(x: int) -> None:
        work(x)

    def perform(made: Any) -> None:
        if way == "called":
            called(made, 1)
        elif way == "submitted":
            flow(lambda: made.submit(1).wait())()
        else:
            flow(lambda: made.map([1]).wait())()

    for body in (work, work_later):
        made = task(body, retries=2, **told.hooks(*TASK_HOOKS, asynchronous=asynchronous))
        calls.clear()
        told.clear()

        perform(made)
        perform(made)

        assert told == [
            ("on_running", "Running", 1),
            ("on_failure", "Failed", 3),
            ("on_running", "Running", 1),
            ("on_completion", "Completed", 2),
        ]


def test_hooks_of_tasks_run_inside_the_run_and_know_it(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    @task(task_run_name="work-{x}")
    def work(x: int) -> int:
        return x

    @work.on_running
    def begins(owner: Any, run: Any, state: Any) -> None:
        seen.append((owner.name, run.name, run.map_index, run.parameters))

    @work.on_completion
    def ends(owner: Any, run: Any, state: Any) -> None:
        get_run_logger().info("told")
        seen.append((run.id == runtime.task_run.id, run.flow_run_id, state.result()))

    @flow
    def around() -> str | None:
        work.map([7]).wait()
        return runtime.flow_run.id

    with caplog.at_level(logging.INFO, "fanfold"):
        flow_run_id = around()

    assert seen == [("work", "work-7", 0, {"x": 7}), (True, flow_run_id, 7)]
    (line,) = [record for record in caplog.records if record.getMessage() == "told"]
    assert line.__dict__["task_run_name"] == "work-7"


def test_a_hook_that_raises_is_logged_and_the_others_still_run(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken hook")

    async def broken_later(*_: Any) -> None:
        raise RuntimeError("broken later")

    hooks = [broken, told.hook("first"), broken_later, told.hook("second", asynchronous=True)]

    for made in (flow(lambda: 5, on_completion=hooks), task(lambda: 5, on_completion=hooks)):
        told.clear()
        caplog.clear()

        assert made() == 5

        assert [name for name, *_ in told] == ["first", "second"]
        errors = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert [str(r.exc_info[1]) for r in errors if r.exc_info] == ["broken hook", "broken later"]
        assert errors[0].getMessage().startswith("broken raised RuntimeError: broken hook")


def test_async_hooks_of_sync_runs_work_inside_a_running_loop(told: Told) -> None:
    made = flow(lambda: task(lambda: 1, **told.hooks("on_completion", asynchronous=True))())

    async def around() -> Any:
        return made()

    assert asyncio.run(around()) == 1
    assert told == [("on_completion", "Completed", 1)]


def test_an_interrupt_in_an_async_hook_reaches_the_caller_and_not_a_state(told: Told) -> None:
    async def interrupts(*_: Any) -> None:
        raise asyncio.CancelledError

    made = flow(lambda: 1, on_completion=[interrupts], **told.hooks("on_crashed"))

    async def around() -> Any:
        return made()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(around())
    with pytest.raises(asyncio.CancelledError):
        made()
    assert told == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_interrupts_after_the_function_has_returned_makes_no_run_crash(
    told: Told, error: type[BaseException]
) -> None:
    kept: list[Any] = []

    def interrupts(*_: Any) -> None:
        raise error

    @flow(on_completion=[interrupts], **told.hooks("on_crashed", "on_failure"))
    def work() -> None:
        kept.append(task(lambda x: x).map([1]))

    with pytest.raises(error):
        work()
    assert told == []
    assert kept[0].result() == [1]
    with pytest.raises(Exception, match="work is over"):
        kept[0].reduce(max)


def test_arguments_that_do_not_fit_make_a_failed_run_that_never_began(told: Told) -> None:
    @flow(**told.hooks(*FLOW_HOOKS))
    def needs(x: int) -> None: ...

    state = needs("foo", return_state=True)

    assert told == [("on_failure", "Failed", 1)]
    with pytest.raises(ParameterTypeError):
        state.result()


def test_a_flow_that_completes_in_the_end_has_not_failed(told: Told) -> None:
    calls: list[None] = []

    @flow(retries=1, **told.hooks(*FLOW_HOOKS))
    def flaky() -> int:
        calls.append(None)
        if len(calls) == 1:
            raise ValueError("once")
        return len(calls)

    assert flaky() == 2
    assert told == [("on_running", "Running", 1), ("on_completion", "Completed", 2)]


@pytest.mark.parametrize("hooks", [print, "print", [print, "print"], 5, [None]], ids=repr)
@pytest.mark.parametrize("make", [flow, task])
def test_what_is_no_list_of_functions_is_refused_at_once(make: Any, hooks: Any) -> None:
    for option in TASK_HOOKS:
        with pytest.raises(TypeError, match=f"{option} of .*lambda"):
            make(lambda: None, **{option: hooks})
    with pytest.raises(TypeError):
        make(lambda: None).on_failure("print")


@pytest.mark.parametrize("make", [flow, task])
def test_changed_options_and_methods_keep_the_hooks_that_were_added(make: Any, told: Told) -> None:
    class Shop:
        @make
        def work(self) -> int:
            return 1

        work.on_completion(told.hook("added"))

    assert Shop().work() == 1
    assert Shop.work.with_options(name="other")(Shop()) == 1
    other = Shop.work.with_options(on_completion=[told.hook("replaced")])
    assert other(Shop()) == 1

    assert [name for name, *_ in told] == ["added", "added", "replaced"]


def test_hooks_of_a_subflow_are_told_of_the_subflow_and_its_caller() -> None:
    seen: list[Any] = []

    @flow(on_completion=[lambda owner, run, state: seen.append(run)])
    def inner(x: int) -> int:
        return x

    @flow
    def outer() -> str | None:
        inner(5)
        return runtime.flow_run.id

    outer_id = outer()

    (run,) = seen
    assert (run.flow_name, run.parent_flow_run_id, run.parameters) == ("inner", outer_id, {"x": 5})


def test_a_task_that_needs_what_failed_tells_its_failure_hooks(told: Told) -> None:
    dependent = task(lambda x: x, **told.hooks(*TASK_HOOKS))

    flow(lambda: dependent.submit(task(raising(ValueError("no"))).submit()).wait())()

    assert told == [("on_failure", "UpstreamFailed", 0)]
