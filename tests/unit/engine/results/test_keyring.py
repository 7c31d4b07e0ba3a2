"""Signed indexes: nobody's but a known driver's are believed, and only under their own names."""

import pickle
import random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fanfold.engine.results import segments
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.object_names import index_prefix
from fanfold.engine.results.segments import Damaged, Record, Segment
from tests.tampering import damages, mutated

OLD, NEW, OTHERS = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
RING = Keyring([("main", NEW)])
NAME = index_prefix("task") + "run.000001.map.00000001"

names = st.text(min_size=1, max_size=40)
tables = st.dictionaries(
    names,
    st.lists(
        st.builds(
            Record,
            key=st.binary(min_size=16, max_size=16),
            offset=st.integers(0, 2**40),
            length=st.integers(0, 2**40),
            digest=st.binary(min_size=16, max_size=16),
        ),
        max_size=4,
    ),
    max_size=3,
)
TABLE = {"segment": (Record(key=bytes(16), offset=0, length=7, digest=bytes(16)),)}


@given(tables, names)
def test_a_signed_index_is_read_back(table: dict[str, Any], name: str) -> None:
    payload = segments.pack_index(table, name, RING)

    assert segments.unpack_index(payload, name, RING).records() == table
    assert segments.unpack_index(payload, name, None).records() == table, "private storage"


@settings(max_examples=20)
@given(tables, st.integers(1, 255))
def test_every_damage_of_a_signed_index_is_found(table: dict[str, Any], flip: int) -> None:
    for damaged in damages(segments.pack_index(table, NAME, RING), flip):
        with pytest.raises(Damaged, match=NAME):
            segments.unpack_index(damaged, NAME, RING)


@given(tables, st.randoms(use_true_random=False))
def test_every_mutation_of_an_index_is_found_signed_or_not(
    table: dict[str, Any], chance: random.Random
) -> None:
    for keyring in (RING, None):
        payload = segments.pack_index(table, NAME, keyring)
        with pytest.raises(Damaged, match=NAME):
            segments.unpack_index(mutated(payload, chance), NAME, keyring)


@given(names, names, st.sampled_from([RING, None]))
def test_an_index_is_believed_under_its_own_name_alone(
    name: str, other: str, keyring: Keyring | None
) -> None:
    payload = segments.pack_index(TABLE, name, keyring)

    if name == other:
        assert segments.unpack_index(payload, other, keyring).records()
        return
    with pytest.raises(Damaged, match="another name"):
        segments.unpack_index(payload, other, keyring)


def test_what_nobody_has_signed_is_not_believed_where_others_write() -> None:
    payload = segments.pack_index(TABLE, NAME, None)

    with pytest.raises(Damaged, match="isn't signed"):
        segments.unpack_index(payload, NAME, RING)


def test_a_key_of_the_same_name_does_not_do() -> None:
    forged = segments.pack_index(TABLE, NAME, Keyring([("main", OTHERS)]))

    with pytest.raises(Damaged, match="wrong signature of the key 'main'"):
        segments.unpack_index(forged, NAME, RING)


def test_the_first_key_signs_and_all_are_believed() -> None:
    both = Keyring([("new", NEW), ("old", OLD)])
    before = segments.pack_index(TABLE, NAME, Keyring([("old", OLD)]))
    after = segments.pack_index(TABLE, NAME, both)

    assert segments.unpack_index(before, NAME, both).records() == TABLE | {
        "segment": list(TABLE["segment"])
    }
    segments.unpack_index(after, NAME, Keyring([("new", NEW)]))
    with pytest.raises(Damaged, match=r"key 'old'.*known: new.*results.signing_keys"):
        segments.unpack_index(before, NAME, Keyring([("new", NEW)]))


def test_what_others_write_for_a_keys_name_is_not_repeated() -> None:
    payload = bytearray(segments.pack_index(TABLE, NAME, RING))
    payload[6:22] = b"\x1b[2J\nALL IS WELL"

    problem = RING.problem(bytes(payload[6:22]), b"", b"")

    assert "of no possible name" in problem and "WELL" not in problem


def test_keys_stay_in_their_process_and_out_of_texts() -> None:
    assert NEW.hex() not in repr(RING) and "main" in repr(RING)
    with pytest.raises(TypeError, match="stay in their process"):
        pickle.dumps(RING)


def test_rings_are_equal_by_their_keys_and_their_order() -> None:
    one, other = ("a", NEW), ("b", OLD)

    assert Keyring([one, other]) == Keyring([one, other])
    assert hash(Keyring([one, other])) == hash(Keyring([one, other]))
    assert Keyring([one, other]) != Keyring([other, one])
    assert Keyring([one]) != Keyring([("a", OLD)])


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ([], "no key"),
        ([("a", bytes(31))], "31 bytes"),
        ([("a b", bytes(32))], "name a key"),
        ([("a", bytes(32)), ("a", NEW)], "one name"),
    ],
)
def test_what_is_no_keyring_is_refused(keys: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Keyring(keys)


@settings(max_examples=20)
@given(st.lists(st.binary(max_size=9), max_size=4), st.randoms(use_true_random=False))
def test_a_footer_is_believed_of_its_own_map_and_segment_alone(
    payloads: list[bytes], chance: random.Random
) -> None:
    segment = Segment()
    for payload in payloads:
        segment.append(bytes(16), [payload])
    whole = b"".join(segment.parts("mine", NEW))
    start = len(whole) - segments.footer_bytes(whole, "mine")

    assert segments.read_footer(whole, "mine", NEW) == segment.packed
    for name, secret in (("mine", OLD), ("another", NEW)):
        with pytest.raises(Damaged, match=f"{name} is damaged, or no chunk of this map"):
            segments.read_footer(whole, name, secret)
    # What is in front of a footer is payloads, so bytes that were put there change nothing.
    changed = mutated(whole[start:], chance)[start - len(whole) :]
    assume(changed != whole[start:])
    with pytest.raises(Damaged):
        segments.read_footer(changed, "mine", NEW)
