"""Which way a running task can ask its driver and be answered meanwhile.

Printed:

    log_event out, client.run back: median 3.5 ms, max 8.0 ms
    log_event out, distributed.Queue back: median 2.6 ms, max 5.0 ms

So both answer while the slot is busy. The queue is faster, and leaves a queue per asker on the
scheduler; `client.run` needs nothing to be cleaned up.
"""

import statistics
import threading
import time
import uuid
from typing import Any

from distributed import Client, LocalCluster, Queue, get_worker

TOPIC = "probe-ask"
ANSWERS: dict[str, tuple[threading.Event, list[bytes]]] = {}


def deliver(token: str, answer: bytes) -> None:
    """Run in the worker by `client.run`, on its event loop, while the slot is busy."""
    import __mp_main__ as home

    event, box = home.ANSWERS[token]
    box.append(answer)
    event.set()


def ask_by_run(count: int) -> list[float]:
    import __mp_main__ as home

    worker, times = get_worker(), []
    for _ in range(count):
        token, event, box = uuid.uuid4().hex, threading.Event(), []
        home.ANSWERS[token] = (event, box)
        start = time.perf_counter()
        worker.log_event(TOPIC, {"token": token, "worker": worker.address})
        assert event.wait(5) and box == [b"answer"]
        times.append(time.perf_counter() - start)
    return times


def ask_by_queue(count: int, name: str) -> list[float]:
    worker, times, queue = get_worker(), [], Queue(name)
    for _ in range(count):
        start = time.perf_counter()
        worker.log_event(TOPIC, {"queue": name})
        assert queue.get(timeout=5) == b"answer"
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        queue = Queue("probe-ask", client=client)

        def heard(event: tuple[float, Any]) -> None:
            message = event[1]
            if "queue" in message:
                threading.Thread(target=queue.put, args=(b"answer",)).start()
            else:
                arguments = (deliver, message["token"], b"answer")
                threading.Thread(
                    target=client.run, args=arguments, kwargs={"workers": [message["worker"]]}
                ).start()

        client.subscribe_topic(TOPIC, heard)
        for name, future in (
            ("log_event out, client.run back", client.submit(ask_by_run, 30)),
            ("log_event out, distributed.Queue back", client.submit(ask_by_queue, 30, "probe-ask")),
        ):
            times = future.result()
            middle, worst = statistics.median(times) * 1e3, max(times) * 1e3
            print(f"{name}: median {middle:.1f} ms, max {worst:.1f} ms")


if __name__ == "__main__":
    main()
