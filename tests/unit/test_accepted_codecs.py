"""The reader's allow-list: what it leaves out is neither written nor read, whatever records say."""

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanfold import INPUTS, flow, task
from fanfold.engine.results import payloads
from fanfold.engine.results.codec_names import ACCEPTED
from fanfold.engine.results.payloads import CODECS, ZSTD, encoder, raw_serializer, readable
from fanfold.engine.settings import temporary
from fanfold.serializers import CompressedSerializer, JSONSerializer, PickleSerializer
from fanfold.values.errors import UsageError

SAFE = ("json", "bytes", "npy", "arrow")
ACCEPTING = {"results.accepted_codecs": SAFE}


class Bomb:
    """What tells when it is unpickled."""

    went_off = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return go_off, ()


def go_off() -> str:
    Bomb.went_off += 1
    return "boom"


class Own:
    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def loads(self, blob: bytes) -> Any:
        return pickle.loads(blob)


@pytest.mark.parametrize("runner", ["inline", "threads", "processes"])
@pytest.mark.parametrize(
    "serializer", ["pickle", "compressed/pickle", CompressedSerializer("pickle", "lzma"), Own()]
)
def test_a_record_of_another_codec_is_a_miss_with_a_warning(
    runner: str, serializer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"

    def noted(x: int) -> list[Any]:
        with log.open("a") as file:
            file.write("called\n")
        return ["result", x]

    work = task(noted, cache_policy=INPUTS, result_serializer=serializer)
    mapped = flow(lambda: work.map([1, 2]).result(), task_runner=runner)
    first = mapped()
    again = work.with_options(result_serializer="auto")
    safely = flow(lambda: again.map([1, 2]).result(), task_runner=runner)

    with temporary(ACCEPTING), caplog.at_level(logging.WARNING):
        assert safely() == first

    assert len(log.read_text().splitlines()) == 4
    assert "codec pickle, which isn't accepted" in caplog.text
    assert "segments/" in caplog.text
    caplog.clear()
    with temporary(ACCEPTING), caplog.at_level(logging.WARNING):
        assert safely() == first
    assert len(log.read_text().splitlines()) == 4
    assert not caplog.records


def test_what_would_have_to_be_pickled_is_not_kept_and_the_run_has_its_value(
    caplog: pytest.LogCaptureFixture, fanfold_home: Path
) -> None:
    work = task(lambda: {1, 2}, name="sets", cache_policy=INPUTS)

    with temporary(ACCEPTING), caplog.at_level(logging.WARNING):
        assert work() == {1, 2}

    assert "A result of sets isn't kept: a set needs the codec pickle" in caplog.text
    assert not [*fanfold_home.rglob("segments")]


def test_an_object_of_a_name_is_not_unpickled(
    fanfold_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = fanfold_home / "results" / "named"
    named.parent.mkdir(parents=True)
    named.write_bytes(pickle.dumps(Bomb()))
    before = Bomb.went_off

    with temporary(ACCEPTING), caplog.at_level(logging.WARNING):
        for chosen in (None, "pickle", PickleSerializer(), CompressedSerializer("pickle")):
            work = task(lambda: [1], result_serializer=chosen, result_storage_key="named")
            assert work() == [1]

    assert Bomb.went_off == before
    assert "PickleSerializer writes needs the codec pickle" in caplog.text
    assert json.loads(named.read_bytes()) == [1]


def test_classes_are_not_imported_for_json_where_pickle_is_left_out() -> None:
    names = {"__class__": "fractions.Fraction", "data": "1"}
    known = {"__class__": "datetime.date", "data": "2024-01-02"}
    codec = readable(payloads.JSON, SAFE)
    assert codec is not None

    with pytest.raises(ValueError, match=r"fractions\.Fraction isn't imported"):
        CODECS[codec](json.dumps(names).encode())
    for chosen in ("json", "compressed/json", JSONSerializer()):
        reader: Any = raw_serializer(chosen, SAFE)
        with pytest.raises(ValueError, match="isn't imported"):
            reader.loads(reader.dumps(names))
        assert reader.loads(reader.dumps(known)).year == 2024


def test_every_codec_is_read_by_the_names_that_stand_for_it_alone() -> None:
    known = {codec & ~ZSTD for codec in CODECS} - {
        payloads.JSON_DATA,
        payloads.COMPRESSED_JSON_DATA,
    }

    assert all(readable(codec, ACCEPTED) == codec for codec in known)
    assert all(readable(codec, ()) is None for codec in known)
    needs_pickle = {codec for codec in known if readable(codec, SAFE) is None}
    assert needs_pickle == {payloads.PICKLE, payloads.COMPRESSED_PICKLE, payloads.OWN}
    assert readable(payloads.PICKLE | ZSTD, SAFE) is None
    assert readable(99, ACCEPTED) is None


def test_a_serializer_that_is_not_accepted_writes_nothing() -> None:
    with pytest.raises(UsageError, match=r"results\.accepted_codecs leaves out"):
        encoder("json", ("npy",))([1])
    with pytest.raises(UsageError, match="a ndarray needs the codec pickle"):
        encoder(None, ("json",))(np.zeros(3))
