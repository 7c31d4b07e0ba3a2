"""Flows: what a call of one does."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import pydantic
import pytest

from fanfold import flow, tags, task
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.engine.context import current
from fanfold.values.errors import (
    ParameterTypeError,
    ReservedArgumentError,
    SessionClosed,
    UnknownRunner,
    UsageError,
)

DEADLINE_S = 10.0


class Model(pydantic.BaseModel):
    value: int


@task
def doubled(number: int) -> int:
    return 2 * number


@task
async def doubled_later(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def my_tags() -> frozenset[str]:
    context = current()
    assert context is not None
    return context.info.tags


def test_arguments_are_coerced_to_the_annotations() -> None:
    @flow
    def total(x: int, y: list[int], z: Model) -> int:
        return x + sum(y) + z.value

    assert total(x="1", y=["2", "3"], z={"value": 4}) == 10  # type: ignore[arg-type]


def test_arguments_that_do_not_fit_are_refused_before_anything_runs() -> None:
    ran: list[Any] = []

    @flow(retries=3)
    def needs_a_number(x: int) -> None:
        ran.append(x)

    with pytest.raises(ParameterTypeError, match=r"needs-a-number(.|\n)*x: .*'foo'"):
        needs_a_number("foo")  # type: ignore[arg-type]
    with pytest.raises(ParameterTypeError):
        needs_a_number()  # type: ignore[call-arg]
    assert ran == []


@pytest.mark.parametrize("name", ["return_state", "wait_for"])
@pytest.mark.parametrize("make", [flow, task])
def test_parameters_with_names_that_calls_need_are_refused(
    make: Callable[..., Any], name: str
) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def work(x, {name}=None): ...", namespace)

    with pytest.raises(ReservedArgumentError, match=f"work declares the parameter '{name}'"):
        make(namespace["work"])


def test_sync_and_async_flows_run_sync_and_async_tasks_in_every_way() -> None:
    @flow
    def plain() -> list[Any]:
        submitted = [t.submit(2).result() for t in (doubled, doubled_later)]
        mapped = [t.map([3]).result() for t in (doubled, doubled_later)]
        return [doubled(1), *submitted, *mapped]

    @flow
    async def later() -> list[Any]:
        submitted = [t.submit(2).result() for t in (doubled, doubled_later)]
        mapped = [t.map([3]).result() for t in (doubled, doubled_later)]
        return [doubled(1), *submitted, *mapped, await doubled_later(4)]

    assert plain() == [2, 4, 4, [6], [6]]
    assert asyncio.run(later()) == [2, 4, 4, [6], [6], 8]  # type: ignore[arg-type]


def test_an_async_flow_leaves_its_loop_free_while_tasks_run() -> None:
    entered, go = threading.Event(), threading.Event()

    @task
    def blocked() -> str:
        entered.set()
        assert go.wait(DEADLINE_S)
        return "done"

    @flow
    async def waits() -> Any:
        return blocked.submit()

    async def frees() -> None:
        await asyncio.to_thread(entered.wait, DEADLINE_S)
        go.set()

    async def both() -> Any:
        return (await asyncio.gather(waits(), frees()))[0]  # type: ignore[arg-type]

    assert asyncio.run(both()) == "done"


def test_futures_in_what_a_flow_returns_are_replaced_by_their_values() -> None:
    @flow
    def returns() -> Any:
        return {"one": doubled.submit(1), "more": [doubled.map([2, 3])]}

    assert returns() == {"one": 2, "more": [[4, 6]]}


def test_futures_in_the_arguments_of_a_flow_are_waited_for() -> None:
    @flow
    def inner(numbers: list[int]) -> int:
        return sum(numbers)

    @flow
    def outer() -> int:
        return inner([doubled.submit(1), doubled.submit(2)])  # type: ignore[list-item]

    assert outer() == 6


def test_a_flow_calls_flows_and_itself() -> None:
    ids: list[str] = []

    @flow
    def factorial(n: int) -> int:
        context = current()
        assert context is not None
        ids.append(context.info.id)
        return n * factorial(n - 1) if n else 1

    assert factorial(4) == 24
    assert len(set(ids)) == 5


def test_a_flow_ends_when_everything_that_it_submitted_is_over() -> None:
    done: list[int] = []

    @task
    def slow(number: int) -> None:
        time.sleep(0.02)
        done.append(number)

    @flow
    def submits() -> None:
        slow.submit(0)
        slow.map([1, 2, 3])

    submits()

    assert sorted(done) == [0, 1, 2, 3]


def test_a_failed_task_that_nobody_asks_about_lets_its_flow_complete() -> None:
    @task
    def fails() -> None:
        raise ValueError("no")

    @flow
    def carefree() -> str:
        fails.submit()
        return "fine"

    assert carefree() == "fine"


def test_when_a_flow_fails_nothing_that_waits_is_started() -> None:
    started: list[int] = []
    entered, go = threading.Event(), threading.Event()

    @task
    def work(number: int) -> int:
        started.append(number)
        entered.set()
        assert go.wait(DEADLINE_S)
        return number

    futures: list[Any] = []

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def fails() -> None:
        for number in range(5):
            futures.append(work.submit(number))
        futures.append(work.map(futures))
        assert entered.wait(DEADLINE_S)
        raise ValueError("no")

    def releases() -> None:
        assert entered.wait(DEADLINE_S)
        while len(futures) < 6:
            time.sleep(0)
        futures[4].wait(DEADLINE_S)
        go.set()

    thread = threading.Thread(target=releases)
    thread.start()
    with pytest.raises(ValueError, match="no"):
        fails()
    thread.join()
    for future in futures:
        assert future.done()

    assert started == [0]
    assert [future.state.name for future in futures[1:5]] == ["Cancelled"] * 4
    assert set(futures[5].states) <= {"Cancelled", "UpstreamFailed"}


def test_a_flow_is_called_again_after_an_exception_as_often_as_it_may() -> None:
    calls: list[int] = []

    @flow(retries=2, retry_delay_seconds=[0.0, 0.01])
    def flaky() -> str:
        calls.append(len(calls))
        if len(calls) < 3:
            raise ValueError("not yet")
        return "done"

    @flow(retries=1)
    async def hopeless() -> None:
        calls.append(len(calls))
        raise ValueError("never")

    assert flaky() == "done"
    assert calls == [0, 1, 2]
    with pytest.raises(ValueError, match="never"):
        asyncio.run(hopeless())  # type: ignore[arg-type]
    assert calls == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("retries", "expected"), [(1, 4), (2, 6)])
def test_the_tasks_of_a_retried_flow_get_all_their_retries_again(
    retries: int, expected: int
) -> None:
    calls: list[None] = []

    @task(retries=retries)
    def fails() -> None:
        calls.append(None)
        raise ValueError("no")

    @flow(retries=1)
    def around() -> None:
        fails.submit().result()

    with pytest.raises(ValueError, match="no"):
        around()
    assert len(calls) == expected


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_flow_is_not_called_again(error: type[BaseException]) -> None:
    calls: list[None] = []

    @flow(retries=3)
    def interrupted() -> None:
        calls.append(None)
        raise error

    with pytest.raises(error):
        interrupted()
    assert len(calls) == 1


def test_tags_reach_the_runs_inside_and_no_others() -> None:
    @task(tags=["own"])
    def tagged_task() -> frozenset[str]:
        return my_tags()

    @flow(tags=["flow"])
    def inner() -> list[frozenset[str]]:
        with tags("block"):
            inside = tagged_task.submit()
        return [my_tags(), tagged_task(), inside.result()]

    @flow
    def plain() -> list[frozenset[str]]:
        with tags("a"), tags("b"):
            nested = tagged_task()
        return [nested, tagged_task()]

    assert plain() == [{"own", "a", "b"}, {"own"}]
    with tags("around"):
        seen = inner()
    assert seen == [
        {"flow", "around"},
        {"own", "flow", "around"},
        {"own", "flow", "around", "block"},
    ]


def test_prints_become_log_lines_of_the_run_that_printed(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    @task
    def says() -> None:
        print("from the task")

    @task(log_prints=False)
    def speaks() -> None:
        print("as ever")

    @flow
    def below() -> None:
        print("from the subflow")

    @flow(log_prints=True)
    def tells() -> None:
        print("from the flow")
        says.submit()
        speaks()
        below()

    with caplog.at_level(logging.INFO, "fanfold"):
        tells()
    print("outside")

    told: dict[str, Any] = {
        record.getMessage(): record
        for record in caplog.records
        if record.getMessage().startswith("from")
    }
    assert set(told) == {"from the flow", "from the task", "from the subflow"}
    assert told["from the flow"].flow_run_name == "tells"
    assert told["from the flow"].task_run_id is None
    assert told["from the task"].task_run_name == "says"
    assert told["from the task"].flow_run_id == told["from the flow"].flow_run_id
    assert told["from the subflow"].flow_run_name == "below"
    assert capsys.readouterr().out == "as ever\noutside\n"


def test_a_runner_that_is_not_there_is_told_with_those_that_are() -> None:
    @flow(task_runner="nowhere")
    def lost() -> None: ...

    with pytest.raises(UnknownRunner, match=r"'nowhere'.*inline.*processes.*threads"):
        lost()


def test_a_runner_given_as_a_class_is_refused() -> None:
    @flow(task_runner=ThreadPoolTaskRunner)  # type: ignore[arg-type]
    def wrong() -> None: ...

    with pytest.raises(UsageError, match="Give a name such as"):
        wrong()


def test_a_flow_can_be_a_method_of_any_kind() -> None:
    class Shop:
        factor = 3

        @flow
        def own(self, x: int) -> int:
            return self.factor * x

        @flow
        @staticmethod
        def plain(x: int) -> int:
            return x

        @classmethod
        @flow
        def of_class(cls, x: int) -> int:
            return cls.factor * x

    shop = Shop()

    assert (shop.own.name, Shop.plain.name, Shop.of_class.name) == ("own", "plain", "of-class")
    assert shop.own("2") == 6  # type: ignore[arg-type]
    assert shop.plain("2") == 2  # type: ignore[arg-type]
    assert Shop.of_class("2") == 6  # type: ignore[arg-type]


def test_options_can_be_changed_for_one_use() -> None:
    calls: list[None] = []

    @flow(name="known")
    def fails() -> None:
        calls.append(None)
        raise ValueError("no")

    again = fails.with_options(retries=1)

    with pytest.raises(ValueError, match="no"):
        again()
    assert len(calls) == 2
    assert (again.name, fails.retries) == ("known", 0)
    with pytest.raises(TypeError):
        fails.with_options(retires=1)


def test_nothing_more_runs_in_a_flow_that_is_over() -> None:
    kept: list[Any] = []

    @flow
    def keeping() -> None:
        kept.append(doubled.map([1, 2, 3]))

    keeping()

    with pytest.raises(SessionClosed, match="keeping is over"):
        kept[0].reduce(max)
    assert kept[0].result() == [2, 4, 6]


def test_calls_that_do_not_fit_a_flow_without_parameters_are_refused_by_name() -> None:
    @flow
    def alone() -> int:
        return 1

    with pytest.raises(ParameterTypeError, match=r"flow alone (.|\n)*too many"):
        alone(1)  # type: ignore[call-arg]


def test_a_flow_waits_for_what_callbacks_submit_too() -> None:
    done: list[int] = []
    note = task(done.append)

    @flow
    def around() -> None:
        doubled.submit(1).add_done_callback(lambda future: note.submit(future.result()))

    around()

    assert done == [2]


def test_other_threads_of_a_flow_may_submit_while_it_ends() -> None:
    done: list[int] = []
    note = task(done.append)
    futures: list[Any] = []

    @flow
    def around() -> None:
        inside = copy_context()

        def submits(number: int) -> None:
            with suppress(SessionClosed):
                for _ in range(100):
                    futures.append(note.submit(number))

        for number in range(4):
            threads.append(threading.Thread(target=inside.copy().run, args=(submits, number)))
            threads[-1].start()

    threads: list[threading.Thread] = []
    for _ in range(3):
        threads.clear()
        around()
        for thread in threads:
            thread.join(DEADLINE_S)

    for future in futures:
        future.wait(DEADLINE_S)
    assert {future.state.name for future in futures} <= {"Completed", "Cancelled", "Crashed"}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_generator_flow_has_its_time_limit_for_each_item(asynchronous: bool) -> None:
    go = threading.Event()

    def plain() -> Any:
        yield 1
        yield go.wait(DEADLINE_S)

    async def later() -> Any:
        yield 1
        await asyncio.sleep(DEADLINE_S)
        yield 2

    state = flow(later if asynchronous else plain, timeout_seconds=0.05)(return_state=True)  # type: ignore[type-var]
    state = asyncio.run(state) if asynchronous else state

    assert state.name == "TimedOut"
