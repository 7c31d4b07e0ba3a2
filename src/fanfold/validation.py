"""Flow parameters, checked and coerced by pydantic."""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from fanfold.engine.spec import taken_apart
from fanfold.values.errors import ParameterTypeError

if TYPE_CHECKING:
    import pydantic

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def validator(name: str, fn: Callable[..., Any]) -> Callable[..., Arguments]:
    """Return a function that takes a call's arguments and returns them coerced.

    Args:
        name: Names the flow in errors.
        fn: Whose signature and annotations count. Types that pydantic doesn't know are checked
            with isinstance.
    """
    signature = inspect.signature(fn)
    if not signature.parameters:
        return _none(name, signature)
    import pydantic  # 30 ms, which flows without parameters don't need

    def arguments(*args: Any, **kwargs: Any) -> Arguments:
        return args, kwargs

    shaped = update_wrapper(arguments, taken_apart(fn)[0])
    del shaped.__wrapped__  # pydantic would look there, and find `self`
    shaped.__signature__ = signature  # type: ignore[attr-defined]
    check = pydantic.validate_call(config=pydantic.ConfigDict(arbitrary_types_allowed=True))(shaped)
    names = list(signature.parameters)

    def validated(*args: Any, **kwargs: Any) -> Arguments:
        try:
            return check(*args, **kwargs)
        except pydantic.ValidationError as error:
            raise ParameterTypeError(_told(name, names, error)) from None

    return validated


def _none(name: str, signature: inspect.Signature) -> Callable[..., Arguments]:
    def validated(*args: Any, **kwargs: Any) -> Arguments:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            told = f"The flow {name} can't be called like that:\n  {error}"
            raise ParameterTypeError(told) from None
        return args, kwargs

    return validated


def _told(name: str, names: list[str], error: "pydantic.ValidationError") -> str:
    problems = [
        f"  {_place(names, problem['loc'])}: {problem['msg']} (got {problem['input']!r:.60})"
        for problem in error.errors(include_url=False)
    ]
    return "\n".join([f"The flow {name} can't be called like that:", *problems])


def _place(names: list[str], location: tuple[int | str, ...]) -> str:
    """Return where a problem is; pydantic names positional arguments by number."""
    first, *rest = location
    if isinstance(first, int) and first < len(names):
        first = names[first]
    return ".".join(str(part) for part in (first, *rest))
