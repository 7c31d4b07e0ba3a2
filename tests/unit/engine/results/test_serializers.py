"""Serializers: what each writes, and that it reads what it wrote."""

import json
import pickle
import zlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import cloudpickle
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.results.codec_names import SERIALIZERS
from fanfold.engine.results.payloads import CODECS, OWN, encoder
from fanfold.engine.results.serializers import AUTO, NAMES, serializer
from fanfold.serializers import (
    CompressedJSONSerializer,
    CompressedPickleSerializer,
    CompressedSerializer,
    JSONSerializer,
    PickleSerializer,
)
from fanfold.values.errors import UsageError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=9,
)


class Point(pydantic.BaseModel):
    x: int
    when: datetime


@dataclass
class Pair:
    name: str
    days: list[date]


class Shouting:
    """A user's own serializer."""

    def dumps(self, obj: Any) -> bytes:
        return str(obj).upper().encode()

    def loads(self, blob: bytes) -> Any:
        return blob.decode()


@given(plain)
@pytest.mark.parametrize("name", NAMES)
def test_every_serializer_reads_what_it_wrote(name: str, value: Any) -> None:
    chosen = serializer(name)

    assert chosen.loads(chosen.dumps(value)) == value


@given(plain)
@pytest.mark.parametrize("name", NAMES)
def test_a_payload_is_read_by_its_codec(name: str, value: Any) -> None:
    codec, parts = encoder(name)(value)

    assert CODECS[codec](b"".join(parts)) == value


def test_the_codecs_of_the_serializers_differ_and_their_default_objects_have_them_too() -> None:
    codecs = [encoder(name)(1)[0] for name in NAMES]

    assert sorted(set(codecs)) == sorted(codecs)
    assert [encoder(serializer(name))(1)[0] for name in NAMES] == codecs


def test_json_is_readable_by_everybody() -> None:
    written = JSONSerializer().dumps({"name": "Müller", "n": [1, 2.5, None]})

    assert json.loads(written) == {"name": "Müller", "n": [1, 2.5, None]}
    assert "Müller".encode() in written


@pytest.mark.parametrize(
    "value",
    [
        datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        date(2024, 1, 2),
        time(3, 4),
        timedelta(days=1, microseconds=5),
        UUID(int=7),
        Decimal("1.10"),
        Path("a/b"),
        b"\x00\xff",
        {1, 2},
        frozenset({"a"}),
        1 + 2j,
        Point(x=1, when=datetime(2024, 1, 2, tzinfo=UTC)),
        Pair("a", [date(2024, 1, 2)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_does_not_know_comes_back_as_what_it_was(value: Any) -> None:
    chosen = JSONSerializer()

    found = chosen.loads(chosen.dumps({"deep": [value]}))

    assert found == {"deep": [value]}
    assert type(found["deep"][0]) in (type(value), type(Path()))


def test_what_has_no_form_in_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no form in JSON"):
        JSONSerializer().dumps([object()])


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "no.such.Thing"])
def test_json_makes_nothing_but_data(name: str) -> None:
    blob = json.dumps({"__class__": name, "data": ["true"]}).encode()

    with pytest.raises(ValueError, match="no class"):
        JSONSerializer().loads(blob)


def test_options_of_the_json_library_are_passed_on() -> None:
    chosen = JSONSerializer(dumps_kwargs={"indent": 1}, loads_kwargs={"parse_float": Decimal})

    assert chosen.dumps([1.5]) == b"[\n 1.5\n]"
    assert chosen.loads(b"[1.5]") == [Decimal("1.5")]


def test_a_pickle_can_be_read_without_fanfold() -> None:
    assert pickle.loads(PickleSerializer().dumps({"a": {1}})) == {"a": {1}}
    assert PickleSerializer().loads(PickleSerializer().dumps(lambda: 3))() == 3
    assert PickleSerializer(picklelib="pickle").loads(pickle.dumps(4)) == 4


def test_compressed_is_another_serializer_under_a_compression() -> None:
    text = "x" * 10_000

    assert json.loads(zlib.decompress(serializer("compressed/json").dumps(text))) == text
    assert len(CompressedPickleSerializer().dumps(text)) < 200
    chosen = CompressedSerializer(serializer=Shouting(), compressionlib="lzma")
    assert chosen.loads(chosen.dumps("a")) == "A"
    assert CompressedJSONSerializer(compressionlib="bz2").loads(
        CompressedJSONSerializer(compressionlib="bz2").dumps([1])
    ) == [1]


def test_a_payload_of_a_users_serializer_can_be_read_by_whoever_has_it() -> None:
    codec, parts = encoder(Shouting())("hello")

    assert codec == OWN
    assert CODECS[codec](b"".join(parts)) == "HELLO"


def test_a_serializer_that_returns_no_bytes_is_refused() -> None:
    class Text(Shouting):
        def dumps(self, obj: Any) -> Any:
            return "text"

    with pytest.raises(TypeError, match="returned a str"):
        encoder(Text())(1)


def test_the_setting_can_name_every_serializer() -> None:
    assert (AUTO, *NAMES) == SERIALIZERS


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("jsn", "Did you mean 'json'"),
        ("xml!", "There are: pickle, json"),
        (PickleSerializer, "is no serializer"),
        (3, "is no serializer"),
    ],
)
def test_what_is_no_serializer_is_refused(choice: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        serializer(choice)


def test_modules_that_are_not_there_or_cannot_do_it_are_told_at_once() -> None:
    with pytest.raises(UsageError, match="nowhere"):
        CompressedSerializer(compressionlib="nowhere")
    with pytest.raises(UsageError, match="compress"):
        CompressedSerializer(compressionlib="json")
    with pytest.raises(UsageError, match="dumps"):
        JSONSerializer(jsonlib="zlib")


def test_serializers_are_equal_by_their_options_and_pickle() -> None:
    for chosen in (JSONSerializer(dumps_kwargs={"indent": 2}), CompressedSerializer("json")):
        assert cloudpickle.loads(cloudpickle.dumps(chosen)) == chosen
