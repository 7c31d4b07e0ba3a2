"""Storage that others can write to: what they put there is never run, nor taken for a result."""

import logging
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fanfold import INPUTS, flow, task, transaction
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results import segments
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.segments import Record, Segment
from fanfold.engine.results.signing_keys import KEY_FILE
from fanfold.engine.settings import temporary
from fanfold.engine.spec import CacheSpec, TaskSpec
from tests.stores.places import S3Place
from tests.tampering import bomb
from tests.unit.engine.test_work import labels, spec_of, worked
from tests.unit.keeping_tasks import counted

FOREIGN = Keyring([("theirs", bytes(range(32)))])


@dataclass
class Shared:
    """Storage that others can write to, and a mark that is there once their code has run."""

    store: FsspecStore
    mark: Path
    calls: list[Any] = field(default_factory=list)
    met: int = 0

    def anew(self) -> FsspecStore:
        """Return the store as a process meets it that has read nothing yet: by an option."""
        self.met += 1
        told_apart = {"listings_expiry_time": self.met}  # of listings that aren't kept
        return FsspecStore(self.store.url, {**self.store.options, **told_apart})

    def work(self, **options: Any) -> Any:
        """Return a task that notes its calls, for a process that has read nothing yet."""
        return counted(self.calls, result_storage=self.anew(), **options)

    def names(self, part: str) -> list[str]:
        return [name for name in self.store.names("") if f"/{part}/" in f"/{name}"]

    def bytes(self, name: str) -> bytes:
        return bytes(self.store.read(name))

    def bombed(self) -> bytes:
        return bomb(self.mark)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    """Have a folder that others can write to."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    yield from guarded(FsspecStore(f"file://{folder}"), tmp_path)


@pytest.fixture
def on_s3(s3: S3Place, tmp_path: Path) -> Iterator[Shared]:
    """Have a bucket; whoever has its credentials can write there."""
    yield from guarded(s3.store(), tmp_path)


@pytest.fixture(params=["shared", "on_s3"])
def anywhere(request: pytest.FixtureRequest) -> Shared:
    return request.getfixturevalue(request.param)


def guarded(store: FsspecStore, folder: Path) -> Iterator[Shared]:
    there = Shared(store, folder / "mark")
    yield there
    assert not there.mark.exists(), "what somebody else wrote was unpickled"


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """Return what was warned of that names an object."""

    def naming(name: str) -> list[str]:
        told = [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]
        return [message for message in told if name in message]

    return naming


def flipped(payload: bytes) -> bytes:
    return payload[:-1] + bytes([payload[-1] ^ 1])


def forged(shared: Shared, name: str, keyring: Keyring | None) -> None:
    """Put an index in the place of one: it has the same keys, and leads to a bomb."""
    segment = Segment()
    for records in segments.unpack_index(shared.bytes(name), name, None).records().values():
        for old in records:
            segment.append(old.key, [shared.bombed()], old.codec, old.expiry, old.state)
    planted = name.replace("/index/", "/segments/") + "/chunk.planted"
    shared.store.write(planted, segment.parts(planted, bytes(32)))
    shared.store.write(name, [segments.pack_index({planted: segment.packed}, name, keyring)])


TAMPERED: dict[str, Callable[[Shared, str], None]] = {
    "damaged": lambda shared, name: shared.store.write(name, [flipped(shared.bytes(name))]),
    "truncated": lambda shared, name: shared.store.write(name, [shared.bytes(name)[:-9]]),
    "emptied": lambda shared, name: shared.store.write(name, [b""]),
    "unsigned": lambda shared, name: forged(shared, name, None),
    "foreign": lambda shared, name: forged(shared, name, FOREIGN),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_an_index_that_is_not_ours_is_a_miss_with_a_warning_that_names_it(
    how: str, shared: Shared, warnings: Callable[[str], list[str]]
) -> None:
    # Given what a map has kept, and an index that somebody has replaced
    flow(lambda: shared.work(cache_policy=INPUTS).map(range(5)).result())()
    (index,) = shared.names("index")
    TAMPERED[how](shared, index)

    # When the map runs again, in a process that hasn't read it
    again = shared.work(cache_policy=INPUTS)
    values = flow(lambda: [again.map(range(5)).result(), again.map(range(5)).result()])()

    # Then it is made anew, once, and told once
    assert values == [[["result", x] for x in range(5)]] * 2
    assert sorted(shared.calls) == sorted([*range(5)] * 2)
    assert len(warnings(index)) == 1


def test_an_index_of_another_task_or_name_is_a_miss(
    anywhere: Shared, warnings: Callable[[str], list[str]]
) -> None:
    # Given two tasks whose keys are equal, and their indexes swapped
    def works(name: str) -> Any:
        return anywhere.work(name=name, cache_key_fn=lambda context, arguments: "same")

    first, second = works("first")(1), works("second")(2)
    one, other = anywhere.names("index")
    contents = anywhere.bytes(one), anywhere.bytes(other)
    anywhere.store.write(one, [contents[1]])
    anywhere.store.write(other, [contents[0]])

    # When both are called
    assert [works("first")(1), works("second")(2)] == [first, second]

    # Then both have run, and neither has the other's result
    assert anywhere.calls == [1, 2, 1, 2]
    assert len(warnings(one)) == len(warnings(other)) == 1


def test_a_big_payload_of_an_object_of_its_own_is_never_unpickled(
    shared: Shared, warnings: Callable[[str], list[str]]
) -> None:
    big = bytearray(2 << 20)  # no plain value, so it is pickled
    flow(lambda: shared.work(cache_policy=INPUTS).map([big]).result())()
    (segment,) = shared.names("segments")
    boom, length = shared.bombed(), len(shared.bytes(segment))
    shared.store.write(segment, [boom + bytes(length - len(boom))])

    assert flow(lambda: shared.work(cache_policy=INPUTS).map([big]).result())() == [["result", big]]

    assert len(shared.calls) == 2 and warnings(segment)


def test_a_payload_that_was_replaced_is_never_unpickled(
    anywhere: Shared, warnings: Callable[[str], list[str]]
) -> None:
    flow(lambda: anywhere.work(cache_policy=INPUTS).map(range(5)).result())()
    planted = anywhere.names("segments")
    for segment in planted:
        content = anywhere.bytes(segment)
        boom = anywhere.bombed()
        anywhere.store.write(segment, [(boom * len(content))[: len(content)]])

    values = flow(lambda: anywhere.work(cache_policy=INPUTS).map(range(5)).result())()

    assert values == [["result", x] for x in range(5)]
    assert sorted(anywhere.calls) == sorted([*range(5)] * 2)
    assert all(warnings(segment) for segment in planted)


@pytest.mark.parametrize("policy", [None, INPUTS])
def test_a_named_object_that_was_replaced_is_never_unpickled(
    policy: Any, anywhere: Shared, warnings: Callable[[str], list[str]]
) -> None:
    # Given an object of the user's naming, which is a hit as it was written
    def work() -> Any:
        return anywhere.work(cache_policy=policy, result_storage_key="models/{parameters[x]}.pkl")

    work()(1)
    work()(1)
    assert anywhere.calls == [1]

    # When somebody replaces it
    anywhere.store.write("models/1.pkl", [anywhere.bombed()])

    # Then the call makes it again, and says so once
    assert [work()(1), work()(1)] == [["result", 1]] * 2
    assert anywhere.calls == [1, 1]
    assert len(warnings("models/1.pkl")) == 1


def test_a_named_object_that_was_put_there_first_is_never_unpickled(
    shared: Shared, warnings: Callable[[str], list[str]]
) -> None:
    shared.store.write("models/1.pkl", [shared.bombed()])

    assert shared.work(result_storage_key="models/{parameters[x]}.pkl")(1) == ["result", 1]

    assert len(warnings("models/1.pkl")) == 1
    assert pickle.loads(shared.bytes("models/1.pkl")) == ["result", 1]


def test_an_object_that_was_replaced_before_its_transaction_ended_gets_no_name(
    shared: Shared,
) -> None:
    work = shared.work(result_storage_key="{parameters[x]}.pkl")

    with transaction() as around:
        assert work(1) == ["result", 1]
        (staged,) = shared.names("objects")
        shared.store.write(staged, [shared.bombed()])

    assert around.is_rolled_back()
    assert "1.pkl" not in shared.store.names("")


def recorded(shared: Shared, value: Any) -> bool:
    """Return whether a transaction had to be gone through, and check what its record holds."""
    with transaction(key="once", store=shared.anew()) as once:
        run = not once.is_committed()
        if run:
            once.stage(value)
    with transaction(key="once", store=shared.anew()) as once:
        assert once.is_committed() and once.read() == value
    return run


def test_a_record_of_a_transaction_is_believed_as_it_was_signed(
    shared: Shared, warnings: Callable[[str], list[str]]
) -> None:
    assert recorded(shared, "value") and not recorded(shared, "value")
    assert pickle.loads(shared.bytes("transactions/once")) == "value", "as others read it"

    shared.store.write("transactions/once", [shared.bombed()])

    assert recorded(shared, "value")
    assert len(warnings("transactions/once")) == 1


def test_a_record_that_somebody_else_put_there_is_none(
    shared: Shared, warnings: Callable[[str], list[str]]
) -> None:
    shared.store.write("transactions/once", [shared.bombed()])
    assert recorded(shared, "value")
    assert len(warnings("transactions/once")) == 1

    name, beside = "transactions/once", "signatures/transactions/once"
    digest = segments.digest([shared.bombed()])
    rows = (Record(key=digest, offset=0, length=1, digest=digest),)
    shared.store.write(name, [shared.bombed()])
    shared.store.write(beside, [segments.pack_index({name: rows}, beside, FOREIGN)])
    assert recorded(shared, "value")
    assert any("'theirs'" in warning for warning in warnings(beside))


def test_what_an_older_key_signed_is_a_hit_while_the_key_is_listed(
    shared: Shared, warnings: Callable[[str], list[str]]
) -> None:
    old, new = f"old={'0f' * 32}", f"new={'1e' * 32}"
    with temporary({"results.signing_keys": old}):
        shared.work(cache_policy=INPUTS)(1)
    (index,) = shared.names("index")

    with temporary({"results.signing_keys": f"{new},{old}"}):
        shared.work(cache_policy=INPUTS)(1)
    assert shared.calls == [1] and not warnings(index)

    with temporary({"results.signing_keys": new}):
        shared.work(cache_policy=INPUTS)(1)
    assert shared.calls == [1, 1]
    (told,) = warnings(index)
    assert "'old'" in told and "results.signing_keys" in told


def test_what_was_signed_is_read_where_nobody_else_can_write_any_more(tmp_path: Path) -> None:
    shared = Shared(FsspecStore(f"file://{tmp_path}"), tmp_path / "mark")
    tmp_path.chmod(0o777)
    shared.work(cache_policy=INPUTS)(1)

    tmp_path.chmod(0o700)
    shared.work(cache_policy=INPUTS)(1)

    assert shared.calls == [1]


def test_a_task_on_a_worker_without_keys_keeps_nothing_and_says_so(
    shared: Shared, warnings: Callable[[str], list[str]]
) -> None:
    place = shared.anew()

    @task
    def outer() -> Any:
        inner = task(lambda x: x, name="inner", cache_policy=INPUTS, result_storage=place)
        return [*inner.map([1, 2]).result(), inner(3)]

    assert flow(lambda: outer.submit().result(), task_runner="processes")() == [1, 2, 3]

    assert not shared.names("index"), "a worker has no key to sign with"
    (told,) = warnings("inner runs uncached")
    assert "results.signing_keys" in told


def test_what_somebody_plants_for_a_chunk_that_is_run_again_is_passed_over(
    shared: Shared,
) -> None:
    # Given a chunk's try, what somebody else has put beside what it staged, and a copy of that
    def square(n: int) -> int:
        shared.calls.append(n)
        return n * n

    def spec() -> TaskSpec:
        cache = CacheSpec(
            key=lambda spec, arguments: arguments["n"].to_bytes(16, "big"),
            store=shared.store,
            folder="t",
            lookup=Lookup.merge(shared.store, []),
            secret=bytes(range(32)),
        )
        return spec_of(square, cache=cache)

    first, _ = worked(spec(), range(4), rerun=True)
    (name,) = first.staged
    bombs = Segment()
    for number in range(4):
        bombs.append(number.to_bytes(16, "big"), [shared.bombed()])
    for planted, content in {
        name + "z": b"".join(bombs.parts(name + "z", bytes(32))),
        name + "y": shared.bytes(name),
    }.items():
        shared.store.write(planted, [content])

    # When the cluster runs the chunk again
    second, _ = worked(spec(), range(4), rerun=True)

    # Then only what the first try staged counts, and each other one is named
    assert second.staged == first.staged
    assert labels(second) == ["Completed"] * 4 and shared.calls == [*range(4)]
    assert len(second.warnings) == 2
    assert all(any(name + end in told for told in second.warnings) for end in "zy")


def test_workers_stage_and_the_driver_signs(shared: Shared, fanfold_home: Path) -> None:
    # Given a map on processes, which has no other way to its key than the driver's home
    store = shared.anew()
    double = task(_doubled, cache_policy=INPUTS, result_storage=store)

    @flow(task_runner="processes", persist_result=True, result_storage=store)
    def mapped() -> tuple[list[int], list[str]]:
        futures = double.map(range(40))
        return futures.result(), [one.state.name for one in futures]

    # When it runs twice
    first, second = mapped(), mapped()

    # Then the second run finds everything, and nothing but the home has the key
    assert first[0] == second[0] == [2 * x for x in range(40)]
    assert set(second[1]) == {"Cached"}
    key = (fanfold_home / KEY_FILE).read_text().strip()
    written = b"".join(shared.bytes(name) for name in shared.store.names(""))
    others = [path for path in fanfold_home.rglob("*") if path.name != KEY_FILE and path.is_file()]
    for content in (written, *(path.read_bytes() for path in others)):
        assert key.encode() not in content and bytes.fromhex(key) not in content


def _doubled(x: int) -> int:
    return 2 * x
