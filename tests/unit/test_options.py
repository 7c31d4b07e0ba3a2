"""Every option has a test that fails where it is ignored."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.option_table import (
    EFFECTS,
    ELSEWHERE,
    UNHEEDED,
    options,
)

ROOT = Path(__file__).parents[2]


def effects() -> Iterator[tuple[str, str]]:
    """Yield each option that a test shows by `@effect(...)`, and the test."""
    for file in EFFECTS:
        for function in functions(file):
            for mark in function.decorator_list:
                match mark:
                    case ast.Call(func=ast.Name(id="effect"), args=[ast.Constant(value=str(of))]):
                        yield of, f"{file}::{function.name}"


def functions(file: str) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


def test_every_option_has_its_test_and_every_test_its_option() -> None:
    shown = {**dict(effects()), **ELSEWHERE}

    assert {"without a test": set(options()) - shown.keys()} == {"without a test": set(UNHEEDED)}
    assert {"no options": shown.keys() - set(options())} == {"no options": set()}


def test_an_option_is_shown_once() -> None:
    counts = Counter([*(option for option, _ in effects()), *ELSEWHERE])

    assert [option for option, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_the_tests_that_are_named_exist(test: str) -> None:
    file, _, name = test.partition("::")

    assert name in {function.name for function in functions(file)}


@pytest.mark.parametrize("file", EFFECTS)
def test_every_test_of_an_effect_says_which(file: str) -> None:
    tests = {one.name for one in functions(file) if one.name.startswith("test_")}

    assert tests == {test.partition("::")[2] for _, test in effects() if test.startswith(file)}
