"""The pytest plugin: `fanfold_harness` gives a test a `harness` of its own.

    def test_totals(fanfold_harness):
        assert my_flow(["monday"]) == 6

- `@pytest.mark.fanfold_harness` does so for a test that asks it nothing, a class or a module, and
  takes the arguments of `harness`: `@pytest.mark.fanfold_harness(runner="threads")`.
- `fanfold_autouse = true` in pytest's configuration does so for all tests.
- `fanfold_session_harness` is one for a whole session: what one test keeps is there for the next.

pytest loads this whenever it starts, so Fanfold itself is loaded by the first test that uses it.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fanfold.testing.harnesses import Harness

AUTOUSE = "fanfold_autouse"
FIXTURE = "fanfold_harness"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the option."""
    parser.addini(AUTOUSE, "Give each test a fanfold harness of its own.", type="bool")


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark."""
    config.addinivalue_line(
        "markers", f"{FIXTURE}(**options): give the test a fanfold harness with these options."
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the harness to a test before the test's other fixtures."""
    # Not every kind of item has fixtures.
    names: list[str] | None = getattr(item, "fixturenames", None)
    if names is None or FIXTURE in names:
        return
    if item.config.getini(AUTOUSE) or item.get_closest_marker(FIXTURE) is not None:
        names.insert(0, FIXTURE)


@pytest.fixture
def fanfold_harness(request: pytest.FixtureRequest) -> "Generator[Harness]":
    """Have flows and tasks run in a harness of the test's own."""
    marker = request.node.get_closest_marker(FIXTURE)
    yield from _harness(**(marker.kwargs if marker is not None else {}))


@pytest.fixture(scope="session")
def fanfold_session_harness() -> "Generator[Harness]":
    """Have flows and tasks run in a harness that lasts to the end of the session."""
    yield from _harness()


def _harness(**options: Any) -> "Generator[Harness]":
    from fanfold.testing.harnesses import harness  # not when pytest starts

    with harness(**options) as made:
        yield made
