"""Programs that go on for ever, each in another way, and what runs them under a limit that kills.

`python deadline_programs.py NAME main|other kernel|thread [SECONDS]` prints what became of it.
"""

import hashlib
import re
import sys
import time
from collections.abc import Callable
from threading import Event, Thread

from fanfold.engine.limits import deadlines
from fanfold.engine.limits.deadlines import Limiter
from fanfold.engine.limits.watchdog import ThreadWatchdog
from fanfold.values.errors import TimedOut

GRACE_S = 0.1


def sleep() -> None:
    """Wait in the kernel."""
    time.sleep(3600)


def loop() -> None:
    """Carry out Python code."""
    while True:
        pass


def deaf() -> None:
    """Go on whatever strikes."""
    while True:
        try:
            time.sleep(0.001)
        except BaseException:
            continue


def free() -> None:
    """Carry out C code that gives the GIL away."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)


def held() -> None:
    """Carry out C code that holds the GIL, a pattern that takes for ever, blind to signals."""
    sum(range(10**12))


def pattern() -> None:
    """Carry out C code that holds the GIL, though it looks for signals now and then."""
    re.match(r"(a+)+$", "a" * 60 + "b")


PROGRAMS: dict[str, Callable[[], None]] = {
    program.__name__: program for program in (sleep, loop, deaf, free, held, pattern)
}


def run(name: str, seconds: float) -> None:
    """Run a program under a limit, then a call that is in time, and print how they end."""
    with Limiter(seconds, name=name, kills=True, grace_s=GRACE_S) as limiter:
        try:
            limiter.call(PROGRAMS[name])
        except TimedOut as error:
            print(error.how, flush=True)
        print(limiter.call(str, "in time"), flush=True)
        # Longer than limit and grace together: nothing may end the process between two calls.
        Event().wait(seconds + GRACE_S + 0.05)


def main(name: str, thread: str, dog: str, seconds: str = "0.1") -> None:
    """Run a program in the main thread or in another one."""
    if dog == "thread":
        deadlines.watchdog = ThreadWatchdog
    if thread == "main":
        run(name, float(seconds))
        return
    other = Thread(target=run, args=(name, float(seconds)))
    other.start()
    other.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
