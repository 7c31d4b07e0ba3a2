"""Tasks: functions that work, called one by one or mapped over many inputs."""

import functools
import inspect
import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from fanfold.caching import INPUTS, CachePolicy, KeyByFunction, KeyFunction, key_of_inputs
from fanfold.caching import task_input_hash as task_input_hash
from fanfold.engine import keys, registry, settings
from fanfold.engine.binding import Bound, bind_map, bind_submit, resolved
from fanfold.engine.chunking import Limits
from fanfold.engine.committing import look_up
from fanfold.engine.context import RunInfo, current, current_tags
from fanfold.engine.direct import HERE, call_here, call_here_async
from fanfold.engine.flow import owner, trimmed
from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.engine.run import Call, Run
from fanfold.engine.spec import CacheSpec, TaskSpec, taken_apart
from fanfold.values.errors import ReservedArgumentError, UsageError
from fanfold.values.ids import new_id

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

RESERVED = frozenset({"return_state", "wait_for"})
Delays = float | timedelta | Sequence[float]


class TaskOptions(TypedDict, total=False):
    """The options of `task`; said there."""

    name: str | None
    tags: Iterable[str] | None
    retries: int
    retry_delay_seconds: Delays
    log_prints: bool | None
    cache_key_fn: KeyFunction | None
    cache_policy: CachePolicy | None
    cache_expiration: timedelta | None


class Task(Generic[P, R]):
    """A function that runs observed: retried, cached, on its own or as one of a million.

    Made by `task`; the function itself stays there as `fn`.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str | None = None,
        tags: Iterable[str] | None = None,
        retries: int = 0,
        retry_delay_seconds: Delays = 0,
        log_prints: bool | None = None,
        cache_key_fn: KeyFunction | None = None,
        cache_policy: CachePolicy | None = None,
        cache_expiration: timedelta | None = None,
    ) -> None:
        if not callable(fn):
            raise UsageError(f"A task is made from a function, not from {fn!r}.")
        self.fn = fn
        self.name = name or getattr(fn, "__name__", type(fn).__name__)
        self.tags = frozenset(tags or ())
        self.retries = checked_retries(self.name, retries)
        self.delays_s = delays_in_seconds(retry_delay_seconds)
        self.log_prints = log_prints
        self.cache_key_fn = cache_key_fn
        self.cache_policy = _known_policy(self.name, cache_policy)
        self.cache_expiration = cache_expiration
        self.is_async = inspect.iscoroutinefunction(fn)
        self._signature = inspect.signature(fn)
        refuse_reserved("task", self.name, self._signature)
        functools.update_wrapper(self, fn, updated=())

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __get__(self, instance: object, owner_type: type | None = None) -> "Task[..., R]":
        """Bind the task to an instance, as a method is bound."""
        if instance is None:
            return cast("Task[..., R]", self)
        return self._rebound(bound_method(self.fn, instance))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now and return its value; in an async task, return what to await.

        Raises:
            Exception: What the function raised, after its retries.
        """
        self._signature.bind(*args, **kwargs)
        if self.is_async:
            return cast(R, self._call_async(args, kwargs))
        run = call_here(self._call(args, kwargs))
        return cast(R, _value(run))

    async def _call_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _value(await call_here_async(self._call(args, kwargs)))

    @overload
    def submit(
        self: "Task[P, Coroutine[Any, Any, S]]", *args: Any, **kwargs: Any
    ) -> TaskFuture[S]: ...
    @overload
    def submit(self: "Task[P, S]", *args: Any, **kwargs: Any) -> TaskFuture[S]: ...
    def submit(self, *args: Any, **kwargs: Any) -> TaskFuture[Any]:
        """Hand one call to the flow's task runner and return a future at once.

        Futures anywhere in the arguments are waited for where the call runs.

        Raises:
            TypeError: The arguments don't fit the function.
            NotPicklable: They can't travel to where the call should run.
        """
        self._signature.bind(*args, **kwargs)
        runs = owner(_default_runner)
        bound = bind_submit(args, kwargs, runs.session())
        return TaskFuture(runs.start(self._made(bound)))

    @overload
    def map(self: "Task[P, Coroutine[Any, Any, S]]", *args: Any, **kwargs: Any) -> MapFuture[S]: ...
    @overload
    def map(self: "Task[P, S]", *args: Any, **kwargs: Any) -> MapFuture[S]: ...
    def map(self, *args: Any, **kwargs: Any) -> MapFuture[Any]:
        """Call the task once for each element of the iterables, on the flow's task runner.

        Lists, tuples, ranges, arrays, other iterables and maps' futures are mapped over, in step;
        strings, bytes and whatever is marked `unmapped` are the same for all calls.

        Raises:
            MappingMissingIterable: Nothing can be mapped over.
            MappingLengthMismatch: The iterables differ in length.
            TypeError: The arguments don't fit the function.
        """
        self._signature.bind(*args, **kwargs)
        runs = owner(_default_runner)
        names = _positional(self._signature)
        bound = bind_map(self.name, args, kwargs, runs.session(), names)
        return MapFuture(runs.start(self._made(bound)))

    def with_options(self, **options: Unpack[TaskOptions]) -> "Task[P, R]":
        """Return a task of the same function with some options changed.

        Raises:
            TypeError: There is no such option.
        """
        return Task(self.fn, **cast(Any, {**self._options(), **options}))

    def _options(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "tags": self.tags,
            "retries": self.retries,
            "retry_delay_seconds": self.delays_s,
            "log_prints": self.log_prints,
            "cache_key_fn": self.cache_key_fn,
            "cache_policy": self.cache_policy,
            "cache_expiration": self.cache_expiration,
        }

    def _rebound(self, fn: Callable[..., Any]) -> "Task[..., R]":
        return Task(fn, **self._options())

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        args, kwargs = resolved((args, kwargs))
        return self._made(bind_submit(args, kwargs, HERE))

    def _made(self, bound: Bound) -> Call:
        spec = TaskSpec(
            fn=self.fn,
            layout=bound.layout,
            info=self._info(),
            retries=self.retries,
            delays_s=self.delays_s,
            is_async=self.is_async,
            cache=self._cache(),
        )
        return Call(spec=spec, sources=bound.sources, count=bound.count, limits=Limits())

    def _info(self) -> RunInfo:
        around = current()
        parent = around.info if around is not None else None
        log_prints = self.log_prints
        if log_prints is None:
            log_prints = parent.log_prints if parent is not None else False
        inherited = parent.tags if parent is not None else frozenset[str]()
        return RunInfo(
            kind="Task run",
            id=new_id(),
            name=self.name,
            tags=self.tags | inherited | current_tags(),
            log_prints=log_prints,
            flow_run_id=(parent.flow_run_id or parent.id) if parent is not None else "",
        )

    def _cache(self) -> CacheSpec | None:
        if self.cache_key_fn is None and self.cache_policy is None:
            return None
        store = registry.result_store(str(settings.home() / "results"))
        expiration = self.cache_expiration
        return CacheSpec(
            key=KeyByFunction(self.cache_key_fn) if self.cache_key_fn else key_of_inputs,
            store=store,
            folder=self._folder,
            lookup=look_up(store, self._folder),
            expires_in_s=expiration.total_seconds() if expiration is not None else float("inf"),
        )

    @functools.cached_property
    def _folder(self) -> str:
        """The task's folder in the store: readable, and different for tasks of equal names."""
        function, _, _ = taken_apart(self.fn)
        origin = (function.__module__, function.__qualname__, self.name)
        readable = re.sub(r"[^A-Za-z0-9_-]+", "-", self.name)[:40]
        return f"{readable}-{keys.digest(origin).hex()[:12]}"


@overload
def task(fn: Callable[P, R], /, **options: Unpack[TaskOptions]) -> Task[P, R]: ...
@overload
def task(
    fn: None = None, /, **options: Unpack[TaskOptions]
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """Make a task of a function: `@task`, `@task(retries=3)` or `task(fn)`.

    Args:
        fn: The function; sync or async.
        **options: Any of these:

            name: What runs and log lines call it; the function's name if not given.
            tags: Labels of all its runs, added to those of the flow around.
            retries: How often it is called again after an exception.
            retry_delay_seconds: Seconds before each retry, a timedelta, or one number for each, the
                last of which serves all later retries. No slot is held meanwhile.
            log_prints: Whether prints become log lines; None does what the flow does.
            cache_key_fn: Called with a `TaskRunContext` and the arguments by name; calls with equal
                keys share a result. Return None not to cache a call.
            cache_policy: `INPUTS`: calls with equal arguments share a result.
            cache_expiration: How long a result may be used; for ever if not given.

    Raises:
        ReservedArgumentError: A parameter has a name that calls need themselves.
    """
    if fn is None:
        return functools.partial(_make, options)
    return _make(options, fn)


def _make(options: dict[str, Any], fn: Any) -> Any:
    return made_of(fn, lambda function: Task(function, **options))


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
    return cast("Callable[..., R]", functools.partial(fn, instance))


def delays_in_seconds(delays: Delays) -> tuple[float, ...]:
    """Return retry delays as a tuple of seconds.

    Raises:
        TypeError: They are neither numbers nor a timedelta.
        ValueError: One is negative, or there are more than 50.
    """
    if isinstance(delays, timedelta):
        delays = delays.total_seconds()
    if isinstance(delays, (int, float)):
        delays = (delays,) if delays else ()
    if isinstance(delays, str) or not isinstance(cast(Any, delays), Sequence):
        raise TypeError(f"retry_delay_seconds takes seconds or a list of them, not {delays!r}.")
    if len(delays) > 50:
        raise ValueError(f"retry_delay_seconds takes at most 50 delays, not {len(delays)}.")
    if any(delay < 0 for delay in delays):
        raise ValueError(f"A retry can't be delayed by a negative time: {list(delays)}.")
    return tuple(float(delay) for delay in delays)


def checked_retries(name: str, retries: int) -> int:
    """Return a number of retries if it is one.

    Raises:
        UsageError: It isn't a whole number of at least 0.
    """
    if type(retries) is not int or retries < 0:
        raise UsageError(f"{name} can be retried 0 or more times, not {retries!r}.")
    return retries


def _known_policy(name: str, policy: Any) -> CachePolicy | None:
    """Return a cache policy if it is one that tasks can follow.

    Raises:
        UsageError: It isn't; a task would run uncached without a word.
    """
    if policy is not None and policy != INPUTS:
        raise UsageError(
            f"The task {name} can't follow cache_policy={policy!r}. Give INPUTS, from fanfold, or "
            "make keys of your own by cache_key_fn."
        )
    return policy


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


def _value(run: Run) -> Any:
    try:
        return TaskFuture[Any](run).result()
    except BaseException as error:
        raise trimmed(error)  # noqa: B904  its own chain is kept as it is


def _default_runner() -> Any:
    return registry.runner(None)


def _positional(signature: inspect.Signature) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in signature.parameters.values() if p.kind in kinds]
