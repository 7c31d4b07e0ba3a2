"""Runs that raise are tried again: as often as told, after delays, and only if it makes sense."""

import time
from itertools import pairwise

from fanfold import flow, task
from fanfold.runtime import task_run
from fanfold.tasks import exponential_backoff

tries: dict[str, list[float]] = {}


class Gone(Exception):
    """Nothing that time would heal."""


def not_gone(task, task_run, state) -> bool:
    try:
        state.result()
    except Gone:
        return False
    except Exception:
        return True
    return False


def noted(name: str) -> int:
    tries.setdefault(name, []).append(time.monotonic())
    return len(tries[name])


@task(retries=3, retry_delay_seconds=[0.05, 0.1])
def knock(door: str, until: int) -> str:
    if noted(door) < until:
        raise ConnectionError(f"{door} stays shut")
    return f"{door} opened on knock {task_run.run_count}"


@task(retries=5, retry_condition_fn=not_gone)
def fetch(page: str) -> str:
    raise Gone(page) if noted(page) == 2 else ConnectionError(page)


@flow
def visits():
    print(knock("front", 3))
    first, second, third = tries["front"]
    assert second - first >= 0.05 and third - second >= 0.1

    state = knock("back", 99, return_state=True)
    print("back", state.name, len(tries["back"]), state.result(raise_on_failure=False))
    assert len(tries["back"]) == 4

    state = fetch.submit("old news", return_state=True)
    print("fetch", state.name, len(tries["old news"]))
    assert len(tries["old news"]) == 2


@task
def plant(row: int) -> int:
    return row


@flow(retries=2, retry_delay_seconds=0.01)
def sowing():
    rows = plant.map([1, 2]).result()
    if noted("sowing") < 3:
        raise RuntimeError("rain")
    return rows


if __name__ == "__main__":
    visits()
    print("sowing", sowing(), len(tries["sowing"]))
    assert len(tries["sowing"]) == 3

    print("backoff", list(exponential_backoff(backoff_factor=3)(4)))
    doubling = knock.with_options(retries=3, retry_delay_seconds=exponential_backoff(0.01))
    print(doubling("gate", 4))
    gaps = [after - before for before, after in pairwise(tries["gate"])]
    assert all(gap >= 0.01 * 2**place for place, gap in enumerate(gaps))
