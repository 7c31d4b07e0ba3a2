"""Which versions must agree between a driver and its workers."""

import pytest

from fanfold.values import versions
from fanfold.values.errors import VersionMismatch


def test_a_worker_of_the_same_versions_is_taken() -> None:
    versions.check(versions.fingerprint(), versions.fingerprint(), "here")


@pytest.mark.parametrize(
    ("worker", "told"),
    [
        (("3.12", "1.0"), "Python 3.12 there and 3.11 here"),
        (("3.11", "2.0"), "Fanfold 2.0 there and 1.0 here"),
    ],
)
def test_a_worker_of_another_version_is_refused_by_name(worker: tuple[str, str], told: str) -> None:
    with pytest.raises(VersionMismatch, match=f"Worker tcp://a .*{told}\\."):
        versions.check(("3.11", "1.0"), worker, "tcp://a")
