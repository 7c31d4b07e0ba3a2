"""What a worker's SIGKILL does: who is told what, how soon, and what is run again.

Printed:

    allowed-failures 0:
      on the victim at its death: ['run', 'wait1', 'wait2', 'wait3']
      event on topic `all` after 5.3 ms: processing-tasks=['run', 'wait1', 'wait2', 'wait3'],
        lost-computed-tasks=['result', 'x'], lost-scattered-tasks=['bytes-...'], expected=False
      run: KilledWorker after 7 ms, started 1 times
      wait1, wait2, wait3: KilledWorker after 7 ms, started 0 times
      finished result it held: made 2 times
      scattered value: cancelled
    allowed-failures 3:
      event on topic `all` after 5.0 ms: processing-tasks=['run', 'wait1', 'wait2', 'wait3'],
        lost-computed-tasks=['result', 'x'], lost-scattered-tasks=[], expected=False
      run: finished after 1511 ms, started 2 times
      wait1, wait2, wait3: finished after 2746 to 4248 ms, started 1 times
      finished result it held: made 2 times
      scattered value: finished

So with 0 what only waited fails like what ran, finished results are made again in both cases,
and a scattered value is gone for good when its only worker dies.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
from distributed import Client, LocalCluster, get_worker


def hold(folder: str, name: str, seconds: float) -> str:
    with (Path(folder) / f"{name}.{os.getpid()}.{time.time_ns()}").open("w"):
        time.sleep(seconds)
    return get_worker().address


def watch(client: Client, folder: str) -> None:
    told: list[tuple[float, Any]] = []
    event = threading.Event()

    def heard(event_: tuple[float, Any]) -> None:
        if event_[1].get("action") == "remove-worker":
            told.append((time.time(), event_[1]))
            event.set()

    client.subscribe_topic("all", heard)
    share = client.scatter(b"share", hash=False)
    result = client.submit(hold, folder, "result", 0, key="result", retries=0)
    victim = result.result()
    pids = client.run(os.getpid)
    share_there = client.submit(hold, folder, "x", 0, key="x", workers=[victim])
    share_there.result()
    futures = {}
    for name in ("run", "wait1", "wait2", "wait3"):
        futures[name] = client.submit(
            hold, folder, name, 1.5, key=name, workers=[victim], allow_other_workers=True
        )
        time.sleep(0.1)
    ended: dict[str, float] = {}
    for name, future in futures.items():
        future.add_done_callback(lambda _, name=name: ended.setdefault(name, time.time()))
    processing = client.processing()[victim]
    print(f"  on the victim at its death: {sorted(map(str, processing))}")
    killed = time.time()
    os.kill(pids[victim], signal.SIGKILL)
    event.wait(10)
    when, message = told[0]
    print(
        f"  event on topic `all` after {(when - killed) * 1e3:.1f} ms: "
        + ", ".join(
            f"{key}={sorted(map(str, message[key]))}"
            for key in ("processing-tasks", "lost-computed-tasks", "lost-scattered-tasks")
        )
        + f", expected={message['expected']}"
    )
    for name, future in futures.items():
        error = future.exception(timeout=20)
        started = len(list(Path(folder).glob(f"{name}.*")))
        after = (ended.get(name, time.time()) - killed) * 1e3
        ended_as = type(error).__name__ if error else "finished"
        print(f"  {name}: {ended_as} after {after:.0f} ms, started {started} times")
    result.result(timeout=20)
    print(f"  finished result it held: made {len(list(Path(folder).glob('result.*')))} times")
    print(f"  scattered value: {share.status}")
    started = time.time()
    while len(client.scheduler_info()["workers"]) < 2 and time.time() - started < 10:
        time.sleep(0.02)
    # A topic that is still subscribed when its client goes makes the scheduler log a CRITICAL.
    client.unsubscribe_topic("all")


def main() -> None:
    for allowed in (0, 3):
        print(f"allowed-failures {allowed}:")
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": allowed}),
            TemporaryDirectory() as folder,
            LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
            ) as cluster,
            Client(cluster) as client,
        ):
            watch(client, folder)


if __name__ == "__main__":
    sys.exit(main())
