"""Exceptions on their way home."""

import pickle
import traceback
import types
from typing import Any

import pytest

from fanfold.engine import failures
from fanfold.engine.drive import drive
from fanfold.values.errors import RemoteError


class Demanding(Exception):
    """Wants arguments that its `args` don't hold."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"code {code} at {where}")
        self.code = code


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("no")


def raised(error: BaseException) -> BaseException:
    """Raise in the user's code below Fanfold's, and return what comes out."""

    def story() -> Any:
        yield None

    def users(effect: object) -> None:
        raise error

    try:
        drive(story(), users)
    except BaseException as caught:
        return caught
    raise AssertionError


def test_in_one_process_the_exception_itself_comes_home_with_the_users_frames() -> None:
    error = ValueError("no")

    failure = failures.capture(raised(error), travels=False)

    assert (failure.kind, failure.message, failure.error) == ("ValueError", "no", None)
    assert failures.restore(failure) is error
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names == ["raised", "users"]
    assert "ValueError: no" in failure.traceback


def test_between_processes_it_comes_home_as_its_type_with_the_workers_traceback() -> None:
    failure = failures.capture(raised(KeyError("x")), travels=True)
    failure = pickle.loads(pickle.dumps(failure))

    error = failures.restore(failure)

    assert type(error) is KeyError
    assert error.args == ("x",)
    (note,) = error.__notes__
    assert note.startswith("On the worker:\nTraceback")
    assert "in users" in note and "drive.py" not in note


def test_the_chain_of_an_exception_is_told() -> None:
    error = ValueError("above")
    error.__cause__ = KeyError("below")

    failure = failures.capture(raised(error), travels=True)

    assert "KeyError: 'below'" in failure.traceback
    assert "direct cause" in failure.traceback


@pytest.mark.parametrize("error", [Demanding(7, where="here"), Unpicklable("lost")])
def test_an_exception_that_does_not_survive_pickling_comes_home_readable(
    error: Exception,
) -> None:
    failure = failures.capture(raised(error), travels=True)

    stand_in = failures.restore(pickle.loads(pickle.dumps(failure)))

    assert type(stand_in) is RemoteError
    assert type(error).__qualname__ in str(stand_in)
    assert str(error) in str(stand_in)
    assert "in users" in stand_in.__notes__[0]


def test_an_exception_whose_type_exists_only_on_the_worker_comes_home_readable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("only_there")
    monkeypatch.setitem(__import__("sys").modules, "only_there", module)
    module.Gone = type("Gone", (Exception,), {"__module__": "only_there"})  # type: ignore[attr-defined]
    failure = failures.capture(module.Gone("why"), travels=True)
    monkeypatch.undo()

    error = failures.restore(failure)

    assert type(error) is RemoteError
    assert "only_there.Gone: why" in str(error)


def test_a_remote_exception_is_restored_anew_each_time() -> None:
    failure = failures.capture(raised(ValueError("no")), travels=True)

    assert len(failures.restore(failure).__notes__) == 1
    assert len(failures.restore(failure).__notes__) == 1


def test_a_traceback_of_our_frames_alone_is_kept() -> None:
    try:
        drive(None, repr)  # type: ignore[arg-type]
    except TypeError as error:
        frames = error.__traceback__.tb_next if error.__traceback__ else None

    assert failures.users_frames(frames) is frames


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_that_cannot_say_what_it_is_is_captured_all_the_same() -> None:
    failure = failures.capture(_Mute(), travels=False)

    assert failure.message == "<exception str() failed>"
    assert "_Mute" in failure.kind
