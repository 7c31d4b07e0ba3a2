"""A program to be killed: maps a kept task over numbers and writes each execution to a ledger.

Run as `python -m tests.crashes.kept_map RUNNER COUNT LEDGER`; prints the sum of the results.
"""

import os
import sys
import time

from fanfold import flow, task, unmapped


@task(cache_key_fn=lambda context, arguments: str(arguments["x"]))
def square(x: int, ledger: str) -> int:
    """Return the square, slowly enough to be killed half-way, and leave a line."""
    line = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(line, f"{x}\n".encode())
    os.close(line)
    time.sleep(0.03)
    return x * x


@flow
def squares(count: int, ledger: str) -> int:
    """Return the sum of the squares."""
    return sum(square.map(range(count), unmapped(ledger)).result())


if __name__ == "__main__":
    runner, count, ledger = sys.argv[1:]
    print(squares.with_options(task_runner=runner)(int(count), ledger))
