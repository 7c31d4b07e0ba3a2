"""A map inside a task on a cluster of one thread: secede, rejoin, and what they cost.

Printed:

    20 inner tasks beside their parent on one thread: 2470, one client: True
      get_client: 6.3 ms
      submit: 4.4 ms
      secede: 0.6 ms
      gather: 69.1 ms
      rejoin: 0.1 ms
      still executing: False

So secede and rejoin cost nothing to speak of. After rejoin the worker goes on to call the task
`long-running`, which counts as running too.
"""

import time

from distributed import Client, LocalCluster, get_client, get_worker, rejoin, secede


def square(number: int) -> int:
    return number * number


def outer(count: int) -> tuple[int, dict[str, float], bool]:
    times = {}
    start = time.perf_counter()
    client = get_client()
    times["get_client"] = time.perf_counter() - start
    same = client is get_client()
    start = time.perf_counter()
    futures = [client.submit(square, n, key=f"square-{n}") for n in range(count)]
    times["submit"] = time.perf_counter() - start
    start = time.perf_counter()
    secede()
    times["secede"] = time.perf_counter() - start
    start = time.perf_counter()
    total = sum(client.gather(futures))
    times["gather"] = time.perf_counter() - start
    start = time.perf_counter()
    rejoin()
    times["rejoin"] = time.perf_counter() - start
    times["still executing"] = float(get_worker().state.tasks["outer"].state == "executing")
    return total, times, same


def main() -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        total, times, same = client.submit(outer, 20, key="outer").result(timeout=20)
        print(f"20 inner tasks beside their parent on one thread: {total}, one client: {same}")
        for name, seconds in times.items():
            print(
                f"  {name}: {seconds * 1e3:.1f} ms"
                if name != "still executing"
                else f"  {name}: {bool(seconds)}"
            )


if __name__ == "__main__":
    main()
