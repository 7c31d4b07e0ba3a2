"""Keys of objects: dataclasses, models and plain instances, by their class and what they hold."""

import abc
import collections
import dataclasses
import datetime
import enum
import fractions
import functools
import io
import json
import operator
import os
import pickle
import random
import re
import socket
import subprocess
import sys
import threading
import types
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import cloudpickle
import pydantic
import pytest

from fanfold.engine.keys import digest, encode
from fanfold.values.errors import KeyNotStable


class Plain:
    def __init__(self, x: Any = 1, **more: Any) -> None:
        self.x = x
        vars(self).update(more)

    @functools.cached_property
    def slow(self) -> Any:
        return [self.x]

    def method(self) -> Any:
        return self.x

    @classmethod
    def build(cls) -> "Plain":
        return cls()


class Child(Plain):
    pass


class Empty:
    pass


class Slots:
    __slots__ = ("x", "y")

    def __init__(self, x: Any) -> None:
        self.x = x


class SlotsAndMore(Slots):
    def __init__(self, x: Any, more: Any) -> None:
        super().__init__(x)
        self.more = more


class WithoutItsLock:
    def __init__(self, x: Any) -> None:
        self.x, self.lock = x, threading.Lock()

    def __getstate__(self) -> Any:
        return {"x": self.x}


class Rebuilt:
    def __init__(self, *args: Any) -> None:
        self.args = args

    def __reduce__(self) -> Any:
        return Rebuilt, self.args


class Moment(datetime.datetime):
    pass


@attrs.define
class Attrs:
    x: Any
    y: Any = 0


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    x: Any = 1
    y: list[int] = []
    _hidden: Any = pydantic.PrivateAttr(default=None)


class Open(pydantic.BaseModel, extra="allow"):
    x: Any = 1


class Url(pydantic.BaseModel):
    url: pydantic.AnyUrl
    secret: pydantic.SecretStr


def hidden(value: Any) -> Model:
    model = Model()
    model._hidden = value
    return model


def samples() -> list[Any]:
    noon = (2024, 5, 6, 12)
    return [
        *(Plain(), Plain(2), Plain(1.0), Plain(y=1), Child(), Empty(), Slots(1), Slots(2)),
        *(SlotsAndMore(1, 2), SlotsAndMore(2, 1), WithoutItsLock(1), WithoutItsLock(2)),
        *(Rebuilt(1), Rebuilt(2), Rebuilt(), Plain([Plain()]), Plain(None), Plain({"x": 1})),
        *(Attrs(1), Attrs(2), Attrs(1, 1), Model(), Model(x=2), Model(y=[1]), hidden(1), hidden(2)),
        *(Open(), Open(x=1, z=1), Open(x=1, z=2)),
        Url(url=pydantic.AnyUrl("http://a"), secret=pydantic.SecretStr("s")),
        Url(url=pydantic.AnyUrl("http://b"), secret=pydantic.SecretStr("s")),
        Url(url=pydantic.AnyUrl("http://b"), secret=pydantic.SecretStr("t")),
        *(Plain().method, Plain(2).method, Child().method, Plain.build, Child.build),
        *(re.compile("a"), re.compile("b"), re.compile("a", re.I), fractions.Fraction(1, 2)),
        *(collections.deque([1]), collections.deque([1], 2), types.SimpleNamespace(x=1)),
        *(operator.itemgetter(1), operator.itemgetter(1, 2), operator.attrgetter("x")),
        *(ValueError("a"), ValueError("b"), KeyError("a"), random.Random(1), random.Random(2)),
        *(Moment(*noon), datetime.datetime(*noon), list[int], list[str], int | str),
        *(memoryview(b"ab"), memoryview(b"ab").cast("b"), types.MappingProxyType({"a": 1})),
        *(json, os, functools.partial(len), functools.partial(len, "a"), Plain, Child, abc.ABC),
    ]


def test_objects_that_differ_have_different_keys() -> None:
    values = samples()

    assert len({encode(value) for value in values}) == len(values)
    assert len({digest(value) for value in values}) == len(values)
    assert not any(after.startswith(one) for one, after in pairwise(sorted(map(encode, values))))


def test_objects_have_the_key_of_those_made_alike_and_of_copies() -> None:
    assert [digest(value) for value in samples()] == [digest(value) for value in samples()]
    for value in samples():
        if not isinstance(value, memoryview | types.MappingProxyType):
            assert digest(pickle.loads(cloudpickle.dumps(value))) == digest(value), value


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_objects_have_the_same_keys_in_another_process(seed: str) -> None:
    program = (
        f"import json, {__name__} as tests; "
        "print(json.dumps([tests.digest(value).hex() for value in tests.samples()]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    root = Path(__file__).parents[4]

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, check=True
    )

    assert json.loads(done.stdout) == [digest(value).hex() for value in samples()]


def test_what_an_object_has_computed_for_itself_does_not_count() -> None:
    asked = Plain()
    assert asked.slow == [1]

    assert digest(asked) == digest(Plain())


def test_a_field_that_was_left_out_has_its_default() -> None:
    assert digest(Model()) == digest(Model(x=1)) == digest(Model.model_construct(x=1, y=[]))


def test_objects_may_know_each_other() -> None:
    def family(name: str) -> Plain:
        parent = Plain(name)
        parent.children = [Plain("one", parent=parent), Plain("two", parent=parent)]  # type: ignore[attr-defined]
        return parent

    assert digest(family("a")) == digest(family("a")) != digest(family("b"))


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (Plain(threading.Lock()), "value.x", "_thread.lock"),
        (Slots([threading.Lock()]), "value.x[0]", "_thread.lock"),
        (SlotsAndMore(1, {"a": threading.RLock()}), "value.more['a']", "RLock"),
        (threading.Event(), "value._cond._lock", "_thread.lock"),
        (Attrs(threading.Lock()), "value.x", "_thread.lock"),
        (Model(x=[threading.Lock()]), "value.x[0]", "_thread.lock"),
        (Plain(threading.Lock()).method, "value.__self__.x", "_thread.lock"),
        (functools.partial(len, threading.Lock()), "value.args[0]", "_thread.lock"),
        (Rebuilt(threading.Lock()), "value.__reduce__()[1][0]", "_thread.lock"),
        (Plain(io.BytesIO()), "value.x", "BytesIO"),
        (socket.SocketType.__new__(socket.SocketType), "value", "socket"),
        (Plain(x for x in ()), "value.x", "generator"),
        (Plain(threading.local()), "value.x", "local"),
        ([object()], "value[0]", "object"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_an_object_holds_is_named_with_its_path(value: Any, path: str, kind: str) -> None:
    with pytest.raises(KeyNotStable) as told:
        digest(value)

    assert told.value.path == path
    assert kind in told.value.kind


NOTEBOOK = """
import dataclasses, enum, json, sys, cloudpickle, pydantic
from fanfold.engine.keys import digest
class Colour(enum.Enum):
    RED = 1
@dataclasses.dataclass
class Box:
    x: int
    y: list = dataclasses.field(default_factory=list)
    def area(self): return helper(self.x) + CHANGED
class Model(pydantic.BaseModel):
    x: int = CHANGED
    @pydantic.field_validator("x")
    @classmethod
    def positive(cls, value): return helper(value)
class Plain:
    def __init__(self, x): self.x = x
    def area(self): return helper(self.x)
def helper(x): return x * CHANGED
values = [Colour.RED, Box(1), Model.model_construct(x=1), Plain(1)]
values += [Colour, Box, Model, Plain, helper, Plain(1).area]
if len(sys.argv) > 1:
    open(sys.argv[1], "wb").write(cloudpickle.dumps(values))
print(json.dumps([digest(value).hex() for value in values]))
"""


def test_what_a_notebook_defines_has_a_key_and_keeps_it_on_workers(tmp_path: Path) -> None:
    def keys(program: str, *arguments: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, check=True
        )
        return json.loads(done.stdout)

    pickled = str(tmp_path / "values")
    here = keys(NOTEBOOK.replace("CHANGED", "1"), pickled)
    there = keys(
        "import json, pickle, sys; from fanfold.engine.keys import digest\n"
        "values = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(json.dumps([digest(value).hex() for value in values]))",
        pickled,
    )
    changed = keys(NOTEBOOK.replace("CHANGED", "2"))

    assert len({*here}) == len(here)
    assert there == here
    # Instances and Colour don't say CHANGED anywhere, all the others do.
    assert [one == other for one, other in zip(here, changed, strict=True)] == [True] * 5 + [
        False
    ] * 5


def test_a_local_class_is_told_apart_by_what_it_does() -> None:
    def local(limit: int) -> type:
        class Local:
            size = limit

            def method(self) -> int:
                return self.size

        return Local

    def kind(name: str) -> type:
        return enum.Enum("Kind", {name: 1})

    assert digest(local(1)) == digest(local(1)) != digest(local(2))
    assert digest(kind("A")) == digest(kind("A")) != digest(kind("B"))
    one, other = (dataclasses.make_dataclass("Made", [("x", int, n)]) for n in (1, 2))
    assert digest(one) != digest(other)
