"""How a small report comes home by `log_event` while every slot is busy.

Printed:

    300 bytes: median 1.4 ms, max 4.0 ms
    15000 bytes: median 0.9 ms, max 3.4 ms
    20000 bytes: median 0.7 ms, max 1.3 ms
    1000000 bytes: median 3.7 ms, max 6.2 ms
    one slot asleep: median 1.7 ms
    event before the future's callback: 200 of 200
    3,000 events from the workers: 3000 heard, 1000 kept by the scheduler

So size is no obstacle, but the scheduler keeps the last 1,000 messages of each topic, whatever
their size. A subscriber hears all of them all the same.
"""

import statistics
import threading
import time
from typing import Any

from distributed import Client, LocalCluster, get_worker

TOPIC = "probe-report"


def work(number: int, size_bytes: int) -> bytes:
    get_worker().log_event(
        TOPIC, {"number": number, "sent": time.time(), "body": bytes(size_bytes)}
    )
    return b"value"


def main() -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        latencies: list[float] = []
        order: list[str] = []
        seen = threading.Semaphore(0)

        def heard(event: tuple[float, Any]) -> None:
            latencies.append(time.time() - event[1]["sent"])
            order.append(f"event {event[1]['number']}")
            seen.release()

        client.subscribe_topic(TOPIC, heard)
        client.submit(work, -1, 10, pure=False).result()
        for size_bytes in (300, 15_000, 20_000, 1_000_000):
            latencies.clear()
            for number in range(20):
                client.submit(work, number, size_bytes, pure=False).result()
            middle = statistics.median(latencies) * 1e3
            print(f"{size_bytes} bytes: median {middle:.1f} ms, max {max(latencies) * 1e3:.1f} ms")

        latencies.clear()
        blockers = [client.submit(time.sleep, 2, pure=False) for _ in range(1)]
        futures = [client.submit(work, number, 300, pure=False) for number in range(20)]
        client.gather(futures)
        print(f"one slot asleep: median {statistics.median(latencies) * 1e3:.1f} ms")
        client.gather(blockers)

        order.clear()
        futures = [
            client.submit(work, number, 300, pure=False, key=f"k-{number}") for number in range(200)
        ]
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, n=number: order.append(f"done {n}"))
        client.gather(futures)
        time.sleep(0.2)
        before = sum(order.index(f"event {n}") < order.index(f"done {n}") for n in range(200))
        print(f"event before the future's callback: {before} of 200")

        while seen.acquire(blocking=False):
            pass
        client.run(
            lambda dask_worker: [
                dask_worker.log_event(TOPIC, {"number": 0, "sent": time.time()})
                for _ in range(1500)
            ]
        )
        heard_count = sum(seen.acquire(timeout=5) for _ in range(3000))
        kept = len(client.get_events(TOPIC))
        print(f"3,000 events from the workers: {heard_count} heard, {kept} kept by the scheduler")


if __name__ == "__main__":
    main()
