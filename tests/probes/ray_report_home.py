"""How does a small report come home while all slots are busy, and what does each way cost?

Printed (Ray 2.60, 2 cores):

    num_returns=2, submit to report: median 1.80 ms, worst 3.33 ms
    generator, submit to report: median 2.43 ms, worst 7.07 ms
    zero-CPU actor made while busy: 712 ms
    zero-CPU actor, call: median 1.00 ms, worst 31.30 ms
    200 pairs beside a busy slot: 221 ms
"""

import time

import ray


@ray.remote(max_retries=0)
def pair(started: float) -> tuple[bytes, bytes]:
    return repr(time.time()).encode(), b"v" * 1000


@ray.remote(max_retries=0, num_returns="streaming")
def stream(started: float):
    yield repr(time.time()).encode()
    yield b"v" * 1000


@ray.remote(num_cpus=0)
class Mailbox:
    def post(self, message: bytes) -> bytes:
        return message


@ray.remote(max_retries=0)
def sleep(seconds: float) -> None:
    time.sleep(seconds)


def best_ms(action, times: int = 30) -> str:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append((time.perf_counter() - began) * 1e3)
    taken.sort()
    return f"median {taken[len(taken) // 2]:.2f} ms, worst {taken[-1]:.2f} ms"


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    two = pair.options(num_returns=2)
    ray.get([two.remote(0.0)[0] for _ in range(8)])
    print("num_returns=2, submit to report:", best_ms(lambda: ray.get(two.remote(0.0)[0])))
    print("generator, submit to report:", best_ms(lambda: ray.get(next(stream.remote(0.0)))))
    busy = [sleep.remote(0.8), sleep.remote(1.5)]
    time.sleep(0.3)
    began = time.perf_counter()
    mailbox = Mailbox.remote()
    ray.get(mailbox.post.remote(b""))
    print(f"zero-CPU actor made while busy: {(time.perf_counter() - began) * 1e3:.0f} ms")
    print("zero-CPU actor, call:", best_ms(lambda: ray.get(mailbox.post.remote(b"m"))))
    ray.get(busy)
    homes = []
    slow = sleep.remote(1.0)
    began = time.perf_counter()
    for reference in [two.remote(0.0)[0] for _ in range(200)]:
        homes.append(time.time() - float(ray.get(reference)))
    took = time.perf_counter() - began
    print(f"200 pairs beside a busy slot: {took * 1e3:.0f} ms")
    ray.get(slow)
    ray.shutdown()


if __name__ == "__main__":
    main()
