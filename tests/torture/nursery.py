"""Drivers without the cost of their imports: forks of a process that has imported everything.

It has no other threads, or its forks might wait for locks for ever; and it doesn't import Ray,
whose random ids would be the same in all forks.
"""

import importlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.torture.squares import Order, perform

ROOT = Path(__file__).parents[2]
MOST_S = 600
"""That a driver lives: no test takes so long, and one that was stopped leaves nothing behind."""


class Nursery:
    """A process that forks one driver at a time; for a `with`.

    Args:
        *modules: What it imports too, for its drivers.
        environment: Its variables, where they are others than those of this process.
    """

    def __init__(self, *modules: str, environment: Mapping[str, str] | None = None) -> None:
        variables = dict(os.environ if environment is None else environment)
        path = os.pathsep.join([str(ROOT), variables.get("PYTHONPATH", "")]).strip(os.pathsep)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.nursery", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables | {"FANFOLD_HISTORY_URL": "off", "PYTHONPATH": path},
        )

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def start(self, order: Order) -> int:
        """Start a driver, and return its process id; `ended` must follow."""
        assert self._process.stdin is not None
        pickle.dump(order, self._process.stdin)
        self._process.stdin.flush()
        return self._answer()

    def ended(self) -> int:
        """Wait for the driver's end, and return its exit code, negative if a signal ended it."""
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def serve() -> None:
    """Fork a driver for each order that comes in, and tell its id and how it ended."""
    # A driver that prints must not take part in the talk.
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    while True:
        try:
            order = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        assert threading.active_count() == 1 and "ray" not in sys.modules
        pid = os.fork()
        if not pid:
            _be_driver(order)
        print(pid, file=told)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=told)


def _be_driver(order: Order) -> None:
    code = 1
    try:
        signal.alarm(MOST_S)
        os.close(0)
        with (order.folder / f"{order.life}.log").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        perform(order)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    serve()
