"""Is a second cancel delivered, does a cancel wake a sleeper, and what if C code holds the GIL?

Printed (Ray 2.60, 2 cores):

    cancels every 0.1 s, seen at [0.01, 0.11, 0.21, 0.31, 0.41]
    asleep: [('a byte came', 0.0), ("SIGINT's handler", 0.5), ("SIGURG's handler", 0.5),
      ('woke up', 0.5)]
    holding the GIL, force alone: TaskCancelledError after 0.0 s
    holding the GIL, force after a plain cancel: RayTaskError(TaskCancelledError) after 5.8 s

So each cancel is delivered. It wakes no sleeper (Ray's workers block SIGINT), but the pipe of
`set_wakeup_fd` tells another thread at once, which can wake the main one by another signal. And a
plain cancel takes a worker whose GIL is held out of Ray's reach until the C code returns.
"""

import os
import signal
import threading
import time
from pathlib import Path

import ray

BEGAN = Path(f"/tmp/fanfold-probe-{os.getpid()}")


@ray.remote(max_retries=0, num_returns=2)
def seen(began: Path, seconds: float) -> tuple[list[float], bytes]:
    times: list[float] = []
    started = time.time()
    signal.signal(signal.SIGINT, lambda *_: times.append(round(time.time() - started, 2)))
    began.touch()
    while time.time() - started < seconds:
        time.sleep(0.005)
    return times, b""


@ray.remote(max_retries=0, num_returns=2)
def sleeping(began: Path) -> tuple[list[tuple[str, float]], bytes]:
    log: list[tuple[str, float]] = []
    started, main = time.time(), threading.main_thread().ident

    def note(what: str) -> None:
        log.append((what, round(time.time() - started, 2)))

    def wake() -> None:
        os.read(ear, 1)
        note("a byte came")
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.5)
        signal.pthread_kill(main, signal.SIGURG)

    def strike(*_: object) -> None:
        note("SIGURG's handler")
        raise KeyboardInterrupt

    ear, bell = os.pipe()
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell)
    signal.signal(signal.SIGINT, lambda *_: note("SIGINT's handler"))
    signal.signal(signal.SIGURG, strike)
    threading.Thread(target=wake, daemon=True).start()
    began.touch()
    try:
        time.sleep(6)
    except KeyboardInterrupt:
        note("woke up")
    signal.set_wakeup_fd(-1)
    return log, b""


@ray.remote(max_retries=0, num_returns=2)
def holding(began: Path) -> tuple[int, bytes]:
    began.touch()
    return sum(range(500_000_000)), b""


def start(task, *arguments):
    BEGAN.unlink(missing_ok=True)
    report, _ = task.remote(BEGAN, *arguments)
    while not BEGAN.exists():
        time.sleep(0.005)
    return report


def told(report) -> str:
    began = time.time()
    try:
        ray.get(report, timeout=60)
        how = "ran to its end"
    except ray.exceptions.RayError as error:
        how = type(error).__name__
    return f"{how} after {time.time() - began:.1f} s"


def main() -> None:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
    )
    report = start(seen, 2.0)
    for _ in range(5):
        ray.cancel(report, recursive=False)
        time.sleep(0.1)
    print("cancels every 0.1 s, seen at", ray.get(report))
    report = start(sleeping)
    ray.cancel(report, recursive=False)
    print("asleep:", ray.get(report))
    report = start(holding)
    ray.cancel(report, force=True)
    print("holding the GIL, force alone:", told(report))
    report = start(holding)
    ray.cancel(report)
    time.sleep(0.2)
    ray.cancel(report, force=True)
    print("holding the GIL, force after a plain cancel:", told(report))
    BEGAN.unlink()
    ray.shutdown()


if __name__ == "__main__":
    main()
