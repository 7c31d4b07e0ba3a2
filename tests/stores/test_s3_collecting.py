"""Garbage is collected on S3, where indexes are signed: it goes, and nothing else does."""

from datetime import timedelta

import pytest

from fanfold import task
from fanfold.cache_policies import INPUTS
from fanfold.engine.results import caring, checking, garbage, inventory
from fanfold.engine.results.garbage import Why, Wishes
from fanfold.engine.results.signing_keys import keyring_of
from tests.stores.places import S3Place

COUNT = 40
ran: list[int] = []


@task(cache_policy=INPUTS)
def lasting(x: int) -> int:
    ran.append(x)
    return x


@task(cache_policy=INPUTS, cache_expiration=timedelta(microseconds=1))
def fleeting(x: int) -> int:
    return x


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path_factory.mktemp("home")))
    ran.clear()


def test_what_has_expired_goes_and_the_rest_is_as_it_was_committed(s3: S3Place) -> None:
    store = s3.store()
    keyring = keyring_of(store)
    for each in (lasting, fleeting):
        each.with_options(result_storage=store).map(range(COUNT)).result()
    there = inventory.taken(store, keyring)
    verdicts = garbage.judged(there, Wishes(now=caring.storage_now(store)))
    s3.control.forget()

    caring.carry_out(store, keyring, verdicts, [])

    asked = {operation for operation, _, _ in s3.control.counts()}
    assert asked <= {"DeleteObjects", "DeleteObject"}
    assert [verdict.results for verdict in verdicts] == [{Why.EXPIRED: COUNT}]
    (folder,) = inventory.taken(store, keyring).folders
    assert folder.name.startswith("lasting-")
    assert list(checking.findings(store, folder)) == []
    ran.clear()
    assert lasting.with_options(result_storage=store).map(range(COUNT)).result() == [*range(COUNT)]
    assert ran == []


def test_what_stands_for_an_index_is_signed_and_believed(s3: S3Place) -> None:
    store = s3.store()
    keyring = keyring_of(store)
    lasting.with_options(result_storage=store).map(range(COUNT)).result()
    (folder,) = inventory.taken(store, keyring).folders
    first = next(folder.entries()).key
    named = Wishes(now=0.0, expired=False, named=lambda _, entry: entry.key == first)

    caring.carry_out(store, keyring, garbage.judged(inventory.taken(store, keyring), named), [])

    (after,) = inventory.taken(store, keyring).folders
    assert after.unread == {}
    assert len(list(after.entries())) == COUNT - 1
    assert list(inventory.taken(store, None).folders[0].entries()) == list(after.entries())
    ran.clear()
    assert lasting.with_options(result_storage=store).map(range(COUNT)).result() == [*range(COUNT)]
    assert len(ran) == 1
