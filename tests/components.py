"""Real components that tests need, such as a database's programs: there, or told as missing."""

import os
import shutil

import pytest


def require_component(component: str, reason: str, *, present: bool | None = None) -> None:
    """Go on only where a component is there: else skip, or fail where CI promises to have it.

    Args:
        component: A program on the path, or any name when `present` is given.
        reason: What the test needs it for, as part of the message.
        present: Whether it is there, for what isn't a program; None to look on the path.
    """
    __tracebackhide__ = True  # so that the summary names the test, not this line
    if present is None:
        present = shutil.which(component) is not None
    if present:
        return
    message = f"{component} is missing, needed {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{message}; .ci/run must install it", pytrace=False)
    pytest.skip(message)
