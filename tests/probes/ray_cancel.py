"""What does `ray.cancel` do to pending, running and finished work, and can running work see it?

Printed (Ray 2.60, 2 cores):

    __main__.loop, force=False: report RayTaskError(TaskCancelledError) (13 ms)
    __main__.loop, force=True: report TaskCancelledError (12 ms)
    __main__.sleep, force=False: report RayTaskError(TaskCancelledError) (2080 ms)
    __main__.sleep, force=True: report TaskCancelledError (12 ms)
    __main__.flagged, force=False: report a handler of SIGINT saw the cancel: True (19 ms)
    __main__.flagged, force=True: report TaskCancelledError (14 ms)
    __main__.asks, force=False: report RayTaskError(TaskCancelledError) (12 ms)
    __main__.asks, force=True: report is_canceled takes 0.8 us; ended True (5 ms)
    asking alone: is_canceled takes 0.9 us; ended False
    cancel of 500 pending: 12 us each, told TaskCancelledError (0 ms)
    running ones: ['ran to its end (1484 ms)', 'ran to its end (918 ms)']
    cancel after the end, twice: ran to its end (0 ms)
"""

import signal
import time

import ray


@ray.remote(max_retries=0, num_returns=2)
def loop(seconds: float) -> tuple[str, bytes]:
    until = time.time() + seconds
    while time.time() < until:
        time.sleep(0.02)
    return "ran to its end", b""


@ray.remote(max_retries=0, num_returns=2)
def sleep(seconds: float) -> tuple[str, bytes]:
    time.sleep(seconds)
    return "slept to its end", b""


@ray.remote(max_retries=0, num_returns=2)
def flagged(seconds: float) -> tuple[str, bytes]:
    stopping = []
    before = signal.signal(signal.SIGINT, lambda number, frame: stopping.append(time.time()))
    try:
        until = time.time() + seconds
        while time.time() < until and not stopping:
            time.sleep(0.02)
    finally:
        signal.signal(signal.SIGINT, before)
    return f"a handler of SIGINT saw the cancel: {bool(stopping)}", b""


@ray.remote(max_retries=0, num_returns=2)
def asks(seconds: float) -> tuple[str, bytes]:
    context, count, began = ray.get_runtime_context(), 0, time.perf_counter()
    try:
        while not context.is_canceled() and time.perf_counter() - began < seconds:
            count += 1
    except KeyboardInterrupt:
        return "interrupted", b""
    each = (time.perf_counter() - began) / (count or 1) * 1e6
    return f"is_canceled takes {each:.1f} us; ended {context.is_canceled()}", b""


def told(reference) -> str:
    began = time.perf_counter()
    try:
        said = str(ray.get(reference, timeout=20))
    except ray.exceptions.RayError as error:
        said = type(error).__name__
    return f"{said} ({(time.perf_counter() - began) * 1e3:.0f} ms)"


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    for task in (loop, sleep, flagged, asks):
        for force in (False, True):
            ray.get([loop.remote(0.0)[0] for _ in range(4)])
            report, values = task.remote(3.0)
            time.sleep(1.0)
            ray.cancel(values, force=force)
            print(f"{task._function_name}, force={force}: report {told(report)}")
    print("asking alone:", ray.get(asks.remote(0.5)[0]))
    running = [loop.remote(2.0) for _ in range(2)]
    time.sleep(0.5)
    pending = [loop.remote(0.0) for _ in range(500)]
    began = time.perf_counter()
    for _, values in pending:
        ray.cancel(values)
    took = time.perf_counter() - began
    print(f"cancel of 500 pending: {took / 500 * 1e6:.0f} us each, told {told(pending[-1][0])}")
    print("running ones:", [told(report) for report, _ in running])
    report, values = loop.remote(0.0)
    ray.get(report)
    ray.cancel(values)
    ray.cancel(values)
    print("cancel after the end, twice:", told(report))
    ray.shutdown()


if __name__ == "__main__":
    main()
