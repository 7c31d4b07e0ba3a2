"""The tree of errors: as it is drawn, and able to cross processes."""

import inspect
import pickle
import re
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

from fanfold.values import errors
from fanfold.values.errors import FailureGroup, FanfoldError

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "HistoryTooNew": ("/data/history.db", 9, 4),
    "KeyNotStable": ("config.lock", "_thread.lock"),
    "TimedOut": ("slow", 1.5, "hard"),
    "MapError": (
        "parse",
        9,
        (FailureGroup(kind="KeyError", where="", message="k", count=2, first=(1, 3)),),
    ),
    "InputsUnreadable": ("ImportError", "no module"),
    "RunHeld": ("a" * 24, "host", 4711, 1_700_000_000_000_000),
    "RunTakenOver": ("a" * 24, "host", 4711, 1_700_000_000_000_000),
    "ValuesLost": ("two are gone", (0, 3)),
}
CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
CLASSES = [kind for kind in CLASSES if kind.__module__ == errors.__name__]
CLASSES = [kind for kind in CLASSES if issubclass(kind, Exception)]


def children(kind: type) -> list[type]:
    return [found for found in CLASSES if found.__base__ is kind or found.__bases__[0] is kind]


def drawn(kind: type, before: str = "") -> Iterator[str]:
    below = children(kind)
    for child in below:
        last = child is below[-1]
        yield f"{before}{'└' if last else '├'}── {child.__name__}"
        yield from drawn(child, before + ("    " if last else "│   "))


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    lines = [line for line in (errors.__doc__ or "").splitlines() if re.search("──", line)]
    told = [re.sub(r"(\w) .*", r"\1", line.removeprefix("    ")) for line in lines]

    assert told == list(drawn(FanfoldError))
    assert all(issubclass(kind, FanfoldError) for kind in CLASSES)


@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_from_a_pickle_as_it_was(kind: type, pickler: Any) -> None:
    error = kind(*ARGUMENTS.get(kind.__name__, ("it went wrong",)))

    again = pickle.loads(pickler.dumps(error))

    assert type(again) is kind
    assert str(again) == str(error) != ""
    assert again.args == error.args
    assert vars(again) == vars(error)


def test_a_mistake_in_a_call_can_be_caught_as_what_python_would_raise() -> None:
    assert issubclass(errors.ParameterTypeError, TypeError)
    assert issubclass(errors.MappingMissingIterable, TypeError)
    assert issubclass(errors.MappingLengthMismatch, ValueError)
    assert issubclass(errors.UnknownRunner, LookupError)
