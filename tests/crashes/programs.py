"""Programs that tests start, listen to and kill: each a module, told by arguments what to do."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

DEADLINE_S = 60.0
"""For a program to say something or to end; only a test that fails takes so long."""


class Program:
    """A running program, whose standard output is read line by line; for a `with`.

    It leads a session of its own, which ends with the block, and has a pipe as standard input.

    Args:
        module: What is run, such as "tests.crashes.dictating".
        *arguments: Its arguments.
        environment: Variables on top of those of this process.
        prefix: A command that runs the program, such as ("unshare", "--mount").
    """

    def __init__(
        self,
        module: str,
        *arguments: object,
        environment: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self._lines: list[str] = []
        self._errors: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read_lines),
            threading.Thread(target=self._read_errors),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    @property
    def lines(self) -> list[str]:
        """What it has printed so far."""
        with self._news:
            return list(self._lines)

    @property
    def errors(self) -> str:
        """What it has written to standard error so far."""
        with self._news:
            return "".join(self._errors)

    @property
    def running(self) -> bool:
        """Whether it hasn't ended."""
        return self.process.poll() is None

    def wait_for(self, count: int, timeout_s: float = DEADLINE_S) -> list[str]:
        """Return its lines once there are so many.

        Raises:
            AssertionError: It ended before, or didn't print them in time.
        """
        with self._news:
            self._news.wait_for(lambda: len(self._lines) >= count or self._ended, timeout_s)
            told = f"{len(self._lines)} lines only; {''.join(self._errors)}"
            assert len(self._lines) >= count, told
            return list(self._lines)

    def stop(self) -> None:
        """Stop it as Ctrl-Z does, until `proceed`."""
        self.process.send_signal(signal.SIGSTOP)

    def proceed(self) -> None:
        """Let it go on after `stop`."""
        self.process.send_signal(signal.SIGCONT)

    def finish(self, timeout_s: float = DEADLINE_S) -> list[str]:
        """Close its standard input, wait for its end, and return its lines.

        Raises:
            AssertionError: It failed.
        """
        if self.process.stdin is not None:
            self.process.stdin.close()
        code = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join()
        assert code == 0, f"it ended with {code}: {self.errors}"
        return self.lines

    def kill(self) -> list[str]:
        """Kill it (SIGKILL), and return all lines that it has printed."""
        self.process.kill()
        self.process.wait()
        # Its children may hold the other end of the pipes.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for reader in self._readers:
            reader.join()
        return self.lines

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            # One that has no end was torn by the program's death.
            if line.endswith("\n"):
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self._errors.append(line)
