"""What the tests of chaos stand on: clusters of their own, and a place for figures."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from fanfold.testing.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    folder = tmp_path / "ledger"
    folder.mkdir()
    return Ledger(str(folder))


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Generator[Callable[[str], None]]:
    """Return what prints a line that is seen though the test passes."""

    def printed(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    yield printed
