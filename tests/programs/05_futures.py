"""Submitted tasks run side by side; futures tell their states and values, in any order."""

from threading import Event

from fanfold import flow, task
from fanfold.futures import as_completed, wait
from fanfold.task_runners import ThreadPoolTaskRunner

bell = Event()


@task
def sleeper(name: str) -> str:
    """End only once somebody rings the bell."""
    if not bell.wait(30):
        raise TimeoutError("nobody rang")
    return f"{name} is up"


@task
def ringer() -> str:
    bell.set()
    return "rung"


@task
def divide(a: int, b: int) -> float:
    return a / b


@flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
def morning():
    early = [sleeper.submit("Ada"), sleeper.submit("Bo")]
    print("still asleep:", [future.state.is_final() for future in early])
    print("ringer:", ringer.submit().result())
    done, not_done = wait(early)
    print("done", len(done), "not done", len(not_done))
    print([future.result() for future in early])
    return early


@flow
def arithmetic():
    bad = divide.submit(1, 0)
    error = bad.result(raise_on_failure=False)
    print("kept back:", type(error).__name__, bad.state.name)
    try:
        bad.result()
    except ZeroDivisionError as raised:
        print("raised:", raised)

    futures = [divide.submit(number, 2) for number in range(6)]
    values = sorted(future.result() for future in as_completed(futures))
    print("collected", values)
    assert values == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]

    called: list[bool] = []
    last = divide.submit(9, 3)
    last.wait()
    last.add_done_callback(lambda future: called.append(future.state.is_completed()))
    print("told", called)
    return "done"


if __name__ == "__main__":
    state = morning(return_state=True)
    assert state.is_completed()
    assert arithmetic() == "done"
