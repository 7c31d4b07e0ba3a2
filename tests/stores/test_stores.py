"""The store suite on every storage that tests can have: what differs is told in `Grounds`."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.ports.results import ResultStore
from fanfold.testing.grounds import Fault, Grounds
from fanfold.testing.stores import StoreSuite
from fanfold.values.ids import new_id
from tests.stores.places import S3Place
from tests.stores.s3_faults import Effect, Rule

EFFECTS = {
    Fault.BROKEN: Effect.INTERNAL_ERROR,
    Fault.BUSY: Effect.SLOW_DOWN,
    Fault.RESET: Effect.RESET,
    Fault.TRUNCATED: Effect.TRUNCATE,
    Fault.LOST: Effect.LOSE,
}


def without_a_bucket(place: S3Place) -> FsspecStore:
    return FsspecStore(f"s3://{place.bucket}-none/results", place.options)


class TestFolder(StoreSuite):
    @pytest.fixture
    def grounds(self, tmp_path: Path) -> Grounds:
        (tmp_path / "a file").touch()
        return Grounds(
            fresh=lambda: FsspecStore(str(tmp_path / "not" / new_id())),
            unreachable=lambda: FsspecStore(str(tmp_path / "a file")),
            private=True,
        )


class TestMemory(StoreSuite):
    @pytest.fixture
    def grounds(self) -> Grounds:
        return Grounds(
            fresh=lambda: FsspecStore(f"memory://{new_id()}"),
            unreachable=lambda: FsspecStore("/dev/null/below"),
            private=True,
            shared=False,
        )


class TestOwnS3(StoreSuite):
    @pytest.fixture
    def grounds(self, s3: S3Place) -> Grounds:
        @contextmanager
        def strike(store: ResultStore, fault: Fault) -> Generator[None]:
            s3.control.strike(Rule(effect=EFFECTS[fault], nth=(1,)))
            yield
            assert s3.control.struck() == [1]
            s3.control.strike()

        return Grounds(
            fresh=lambda: s3.store(new_id()),
            unreachable=lambda: without_a_bucket(s3),
            private=False,
            strike=strike,
        )


@pytest.mark.slow
class TestMoto(StoreSuite):
    @pytest.fixture
    def grounds(self, moto: S3Place) -> Grounds:
        return Grounds(
            fresh=lambda: moto.store(new_id()),
            unreachable=lambda: without_a_bucket(moto),
            private=False,
            atomic=False,
        )


@pytest.mark.slow
class TestRclone(StoreSuite):
    @pytest.fixture
    def grounds(self, rclone: S3Place) -> Grounds:
        return Grounds(
            fresh=lambda: rclone.store(new_id()),
            unreachable=lambda: without_a_bucket(rclone),
            private=False,
            exclusive=False,
        )
