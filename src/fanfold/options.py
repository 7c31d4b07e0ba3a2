"""What options of flows and tasks may be, and what is made of them; wrong ones are told at once."""

import difflib
import functools
import inspect
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from fanfold.caching import NO_CACHE, CachePolicy, Inputs
from fanfold.engine.hooks import Hook as Hook
from fanfold.engine.keys.policies import parts_of
from fanfold.engine.spec import Layout, Mapped, taken_apart
from fanfold.values.errors import ReservedArgumentError, UsageError
from fanfold.values.resources import PLAIN, Resources

R = TypeVar("R")

OnError = Literal["raise", "collect"]
FLAGS = (
    "persist_result",
    "refresh_cache",
    "cache_result_in_memory",
    "log_prints",
    "validate_parameters",
)
"""Options of flows and tasks that are yes or no, or None for what holds without them."""
RESERVED = frozenset({"return_state", "wait_for"})
NAMED = ("__module__", "__name__", "__qualname__", "__doc__")
"""What a bound method takes over from its function."""
MOST_DELAYS = 50
"""Retry delays that a task can have."""
Delays = float | timedelta | Sequence[float] | Callable[[int], Sequence[float]]
"""Seconds, a timedelta, one number per retry, or a function of the number of retries."""


class ClassBound:
    """A class attribute that binds what it holds to the class, as a classmethod is bound.

    A classmethod itself doesn't bind other descriptors any more, from Python 3.13 on.
    """

    def __init__(self, held: Any) -> None:
        self.held = held

    def __get__(self, instance: object, owner_type: type | None = None) -> Any:
        """Bind to the class that it was looked up on."""
        return self.held.__get__(owner_type or type(instance))


def made_of(fn: Any, make: Callable[[Any], Any]) -> Any:
    """Make a task or flow of a function, a static method or a class method."""
    if isinstance(fn, staticmethod):
        return staticmethod(make(cast(Any, fn).__func__))
    if isinstance(fn, classmethod):
        return ClassBound(make(cast(Any, fn).__func__))
    return make(fn)


def bound_method(fn: Callable[..., R], instance: object) -> Callable[..., R]:
    """Return a function with its first argument given, as Python binds methods."""
    bound = functools.partial(fn, instance)
    # A partial has no name, and its class's docstring. Not by update_wrapper, which would have the
    # signature taken from the function: that has the first argument.
    vars(bound).update({name: getattr(fn, name) for name in NAMED if hasattr(fn, name)})
    return cast("Callable[..., R]", bound)


def known_options(kind: str, given: Mapping[str, Any], known: type) -> None:
    """Refuse options that don't exist.

    Raises:
        TypeError: Names the one and the nearest that exists.
    """
    for name in given:
        if name not in known.__annotations__:
            near = difflib.get_close_matches(name, known.__annotations__, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"A {kind} has no option {name!r}.{hint}")


def described(fn: Callable[..., Any]) -> str | None:
    """Return a function's docstring."""
    return inspect.getdoc(fn) if hasattr(fn, "__name__") else None


def is_async(fn: Any) -> bool:
    """Return whether calls are awaited: of a function, a callable object, or what says so itself.

    A callable object says so by an attribute `is_async`.
    """
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    declared = any(kind(one) for one in (fn, taken_apart(fn)[0]) for kind in kinds)
    return declared or getattr(fn, "is_async", False) is True


def yields(fn: Any) -> bool:
    """Return whether calls yield: whether it is a generator function of either kind."""
    kinds = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    return any(kind(one) for one in (fn, taken_apart(fn)[0]) for kind in kinds)


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Return a function for `retry_delay_seconds` that doubles the delay for each retry.

    Args:
        backoff_factor: Seconds before the first retry.
    """
    return functools.partial(_doubled, backoff_factor)


def _doubled(first_s: float, retries: int) -> list[float]:
    return [first_s * 2**nth for nth in range(retries)]


def delays_in_seconds(delays: Delays | None, retries: int = 0) -> tuple[float, ...]:
    """Return retry delays as a tuple of seconds.

    Args:
        delays: As users give them.
        retries: What a function of the number of retries is called with.

    Raises:
        TypeError: They are neither numbers nor a timedelta.
        ValueError: One is negative, or there are more than 50.
    """
    if callable(delays):
        delays = delays(retries)
    if isinstance(delays, timedelta):
        delays = delays.total_seconds()
    if delays is None:
        return ()
    if isinstance(delays, (int, float)):
        delays = (delays,) if delays else ()
    if isinstance(delays, str) or not isinstance(cast(Any, delays), Sequence):
        raise TypeError(
            "retry_delay_seconds takes seconds, a list of them, or a function of the number of "
            f"retries that returns one; not {delays!r}."
        )
    if len(delays) > MOST_DELAYS:
        raise ValueError(
            f"retry_delay_seconds takes at most {MOST_DELAYS} delays, not {len(delays)}."
        )
    if any(isinstance(d, bool) or not isinstance(cast(Any, d), (int, float)) for d in delays):
        raise TypeError(f"Retry delays are numbers of seconds, not {list(delays)}.")
    if any(not delay >= 0 for delay in delays):
        raise ValueError(f"A retry can't be delayed by a negative time: {list(delays)}.")
    return tuple(float(delay) for delay in delays)


def checked_retries(name: str, retries: int | None) -> int | None:
    """Return a number of retries if it is one.

    Raises:
        UsageError: It isn't a whole number of at least 0.
    """
    if retries is not None and (type(retries) is not int or retries < 0):
        raise UsageError(f"{name} can be retried 0 or more times, not {retries!r}.")
    return retries


def checked_jitter(name: str, factor: float | None) -> float:
    """Return a jitter factor, 0 for none.

    Raises:
        ValueError: It is negative or no number.
    """
    if factor is None:
        return 0.0
    if not factor >= 0 or math.isinf(factor):
        raise ValueError(f"retry_jitter_factor of {name} must be 0 or more, not {factor!r}.")
    return float(factor)


def checked_count(name: str, option: str, count: int | None) -> int | None:
    """Return a number of at least 1, or None for none.

    Raises:
        UsageError: It is something else.
    """
    if count is not None and (type(count) is not int or count < 1):
        raise UsageError(f"{option} of {name} must be a whole number of 1 or more, not {count!r}.")
    return count


def checked_flag(name: str, option: str, flag: object) -> bool:
    """Return an option that is yes or no.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(flag, bool):
        raise TypeError(f"{option} of {name!r} must be True or False, not {flag!r}.")
    return flag


def check_flags(name: str, options: Mapping[str, Any]) -> None:
    """Refuse what is neither yes nor no: a text such as "no" would count as yes.

    Raises:
        TypeError: One of the options is something else, and not None.
    """
    for option in FLAGS:
        if options.get(option) is not None:
            checked_flag(name, option, options[option])


def checked_expiration(name: str, expiration: Any) -> timedelta | None:
    """Return how long results may be used; None for ever.

    Raises:
        TypeError: It is neither a timedelta nor a number of seconds.
        ValueError: It is no time that there is.
    """
    if expiration is None or isinstance(expiration, timedelta):
        return expiration
    if isinstance(expiration, bool) or not isinstance(expiration, (int, float)):
        raise TypeError(
            f"cache_expiration of {name} takes a timedelta or seconds, not {expiration!r}."
        )
    try:
        return timedelta(seconds=expiration)
    except (OverflowError, ValueError):
        raise ValueError(
            f"Results of {name} can't expire after {expiration!r} s. Leave cache_expiration out to "
            "use them for ever."
        ) from None


def check_storage(name: str, storage: Any) -> None:
    """Refuse what results can't be kept in.

    Raises:
        TypeError: It is neither a folder or URL nor a store.
    """
    if storage is None or isinstance(storage, (str, Path)):
        return
    if isinstance(storage, type) or not hasattr(storage, "listing"):
        raise TypeError(
            f"result_storage of {name} is a folder, a URL such as s3://bucket/results, or a store, "
            f"not {storage!r}."
        )


def checked_resources(name: str, asked: Any) -> Resources:
    """Return what a task holds while it runs.

    Raises:
        TypeError: It isn't given as a mapping.
        UsageError: A name or an amount can't be.
    """
    if asked is None or isinstance(asked, Resources):
        return asked or PLAIN
    if not isinstance(asked, Mapping):
        raise TypeError(f'resources of {name!r} must be like {{"gpu": 1}}, not {asked!r}.')
    return Resources.of(cast("Mapping[Any, Any]", asked))


def checked_function(name: str, option: str, function: Any) -> Any:
    """Return a function, or None.

    Raises:
        TypeError: It can't be called.
    """
    if function is not None and not callable(function):
        raise TypeError(f"{option} of {name} takes a function, not {function!r}.")
    return function


def checked_hooks(name: str, option: str, hooks: Any) -> tuple[Hook, ...]:
    """Return hooks as a tuple.

    Raises:
        TypeError: They aren't a list of functions.
    """
    if hooks is None:
        return ()
    if isinstance(hooks, str) or not isinstance(hooks, Iterable):
        raise TypeError(f"{option} of {name} takes a list of functions, not {hooks!r}.")
    found = tuple(cast("Iterable[Any]", hooks))
    for hook in found:
        if not callable(hook):
            raise TypeError(f"{option} of {name} takes functions, and {hook!r} is none.")
    return found


def refuse_reserved(kind: str, name: str, signature: inspect.Signature) -> None:
    """Refuse parameters with names that calls need themselves.

    Raises:
        ReservedArgumentError: There is one.
    """
    taken = sorted(RESERVED & signature.parameters.keys())
    if taken:
        raise ReservedArgumentError(
            f"The {kind} {name} declares the parameter {taken[0]!r}, which calls of a {kind} need "
            "themselves. Give it another name."
        )


def known_policy(name: str, options: Mapping[str, Any]) -> CachePolicy | None:
    """Return a task's cache policy.

    Raises:
        UsageError: It is no policy; a task would run uncached without a word.
    """
    policy = options.get("cache_policy")
    if policy is not None and not isinstance(policy, CachePolicy):
        raise UsageError(
            f"The task {name} can't follow cache_policy={policy!r}. Give a policy such as INPUTS, "
            "from fanfold, or make keys of your own by cache_key_fn."
        )
    return policy


def warn_of_vain(name: str, fn: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Warn of options of a task that do nothing, as they are together or for its parameters."""
    policy = options.get("cache_policy")
    wishes = ("cache_policy", "cache_key_fn", "cache_expiration")
    caching = [wish for wish in wishes if options.get(wish) not in (None, NO_CACHE)]
    if caching and options.get("persist_result") is False:
        warn_user(
            f"The task {name} has a {caching[0]} and persist_result=False: nothing is kept, so "
            "nothing is cached."
        )
    parts = () if policy is None else parts_of(policy)
    left_out = {each for part in parts if type(part) is Inputs for each in part.exclude}
    parameters = inspect.signature(fn).parameters if left_out else {}
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return
    for missing in sorted(left_out - parameters.keys()):
        near = difflib.get_close_matches(missing, parameters, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        warn_user(
            f"The cache_policy of the task {name} leaves out {missing!r}, which is none of its "
            f"parameters: {', '.join(parameters) or 'it has none'}.{hint}"
        )


def warn_of_one_object(
    name: str, template: str | None, fn: Callable[..., Any], layout: Layout
) -> None:
    """Warn of a map of which all elements have their result in one object."""
    if template is None or _OF_ELEMENT.search(template):
        return
    by_name = [value for value in layout.kwargs.values() if isinstance(value, Mapped)]
    try:
        arguments = layout.bind(fn, [*layout.args, *by_name])
    except TypeError:  # the elements say so when they are called
        return
    varied = [each for each, value in arguments.items() if _varies(value)]
    if not varied or any(f"{{parameters[{each}]" in template for each in varied):
        return
    warn_user(
        f"All elements of a map of {name} have the object {template!r}, so each may get the result "
        "of another. Add what tells them apart to its result_storage_key, such as "
        f"{{parameters[{varied[0]}]}}."
    )


_OF_ELEMENT = re.compile(r"\{parameters(?!\[)|\{task_run(?!\.task_name)")
"""What differs in a template for each element: all parameters at once, and what the run is."""


def _varies(value: Any) -> bool:
    """Return whether an argument isn't the same for all elements of a map."""
    if isinstance(value, dict):
        value = tuple(cast("dict[str, Any]", value).values())
    inside = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
    return any(isinstance(each, Mapped) for each in inside)


def warn_user(message: str) -> None:
    """Warn at the line outside of this package that led here."""
    package, level = __name__.partition(".")[0], 1
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        f"{package}."
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def checked_storage_key(name: str, template: Any) -> None:
    """Refuse what can't be a template.

    Raises:
        TypeError: It is no string.
    """
    if template is not None and not isinstance(template, str):
        raise TypeError(f"result_storage_key of {name} is a string, not {template!r}.")


def known_on_error(name: str, choice: Any) -> OnError:
    """Return what a map is to do with failed elements.

    Raises:
        UsageError: It is nothing that a map can do.
    """
    if choice not in ("raise", "collect"):
        raise UsageError(f'on_error of {name} is "raise" or "collect", not {choice!r}.')
    return choice
