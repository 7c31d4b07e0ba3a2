"""What a key is made from, told apart: the same keys, and parts that change one by one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine import keys
from fanfold.values.errors import KeyNotStable
from fanfold.values.secrets import Secret


@dataclass
class Config:
    depth: int = 1
    days: list[str] = field(default_factory=lambda: ["mo", "tu"])
    lock: Any = None


atoms = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=True)
nested = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.builds(Config, depth=inner, days=inner)
    ),
    max_leaves=30,
)


@given(st.dictionaries(st.text(min_size=1, max_size=4), nested, max_size=4), st.binary())
def test_the_key_is_that_of_the_whole(arguments: dict[str, Any], before: bytes) -> None:
    key, parts = keys.digest_in_parts(arguments, before)

    assert key == keys.digest(arguments, "", before=before)
    assert bool(parts) == bool(arguments)


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    first, second = (keys.digest_in_parts(each)[1] for each in (one, other))
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


@pytest.mark.parametrize(
    ("one", "other", "paths"),
    [
        ({"x": 1, "y": 2}, {"x": 1, "y": 3}, ["y"]),
        ({"c": Config()}, {"c": Config(depth=2)}, ["c.depth"]),
        ({"c": Config()}, {"c": Config(days=["mo", "we"])}, ["c.days[1]"]),
        ({"c": {"a": (1, 2), 3: 4}}, {"c": {"a": (1, 2), 3: 5}}, ["c[3]"]),
        ({"c": {"a": 1}}, {"c": {"b": 1}}, ["c['a']", "c['b']"]),
        ({"c": list(range(99))}, {"c": [*range(98), 0]}, ["c"]),
        ({"c": [[[[1]]]]}, {"c": [[[[2]]]]}, ["c[0][0]"]),
        ({"x": 1}, {"x": True}, ["x"]),
    ],
)
def test_what_differs_is_named_by_its_path(
    one: dict[str, Any], other: dict[str, Any], paths: list[str]
) -> None:
    assert differing(one, other) == paths
    assert differing(one, one) == []


def test_a_container_that_holds_itself_has_the_key_of_the_whole() -> None:
    loop: list[Any] = [1]
    loop.append(loop)

    key, parts = keys.digest_in_parts({"loop": loop})

    assert key == keys.digest({"loop": loop}, "")
    assert list(parts) == ["loop[0]", "loop[1]"]


def test_no_digest_is_told_of_a_secret() -> None:
    key, parts = keys.digest_in_parts({"token": Secret("1234"), "n": {"pin": Secret("9")}})

    assert key == keys.digest({"token": Secret("1234"), "n": {"pin": Secret("9")}}, "")
    assert set(parts.values()) == {"secret"}


def test_what_has_no_form_is_told_with_its_whole_path() -> None:
    with pytest.raises(KeyNotStable) as raised:
        keys.digest_in_parts({"config": Config(lock=Lock())})

    assert raised.value.path == "config.lock"


LIMIT = 10


def clean(text: str) -> str:
    return text.strip()


def other_clean(text: str) -> str:
    return text.strip().lower()


def parser(rate: int, cleaner: Callable[[str], str] = clean, limit: int = LIMIT) -> Any:
    names = {"clean": cleaner, "LIMIT": limit, "Config": Config, "__name__": __name__}

    def parse(text: str, depth: int = 3) -> object:
        return clean(text)[:LIMIT], rate, depth, Config

    return type(parse)(parse.__code__, names, "parse", parse.__defaults__, parse.__closure__)


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (parser(2), ["closure rate"]),
        (parser(1, limit=11), ["global LIMIT"]),
        (parser(1, cleaner=other_clean), ["clean's body", "global clean", "other_clean's body"]),
    ],
)
def test_what_differs_in_code_is_named(changed: Any, names: list[str]) -> None:
    parts = [keys.code_parts(keys.code_digest(each)) for each in (parser(1), changed)]

    different = {n for n in {*parts[0], *parts[1]} if parts[0].get(n) != parts[1].get(n)}
    assert sorted(different) == names
    assert {"body", "default depth", "closure rate", "Config.depth"} <= parts[0].keys()


def test_a_part_of_code_stays_when_only_what_it_reaches_changes() -> None:
    def inner() -> int:
        return rate

    def outer() -> int:
        return inner()

    rate = 1
    first = keys.code_parts(keys.code_digest(outer))
    rate = 2
    second = keys.code_parts(keys.code_digest(outer))

    changed = [name for name in first if first[name] != second[name]]
    assert changed == [f"{inner.__qualname__}'s closure rate"]


def test_digests_of_others_have_no_parts() -> None:
    assert keys.code_parts(b"0" * 16) == {}
