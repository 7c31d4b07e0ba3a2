"""Keys: equal for equal values in any process, different for different ones."""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import uuid
import zoneinfo
from itertools import pairwise
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.engine.keys import KEY_BYTES, digest, encode
from fanfold.values.errors import KeyNotStable
from tests.peak import peak_bytes

ROOT = pathlib.Path(__file__).parents[4]


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Size(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Box:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: Any
    y: Any = 0


class Names(list[str]):
    pass


class Labels(dict[str, int]):
    pass


class Text(str):
    pass


def named(names: list[str], note: str) -> Names:
    made = Names(names)
    made.note = note  # type: ignore[attr-defined]
    return made


def atoms() -> list[Any]:
    return [
        *(None, ..., NotImplemented, True, False, 0, 1, -1, 2**63 - 1, 2**63, -(2**63), 2**64),
        *(-(2**63) - 1, 10**5000, 0.0, -0.0, 1.0, math.inf, -math.inf, math.nan, 5e-324),
        *(0j, complex(0, -0.0), 1 + 0j, complex(1, math.nan), "", "1", "a", "A", "\ud800", "\x00"),
        *("\U00010000", "\ud800\udc00", "x" * 4096, "x" * 4097, "é", "e\u0301", b"", b"1"),
        *(b"x" * 5000, bytearray(), bytearray(b"1"), bytearray(b"x" * 5000), Text("a")),
    ]


def containers() -> list[Any]:
    return [
        *([], (), {}, set(), frozenset(), [1], (1,), {1}, frozenset({1}), {1: 1}, [True], [1.0]),
        *([[]], [[], []], [[[]]], ([],), [()], ["ab"], ["a", "b"], ["a", ["b"]], [["a"], "b"]),
        *({"a": 1}, {"a": "1"}, {"a": 1, "b": 2}, {"a": 2, "b": 1}, [("a", 1)], {1: "a"}, {"1": 1}),
        *(
            {True: 1},
            {1.0: 1},
            {(): 1},
            {"a": {"b": 1}},
            {"a": {}, "b": 1},
            {"ab": 1},
            [1, 2],
            [2, 1],
        ),
        *(list(range(3)), range(3), range(1, 3), range(0, 3, 2), range(0), range(10**30)),
        *(slice(1), slice(1, None), slice(None, None, 1), slice(1.0), Point(1, 2), (1, 2)),
        *(Names(["a"]), named(["a"], "n"), named(["a"], "m"), Labels(a=1)),
        *(collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
        *(collections.defaultdict(list, a=1), collections.defaultdict(set, a=1)),
        *(collections.Counter("a"), Box(1), Box(1.0), Box(1, 1), Slotted(1), Box(Box(1))),
    ]


def library() -> list[Any]:
    noon = datetime.datetime(2024, 5, 6, 12)
    hour = datetime.timedelta(hours=1)
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    return [
        *(Colour.RED, Colour.BLUE, Size.RED, Level.LOW, Access.READ, Access.READ | Access.WRITE),
        *(pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("a/b"), pathlib.Path("a/b"), "a/b"),
        *(noon, noon.date(), noon.time(), str(noon), noon.replace(microsecond=1)),
        *(noon.replace(tzinfo=datetime.UTC), noon.replace(tzinfo=datetime.timezone(hour))),
        *(noon.replace(tzinfo=datetime.timezone(hour, "CET")), noon.replace(tzinfo=berlin)),
        *(noon.replace(fold=1), hour, -hour, datetime.UTC, berlin, datetime.timezone(hour)),
        *(uuid.UUID(int=1), uuid.UUID(int=2), decimal.Decimal("1.0"), decimal.Decimal("1.00")),
        *(decimal.Decimal("NaN"), decimal.Decimal("-0"), decimal.Decimal(0)),
        *(int, str, Box, Colour, len, math.sin, json.dumps, collections.OrderedDict),
    ]


def arrays() -> list[Any]:
    pair = np.dtype([("a", "i1"), ("b", "f8")])
    return [
        *(np.int64(1), np.int32(1), np.uint64(1), np.float64(1), np.float32(1), np.float16(1)),
        *(np.bool_(True), np.str_("a"), np.bytes_(b"a"), np.complex128(1), np.float64("nan")),
        *(np.datetime64("2024-01-01"), np.datetime64("2024-01-01", "s"), np.datetime64("NaT", "s")),
        *(np.timedelta64(1, "s"), np.array(1), np.array([1]), np.array([[1]]), np.array([1.0])),
        *(np.array([1], "i1"), np.array([1], "u1"), np.array([True]), np.array([1, 2])),
        *(
            np.zeros((2, 3)),
            np.zeros((3, 2)),
            np.zeros(6),
            -np.zeros(6),
            np.zeros(0),
            np.zeros((0, 2)),
        ),
        *(np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.array([np.nan])),
        *(np.array(["a"]), np.array(["a"], "U2"), np.array([b"a"]), np.array(["a"], object)),
        *(np.array([1], object), np.array([1.0], object), np.array([[1]], object)),
        *(np.array(["2024-01-01"], "M8[D]"), np.array(["2024-01-01"], "M8[s]")),
        *(np.array([(1, 2.0)], pair), np.array((1, 2.0), pair), np.array([(2, 1.0)], pair)),
        *(np.array([(1, 2.0)], [("a", "i1"), ("c", "f8")]), np.array([b"12345678"], "V8")),
        *(np.array([([1, 2],)], [("a", "i4", (2,))]), np.array([1, 2]).view(np.matrix)),
        np.rec.array([(1, 2.0)], dtype=pair),
    ]


def samples() -> list[Any]:
    """Return values that are all different, made anew."""
    return [*atoms(), *containers(), *library(), *arrays()]


def shuffled() -> list[Any]:
    """Return values whose iteration order depends on the hash seed."""
    words = [f"word{i}" for i in range(50)]
    return [
        set(words),
        frozenset(words),
        {word: {word} for word in words},
        {frozenset(words): set(words), None: 1},
        [{(word, None) for word in words}],
    ]


def all_keys() -> list[str]:
    return [digest(value).hex() for value in [*samples(), *shuffled(), *map(nested, NESTED)]]


def test_values_that_differ_have_different_keys() -> None:
    values = samples()

    by_form: dict[bytes, Any] = {}
    for value in values:
        form = encode(value)
        assert form not in by_form, (value, by_form[form])
        by_form[form] = value

    assert len({digest(value) for value in values}) == len(values)
    assert {len(digest(value)) for value in values} == {KEY_BYTES}


def test_no_form_begins_with_another_so_forms_can_stand_in_a_row() -> None:
    values = [*samples(), "ab", "i8", "f8", b"ab", ["as", "b"], ["a", "sb"], 10**6000, [1, 2, 3]]
    forms = sorted(encode(value) for value in values)

    assert not any(after.startswith(before) for before, after in pairwise(forms))


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_keys_are_equal_in_another_process_under_another_hash_seed(seed: str) -> None:
    program = f"import json, {__name__} as tests; print(json.dumps(tests.all_keys()))"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True
    )

    assert json.loads(done.stdout) == all_keys()


def test_keys_need_no_numpy() -> None:
    program = (
        "import sys, fanfold.engine.keys as k; k.digest({'x': 1}); print('numpy' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )

    assert done.stdout.strip() == b"False"


def test_copies_have_the_key_of_their_original() -> None:
    for value in samples():
        copy = pickle.loads(cloudpickle.dumps(value)) if value is not NotImplemented else value

        assert digest(copy) == digest(value), value


def test_the_order_of_dicts_and_sets_does_not_count() -> None:
    words = [f"w{i}" for i in range(100)]
    assert digest(dict.fromkeys(words)) == digest(dict.fromkeys(reversed(words)))
    assert digest(set(words)) == digest(set(reversed(words)))


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (range(0, 3, 2), range(0, 4, 2)),
        (range(0), range(5, 1)),
        (range(1, 2, 7), range(1, 2)),
        (math.nan, -math.nan),
        (np.float64("nan"), -np.float64("nan")),
        (np.array([np.nan, 1]), np.array([-np.nan, 1])),
        (np.array([complex(np.nan, 1)]), np.array([complex(-np.nan, 1)])),
        (np.array([1, 2], ">i4"), np.array([1, 2], "<i4")),
        (np.array(["ab"], ">U2"), np.array(["ab"], "<U2")),
        (np.arange(10)[::2], np.arange(0, 10, 2)),
        (np.arange(10)[::-1], np.arange(9, -1, -1)),
        (np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(6).reshape(2, 3)),
        (np.broadcast_to(np.int64(3), (4, 5)), np.full((4, 5), 3)),
        (np.array([{"a": 1}, [1]], object)[::-1], np.array([[1], {"a": 1}], object)),
    ],
)
def test_what_is_equal_for_us_has_one_key(one: Any, same: Any) -> None:
    assert encode(one) == encode(same)


def test_padding_of_structured_arrays_does_not_count() -> None:
    padded = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    one, other = (np.frombuffer(bytearray([fill]) * 16, padded) for fill in (0, 255))
    for array in (one, other):
        array["a"], array["b"] = 1, 2.0

    assert bytes(one.view("u1")) != bytes(other.view("u1"))
    assert encode(one) == encode(other)


@settings(max_examples=100)
@given(st.data())
def test_views_have_the_key_of_their_copies(data: st.DataObject) -> None:
    base = np.arange(2 * 70_000, dtype=data.draw(st.sampled_from(["<f4", ">f8", "<i2", "<c16"])))
    base = base.reshape(data.draw(st.sampled_from([(2, 70_000), (70_000, 2), (140_000,)])))
    bound = st.none() | st.integers(-5, 70_005)
    steps = st.integers(-3, 3).filter(bool)
    view = base[data.draw(st.builds(slice, bound, bound, steps))].T

    assert digest(view) == digest(view.copy(order="C"))


def test_a_big_array_is_not_copied() -> None:
    size = 64_000_000

    def body() -> None:
        array = np.zeros(size // 8)
        digest({"x": array})
        digest({"x": array[::2], "y": array.reshape(1000, -1).T})

    assert size <= peak_bytes(body) < size * 17 / 16


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=20,
)


def exact(value: Any) -> Any:
    """Describe a plain value so that two descriptions are equal exactly if the keys should be."""
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(exact, value))
    if isinstance(value, dict):
        return dict, frozenset((exact(key), exact(item)) for key, item in value.items())
    return type(value), repr(value)


@given(plain, plain)
def test_two_values_have_one_key_exactly_if_they_are_equal(one: Any, other: Any) -> None:
    assert (encode(one) == encode(other)) == (exact(one) == exact(other))
    assert not encode(other)[1:].startswith(encode(one)[1:]) or exact(one) == exact(other)
    assert digest(pickle.loads(pickle.dumps(one))) == digest(one)


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (threading.Lock(), "value", "_thread.lock"),
        ([0, [1, threading.Lock()]], "value[1][1]", "_thread.lock"),
        (Box({"a": [threading.Lock()]}), "value.x['a'][0]", "_thread.lock"),
        (Slotted(threading.Lock()), "value.x", "_thread.lock"),
        ({"a": object()}, "value['a']", "object"),
        ({(object(),): 1}, "value.keys()[0]", "object"),
        ({(object(),)}, "value{...}[0]", "object"),
        ([].append, "value", "function"),
        (np.array([[1, object()]], object), "value[1]", "object"),
        (np.array([(1, object())], [("a", "i4"), ("b", object)]), "value['b'][0]", "object"),
        (np.longdouble(1), "value", "numpy array of"),
        (np.ma.masked_array([1], [True]), "value", "numpy.ma"),
        (iter([]), "value", "list_iterator"),
        (collections.defaultdict([].append), "value.default_factory", "function"),
        (named(["a"], object()), "value.__getstate__()['note']", "object"),  # type: ignore[arg-type]
    ],
)
def test_what_has_no_key_is_named_with_its_path(value: Any, path: str, kind: str) -> None:
    with pytest.raises(KeyNotStable) as told:
        digest(value)

    assert told.value.path == path
    assert kind in told.value.kind


def test_arguments_are_named_without_a_root() -> None:
    with pytest.raises(KeyNotStable) as told:
        digest({"x": 1, "config": Box({"locks": [0, threading.Lock()]})}, path="")

    assert told.value.path == "config.x['locks'][1]"


def test_what_a_module_does_not_hold_has_no_name() -> None:
    assert digest(len) == digest(len)
    for value in ([].append, sys.modules["__main__"]):
        with pytest.raises(KeyNotStable):
            digest(value)


def nested(way: str) -> Any:
    """Make a value that holds itself."""
    value: Any = [0]
    if way == "list":
        value += [value, (value, 1)]
    elif way == "dict":
        value = {"a": 1, "b": []}
        value["b"] += [value, {"up": value}]
    elif way == "ordered":
        value = collections.OrderedDict(a=1)
        value["b"] = value
    elif way == "dataclass":
        value = Box(1)
        value.x = Box({"a": {"b": value}}, 2)
    elif way == "subclass":
        value = Names(["a"])
        value.append(value)
    else:
        value = np.array([None, 1], object)
        value[0] = [value]
    return value


NESTED = ("list", "dict", "ordered", "dataclass", "subclass", "array")


@pytest.mark.parametrize("way", NESTED)
def test_what_holds_itself_has_the_key_of_its_copy_wherever_it_lies(way: str) -> None:
    value, other = nested(way), nested(way)
    copies = [pickle.loads(pickle.dumps(each)) for each in (value, other)]

    assert {digest(each) for each in (value, other, *copies)} == {digest(value)}
    assert encode([1, value])[-40:] == encode({"x": value})[-40:]


def test_what_holds_itself_differs_by_where_it_does() -> None:
    one: Any = []
    one.append([one])
    inner: Any = []
    inner.append(inner)
    values = [*map(nested, NESTED), one, inner, [inner], [[]], [[[]]]]

    assert len({digest(value) for value in values}) == len(values)


def test_what_lies_in_two_places_is_no_circle() -> None:
    shared = [1, {"a": 2}]

    assert digest([shared, [shared, shared]]) == digest(
        [[1, {"a": 2}], [[1, {"a": 2}], [1, {"a": 2}]]]
    )


def test_deep_nesting_ends_without_a_stack_overflow() -> None:
    deep: Any = 1
    for _ in range(90):
        deep = [deep]
    digest(deep)
    for _ in range(100_000):
        deep = (deep,)

    with pytest.raises(KeyNotStable, match="nested deeper"):
        digest(deep)
