"""The suite that every runner passes; a plug-in's test file is one fixture and one class.

    @pytest.fixture
    def runner() -> MyTaskRunner:
        return MyTaskRunner(address=...)

    class TestMine(RunnerSuite):
        pass

A class whose runner isn't in the tables of `fanfold.testing.traits` has methods `pinned` and
`manners` too, one whose runner honours resources the fixture `stock`, and one whose clusters grow
from nothing `growing_runner`.

Checks bear the numbers that the design gives them. They count what really ran in files, so driver
and workers must share this machine. A difference between runners is a declared trait, for which a
check asserts either the one or the other. Nothing is skipped but what the class itself puts off as
`later`, and that is printed. For pytest to show the values in failed assertions, a conftest.py
calls `pytest.register_assert_rewrite("fanfold.testing")`.
"""

from fanfold.testing.checks_cancelling import CancelChecks
from fanfold.testing.checks_closing import CloseChecks
from fanfold.testing.checks_deaths import DeathChecks
from fanfold.testing.checks_flows import FlowChecks
from fanfold.testing.checks_freezing import FreezeChecks
from fanfold.testing.checks_reports import ReportChecks
from fanfold.testing.checks_resources import ResourceChecks
from fanfold.testing.checks_values import ValueChecks


class RunnerSuite(
    ReportChecks,
    ValueChecks,
    ResourceChecks,
    CancelChecks,
    DeathChecks,
    FreezeChecks,
    CloseChecks,
    FlowChecks,
):
    """All checks of a runner: `runner` is a fixture, whose cluster may be borrowed."""
