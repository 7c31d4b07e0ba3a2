"""Checks of objects that are written, read, listed and removed: rules S4 to S6 and the methods."""

import pickle
import time
from typing import Any

import pytest

from fanfold.ports.results import ResultStore
from fanfold.testing.grounds import Grounds, OnGrounds, another
from fanfold.values.errors import StoreError

BIG_BYTES = 40 << 20
"""More than what stores write and read in one piece."""
MANY = 1_050
"""More than one page of a listing, and than one request removes."""
CLOCKS_S = 120.0
"""How far the clocks of two machines may differ."""

FAILING: list[tuple[tuple[Any, ...], type[Exception]]] = [
    (("absent",), FileNotFoundError),
    (("a/absent", 1, 2), FileNotFoundError),
    (("a/absent", 0, 0), FileNotFoundError),
    (("a/absent", -5), FileNotFoundError),
    (("a/b", 0, 4), EOFError),
    (("a/b", 2, 2), EOFError),
    (("a/b", 3, 1), EOFError),
    (("a/b", 4, 0), EOFError),
    (("a/b", 9), EOFError),
]
"""What can't be read where `a/b` has three bytes, and the cause that is told."""
HIDING = ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.tmp-b"]
"""Names that leave the root, or would never be listed."""


class ObjectChecks(OnGrounds):
    """Checks of `write`, `read`, `names`, `listing`, `remove` and `private`."""

    def test_what_is_written_is_read(self, store: ResultStore) -> None:
        """From parts of any kind, as a whole and in parts."""
        store.write("a/b", [b"12", bytearray(b"34"), memoryview(b"x56x")[1:3], b""])

        assert store.read("a/b") == b"123456"
        assert store.read("a/b", 2) == b"3456"
        assert store.read("a/b", 2, 3) == b"345"
        assert store.read("a/b", 6, 0) == b""
        assert store.read("a/b", -2) == b"56"
        assert store.read("a/b", -7) == b"123456"

    def test_what_is_written_is_replaced(self, store: ResultStore) -> None:
        """Nothing of what was longer stays."""
        store.write("a", [b"longer"])
        store.write("a", [b"new"])

        assert store.read("a") == b"new"
        assert [one.size_bytes for one in store.listing("")] == [3]

    def test_an_empty_object_is_one(self, store: ResultStore) -> None:
        """It is read from either end, and listed."""
        store.write("a", [])

        assert store.read("a") == store.read("a", -9) == store.read("a", 0, 0) == b""
        assert store.names("") == ["a"]

    @pytest.mark.slow
    def test_a_big_object_is_read_as_it_was_written(self, store: ResultStore) -> None:
        """Whatever it is cut into on the way."""
        content = bytes(range(251)) * (BIG_BYTES // 251)
        middle = len(content) // 2

        store.write("big", [content[:7], memoryview(content)[7:middle], content[middle:]])

        # Compared outside of the assertion, which would look for the differences for minutes.
        whole = store.read("big") == content
        ranges = [
            store.read("big", 5, middle) == content[5 : middle + 5],
            store.read("big", -middle) == content[-middle:],
        ]
        assert whole and all(ranges)
        assert [one.size_bytes for one in store.listing("")] == [len(content)]

    def test_s4_names_are_sorted_below_the_root_and_by_prefix(self, store: ResultStore) -> None:
        """Whether a prefix ends a folder, is part of a name, or is a name."""
        for name in ("b/2", "b/10", "b/c/d", "bc", "a"):
            store.write(name, [b"x"])

        assert store.names("") == ["a", "b/10", "b/2", "b/c/d", "bc"]
        assert store.names("b/") == ["b/10", "b/2", "b/c/d"]
        assert store.names("b/1") == ["b/10"]
        assert store.names("b") == ["b/10", "b/2", "b/c/d", "bc"]
        assert store.names("b/10") == ["b/10"]

    def test_s4_where_nothing_is_nothing_is_listed(self, store: ResultStore) -> None:
        """Neither before the first object nor after the last, nor beside others."""
        before = store.names("")
        store.write("a/b/c", [b"x"])
        beside = [store.names(prefix) for prefix in ("none/", "x", "a/b/d", "a/c/")]
        store.remove(["a/b/c"])

        assert before == []
        assert beside == [[], [], [], []]
        assert store.names("") == store.names("a/") == []

    def test_s4_what_was_just_written_is_listed(self, store: ResultStore) -> None:
        """By every method, after each of them, in a folder that was listed before."""
        seen: list[list[str]] = []

        for number in range(3):
            store.write(f"a/w{number}", [b"x"])
            store.create(f"a/c{number}", b"x")
            seen.append(store.names("a/"))

        assert [len(names) for names in seen] == [2, 4, 6]
        assert [one.name for one in store.listing("a/")] == seen[-1]

    def test_s4_what_another_process_wrote_is_listed_at_once(
        self, grounds: Grounds, store: ResultStore
    ) -> None:
        """And that one sees what was written here; the folder was listed before by both."""
        store.write("a/ours", [b"ours"])

        with another(grounds, store, see_and_write) as seen:
            found = store.names("a/")

        assert seen == (["a/ours"], b"ours")
        assert found == ["a/ours", "a/theirs"]
        assert store.read("a/theirs") == b"theirs"

    @pytest.mark.slow
    def test_s4_many_objects_are_listed_and_removed(self, store: ResultStore) -> None:
        """All of them, each once."""
        names = [f"many/{number:04}" for number in range(MANY)]
        for name in names:
            store.write(name, [b"x"])
        store.write("other", [b"x"])

        found = store.names("many/")
        store.remove(names)

        assert found == names
        assert store.names("") == ["other"]

    def test_a_listing_tells_sizes_and_times(self, store: ResultStore) -> None:
        """In the order of the names."""
        store.write("b", [b"12", b"3"])
        store.create("a/c", b"12345")

        listed = store.listing("")

        assert [(one.name, one.size_bytes) for one in listed] == [("a/c", 5), ("b", 3)]
        for one in listed:
            assert abs(one.modified_s - time.time()) < CLOCKS_S

    def test_s5_a_read_that_fails_says_what_is_missing_where(self, store: ResultStore) -> None:
        """An object that isn't there is told apart from one that is too short."""
        store.write("a/b", [b"123"])

        for arguments, cause in FAILING:
            with pytest.raises(StoreError) as told:
                store.read(*arguments)
            assert isinstance(told.value.__cause__, cause), arguments
            for fact in (str(store), "read", arguments[0]):
                assert fact in str(told.value)

    def test_s5_a_store_out_of_reach_says_so(self, grounds: Grounds) -> None:
        """What raises names the store, what it should have done, and with what."""
        store = grounds.unreachable()
        acts = {
            "write a/b": lambda: store.write("a/b", [b"x"]),
            "create a/b": lambda: store.create("a/b", b"x"),
            "read a/b": lambda: store.read("a/b"),
            "list a/": lambda: store.names("a/"),
            "list b/": lambda: store.listing("b/"),
        }

        for facts, act in acts.items():
            with pytest.raises(StoreError) as told:
                act()
            assert f"could not {facts}" in str(told.value)
            assert str(store) in str(told.value)

    def test_s6_names_that_leave_the_root_or_hide_are_refused(self, store: ResultStore) -> None:
        """By every method that takes one."""
        for name in HIDING:
            for act in (
                lambda name=name: store.write(name, [b""]),
                lambda name=name: store.create(name, b""),
                lambda name=name: store.read(name),
                lambda name=name: store.remove([name]),
            ):
                with pytest.raises(StoreError):
                    act()
        with pytest.raises(StoreError):
            store.names("../")
        assert store.names("") == []

    def test_s6_any_other_name_is_taken_as_it_is(self, store: ResultStore) -> None:
        """Nothing in it has a meaning."""
        names = ["a b", "a%20b", "a+b=c&d", "a.tmp-b", "deep/er/and/deeper/é\u4e2d", "x~'(1)!*"]

        for name in names:
            store.write(name, [name.encode()])

        assert store.names("") == sorted(names)
        assert [bytes(store.read(name)).decode() for name in names] == names

    def test_what_is_removed_is_gone_and_nothing_else(self, store: ResultStore) -> None:
        """Also what is removed twice, or was never there."""
        for name in ("a/1", "a/2", "a/3", "a", "b/1"):
            if name != "a":
                store.write(name, [b"x"])

        store.remove([])
        store.remove(["a/1", "a/3", "a/none", "none/1"])
        store.remove(["a/1"])

        assert store.names("") == ["a/2", "b/1"]
        with pytest.raises(StoreError) as told:
            store.read("a/1")
        assert isinstance(told.value.__cause__, FileNotFoundError)
        assert store.create("a/1", b"again")

    def test_objects_are_no_folders_and_folders_no_objects(self, store: ResultStore) -> None:
        """Nothing is below the one, and the other can't be read."""
        store.write("a", [b"x"])
        store.write("b/c", [b"y"])

        assert [store.names(prefix) for prefix in ("a/", "a/b", "a/b/c")] == [[], [], []]
        assert store.names("") == ["a", "b/c"]
        for name in ("a/below", "b"):
            with pytest.raises(StoreError) as told:
                store.read(name)
            assert isinstance(told.value.__cause__, FileNotFoundError), name

    def test_a_store_is_a_value(self, grounds: Grounds, store: ResultStore) -> None:
        """It pickles, and equals its copy, which has the same objects; others differ."""
        copy = pickle.loads(pickle.dumps(store))
        store.write("a", [b"x"])

        assert copy == store and hash(copy) == hash(store) and copy is not store
        assert grounds.fresh() != store
        assert copy.read("a") == b"x"

    def test_whether_others_may_write_is_told(self, grounds: Grounds, store: ResultStore) -> None:
        """Before and after something was written."""
        before = store.private
        store.write("a", [b"x"])

        assert (before, store.private) == (grounds.private, grounds.private)


def see_and_write(store: ResultStore) -> tuple[list[str], bytes]:
    """Return what another process sees, and write there."""
    seen = store.names("a/")
    store.write("a/theirs", [b"theirs"])
    return seen, bytes(store.read("a/ours"))
