"""The suite that every result store passes; an adapter's test file is one fixture and one class.

    class TestMine(StoreSuite):
        @pytest.fixture
        def grounds(self, tmp_path: Path) -> Grounds:
            return Grounds(
                fresh=lambda: MyStore(f"mine://{tmp_path}/{new_id()}"),
                unreachable=lambda: MyStore("mine://nowhere"),
                private=False,
            )

Checks whose names begin with `s1` to `s8` are of the rules of `ports.results`; the others are of
what its methods say. A difference between stores is a field of `Grounds`, for which a check asserts
either the one or the other. Faults are made by `strike`, where a test can reach the storage; where
it can't, those checks see that all is as it should be without any.

Checks marked slow move more than some megabytes or a thousand objects. For pytest to show the
values in failed assertions, a conftest.py calls `pytest.register_assert_rewrite("fanfold.testing")`
and declares the marker.
"""

from fanfold.testing.checks_creating import CreateChecks
from fanfold.testing.checks_objects import ObjectChecks


class StoreSuite(ObjectChecks, CreateChecks):
    """All checks of a result store: `grounds` is a fixture."""
