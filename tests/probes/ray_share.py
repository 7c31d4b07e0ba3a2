"""Is a shared payload of 100 MB copied per process, per task or not at all?

Printed (Ray 2.60, 2 cores):

    bytes: put 331 ms, this process grew by 104 MB
      task 175.3 ms: (11219, 'bytes', True, 145) MB private
      task 81.3 ms: (11219, 'bytes', True, 145) MB private
      task 70.6 ms: (11219, 'bytes', True, 145) MB private
      get here 59.4 ms
    buffers: put 53 ms, this process grew by 98 MB
      task 25.9 ms: (11219, 'SubBuffer', True, 47) MB private
      task 7.6 ms: (11219, 'SubBuffer', True, 47) MB private
      task 8.4 ms: (11219, 'SubBuffer', True, 47) MB private
      get here 0.6 ms
    kinds back: ['SubBuffer', 'SubBuffer', 'SubBuffer']
    small kinds back: ['SubBuffer']
"""

import pickle
import time
from pathlib import Path

import ray

SIZE = 100_000_000


class Buffers:
    """A list of buffers that pickle 5 takes out of band, so that Ray stores them as they are."""

    def __init__(self, *buffers) -> None:
        self.buffers = buffers

    def __reduce_ex__(self, protocol: int):
        return Buffers, tuple(pickle.PickleBuffer(buffer) for buffer in self.buffers)


def private_mb() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1e3


@ray.remote(max_retries=0)
def look(value) -> tuple:
    import os

    held = value.buffers[0] if isinstance(value, Buffers) else value
    view = memoryview(held)
    return os.getpid(), type(held).__name__, view.readonly, round(private_mb())


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    payload = bytes(SIZE)
    for name, value in (("bytes", payload), ("buffers", Buffers(payload))):
        before, began = private_mb(), time.perf_counter()
        reference = ray.put(value)
        took, grew = time.perf_counter() - began, private_mb() - before
        print(f"{name}: put {took * 1e3:.0f} ms, this process grew by {grew:.0f} MB")
        for _ in range(3):
            began = time.perf_counter()
            seen = ray.get(look.remote(reference))
            print(f"  task {(time.perf_counter() - began) * 1e3:.1f} ms: {seen} MB private")
        began = time.perf_counter()
        ray.get(reference)
        print(f"  get here {(time.perf_counter() - began) * 1e3:.1f} ms")
    mixed = Buffers(pickle.dumps([1, 2]), bytearray(2_000_000), memoryview(bytes(10)))
    back = ray.get(ray.put(mixed))
    print("kinds back:", [type(buffer).__name__ for buffer in back.buffers])
    print("small kinds back:", [type(b).__name__ for b in ray.get(ray.put(Buffers(b"ab"))).buffers])
    ray.shutdown()


if __name__ == "__main__":
    main()
