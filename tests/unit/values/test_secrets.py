"""Secrets: shown as asterisks, and otherwise a value like any other."""

import copy
import pickle
from typing import Any

import cloudpickle
import pydantic
import pytest

from fanfold import flow, task
from fanfold.engine import keys
from fanfold.validation import validator
from fanfold.values.errors import ParameterTypeError, UsageError
from fanfold.values.secrets import COVER, Known, Secret


def test_a_secret_shows_asterisks_however_it_is_written() -> None:
    secret = Secret("correct horse")

    assert [str(secret), f"{secret}", f"{secret:>12}"] == [COVER, COVER, f"  {COVER}"]
    assert repr([secret]) == f"[Secret({COVER!r})]"
    assert secret.get() == secret.get_secret_value() == "correct horse"


def test_secrets_compare_and_hash_by_what_they_hide() -> None:
    assert Secret("battery") == Secret("battery")
    assert Secret("battery") != Secret("staple")
    assert Secret("battery") != "battery"
    assert len({Secret("battery"), Secret("battery")}) == 1
    assert (bool(Secret("")), bool(Secret("x"))) == (False, True)


def test_a_secret_is_made_of_a_text_alone() -> None:
    with pytest.raises(UsageError, match="takes a text, not a int"):
        Secret(12345)  # type: ignore[arg-type]


def test_a_secret_travels_and_is_copied() -> None:
    secret = Secret("correct horse")

    for same in (
        pickle.loads(pickle.dumps(secret)),
        cloudpickle.loads(cloudpickle.dumps(secret)),
        copy.deepcopy(secret),
    ):
        assert same == secret


def test_a_secret_has_a_stable_key_that_holds_no_trace_of_it() -> None:
    key = keys.digest({"token": Secret("correct horse")}, "")

    assert key == keys.digest({"token": Secret("correct horse")}, "")
    assert key != keys.digest({"token": Secret("correct house")}, "")
    assert len(key) == keys.KEY_BYTES


def test_a_flow_takes_secrets_as_parameters_and_hands_them_to_tasks() -> None:
    @task
    def use(token: Secret) -> str:
        return token.get()

    @flow
    def around(token: Secret, other: Secret) -> Any:
        return [use(token), use.submit(other).result()]

    assert around("correct horse", Secret("battery")) == ["correct horse", "battery"]  # type: ignore[arg-type]


def test_pydantic_makes_secrets_of_texts_and_of_its_own() -> None:
    def wants(token: Secret) -> None:
        """Takes one."""

    check = validator("wants", wants)

    assert check("correct")[0] == (Secret("correct"),)
    assert check(pydantic.SecretStr("horse"))[0] == (Secret("horse"),)
    with pytest.raises(ParameterTypeError, match="a Secret or a text is wanted"):
        check(5)


def test_a_model_with_a_secret_does_not_show_it() -> None:
    class Login(pydantic.BaseModel):
        token: Secret

    login = Login(token="correct horse")  # type: ignore[arg-type]

    assert "horse" not in repr(login) + login.model_dump_json() + str(login.model_dump())
    field = Login.model_json_schema()["properties"]["token"]
    assert (field["type"], field["format"], field["writeOnly"]) == ("string", "password", True)


def test_known_secrets_are_found_wherever_they_stand_few_or_many() -> None:
    few, many = Known(), Known()
    for number in range(200):
        many.add(f"filler-{number}")
    for known in (few, many):
        known.add("abcdef")
        known.add("defghi")
        known.add("abc")

    for known in (few, many):
        assert sorted(known.spans("xabcdefghi abcdef abc")) == [(1, 7), (4, 10), (11, 17)]
        assert known.spans("abc") == []
        assert known
    assert not Known()
