"""What a running task can see of a cancel, how cheaply and how soon.

Printed:

    client.cancel: asking its state costs 60 ns
    client.cancel: saw cancelled, 9.5 ms after
    client.cancel: the slot is free again 30.7 ms after
      the waiting one said something: False
    releasing the only future: asking its state costs 57 ns
    releasing the only future: saw cancelled, 6.8 ms after
    releasing the only future: the slot is free again 26.6 ms after
      the waiting one said something: False

So a task's own state on its worker is all that a running chunk has to look at.
"""

import queue
import time
import timeit
from collections.abc import Callable
from typing import Any

import distributed.worker
from distributed import Client, LocalCluster, get_worker

TOPIC = "probe-cancel"


def loop(name: str, seconds: float) -> str:
    worker = get_worker()
    task = worker.state.tasks[distributed.worker.thread_state.key]
    number = 1_000_000
    once = timeit.timeit(lambda: task.state == "executing", number=number) / number
    worker.log_event(TOPIC, f"{name}: asking its state costs {once * 1e9:.0f} ns")
    deadline = time.monotonic() + seconds
    while task.state == "executing" and time.monotonic() < deadline:
        time.sleep(0.0005)
    worker.log_event(TOPIC, f"{name}: saw {task.state} at {time.time()}")
    return "value"


def main() -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        said: queue.Queue[str] = queue.Queue()
        client.subscribe_topic(TOPIC, lambda event: said.put(event[1]))
        actions: dict[str, Callable[[Any], Any]] = {
            "client.cancel": lambda future: client.cancel([future]),
            "releasing the only future": lambda future: future.release(),
        }
        for name, action in actions.items():
            running = client.submit(loop, name, 10, key=name)
            print(said.get(timeout=10))
            waiting = client.submit(loop, "waiting", 10, key="waiting")
            cancelled = time.time()
            client.cancel([waiting])
            action(running)
            text, when = said.get(timeout=10).rsplit(" at ", 1)
            print(f"{text}, {(float(when) - cancelled) * 1e3:.1f} ms after")
            after = client.submit(str, name, key=f"after {name}").result()
            print(f"{after}: the slot is free again {(time.time() - cancelled) * 1e3:.1f} ms after")
            print(f"  the waiting one said something: {not said.empty()}")
        client.unsubscribe_topic(TOPIC)


if __name__ == "__main__":
    main()
