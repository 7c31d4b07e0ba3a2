"""The suite that every history passes; an adapter's test file is one fixture and one class.

    class TestMine(HistorySuite):
        @pytest.fixture
        def places(self, tmp_path: Path) -> Places:
            return Places(
                open=MyHistory,
                fresh=lambda: f"mine://{tmp_path}/{new_id()}",
                unreachable=lambda: MyHistory("mine://me:secret@/nowhere"),
            )

Checks whose names begin with `h1` to `h8` are of the rules of `ports.history`; the others are of
what its methods say. Two objects of one URL stand for two processes where that makes no difference,
and a real one is started, and killed, where it does. A difference between histories is a field of
`Places`, for which a check asserts either the one or the other. The last check compares a random
life of a history with the same one in memory.

`unreachable` shall have the word "secret" for its password, if it has one, so that it can be seen
not to be shown. For pytest to show the values in failed assertions, a conftest.py calls
`pytest.register_assert_rewrite("fanfold.testing")`.
"""

from fanfold.testing.checks_comparing import CompareChecks
from fanfold.testing.checks_details import DetailChecks
from fanfold.testing.checks_keeping import DocumentChecks, KeepChecks
from fanfold.testing.checks_leases import LeaseChecks
from fanfold.testing.checks_recording import RecordChecks
from fanfold.testing.checks_resuming import ResumeChecks
from fanfold.testing.checks_runs import RunChecks


class HistorySuite(
    RecordChecks,
    ResumeChecks,
    RunChecks,
    DetailChecks,
    LeaseChecks,
    DocumentChecks,
    KeepChecks,
    CompareChecks,
):
    """All checks of a history: `places` is a fixture."""
