"""What becomes of values and running tasks on a node whose daemon is stopped?

Printed (Ray 2.60, 2 cores, default health checks):

    values: ObjectReconstructionFailedError after 66 s
    a running task: GetTimeoutError after 100 s
    nodes alive: [True, False]

So Ray gives the values up when it takes the node for dead, and waits for the task as long as the
connection to its worker stands.
"""

import os
import signal
import threading
import time

import ray
from ray.cluster_utils import Cluster

from fanfold_ray.start import loopback_only

WAIT_S = 100


@ray.remote(num_returns=2, max_retries=0)
def big() -> tuple[int, bytes]:
    return os.getpid(), bytes(5_000_000)


@ray.remote(num_returns=2, max_retries=0)
def slow() -> tuple[int, bytes]:
    time.sleep(2 * WAIT_S)
    return 0, b""


def told(what: str, reference, began: float) -> None:
    try:
        how = type(ray.get(reference, timeout=WAIT_S)).__name__
    except ray.exceptions.RayError as error:
        how = type(error).__name__
    print(f"{what}: {how} after {time.time() - began:.0f} s")


def main() -> None:
    with loopback_only():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        node = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    pid, values = big.remote()
    ray.get(pid)
    report, _ = slow.remote()
    time.sleep(1)
    daemon = node.all_processes["raylet"][0].process.pid
    os.kill(daemon, signal.SIGSTOP)
    began = time.time()
    waits = [
        threading.Thread(target=told, args=(what, reference, began))
        for what, reference in (("values", values), ("a running task", report))
    ]
    for wait in waits:
        wait.start()
    for wait in waits:
        wait.join()
    print("nodes alive:", [node["Alive"] for node in ray.nodes()])
    os.kill(daemon, signal.SIGKILL)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
