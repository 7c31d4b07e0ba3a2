"""A history of its own for each test of commands that read one, and a story to fill it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold.engine import registry, settings
from fanfold.ports.history import History
from tests.unit.cli.stories import Story


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    """Return an empty history, which commands read too."""
    for name in [name for name in os.environ if name.startswith("FANFOLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FANFOLD_HISTORY_URL", f"memory://{tmp_path.name}")
    monkeypatch.chdir(tmp_path)
    settings.reload()
    made = registry.history(settings.current().history_url)
    yield made
    made.close()
    settings.reload()


@pytest.fixture
def story(history: History) -> Story:
    """Return what tells the history of runs."""
    return Story(history)
