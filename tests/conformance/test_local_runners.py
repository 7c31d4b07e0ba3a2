"""The runner suite on the runners of this machine: inline, threads and processes."""

import threading

import pytest

from fanfold.adapters.runners.inline import InlineTaskRunner
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.testing.runners import RunnerSuite

OF_THE_ENGINE = ("fanfold-dispatch", "fanfold-commit", "fanfold-ears")


class LocalSuite(RunnerSuite):
    """A local session has no other cluster than this process, where it may leave threads."""

    __test__ = False

    def leftovers(self) -> list[str]:
        names = [f"{thread.name} {thread.ident}" for thread in threading.enumerate()]
        return [
            name
            for name in names
            if name.startswith("fanfold-") and not name.startswith(OF_THE_ENGINE)
        ]


class TestInline(LocalSuite):
    __test__ = True

    @pytest.fixture
    def runner(self) -> InlineTaskRunner:
        return InlineTaskRunner()


class TestThreads(LocalSuite):
    __test__ = True

    @pytest.fixture
    def runner(self) -> ThreadPoolTaskRunner:
        return ThreadPoolTaskRunner()

    @pytest.fixture
    def narrow_runner(self) -> ThreadPoolTaskRunner:
        return ThreadPoolTaskRunner(max_workers=1)


class TestProcesses(LocalSuite):
    __test__ = True

    @pytest.fixture
    def runner(self) -> ProcessTaskRunner:
        return ProcessTaskRunner(max_workers=2)

    @pytest.fixture
    def narrow_runner(self) -> ProcessTaskRunner:
        return ProcessTaskRunner(max_workers=1)
