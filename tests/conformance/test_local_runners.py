"""The runner suite on the runners of this machine: inline, threads and processes."""

import pytest

from fanfold.adapters.runners.inline import InlineTaskRunner
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.testing.runners import RunnerSuite


class TestInline(RunnerSuite):
    @pytest.fixture
    def runner(self) -> InlineTaskRunner:
        return InlineTaskRunner()


class TestThreads(RunnerSuite):
    @pytest.fixture
    def runner(self) -> ThreadPoolTaskRunner:
        return ThreadPoolTaskRunner()


class TestProcesses(RunnerSuite):
    @pytest.fixture
    def runner(self) -> ProcessTaskRunner:
        return ProcessTaskRunner(max_workers=2)
