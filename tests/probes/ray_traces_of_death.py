"""What does Ray tell of how a worker ended, in its error and in the worker's logs?

Printed (Ray 2.60, 2 cores):

    SIGKILL: WorkerCrashedError; the logs say []
    a segfault: WorkerCrashedError; the logs say ['*** SIGSEGV received']
    abort: WorkerCrashedError; the logs say ['*** SIGABRT received']
    os._exit(3): WorkerCrashedError; the logs say []
    SIGTERM: WorkerCrashedError; the logs say ['with an exit code 1']
    SIGVTALRM: WorkerCrashedError; the logs say []
"""

import ctypes
import os
import re
import signal
import tempfile
import time
from pathlib import Path

import ray

PID = Path(tempfile.mkdtemp()) / "pid"
ENDS = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "a segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "os._exit(3)": lambda: os._exit(3),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "SIGVTALRM": lambda: signal.raise_signal(signal.SIGVTALRM),
}


@ray.remote(max_retries=0, num_returns=2)
def ending(how: str, pid: Path) -> tuple[int, bytes]:
    pid.write_text(str(os.getpid()))
    ENDS[how]()
    time.sleep(2)
    return 0, b""


def main() -> None:
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
    )
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    for how in ENDS:
        report, _ = ending.remote(how, PID)
        try:
            ray.get(report)
            told = "ran to its end"
        except ray.exceptions.RayError as error:
            told = type(error).__name__
        found: set[str] = set()
        for log in logs.glob(f"*{PID.read_text()}*"):
            text = log.read_text(errors="replace")
            found |= set(re.findall(r"\*\*\* SIG\w+ received|with an exit code \d+", text))
        print(f"{how}: {told}; the logs say {sorted(found)}")
    ray.shutdown()


if __name__ == "__main__":
    main()
