"""Renews the leases of a process from another one, which nothing that the first does holds up.

A process that computes without letting go of the interpreter, or that was stopped by Ctrl-Z, is
alive all the same. Its helper is in a session of its own, renews in time, and when its pipe to the
process is closed, by death or otherwise, it gives the leases up at once. Nothing secret is on its
command line.
"""

import json
import logging
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from io import FileIO
from typing import IO, Any, cast

from fanfold.ports.history import History
from fanfold.values.errors import HistoryError

LOOK_S = 2.0
"""How often the helper looks whether its process is still there: one that it forked may hold the
pipe."""
RETRY_S = 1.0
STARTS = 5
"""Of helpers that died; then the recorder renews by itself."""
STOP_S = 1.0

BOOT = """
import json, sys
said = json.loads(sys.stdin.buffer.readline())
sys.path[:] = said.pop("path")
from fanfold.engine.recording.renewing import renew
renew(**said)
"""
"""Imports little, so that it is soon there. Isolated, it finds what the process finds by its path.
"""

logger = logging.getLogger("fanfold.history")

_helpers: list["subprocess.Popen[bytes]"] = []
"""Of this process; also those that were told to end and haven't been seen to."""


class Renewals:
    """Keeps the leases of one owner. For one thread at a time.

    Args:
        history: Whose leases they are; made by its class from its URL alone.
        url: The URL.
        owner: The owner.
    """

    def __init__(self, history: History, url: str, owner: str) -> None:
        self._history = history
        self._url = url
        self._owner = owner
        self._helper: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def see_to_it(self) -> None:
        """Have the leases renewed: by the helper, which is started where there is none.

        Raises:
            HistoryUnavailable: There is no helper, and they couldn't be renewed from here.
        """
        if self._helper is not None and self._helper.poll() is None:
            return
        if self._helper is not None:
            logger.warning("The process that renews leases ended (%s)", _last_words(self._helper))
            self._end()
        if self._starts < STARTS and sys.executable:
            self._starts += 1
            self._start()
        if self._helper is None:
            self._history.renew(self._owner)

    def stop(self) -> None:
        """End the helper, which gives up what leases the owner still has."""
        self._end()

    def _start(self) -> None:
        kind = type(self._history)
        said = {
            "path": sys.path,
            "kind": f"{kind.__module__}:{kind.__qualname__}",
            "url": self._url,
            "owner": self._owner,
            "process": os.getpid(),
        }
        line = json.dumps(said).encode("ascii") + b"\n"
        try:
            self._helper = _started(line)
        except OSError as error:
            logger.warning("The process that renews leases can't be started: %s", error)
            return
        _helpers.append(self._helper)

    def _end(self) -> None:
        helper, self._helper = self._helper, None
        if helper is None:
            return
        _close_pipes(helper)
        with suppress(subprocess.TimeoutExpired):
            helper.wait(STOP_S)
        # One that goes on trying to reach its history ends by itself; it is waited for later.
        _helpers[:] = [one for one in _helpers if one.poll() is None]


def forget() -> None:
    """Let go of the parent's helpers in a forked child, lest they outlive the parent by it."""
    for helper in _helpers:
        _close_pipes(helper)
        helper.returncode = 0  # it is no child of this process
    _helpers.clear()


def renew(kind: str, url: str, owner: str, process: int) -> None:
    """Renew an owner's leases while a process lives; what the helper does.

    Args:
        kind: Module and name of the history's class.
        url: Of the history.
        owner: The owner.
        process: Id of the process, whose child this is.
    """
    logging.disable()  # nobody reads it, and a full pipe would be waited for
    module, _, name = kind.partition(":")
    history: History = _attribute(import_module(module), name)(url)
    interval_s = history.renewal_s or LOOK_S
    due = 0.0
    while os.getppid() == process:
        now = time.monotonic()
        if now >= due:
            due = now + (interval_s if _renewed(history, owner) else min(RETRY_S, interval_s))
        readable, _, _ = select.select([0], [], [], min(LOOK_S, max(0.0, due - time.monotonic())))
        if readable and not os.read(0, 4096):
            break
    _give_up(history, owner, time.monotonic() + 4 * interval_s)
    with suppress(HistoryError):
        history.close()


def _started(line: bytes) -> "subprocess.Popen[bytes]":
    """Start a helper that has a line on its standard input.

    Raises:
        OSError: It can't be started.
    """
    read, write = os.pipe()
    pipe = FileIO(write, "w")  # not buffered: without a lock that a forked child may find held
    try:
        # Before it starts: this process may be stopped, or hold its interpreter, from then on. What
        # the pipe doesn't take yet, which is some 64 KB, it gets as soon as it reads.
        os.set_blocking(write, False)
        rest = line[pipe.write(line) or 0 :]
        os.set_blocking(write, True)
        helper = subprocess.Popen(
            [sys.executable, "-I", "-c", BOOT],
            stdin=read,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError:
        pipe.close()
        raise
    finally:
        os.close(read)
    helper.stdin = cast("IO[bytes]", pipe)
    with suppress(OSError):  # it is gone already: seen next time
        while rest:
            rest = rest[pipe.write(rest) :]
    return helper


def _renewed(history: History, owner: str) -> bool:
    try:
        history.renew(owner)
    except Exception:  # tried again soon; at worst the leases expire, which the process is told
        return False
    return True


def _give_up(history: History, owner: str, until: float) -> None:
    """Let the owner's leases expire now; by `until` they have done so by themselves."""
    while time.monotonic() < until:
        try:
            history.abandon(owner)
            return
        except Exception:  # tried again, for as long as it makes a difference
            time.sleep(RETRY_S)


def _attribute(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module


def _last_words(helper: "subprocess.Popen[bytes]") -> str:
    words = b""
    if helper.stderr is not None:
        os.set_blocking(helper.stderr.fileno(), False)
        words = helper.stderr.read() or b""
    lines = words.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {helper.returncode}"


def _close_pipes(helper: "subprocess.Popen[bytes]") -> None:
    for pipe in (helper.stdin, helper.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
