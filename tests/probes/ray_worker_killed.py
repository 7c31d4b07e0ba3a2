"""How soon is a worker's death told, and what becomes of the results that it had finished?

Printed (Ray 2.60, 2 cores):

    report: WorkerCrashedError: The worker died unexpectedly while executing this task. Check
      python-core-worker-*.log fil after 0.02 s
    values: WorkerCrashedError: The worker died unexpectedly while executing this task. Check
      python-core-worker-*.log fil
    (raylet) A worker died or was killed while executing a task ... (one long line)
    report: WorkerCrashedError: The worker died unexpectedly while executing this task. Check
      python-core-worker-*.log fil after 0.01 s
    values: WorkerCrashedError: The worker died unexpectedly while executing this task. Check
      python-core-worker-*.log fil
    dependent of a killed task: RayTaskError(WorkerCrashedError): ray::depend() (pid=17112,
      ip=NODE)
    result of 1000 bytes after its worker's death: a bytes
      a dependent of it: a int
    result of 50000000 bytes after its worker's death: a bytes
      a dependent of it: a int
    an object that the dead worker owned: OwnerDiedError: Failed to retrieve object
      008ff6d236132784ffffffffffffffffffffffff0100000002e1f505. To see
    (raylet) A worker died or was killed while executing a task ... (one long line)
"""

import os
import signal
import time

import ray


@ray.remote(max_retries=0, num_returns=2)
def make(size: int) -> tuple[int, bytes]:
    return os.getpid(), bytes(size)


@ray.remote(max_retries=0, num_returns=2)
def die(size: int) -> tuple[float, bytes]:
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0, b""


@ray.remote(max_retries=0)
def depend(value: bytes) -> int:
    return len(value)


@ray.remote(max_retries=0)
def put_inside() -> list:
    return [os.getpid(), ray.put(bytes(5_000_000))]


def told(reference) -> str:
    try:
        return f"a {type(ray.get(reference, timeout=20)).__name__}"
    except ray.exceptions.RayError as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.get([make.remote(1)[0] for _ in range(4)])
    for _ in range(2):
        began = time.perf_counter()
        report, values = die.remote(1)
        print("report:", told(report), f"after {time.perf_counter() - began - 0.2:.2f} s")
        print("values:", told(values))
    print("dependent of a killed task:", told(depend.remote(values)))
    for size in (1_000, 50_000_000):
        pid, values = make.remote(size)
        os.kill(ray.get(pid), signal.SIGKILL)
        time.sleep(0.5)
        print(f"result of {size} bytes after its worker's death:", told(values))
        print("  a dependent of it:", told(depend.remote(values)))
    pid, owned = ray.get(put_inside.remote())
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    print("an object that the dead worker owned:", told(owned))
    ray.shutdown()


if __name__ == "__main__":
    main()
