"""What every test gets: a home of its own, and a way to ask for a real component."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from fanfold.values.secrets import KNOWN
from tests.components import require_component
from tests.stores import fixtures

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
    config.pluginmanager.register(fixtures, "fanfold-store-fixtures")


class Fixtures:
    """Registered as a plug-in, so that they are seen by tests of every folder."""

    @pytest.fixture(autouse=True)
    def fanfold_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Keep the user's own home untouched; processes that a test starts inherit this one."""
        home = tmp_path / "fanfold-home"
        monkeypatch.setenv("FANFOLD_HOME", str(home))
        return home

    @pytest.fixture(autouse=True)
    def no_secret_outlives_its_test(self) -> Iterator[None]:
        """Let texts that one test has hidden be read in the next."""
        held = vars(KNOWN)
        before = {**held, "_by_start": dict(held["_by_start"])}
        yield
        held.update(before)

    @pytest.fixture
    def require(self) -> Callable[..., None]:
        """Return `require_component`, for tests of components that not every machine has."""
        return require_component
