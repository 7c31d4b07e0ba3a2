"""Tasks: functions that work, called one by one or mapped over many inputs."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from contextvars import copy_context
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import (
    Any,
    Concatenate,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from fanfold.caching import (
    CachePolicy,
    KeyFunction,
)
from fanfold.caching import task_input_hash as task_input_hash
from fanfold.engine import entrypoints, hooks, registry, settings
from fanfold.engine.arguments import FOUND
from fanfold.engine.binding import bind_map, bind_submit
from fanfold.engine.calls import Call
from fanfold.engine.chunking import Limits
from fanfold.engine.dataflow import hollow
from fanfold.engine.direct import (
    HERE,
    call_here,
    call_here_async,
    call_here_yielding,
    call_here_yielding_async,
)
from fanfold.engine.flow import owner, recorder, trimmed
from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.engine.keys.policies import checked_isolation, checked_key_function
from fanfold.engine.limits.deadlines import checked_timeout
from fanfold.engine.mapping import map_streamed
from fanfold.engine.naming import RunName, checked_run_name
from fanfold.engine.results.serializers import checked_serializer
from fanfold.engine.run import Run
from fanfold.engine.spec import taken_apart
from fanfold.engine.submittable import Submittable
from fanfold.options import (
    Delays,
    Hook,
    OnError,
    bound_method,
    check_flags,
    check_storage,
    checked_count,
    checked_expiration,
    checked_flag,
    checked_function,
    checked_hooks,
    checked_jitter,
    checked_resources,
    checked_retries,
    checked_storage_key,
    delays_in_seconds,
    described,
    is_async,
    known_on_error,
    known_options,
    known_policy,
    made_of,
    refuse_reserved,
    warn_of_vain,
    yields,
)
from fanfold.options import exponential_backoff as exponential_backoff
from fanfold.ports.results import ResultStore
from fanfold.specs import afforded, call_of
from fanfold.values.errors import UpstreamFailed
from fanfold.values.ids import new_id
from fanfold.values.runs import TaskRun
from fanfold.values.states import State, StateName

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")

SUBMIT_OPTIONS = frozenset({"resources"})
"""Keywords of `submit` that are options of the task, for one call."""
MAP_OPTIONS = frozenset({"resources", "chunk_size", "max_in_flight", "on_error"})
"""The same of `map`."""
WARNED_OF = frozenset({"cache_policy", "cache_key_fn", "cache_expiration", "persist_result"})
"""Options that may do nothing beside others."""


class TaskOptions(TypedDict, total=False):
    """The options of `task`; said there."""

    name: str | None
    description: str | None
    version: str | None
    tags: Iterable[str] | None
    task_run_name: RunName
    retries: int | None
    retry_delay_seconds: Delays | None
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[..., Any] | None
    infrastructure_retries: int
    timeout_seconds: float | None
    log_prints: bool | None
    cache_policy: CachePolicy | None
    cache_key_fn: KeyFunction | None
    cache_expiration: timedelta | float | None
    refresh_cache: bool | None
    isolation: str | None
    persist_result: bool | None
    result_storage: ResultStore | str | Path | None
    result_storage_key: str | None
    result_serializer: Any
    cache_result_in_memory: bool | None
    resources: Mapping[str, float | str] | None
    speculative: bool
    chunk_size: int | None
    max_in_flight: int | None
    on_error: OnError
    on_completion: list[Hook] | None
    on_failure: list[Hook] | None
    on_running: list[Hook] | None
    on_commit: list[Hook] | None
    on_rollback: list[Hook] | None


HOOKS = ("on_completion", "on_failure", "on_running", "on_commit", "on_rollback")


class Task(Submittable[P, R]):
    """A function that runs observed: retried, cached, on its own or as one of a million.

    Made by `task`; the function itself stays there as `fn`.
    """

    def __init__(self, fn: Callable[P, R], **options: Unpack[TaskOptions]) -> None:
        if not callable(fn):
            raise TypeError(f"A task is made from a function, not from {fn!r}.")
        known_options("task", options, TaskOptions)
        self.fn = fn
        self.options = options
        self.name = options.get("name") or getattr(fn, "__name__", type(fn).__name__)
        self.description = options.get("description") or described(fn)
        self.version = options.get("version")
        self.tags = frozenset(options.get("tags") or ())
        self.task_run_name = checked_run_name(self.name, options.get("task_run_name"))
        checked_retries(self.name, options.get("retries"))
        delays_in_seconds(options.get("retry_delay_seconds"), self.retries)
        self.retry_jitter_factor = checked_jitter(self.name, options.get("retry_jitter_factor"))
        self.retry_condition_fn = checked_function(
            self.name, "retry_condition_fn", options.get("retry_condition_fn")
        )
        self.infrastructure_retries = options.get("infrastructure_retries", 2)
        checked_retries(self.name, self.infrastructure_retries)
        self.timeout_seconds = checked_timeout(self.name, options.get("timeout_seconds"))
        self.log_prints = options.get("log_prints")
        self.cache_key_fn = checked_key_function(self.name, options.get("cache_key_fn"))
        self.cache_policy = known_policy(self.name, options)
        checked_isolation(options.get("isolation"))
        self.cache_expiration = checked_expiration(self.name, options.get("cache_expiration"))
        check_flags(self.name, options)
        check_storage(self.name, options.get("result_storage"))
        checked_serializer(self.name, options.get("result_serializer"))
        checked_storage_key(self.name, options.get("result_storage_key"))
        self.resources = checked_resources(self.name, options.get("resources"))
        self.speculative = checked_flag(self.name, "speculative", options.get("speculative", False))
        self.limits = Limits(
            chunk_size=checked_count(self.name, "chunk_size", options.get("chunk_size")),
            max_in_flight=checked_count(self.name, "max_in_flight", options.get("max_in_flight")),
        )
        self.on_error: OnError = known_on_error(self.name, options.get("on_error", "raise"))
        self.hooks: dict[str, tuple[Hook, ...]] = {
            option: checked_hooks(self.name, option, options.get(option)) for option in HOOKS
        }
        self.is_async, self.yields = is_async(fn), yields(fn)
        self._signature = inspect.signature(fn)
        refuse_reserved("task", self.name, self._signature)
        functools.update_wrapper(self, fn, updated=())

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @overload
    def __get__(self, instance: None, owner_type: type | None = None) -> "Task[P, R]": ...
    @overload
    def __get__(
        self: "Task[Concatenate[Any, Q], S]", instance: object, owner_type: type | None = None
    ) -> "Task[Q, S]": ...
    def __get__(self, instance: object, owner_type: type | None = None) -> Any:
        """Bind the task to an instance, as a method is bound."""
        if instance is None:
            return self
        return Task(bound_method(self.fn, instance), **self._all_options())

    @property
    def retries(self) -> int:
        """How often it is called again after an exception."""
        given = self.options.get("retries")
        return settings.current().tasks_default_retries if given is None else given

    @functools.cached_property
    def task_key(self) -> str:
        """What tells it from other tasks: where its function is from, and its name."""
        function, _, _ = taken_apart(self.fn)
        return f"{entrypoints.imported_as(function)}.{function.__qualname__}:{self.name}"

    def __getstate__(self) -> dict[str, Any]:
        # Its key goes along: elsewhere nobody may see what package a script's file lies in.
        with suppress(AttributeError):  # of what isn't a function; that has no key
            return {**self.__dict__, "task_key": self.task_key}
        return self.__dict__

    def called(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        return_state: bool,
        wait_for: Iterable[Any] | None,
    ) -> Any:
        """Run it here; see `Submittable`."""
        self._signature.bind(*args, **kwargs)
        if self.is_async and not self.yields:
            return self._call_async(args, kwargs, return_state, wait_for)
        try:
            call = self._call(args, kwargs, wait_for)
        except UpstreamFailed as error:
            return self._refused(error, return_state)
        if self.yields and not return_state:
            return _items_async(call) if self.is_async else _items(call)
        return _ended(call_here(call, recorder(_default_runner)), return_state)

    async def _call_async(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        return_state: bool,
        wait_for: Iterable[Any] | None,
    ) -> Any:
        try:
            if wait_for is None and hollow(args, FOUND) and hollow(kwargs.values(), FOUND):
                call = self._call(args, kwargs, wait_for)
            else:
                import asyncio  # 10 ms, which only async tasks need

                call = await asyncio.to_thread(self._call, args, kwargs, wait_for)
        except UpstreamFailed as error:
            return self._refused(error, return_state)
        run = await call_here_async(call, recorder(_default_runner))
        return _ended(run, return_state)

    def _refused(self, error: UpstreamFailed, return_state: bool) -> State:
        """End a direct call that can't begin; its hooks hear of it."""
        state = State(code=StateName.UPSTREAM_FAILED, message=str(error), error=error)
        run = TaskRun(id=new_id(), name=self.name, task_name=self.name, run_count=0, state=state)
        hooks.told(hooks.calling(self.hooks["on_failure"], self, run, state))
        if return_state:
            return state
        raise trimmed(error)

    def submitted(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None
    ) -> TaskFuture[Any]:
        """Hand one call out; see `Submittable`."""
        if options := self._taken_out(SUBMIT_OPTIONS, kwargs):
            return self.with_options(**options).submitted(args, kwargs, wait_for)
        self._signature.bind(*args, **kwargs)
        runs = owner(_default_runner)
        session = afforded(self, runs.session())
        bound = bind_submit(args, kwargs, session, wait_for)
        return TaskFuture(runs.start(call_of(self, bound, session, single=True)))

    def mapped(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None
    ) -> MapFuture[Any]:
        """Hand a map out; see `Submittable`."""
        if options := self._taken_out(MAP_OPTIONS, kwargs):
            return self.with_options(**options).mapped(args, kwargs, wait_for)
        self._signature.bind(*args, **kwargs)
        runs = owner(_default_runner)
        session = afforded(self, runs.session())
        names = _positional(self._signature)

        def start(
            args: tuple[Any, ...], kwargs: dict[str, Any], first: int, of: str
        ) -> MapFuture[Any]:
            bound = bind_map(self.name, args, kwargs, session, names, wait_for)
            call = call_of(self, bound, session, single=False, first=first, stream=of)
            return MapFuture(runs.start(call), on_error=self.on_error)

        # Later batches belong to the run around this call, wherever they are asked for.
        begin = partial(copy_context().run, start)
        streamed = map_streamed(begin, args, kwargs, self.limits.max_in_flight)
        return start(args, kwargs, 0, "") if streamed is None else streamed

    def _taken_out(self, known: frozenset[str], kwargs: dict[str, Any]) -> TaskOptions:
        """Take options of the task out of a call's keywords, but for parameters of such a name."""
        asked = known - self._signature.parameters.keys()
        return cast(TaskOptions, {name: kwargs.pop(name) for name in asked if name in kwargs})

    def with_options(self, **options: Unpack[TaskOptions]) -> "Task[P, R]":
        """Return a task of the same function with some options changed.

        Raises:
            TypeError: There is no such option.
        """
        known_options("task", options, TaskOptions)
        changed = Task(self.fn, **cast(TaskOptions, {**self._all_options(), **options}))
        if WARNED_OF & options.keys():
            warn_of_vain(changed.name, changed.fn, changed.options)
        return changed

    def on_completion(self, hook: Hook) -> Hook:
        """Have a function called when a run is Completed; usable as a decorator."""
        return self._add("on_completion", hook)

    def on_failure(self, hook: Hook) -> Hook:
        """Have a function called when a run has Failed, retries included; a decorator."""
        return self._add("on_failure", hook)

    def on_running(self, hook: Hook) -> Hook:
        """Have a function called when a run begins; usable as a decorator."""
        return self._add("on_running", hook)

    def on_commit(self, hook: Hook) -> Hook:
        """Have a function called with the transaction that commits a run's result; a decorator."""
        return self._add("on_commit", hook)

    def on_rollback(self, hook: Hook) -> Hook:
        """Have a function called with the transaction that takes a run back; a decorator."""
        return self._add("on_rollback", hook)

    def _add(self, option: str, hook: Hook) -> Hook:
        self.hooks[option] = (*self.hooks[option], *checked_hooks(self.name, option, [hook]))
        return hook

    def _all_options(self) -> TaskOptions:
        """Return the options, those of hooks as they are by now."""
        hooks = {option: list(hooks) for option, hooks in self.hooks.items()}
        return cast(TaskOptions, {**self.options, **hooks})

    def _call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None
    ) -> Call:
        """Return a direct call, its arguments waited for.

        Raises:
            UpstreamFailed: Something that it needs has no value.
        """
        bound = bind_submit(args, kwargs, HERE, wait_for)
        if bound.cause is not None:
            raise UpstreamFailed(bound.cause)
        return call_of(self, bound, HERE, single=True)


@overload
def task(fn: Callable[P, R], /, **options: Unpack[TaskOptions]) -> Task[P, R]: ...
@overload
def task(
    fn: None = None, /, **options: Unpack[TaskOptions]
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """Make a task of a function: `@task`, `@task(retries=3)` or `task(fn)`.

    Args:
        fn: The function: sync, async, or a generator of either kind.
        **options: Any of these:

            name: What runs and log lines call it; the function's name if not given.
            description: For people; the function's docstring if not given.
            version: Yours, for the record.
            tags: Labels of all its runs, added to those of the flow around.
            task_run_name: What its runs are called: a template of the arguments such as
                "load-{day}", or a function that returns a name.
            retries: How often it is called again after an exception.
            retry_delay_seconds: Seconds before each retry, a timedelta, one number for each, the
                last of which serves all later retries, or `exponential_backoff(...)`. No slot is
                held meanwhile.
            retry_jitter_factor: Share of a delay that is added to it at random, at most.
            retry_condition_fn: Asked as condition(task, task_run, state) before a retry; may be
                async. No retry unless it returns True.
            infrastructure_retries: How often a call that its worker died of is run again; never
                uses up `retries`.
            timeout_seconds: How long a try may take; it then ends TimedOut.
            log_prints: Whether prints become log lines; None does what the flow does.
            cache_policy: What makes two calls equal, so that they share a result: `INPUTS`,
                `INPUTS + TASK_SOURCE`, ...; kept results without a policy have `DEFAULT`.
            cache_key_fn: Called with a `TaskRunContext` and the arguments by name; calls with equal
                keys share a result. Return None not to cache a call.
            cache_expiration: How long a result may be used, a timedelta or seconds; for ever if not
                given.
            isolation: "read_committed": calls with equal keys that run at the same time may each do
                the work; "serializable": one does, and the others wait for it, in whatever process
                or machine. None does what the policy says, or the transaction around.
            refresh_cache: True runs and keeps a new result, whatever is known.
            persist_result: Whether results are kept; None does what the flow does, and keeps them
                where another of these options needs it.
            result_storage: Folder, URL or store of kept results.
            result_storage_key: Name of the object that holds the result, a template of
                `{parameters[...]}`; what is there already is taken as the result.
            result_serializer: "pickle", "json", "compressed/pickle", "compressed/json", or an
                object with `dumps` and `loads`.
            cache_result_in_memory: False keeps no value in memory that storage holds.
            resources: What a call holds of the cluster while it runs, such as {"cpu": 2, "gpu": 1,
                "memory": "4GiB", "licence": 1}; any other name is a resource of the cluster's own.
                What no worker has is refused at once, or waited for where the cluster may grow.
                Direct calls hold nothing.
            speculative: Whether elements of a worker that has fallen silent are begun elsewhere
                too, even if its process seems to be fine; whichever is first counts.
            chunk_size: Most elements of a map that travel together.
            max_in_flight: Most elements of a map that are started and not finished.
            on_error: What a map's `result()` does with failed elements: "raise", or "collect" to
                put the exceptions in the places of the values.
            on_completion: Functions that are called as hook(task, task_run, state); also to be
                added with `@my_task.on_completion`, and the same for the other four.
            on_failure: Called when a run has failed for good.
            on_running: Called when a run begins.
            on_commit: Called with the transaction when a run's result is committed.
            on_rollback: Called with the transaction when a run is to be taken back.

    Raises:
        ReservedArgumentError: A parameter has a name that calls need themselves.
        TypeError: An option isn't known, or isn't what it must be.
    """
    if fn is None:
        return functools.partial(_make, options)
    return _make(options, fn)


def _make(options: dict[str, Any], fn: Any) -> Any:
    def make(function: Any) -> Task[..., Any]:
        made = Task(function, **options)
        warn_of_vain(made.name, made.fn, made.options)
        return made

    return made_of(fn, make)


def _ended(run: Run, return_state: bool) -> Any:
    future: TaskFuture[Any] = TaskFuture(run)
    if not return_state:
        return _value(future)
    state = future.state
    if state.is_crashed() and not isinstance(state.failure(), Exception):
        return _value(future)  # what interrupts isn't kept from whoever asked for the state
    # What was called here is done, and its value at hand: no reference to the run is needed.
    return replace(state, source=None, data=future.result()) if state.is_completed() else state


def _value(future: TaskFuture[Any]) -> Any:
    try:
        return future.result()
    except BaseException as error:
        raise trimmed(error)  # noqa: B904  its own chain is kept as it is


def _items(call: Call) -> Any:
    run = yield from call_here_yielding(call, recorder(_default_runner))
    value = _value(TaskFuture(run))
    if run.states[0] == StateName.CACHED:
        yield from value


async def _items_async(call: Call) -> Any:
    runs: list[Run] = []
    told = call_here_yielding_async(call, runs.append, recorder(_default_runner))
    async with aclosing(told) as items:
        async for item in items:
            yield item
    value = _value(TaskFuture(runs[0]))
    if runs[0].states[0] == StateName.CACHED:
        for item in value:
            yield item


def _default_runner() -> Any:
    return registry.runner(None)


def _positional(signature: inspect.Signature) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in signature.parameters.values() if p.kind in kinds]
