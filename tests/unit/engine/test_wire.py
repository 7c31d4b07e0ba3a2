"""Values on their way between processes."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine import wire
from fanfold.engine.wire import MOST_APART, OUT_OF_BAND_BYTES, SHARED_APART_BYTES
from fanfold.values.errors import NotPicklable


class Unreadable:
    """Raises when it is pickled."""

    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


plain = st.none() | st.booleans() | st.integers() | st.text() | st.binary()


@given(st.lists(plain | st.lists(plain)))
def test_a_list_comes_back_as_it_was(values: list[Any]) -> None:
    buffers, errors = wire.dump_list(values)

    assert errors == {}
    assert wire.load(buffers) == values


def test_big_buffers_travel_beside_the_pickle_uncopied_and_small_ones_inside() -> None:
    big, small = np.arange(OUT_OF_BAND_BYTES, dtype="u1"), np.arange(100)

    buffers = wire.dump([big, small])

    assert len(buffers) == 2
    assert np.shares_memory(np.asarray(buffers[1]), big)
    again = wire.load(buffers)
    np.testing.assert_array_equal(again[0], big)
    np.testing.assert_array_equal(again[1], small)


def test_what_all_chunks_need_is_copied_and_big_arrays_are_read_in_place() -> None:
    small, *bigs = (
        np.zeros(size, "u1") for size in [100, *[SHARED_APART_BYTES] * (MOST_APART + 1)]
    )

    buffers = wire.dump_shared("It", [small, *bigs])
    for one in bigs:
        one += 1

    assert len(buffers) == 1 + MOST_APART
    first, *others = wire.load(buffers)
    assert first.flags.writeable and not first.any()
    assert [one.flags.writeable for one in others] == [False] * MOST_APART + [True]
    assert not any(one.any() for one in others)
    assert np.shares_memory(others[0], np.frombuffer(buffers[1], dtype="u1"))


def test_functions_of_the_moment_travel() -> None:
    step = 3

    again = wire.load(wire.dump([lambda number: number + step]))

    assert again[0](4) == 7


def test_values_that_cannot_be_pickled_are_told_by_place_and_harm_no_others() -> None:
    buffers, errors = wire.dump_list([1, threading.Lock(), "two", Unreadable()])

    assert wire.load(buffers) == [1, None, "two", None]
    assert sorted(errors) == [1, 3]
    assert "not me" in str(errors[3])


def test_what_must_travel_whole_is_refused_by_name() -> None:
    with pytest.raises(NotPicklable, match=r"The task f can't be pickled.*TypeError.*threads"):
        wire.dump_function("The task f", threading.Lock())


@pytest.mark.parametrize("dump", [wire.dump_function, wire.dump_shared])
def test_what_a_value_itself_raises_is_told_and_no_frames_of_the_pickler(dump: Any) -> None:
    with pytest.raises(NotPicklable) as own:
        dump("It", Unreadable())
    with pytest.raises(NotPicklable) as pickler:
        dump("It", threading.Lock())

    assert isinstance(own.value.__cause__, RuntimeError)
    assert pickler.value.__cause__ is None
    assert pickler.value.__suppress_context__
