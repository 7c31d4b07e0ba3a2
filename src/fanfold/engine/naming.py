"""What runs are called, where the user says so: a template of the arguments, or a function."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from fanfold.values.errors import UsageError

RunName = str | Callable[..., str] | None
"""A template such as "load-{path}", or a function that returns the name.

The function is called with `parameters`, the arguments by name, if it takes something of that name.
"""


def run_name(choice: RunName, default: str, arguments: Callable[[], Mapping[str, Any]]) -> str:
    """Return the name of a run.

    Raises:
        UsageError: A template names something that is no argument, or a function returns no text.
    """
    if choice is None:
        return default
    if isinstance(choice, str):
        known = dict(arguments())
        try:
            return choice.format(**known)
        except (KeyError, IndexError, AttributeError, ValueError) as error:
            raise UsageError(
                f"The run name {choice!r} of {default} can't be filled in ({error!r}). Its "
                f"arguments are: {', '.join(known) or 'none'}."
            ) from error
    given: dict[str, Any] = {}
    if "parameters" in inspect.signature(choice).parameters:
        given["parameters"] = dict(arguments())
    name: Any = choice(**given)
    if not isinstance(name, str):
        raise UsageError(
            f"The run name function of {default} returned {name!r}; it must return a string."
        )
    return name


def checked_run_name(of: str, choice: Any) -> RunName:
    """Return a run name if it can be one.

    Raises:
        TypeError: It is neither a string nor a function.
    """
    if choice is None or isinstance(choice, str) or callable(choice):
        return cast(RunName, choice)
    raise TypeError(f"Runs of {of} can be named by a string or a function, not by {choice!r}.")
