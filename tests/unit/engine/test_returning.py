"""What a flow's return value says of its run."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from fanfold import State, flow, task
from fanfold.engine.returning import state_of
from fanfold.states import Cancelled, Completed, Crashed, Failed, Running

DEADLINE_S = 10.0


@task
def add_one(x: int) -> int:
    return x + 1


@task
def fails(x: int = 0) -> int:
    raise ValueError(f"no {x}")


def returned(make: Callable[[], Any]) -> State:
    """Return the final state of a flow that returns this."""
    return flow(make, name="around")(return_state=True)


def test_plain_values_are_the_value_and_say_nothing_of_states() -> None:
    for value in (None, 5, "text", [], [1, 2], {"a": Failed()}, [Failed(), 5]):
        state = state_of(value)

        assert (state.name, state.message, state.result()) == ("Completed", "", value)


@pytest.mark.parametrize(
    ("parts", "name", "message"),
    [
        ([Completed(), Completed()], "Completed", "All states completed."),
        ([Completed(), Failed(), Cancelled()], "Cancelled", "1/3 states cancelled."),
        ((Failed(), Crashed(), Completed()), "Failed", "2/3 states failed."),
        ([Completed(), Running(), Running()], "Failed", "2/3 states are not final."),
    ],
    ids=["completed", "cancelled", "failed", "running"],
)
def test_states_alone_are_summed_up(parts: Any, name: str, message: str) -> None:
    state = state_of(parts)

    assert (state.name, state.message) == (name, message)


def test_futures_that_completed_make_the_run_complete_with_their_values() -> None:
    for make, value in (
        (lambda: add_one.submit(1), 2),
        (lambda: add_one.map([1, 2]), [2, 3]),
        (lambda: [add_one.submit(1), add_one.map([1])], [2, [2]]),
        (lambda: (add_one.submit(1), add_one.submit(2)), (2, 3)),
        (lambda: {add_one.submit(1)}, {2}),
        (lambda: list(add_one.map([1, 2])), [2, 3]),
    ):
        state = returned(make)

        assert (state.name, state.message) == ("Completed", "All states completed.")
        assert state.result() == value


def test_futures_deep_inside_are_values_and_one_that_failed_raises() -> None:
    good = returned(lambda: {"deep": [add_one.submit(1), {"map": add_one.map([1])}]})
    bad = returned(lambda: {"deep": [add_one.submit(1), fails.submit()]})

    assert good.result() == {"deep": [2, {"map": [2]}]}
    assert (bad.name, bad.message) == ("Failed", "ValueError: no 0")


def test_one_failed_among_many_fails_the_run_with_its_error() -> None:
    state = returned(lambda: [add_one.submit(1), fails.submit(1), fails.submit(2)])

    assert (state.name, state.message) == ("Failed", "2/3 states failed.")
    with pytest.raises(ValueError, match="no 1"):
        state.result()
    assert returned(lambda: fails.map([1, 2, 3])).message == "3/3 states failed."


def test_one_cancelled_among_many_cancels_the_run() -> None:
    @task
    def stops() -> Any:
        return Cancelled()

    state = returned(lambda: (stops.submit(), add_one.submit(1), fails.submit()))

    assert (state.name, state.message) == ("Cancelled", "1/3 states cancelled.")


def test_states_of_calls_count_like_their_futures() -> None:
    state = returned(
        lambda: [add_one(1, return_state=True), fails(return_state=True), add_one.submit(1)]
    )

    assert (state.name, state.message) == ("Failed", "1/3 states failed.")


def test_a_failed_call_whose_state_nobody_returns_lets_the_run_complete() -> None:
    for value in (None, "fine"):

        def carefree(value: Any = value) -> Any:
            fails(return_state=True)
            fails.submit(return_state=True)
            return value

        assert returned(carefree).result() == value


def test_a_map_that_collects_its_errors_completes_the_run() -> None:
    state = returned(lambda: task(fails.fn, on_error="collect").map([1, 2]))

    assert state.name == "Completed"
    assert [str(error) for error in state.result()] == ["no 1", "no 2"]


def test_the_run_waits_for_what_it_returns() -> None:
    entered, go = threading.Event(), threading.Event()

    @task
    def blocked() -> str:
        entered.set()
        assert go.wait(DEADLINE_S)
        return "done"

    def release() -> None:
        assert entered.wait(DEADLINE_S)
        go.set()

    thread = threading.Thread(target=release)
    thread.start()

    assert returned(lambda: [blocked.submit()]).result() == ["done"]
    thread.join()


def test_a_map_over_an_iterator_counts_all_its_elements() -> None:
    state = returned(lambda: task(fails.fn).map(iter(range(5))))

    assert (state.name, state.message) == ("Failed", "5/5 states failed.")
