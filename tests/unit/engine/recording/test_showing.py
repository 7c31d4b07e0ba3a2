"""Values as short texts for people: bounded, without secrets, and never at a cost."""

import collections
import dataclasses
import datetime
import enum
import time
from typing import Any

import numpy as np
import pydantic
import pytest

from fanfold.engine.recording.masking import MASK
from fanfold.engine.recording.showing import shown
from fanfold.values.secrets import Secret


class Colour(enum.Enum):
    RED = 1


class Lazy:
    """Does what a query to a database does: it is evaluated by whoever looks at it."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")

    def __repr__(self) -> str:
        raise AssertionError("it was evaluated")

    __len__ = __iter__ = __bool__ = __str__ = __repr__  # type: ignore[assignment]


class LoudList(list[int]):
    def __iter__(self) -> Any:
        raise AssertionError("it was evaluated")

    __repr__ = __len__ = __iter__  # type: ignore[assignment]


@dataclasses.dataclass
class Settings:
    path: str
    token: str = dataclasses.field(default="hidden", repr=False)


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (-12, "-12"),
        (1.5, "1.5"),
        ("it's", '"it\'s"'),
        (b"raw", "b'raw'"),
        ([1, "a", (2,)], "[1, 'a', (2,)]"),
        ({"a": {1}}, "{'a': {1}}"),
        (set(), "set()"),
        (Point(1, 2), "Point(x=1, y=2)"),
        (Settings("here"), "Settings(path='here')"),
        (Colour.RED, "Colour.RED"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (range(3), "range(0, 3)"),
        (np.zeros((2, 3)), "<numpy.ndarray 2 x 3 float64>"),
        (np.int64(3), "<numpy.int64 3>"),
        (Secret("hunter2"), "Secret('**********')"),
        (pydantic.SecretStr("x"), "SecretStr('**********')"),
        (LoudList([1]), "[1]"),
        (len, "len"),
    ],
)
def test_values_are_written_as_readers_know_them(value: Any, text: str) -> None:
    assert shown(value) == text


def test_large_values_are_cut_and_say_how_large_they_are() -> None:
    assert shown(list(range(1_000_000)), 60).endswith("...")
    assert shown(list(range(1_000_000))).endswith("... 1,000,000 in all]")
    assert len(shown("x" * 10_000_000, 50)) == 50
    assert shown([[[[[[1]]]]]]) == "[[[[[...]]]]]"
    assert shown(10**5000) == "<int of 16,610 bits>"


def test_large_values_take_no_time() -> None:
    huge = [np.zeros(10_000_000), "x" * 100_000_000, list(range(1_000_000)), 10**1_000_000]

    began = time.perf_counter()
    shown(huge)

    assert time.perf_counter() - began < 0.05


def test_nothing_lazy_is_evaluated_and_nothing_is_raised() -> None:
    lazy = Lazy()
    itself: list[Any] = []
    itself.append(itself)

    assert shown([lazy, {"a": lazy}]) == f"[<{__name__}.Lazy>, {{'a': <{__name__}.Lazy>}}]"
    assert shown(itself) == "[[[[[...]]]]]"


def test_no_part_of_a_secret_is_left_where_a_text_is_cut() -> None:
    Secret("open-sesame")

    for before in range(60):
        for text in ("-" * before + "open-sesame", "-" * before + "open-sesame" + "x" * 5_000):
            assert "open" not in shown(text, 50)
    assert shown("say open-sesame") == f"'say {MASK}'"
