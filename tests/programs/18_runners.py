"""A flow names the runner that carries out what it submits: threads here, or other processes."""

import os
import threading

from fanfold import flow, task
from fanfold.futures import wait
from fanfold.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner


@task
def where(number: int) -> tuple[int, int, bool]:
    return number, os.getpid(), threading.current_thread() is threading.main_thread()


@task
def primes(below: int) -> list[int]:
    return [n for n in range(2, below) if all(n % divisor for divisor in range(2, n))]


@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def on_threads():
    places = where.map(range(4)).result()
    print("numbers", [number for number, _, _ in places])
    assert {pid for _, pid, _ in places} == {os.getpid()}
    assert not any(main for _, _, main in places)

    # A call that isn't submitted runs right here.
    assert where(9) == (9, os.getpid(), threading.current_thread() is threading.main_thread())


@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def on_processes():
    places = where.map(range(4)).result()
    print("numbers", [number for number, _, _ in places])
    assert os.getpid() not in {pid for _, pid, _ in places}

    futures = [primes.submit(below) for below in (10, 20)]
    wait(futures)
    found = [future.result() for future in futures]
    print(found, primes(futures[0].result()[-1]))
    return sum(map(len, found))


@flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
def outer():
    return on_processes()


if __name__ == "__main__":
    on_threads()
    # A flow inside a flow has a runner of its own.
    assert outer() == 12
    other = on_processes.with_options(task_runner=ThreadPoolTaskRunner(max_workers=3))
    print(type(other.task_runner).__name__, other.task_runner == on_processes.task_runner)
