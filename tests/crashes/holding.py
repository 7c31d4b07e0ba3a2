"""A program whose flow run is under way until it is told to end, or keeps the interpreter busy.

Run as `python -m tests.crashes.holding RUNNER [SECONDS]`. It prints the flow run's id once the run
and its map are in the history. For each line on its standard input it then keeps the interpreter's
lock for so many seconds, as badly written C code does, and prints "held"; it ends with its input.
"""

import ctypes
import os
import sys

from fanfold import flow, runtime, task
from fanfold.engine.recording.recorder import current

FLUSH_S = 60.0


@task
def itself(x: int) -> int:
    """Return what it was given."""
    return x


@flow
def held() -> None:
    """Be under way for as long as the standard input is open."""
    # Where the workers are processes, they are there while the run is.
    itself.map(range(10)).wait()
    recorder = current()
    if recorder is None or not recorder.flush(FLUSH_S):
        raise ValueError("The run isn't recorded.")
    print(runtime.flow_run.id, flush=True)
    for line in sys.stdin:
        _hold(int(line))
        print("held", flush=True)


def _hold(seconds: int) -> None:
    """Sleep in C, called in a way that doesn't let other threads of Python run."""
    if os.name != "posix":
        raise NotImplementedError("There is no sleep(3) here.")
    ctypes.PyDLL(None).sleep(seconds)


if __name__ == "__main__":
    held.with_options(task_runner=sys.argv[1])()
