"""What every test gets: a home of its own, and a way to ask for a real component."""

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# No deadline: on a busy machine a single example may take long without being wrong. The whole test
# still has its time limit.
hypothesis.settings.register_profile("fanfold", deadline=None, print_blob=True)
hypothesis.settings.load_profile("fanfold")


def pytest_configure(config: pytest.Config) -> None:
    """Make the fixtures hold for the runners' tests too, which lie outside this folder."""
    # A thread imports it, and pytest parses what is imported: where another thread does the same,
    # the parser of Python 3.11 may fail (python/cpython#106905).
    importlib.import_module("fanfold.engine.recording.writer")
    config.pluginmanager.register(Fixtures(), "fanfold-fixtures")


class Fixtures:
    """Registered as a plug-in, so that they are seen by tests of every folder."""

    @pytest.fixture(autouse=True)
    def fanfold_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Keep the user's own home untouched; processes that a test starts inherit this one."""
        home = tmp_path / "fanfold-home"
        monkeypatch.setenv("FANFOLD_HOME", str(home))
        return home

    @pytest.fixture
    def require(self) -> Callable[..., None]:
        """Return `require_component`, for tests of components that not every machine has."""
        return require_component


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
