"""Exceptions and values of elements on their way home from other processes, and what can't come."""

import threading
from typing import Any

import pytest

from fanfold import allow_failure, flow, task, wait
from fanfold.states import Failed
from fanfold.task_runners import ProcessTaskRunner
from fanfold.values.errors import MapError, NotPicklable, RemoteError

DEADLINE_S = 20.0


class Picky(Exception):
    """Its constructor needs more than what it gives to `Exception`."""

    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.hint = hint


class Holding(Exception):
    """Holds what can't be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


@task
def same(x: Any) -> Any:
    return x


@task
def raises(kind: str) -> Any:
    if kind == "picky":
        raise Picky(7, hint="look here")
    if kind == "holding":
        raise Holding("holds a lock")
    if kind == "local":

        class OnlyHere(ValueError):
            pass

        raise OnlyHere("made on the worker")
    if kind == "made":
        made: Any = type("Made", (LookupError,), {"__module__": "a_module_that_is_nowhere"})
        raise made("of no module")
    if kind == "chained":
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    if kind == "group":
        raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])
    if kind == "os":
        raise FileNotFoundError(2, "No such file", "gone.txt")
    if kind == "exit":
        raise SystemExit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    return kind


KINDS = ["fine", "picky", "holding", "local", "made", "chained", "group", "os", "also fine"]


def test_every_exception_comes_home_readable() -> None:
    found: list[BaseException] = []

    def body() -> None:
        futures = raises.map(KINDS)
        found.extend(futures.result(raise_on_failure=False))
        assert [future.state.name for future in futures] == [
            *("Completed", *["Failed"] * 7, "Completed"),
        ]
        allowed = same.map(allow_failure(futures)).result()
        assert [str(value) for value in allowed] == [str(value) for value in found]

    flow(body, task_runner=ProcessTaskRunner(2))()

    assert found[0] == "fine" and found[8] == "also fine"
    errors = found[1:8]
    for error, kind in zip(errors, KINDS[1:], strict=False):
        notes = "\n".join(error.__notes__)
        assert "test_cases_exceptions.py" in notes and "in raises" in notes, kind
        assert "/fanfold/engine/" not in notes, kind
    picky, holding, local, made, chained, group, missing = errors
    assert "Picky" in f"{type(picky)} {picky}" and "code 7" in str(picky)
    assert type(holding) is RemoteError and str(holding).endswith("Holding: holds a lock")
    assert isinstance(local, ValueError) and "made on the worker" in str(local)
    assert "Made" in f"{type(made)} {made}" and "of no module" in str(made)
    assert type(chained) is ValueError and "KeyError: 'inner'" in chained.__notes__[0]
    assert isinstance(group, ExceptionGroup)
    assert [repr(one) for one in group.exceptions] == ["ValueError('one')", "KeyError('two')"]
    assert type(missing) is FileNotFoundError and missing.filename == "gone.txt"


def test_an_exception_that_needs_arguments_comes_home_with_them(inside: Any) -> None:
    with pytest.raises((Picky, RemoteError), match="code 7") as told:
        inside(lambda: raises.submit("picky").result())
    if isinstance(told.value, Picky):
        assert (told.value.code, told.value.hint) == (7, "look here")


def test_all_failures_together_are_one_error_whatever_they_are(inside: Any) -> None:
    def body() -> None:
        raises.map(KINDS).result()

    with pytest.raises(MapError) as told:
        inside(body)

    assert told.value.count == 7 and told.value.total == 9
    kinds = {group.kind.rpartition(".")[2] for group in told.value.groups}
    assert kinds == {
        *("Picky", "Holding", "OnlyHere", "Made"),
        *("ValueError", "ExceptionGroup", "FileNotFoundError"),
    }


def test_an_exit_or_interrupt_is_a_crash_of_its_element_alone(inside: Any) -> None:
    """And it isn't called again."""

    def body() -> Any:
        futures = raises.with_options(retries=2).map(["a", "exit", "b", "interrupt"])
        futures.wait()
        assert [future.state.name for future in futures] == ["Completed", "Crashed"] * 2
        return {"counts": [futures.run.details[index].attempts for index in (1, 3)]}

    assert inside(body) == {"counts": [1, 1]}


def test_values_that_cannot_travel_fail_their_elements_alone() -> None:
    """On the way there, on the way home, and on the way from one element to the next."""

    @task
    def opens(x: int) -> Any:
        return threading.Lock() if x == 1 else x

    @task
    def spread(*values: Any) -> Any:
        return values

    def body() -> None:
        there = same.map([0, threading.Lock(), 2])
        home = opens.map([0, 1, 2])
        on = same.map(home)
        wait([there, home, on])
        for futures in (there, home):
            assert [future.state.name for future in futures] == [
                *("Completed", "Failed", "Completed"),
            ]
            with pytest.raises(NotPicklable, match=r"(An argument of same\[1\]|A result of opens)"):
                futures.result()
        assert on[1].state.name == "UpstreamFailed" and on[2].result() == 2
        with pytest.raises(NotPicklable, match=r"The argument 'x' of same .*lock") as raised:
            same.submit(threading.Lock())
        assert raised.value.__context__ is None or raised.value.__suppress_context__
        with pytest.raises(NotPicklable, match="The argument 2 of spread "):
            spread.submit(1, threading.Lock())

    flow(body, task_runner=ProcessTaskRunner(2))()


def test_a_failure_made_by_hand_that_cannot_travel_is_told_all_the_same(inside: Any) -> None:
    @task
    def fails() -> Any:
        return Failed(message="by hand", data=Holding("holds a lock"))

    def body() -> Any:
        state = fails.submit(return_state=True)
        return {"state": (state.name, state.message), "error": str(state.error)}

    told = inside(body)
    assert told["state"] == ("Failed", "by hand")
    assert "holds a lock" in told["error"]


class Breaks:
    """Pickles, and can't be made again."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return _breaks, (self.number,)


def _breaks(number: int) -> Any:
    raise LookupError(f"can't be made again: {number}")


def test_an_argument_that_breaks_on_its_way_harms_no_other_element() -> None:
    given: list[Any] = [*range(300), Breaks(1), *range(300), Breaks(2)]

    def body() -> Any:
        futures = task(lambda x: x).map(given, chunk_size=200)
        return futures.result(raise_on_failure=False), dict(futures.states)

    values, states = flow(body, task_runner=ProcessTaskRunner(2))()

    assert states == {"Completed": 600, "Failed": 2}
    assert values[:300] == values[301:601] == list(range(300))
    assert isinstance(values[300], LookupError) and "made again: 1" in str(values[300])


def test_arguments_of_which_none_can_be_read_are_given_up_before_each_was_tried() -> None:
    def body() -> Any:
        futures = task(lambda x: x).map([Breaks(n) for n in range(20_000)], chunk_size=2_000)
        futures.wait()
        return futures.run.chunks_made, dict(futures.states), futures[9].state.message

    made, states, message = flow(body, task_runner=ProcessTaskRunner(2))()

    assert states == {"Failed": 20_000}
    assert made < 1_000
    assert "can't be made again" in message
