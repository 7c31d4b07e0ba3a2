"""What a running task can see of a cancel, how cheaply and how soon.

Printed: PLACEHOLDER
"""

import threading
import time
import timeit
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
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        said = threading.Semaphore(0)
        seen: list[float] = []

        def heard(event: tuple[float, Any]) -> None:
            if " at " in event[1]:
                seen.append(float(event[1].rsplit(" ", 1)[1]))
                print(
                    f"cancelled {(seen[-1] - cancelled) * 1e3:.1f} ms ago; {event[1].rsplit(' ', 2)[0]}"
                )
            else:
                print(event[1])
            said.release()

        client.subscribe_topic(TOPIC, heard)
        for name, action in (
            ("client.cancel", lambda future: client.cancel([future])),
            ("releasing the only future", lambda future: future.release()),
        ):
            running = client.submit(loop, name, 3, key=name)
            waiting = [client.submit(loop, "never", 3, key=f"never {n}") for n in range(3)]
            said.acquire(timeout=10)
            cancelled = time.time()
            client.cancel(waiting)
            action(running)
            said.acquire(timeout=10)
            del running, waiting
            while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
                time.sleep(0.01)


if __name__ == "__main__":
    main()
