"""Does a task that waits for other tasks give its CPU back, in the main thread and in another?

Printed (Ray 2.60, 2 cores):

    ray.get, three floors: 27 after 2.33 s
    ray.wait: 3 after 0.02 s
    a callback and an Event: starved: waiting in Python holds the CPU after 3.01 s
    ray.get in a second thread: starved after 3.02 s
    the same, with the main thread in ray.wait: told after 0.49 s
"""

import threading
import time

import ray


@ray.remote(max_retries=0)
def leaf(number: int) -> int:
    return number


@ray.remote(max_retries=0)
def by_get(depth: int) -> int:
    below = [by_get.remote(depth - 1) if depth else leaf.remote(n) for n in range(3)]
    return sum(ray.get(below))


@ray.remote(max_retries=0)
def by_wait() -> int:
    below = [leaf.remote(number) for number in range(3)]
    ready, _ = ray.wait(below, num_returns=3, timeout=5)
    return len(ready)


@ray.remote(max_retries=0)
def by_callback() -> str:
    below, answers, enough = leaf.remote(1), [], threading.Event()
    below.future().add_done_callback(lambda future: (answers.append(1), enough.set()))
    return "told" if enough.wait(3) else "starved: waiting in Python holds the CPU"


@ray.remote(max_retries=0)
def by_thread() -> str:
    answers: list = []
    below = leaf.remote(1)
    thread = threading.Thread(target=lambda: answers.append(ray.get(below, timeout=3)))
    thread.start()
    thread.join()
    return "told" if answers else "starved"


@ray.remote(max_retries=0)
def by_both() -> str:
    answers: list = []
    below, later = leaf.remote(1), leaf.remote(2)
    thread = threading.Thread(target=lambda: answers.append(ray.get(below, timeout=3)))
    thread.start()
    ray.wait([later], timeout=3)
    thread.join()
    return "told" if answers else "starved"


def main() -> None:
    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    for name, task, arguments in (
        ("ray.get, three floors", by_get, (2,)),
        ("ray.wait", by_wait, ()),
        ("a callback and an Event", by_callback, ()),
        ("ray.get in a second thread", by_thread, ()),
        ("the same, with the main thread in ray.wait", by_both, ()),
    ):
        began = time.perf_counter()
        try:
            said = ray.get(task.remote(*arguments), timeout=60)
        except ray.exceptions.RayError as error:
            said = type(error).__name__
        print(f"{name}: {said} after {time.perf_counter() - began:.2f} s")
    ray.shutdown()


if __name__ == "__main__":
    main()
