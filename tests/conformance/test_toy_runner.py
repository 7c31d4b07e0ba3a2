"""The runner suite on the smallest runner there is: what the port says is enough to write one."""

from typing import Any

import pytest

from fanfold.testing.traits import Manners
from fanfold.values.resources import Traits
from tests.conformance.test_local_runners import LocalSuite
from tests.conformance.toy import ToyTaskRunner


class TestToy(LocalSuite):
    __test__ = True

    @pytest.fixture
    def runner(self) -> ToyTaskRunner:
        return ToyTaskRunner()

    @pytest.fixture
    def narrow_runner(self) -> ToyTaskRunner:
        return ToyTaskRunner(threads=1)

    def pinned(self, runner: Any, *, borrowed: bool) -> Traits:
        return Traits()

    def manners(self, runner: Any) -> Manners:
        return Manners()
