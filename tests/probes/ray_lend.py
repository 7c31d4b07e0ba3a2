"""How fast is a task without a CPU on a full node, and one that is recalled from the queue?

Printed (Ray 2.60, 2 cores):

    lent: NoneType after 650.6 ms
    lent: NoneType after 3.9 ms
    lent: NoneType after 2.7 ms
    queued: starved after 5000.3 ms
    recalled: TaskCancelledError after 2.3 ms
    sent again: NoneType after 497.7 ms
    recalled: TaskCancelledError after 8.8 ms
    sent again: NoneType after 3.6 ms

Half a second is what a new process takes.
"""

import threading
import time

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Timed = tuple[str, float]


@ray.remote(max_retries=0, num_returns=2)
def leaf(number: int) -> tuple[int, bytes]:
    return number, b""


def waited(report) -> Timed:
    """Wait as an element does, which holds its CPU meanwhile."""
    began, enough, errors = time.perf_counter(), threading.Event(), []
    report.future().add_done_callback(lambda f: (errors.append(f.exception()), enough.set()))
    enough.wait(5)
    took = round((time.perf_counter() - began) * 1e3, 1)
    return (type(errors[0]).__name__ if errors else "starved"), took


@ray.remote(max_retries=0)
def parent() -> list[tuple[str, Timed]]:
    node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    lent = leaf.options(num_cpus=0, scheduling_strategy=node)
    found = [("lent", waited(lent.remote(number)[0])) for number in range(3)]
    queued = [leaf.remote(number)[0] for number in range(2)]
    found.append(("queued", waited(queued[0])))
    for report in reversed(queued):
        ray.cancel(report, recursive=False)
        found.append(("recalled", waited(report)))
        found.append(("sent again", waited(lent.remote(0)[0])))
    return found


def main() -> None:
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
    )
    for what, (error, took_ms) in ray.get(parent.remote()):
        print(f"{what}: {error} after {took_ms} ms")
    ray.shutdown()


if __name__ == "__main__":
    main()
