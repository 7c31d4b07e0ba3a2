"""The most memory that Python objects of some code take, in a process of its own.

Only there: `tracemalloc.stop()` may crash a process in which another thread just begins or ends
(fixed in CPython 3.12.9 and 3.13.2, gh-128679), and most processes of tests have some.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cloudpickle

CODE = """
import gc
import os
import sys
import tracemalloc

import cloudpickle
sys.path[:0] = sys.argv[1:]
body = cloudpickle.loads(sys.stdin.buffer.read())
gc.collect()
tracemalloc.start()
body()
print("PEAK", tracemalloc.get_traced_memory()[1], flush=True)
os._exit(0)
"""
ROOT = str(Path(__file__).parents[1])
DEADLINE_S = 120.0


def peak_bytes(body: Callable[[], object]) -> int:
    """Run a function that is imported or made here, and return the peak of what it took.

    Raises:
        AssertionError: It has raised; with what it printed.
    """
    ended = subprocess.run(
        [sys.executable, "-c", CODE, ROOT],
        input=cloudpickle.dumps(body),
        capture_output=True,
        timeout=DEADLINE_S,
    )
    said = ended.stdout.decode().splitlines()
    assert ended.returncode == 0 and said, ended.stderr.decode()
    return int(said[-1].removeprefix("PEAK "))
