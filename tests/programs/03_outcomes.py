"""What a flow returns decides how its run ends: a value, an exception, states, or futures."""

from fanfold import flow, task
from fanfold.states import Completed, Failed


@task
def weigh(crate: str) -> int:
    if crate == "empty":
        raise ValueError("nothing on the scale")
    return len(crate)


@task
def inspect(crate: str):
    if crate == "mouldy":
        return Failed(message="not for sale")
    return Completed(message="fine", data=crate.upper())


@flow
def shrugs_off():
    weigh("empty", return_state=True)
    return "went on"


@flow
def passes_on():
    return weigh("empty", return_state=True), weigh("apples", return_state=True)


@flow
def hands_over_futures():
    return [weigh.submit("pears"), weigh.submit("plums")]


@flow
def gives_up():
    raise LookupError("no crates today")


@flow
def names_it(crates: list[str]):
    if not crates:
        return Completed(name="Skipped", message="no crates")
    return Completed(message=f"{len(crates)} crates", data=crates)


@flow
def inspects():
    good = inspect("quinces", return_state=True)
    bad = inspect("mouldy", return_state=True)
    return [good.name, good.message, good.result(), bad.name, bad.message]


if __name__ == "__main__":
    state = shrugs_off(return_state=True)
    print("a value:", state.name, state.result())
    assert state.is_completed()

    state = passes_on(return_state=True)
    print("a failed state among two:", state.name, state.message)
    assert state.is_failed()

    state = hands_over_futures(return_state=True)
    print("futures:", state.name, state.message)
    assert state.is_completed()

    state = gives_up(return_state=True)
    error = state.result(raise_on_failure=False)
    print("an exception:", state.name, type(error).__name__, error)
    assert isinstance(error, LookupError)
    try:
        gives_up()
    except LookupError as raised:
        print("raised:", raised)

    state = names_it([], return_state=True)
    print("a state:", state.name, state.type.value, state.message)
    assert state.is_completed() and state.name == "Skipped"
    state = names_it(["kiwis"], return_state=True)
    print("a state:", state.name, state.type.value, state.message, state.result())

    print("tasks too:", inspects())
