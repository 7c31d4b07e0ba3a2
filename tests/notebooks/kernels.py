"""A real kernel, driven cell by cell, which can be interrupted while a cell runs."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty
from typing import Any, Self

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

DEADLINE_S = 90.0
"""Also for the start of a cluster on a machine where much else runs."""


@dataclass
class Output:
    """What came of one cell, as a notebook holds it."""

    request: str
    """Id of the cell's request; what belongs to the cell has it as its parent."""
    streams: dict[str, str] = field(default_factory=lambda: {"stdout": "", "stderr": ""})
    displays: list[tuple[str, dict[str, str], float]] = field(default_factory=list)
    """Display ids, what was shown, and when: also the updates, in order."""
    elsewhere: list[dict[str, Any]] = field(default_factory=list)
    """Messages that belong to other cells, though they came while this one ran."""
    result: dict[str, str] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0

    @property
    def printed(self) -> str:
        """Standard output without log lines."""
        lines = self.streams["stdout"].splitlines(keepends=True)
        return "".join(line for line in lines if not LOG_LINE.match(line))

    @property
    def shown(self) -> list[dict[str, str]]:
        """What a saved notebook has of each display: the last update."""
        return list({name: data for name, data, _ in self.displays}.values())


LOG_LINE = re.compile(r"\d\d:\d\d:\d\d \| |  ")
"""The beginning of a log line, or of what goes on below it."""

Reached = Callable[[Output], bool]


class Kernel:
    """A kernel with nothing loaded; ends with the block."""

    def __init__(self) -> None:
        self._manager = KernelManager(kernel_name="python3")
        self._client: BlockingKernelClient

    def __enter__(self) -> Self:
        self._manager.start_kernel()
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=DEADLINE_S)
        return self

    def __exit__(self, *error: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=False)

    def run(self, code: str) -> Output:
        """Run a cell to its end, which must not be an exception."""
        output = self._follow(Output(self._client.execute(code)), lambda output: False)
        assert not output.error, f"{output.error}\n{output.streams}"
        return output

    def run_interrupted(self, code: str, when: Reached) -> Output:
        """Run a cell, interrupt it once its output is such, and return how it ended.

        `seconds` are those from the interrupt to the end.
        """
        output = self._follow(Output(self._client.execute(code)), when)
        self._manager.interrupt_kernel()
        return self._follow(output, lambda output: False)

    def _follow(self, output: Output, enough: Reached) -> Output:
        began = time.monotonic()
        while not enough(output):
            try:
                message = self._client.get_iopub_msg(timeout=began + DEADLINE_S - time.monotonic())
            except Empty:
                raise TimeoutError(f"The cell still runs; so far: {output}") from None
            if message["parent_header"].get("msg_id") != output.request:
                output.elsewhere.append(message)
            elif _over(message):
                break
            else:
                _take(output, message)
        output.seconds = time.monotonic() - began
        return output


def _over(message: dict[str, Any]) -> bool:
    return message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"


def _take(output: Output, message: dict[str, Any]) -> None:
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        output.streams[content["name"]] += content["text"]
    elif kind in ("display_data", "update_display_data"):
        name = content["transient"]["display_id"]
        output.displays.append((name, content["data"], time.monotonic()))
    elif kind == "execute_result":
        output.result = content["data"]
    elif kind == "error":
        output.error = f"{content['ename']}: {content['evalue']}"
