"""Runs our commands as somebody at a terminal does, and as a program does that reads a pipe."""

import os
import pty
import sys
import threading

import pytest
from click.testing import CliRunner, Result

from fanfold.cli.__main__ import fanfold

COLUMNS = 80


def run(*words: str, code: int = 0) -> Result:
    """Run a command with its output in a pipe."""
    result = CliRunner().invoke(fanfold, words)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def seen(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """Run a command at a terminal of 80 columns without colours; return the lines there."""
    ours, theirs = pty.openpty()
    told = bytearray()
    reader = threading.Thread(target=_read, args=(ours, told))
    reader.start()
    with monkeypatch.context() as patch, os.fdopen(theirs, "w") as terminal:
        patch.setenv("COLUMNS", str(COLUMNS))
        patch.setenv("TERM", "dumb")
        patch.setenv("NO_COLOR", "1")
        patch.setattr(sys, "stdout", terminal)
        fanfold(words, prog_name="fanfold", standalone_mode=False)
        terminal.flush()
    reader.join(30)
    os.close(ours)
    return told.decode().splitlines()


def _read(terminal: int, told: bytearray) -> None:
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # on Linux the end of a terminal
            return
        if not piece:
            return
        told += piece
