"""`log_prints`: a print inside a run becomes a line of its log; elsewhere print stays print."""

import builtins
import io
import logging
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from fanfold.engine.context import current
from fanfold.engine.telling import tell

_lock = threading.Lock()
_users = 0
_real_print = builtins.print


def _print(*values: Any, **options: Any) -> None:
    context = current()
    file = options.get("file")
    if context is None or not context.info.log_prints or file not in (None, sys.stdout):
        _real_print(*values, **options)
        return
    if context.send is not None and context.send.refuses(context, logging.INFO):
        return
    text = io.StringIO()
    _real_print(*values, sep=options.get("sep", " "), end="", file=text)
    tell(context, text.getvalue())


@contextmanager
def logged(wanted: bool = True) -> Generator[None]:
    """Route prints while the code inside runs.

    The replacement of `print` is one for the process and asks each time whose code prints, so runs
    in other threads, and code outside any run, aren't touched.
    """
    if not wanted:
        yield
        return
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(step: int) -> None:
    global _users, _real_print
    with _lock:
        if _users == 0:
            _real_print = builtins.print
            builtins.print = _print
        _users += step
        if _users == 0:
            builtins.print = _real_print
