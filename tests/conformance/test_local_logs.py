"""Lines of logs from the worker processes of this machine."""

import pytest

from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.testing.checks_logs import LogChecks


class TestProcesses(LogChecks):
    @pytest.fixture
    def runner(self) -> ProcessTaskRunner:
        return ProcessTaskRunner(max_workers=2)
