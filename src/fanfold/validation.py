"""Flow parameters, checked and coerced by pydantic."""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import pydantic

from fanfold.values.errors import ParameterTypeError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def validator(name: str, fn: Callable[..., Any]) -> Callable[..., Arguments]:
    """Return a function that takes a call's arguments and returns them coerced.

    Args:
        name: Names the flow in errors.
        fn: Whose signature and annotations count. Types that pydantic doesn't know are checked
            with isinstance.
    """

    def arguments(*args: Any, **kwargs: Any) -> Arguments:
        return args, kwargs

    target = fn if inspect.isroutine(fn) else fn.__call__
    shaped = update_wrapper(arguments, inspect.unwrap(target))
    shaped.__signature__ = inspect.signature(fn)  # type: ignore[attr-defined]
    check = pydantic.validate_call(config=pydantic.ConfigDict(arbitrary_types_allowed=True))(shaped)

    def validated(*args: Any, **kwargs: Any) -> Arguments:
        try:
            return check(*args, **kwargs)
        except pydantic.ValidationError as error:
            raise ParameterTypeError(_told(name, error)) from None

    return validated


def _told(name: str, error: pydantic.ValidationError) -> str:
    problems = [
        f"  {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']} "
        f"(got {problem['input']!r:.60})"
        for problem in error.errors(include_url=False)
    ]
    return "\n".join([f"The flow {name} can't be called like that:", *problems])
