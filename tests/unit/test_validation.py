"""Parameters of flows, checked against what the function is annotated with."""

import dataclasses
import re
from typing import Any

import pydantic
import pytest

from fanfold.validation import validator
from fanfold.values.errors import ParameterTypeError


class Config(pydantic.BaseModel):
    rate: float
    name: str = "config"


@dataclasses.dataclass
class Point:
    x: int


class Unknown:
    """Something that pydantic knows nothing of."""


def everything(
    a: int,
    /,
    b: list[float],
    *rest: int,
    c: Config | None = None,
    d: Unknown | None = None,
    e: Any = "as it is",
    **more: bool,
) -> None: ...


def test_arguments_come_back_coerced_and_in_their_places() -> None:
    unknown = Unknown()

    args, kwargs = validator("flow", everything)(
        "1", ("2", 3), "4", c={"rate": "0.5"}, d=unknown, e="5", f="yes"
    )

    assert args == (1, [2.0, 3.0], 4)
    assert kwargs == {"c": Config(rate=0.5), "d": unknown, "e": "5", "f": True}


def test_dataclasses_and_postponed_annotations_are_understood() -> None:
    def later(point: "Point", config: "Config") -> None: ...

    args, _ = validator("flow", later)({"x": "1"}, {"rate": 1})

    assert args == (Point(1), Config(rate=1.0))


def test_defaults_are_left_to_the_function() -> None:
    def with_default(x: int = "not a number") -> None: ...  # type: ignore[assignment]

    assert validator("flow", with_default)() in [((), {}), ((), {"x": "not a number"})]


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((), {}, ["Missing required positional only argument", "b: Missing"]),
        ((1, []), {"c": {"rate": "fast"}}, ["c.*rate: .*number.*'fast'"]),
        ((1, []), {"d": 5}, ["d: .*instance of Unknown.*5"]),
        ((1, []), {"f": "perhaps"}, ["f: .*boolean.*'perhaps'"]),
    ],
)
def test_every_problem_is_told_with_its_place_and_what_was_given(
    args: Any, kwargs: Any, told: list[str]
) -> None:
    with pytest.raises(ParameterTypeError) as caught:
        validator("my-flow", everything)(*args, **kwargs)

    assert "my-flow can't be called like that" in str(caught.value)
    for pattern in told:
        assert re.search(pattern, str(caught.value))


def test_a_parameter_given_by_position_is_told_by_its_name() -> None:
    def takes(count: int) -> None: ...

    with pytest.raises(ParameterTypeError, match=r"count: .*'many'"):
        validator("flow", takes)("many")


def test_arguments_too_many_are_refused() -> None:
    def takes(count: int) -> None: ...

    for args, kwargs in (((1, 2), {}), ((1,), {"other": 2})):
        with pytest.raises(ParameterTypeError, match="nexpected"):
            validator("flow", takes)(*args, **kwargs)


def test_arguments_of_a_flow_without_parameters_are_refused_too() -> None:
    for args, kwargs in (((1,), {}), ((), {"other": 2})):
        with pytest.raises(
            ParameterTypeError, match=r"flow can't be called like that:\n .*argument"
        ):
            validator("flow", lambda: None)(*args, **kwargs)
    assert validator("flow", lambda: None)() == ((), {})
