"""The pytest plugin, in sessions of pytest of its own."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

LIMIT_S = 60
SUITE = """
import pytest
from fanfold import flow, task
from fanfold.engine import settings

@task(persist_result=True)
def half(x):
    return x / 2

@flow
def halves(xs):
    return half.map(xs).result()

def inside():
    return settings.home().parent.name.startswith("fanfold-harness-")
"""


def suite(folder: Path, tests: str, *options: str) -> str:
    """Run a suite of a user's, and return what pytest prints."""
    (folder / "test_users.py").write_text(SUITE + tests)
    (folder / "pytest.ini").write_text("[pytest]\n" + "\n".join(options))
    # Warnings are errors, plugins of ours are there, and two workers share the tests.
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "--strict-markers", "-n2", "-q", "-rA"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    return run.stdout + run.stderr


def test_pytest_finds_the_plugin() -> None:
    (found,) = (each for each in entry_points(group="pytest11") if each.name == "fanfold")

    assert found.value == "fanfold.testing.plugin"


def test_a_test_that_asks_for_it_has_a_harness(tmp_path: Path) -> None:
    told = suite(
        tmp_path,
        """
def test_asks(fanfold_harness):
    assert halves([2, 4]) == [1.0, 2.0]
    assert inside() and settings.home() == fanfold_harness.home
    assert settings.current().default_runner == "inline"

def test_does_not():
    assert not inside()
""",
    )

    assert re.search(r"^2 passed", told, re.MULTILINE), told


def test_a_mark_gives_one_with_options(tmp_path: Path) -> None:
    told = suite(
        tmp_path,
        """
@pytest.mark.fanfold_harness(runner="threads", retry_delays=True)
class TestMarked:
    def test_one(self):
        assert inside() and settings.current().default_runner == "threads"
        assert settings.current().retry_delays

@pytest.mark.fanfold_harness
def test_two():
    assert inside() and settings.current().default_runner == "inline"

@pytest.mark.fanfold_harness(runnr="threads")
def test_three():
    pass
""",
    )

    assert re.search(r"^2 passed, 1 error", told, re.MULTILINE), told
    assert "unexpected keyword argument 'runnr'" in told


def test_an_option_gives_one_to_every_test(tmp_path: Path) -> None:
    told = suite(
        tmp_path,
        """
@pytest.fixture
def made_first():
    return inside()

@pytest.mark.parametrize("x", range(3))
def test_each(x, made_first):
    assert made_first and inside() and halves([x]) == [x / 2]

@pytest.mark.fanfold_harness(runner="threads")
def test_marked(fanfold_harness):
    assert settings.current().default_runner == "threads"
""",
        "fanfold_autouse = true",
    )

    assert re.search(r"^4 passed", told, re.MULTILINE), told


def test_a_session_may_share_one(tmp_path: Path) -> None:
    told = suite(
        tmp_path,
        """
@pytest.fixture(scope="module")
def prepared(fanfold_session_harness):
    return halves([2, 4])

def test_one(prepared, fanfold_session_harness):
    assert prepared == [1.0, 2.0] and settings.home() == fanfold_session_harness.home

def test_two(fanfold_session_harness, fanfold_harness):
    assert settings.home() == fanfold_harness.home != fanfold_session_harness.home
""",
    )

    assert re.search(r"^2 passed", told, re.MULTILINE), told


def test_pytest_starts_without_loading_the_engine() -> None:
    program = (
        "import pytest; before = set(__import__('sys').modules); import fanfold.testing.plugin\n"
        "print(*sorted(set(__import__('sys').modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert run.stdout.split() == ["fanfold", "fanfold.testing", "fanfold.testing.plugin"]


@pytest.mark.fanfold_harness
def test_marks_work_here_too(fanfold_harness: object) -> None:
    assert fanfold_harness is not None
