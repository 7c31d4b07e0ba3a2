"""Has pytest show the values in failed assertions, and starts a PostgreSQL where it is asked for.

`postgresql` is one server for all tests of a process, private to it; each test makes schemas or
databases of its own there, so that tests may run in any order, and in several processes, which have
a server each.
"""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from fanfold.testing.postgresql import Server, programs, server
from tests.components import require_component

pytest.register_assert_rewrite("fanfold.testing")


@pytest.fixture(scope="session")
def require_postgresql() -> None:
    reason = "for the history in PostgreSQL"
    require_component("PostgreSQL", reason, present=programs() is not None)
    require_component("psycopg", reason, present=find_spec("psycopg") is not None)


@pytest.fixture(scope="session")
def postgresql(require_postgresql: None) -> Iterator[Server]:
    with server() as started:
        yield started
