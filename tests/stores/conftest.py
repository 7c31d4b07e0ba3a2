"""Has pytest show the values in failed assertions of the suites that we ship."""

import pytest

pytest.register_assert_rewrite("fanfold.testing")
