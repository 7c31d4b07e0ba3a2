"""Lines of logs from Ray's workers: live, in order, and counted in a flood."""

import pytest

from fanfold.testing.checks_logs import LogChecks
from fanfold_ray import RayTaskRunner


class TestRay(LogChecks):
    @pytest.fixture
    def runner(self) -> RayTaskRunner:
        return RayTaskRunner(address="local", init_kwargs={"num_cpus": 2})
