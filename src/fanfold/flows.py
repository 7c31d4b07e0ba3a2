"""Flows: functions that orchestrate tasks."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
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

from fanfold.engine import loading, registry, settings
from fanfold.engine.context import ResultOptions, RunInfo
from fanfold.engine.debugging import replaying
from fanfold.engine.execution import Execution
from fanfold.engine.flow_spec import FlowSpec
from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.engine.limits.deadlines import checked_timeout
from fanfold.engine.naming import RunName, checked_run_name
from fanfold.engine.results import fencing
from fanfold.engine.results.committing import keep_flow_result
from fanfold.engine.results.payloads import raw_serializer
from fanfold.engine.results.serializers import checked_serializer
from fanfold.engine.results.stored import Stored
from fanfold.engine.resuming import Resumption, resumption
from fanfold.engine.submittable import Submittable
from fanfold.options import (
    Delays,
    Hook,
    bound_method,
    check_flags,
    check_storage,
    checked_hooks,
    checked_retries,
    delays_in_seconds,
    described,
    is_async,
    known_options,
    made_of,
    refuse_reserved,
    yields,
)
from fanfold.ports.results import ResultStore
from fanfold.ports.runner import TaskRunner
from fanfold.tasks import Task
from fanfold.validation import Arguments, validator
from fanfold.values.states import State, StateType

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")


class FlowOptions(TypedDict, total=False):
    """The options of `flow`; said there."""

    name: str | None
    version: str | None
    flow_run_name: RunName
    description: str | None
    tags: Iterable[str] | None
    retries: int | None
    retry_delay_seconds: Delays | None
    task_runner: TaskRunner | str | None
    timeout_seconds: float | None
    validate_parameters: bool | None
    persist_result: bool | None
    result_storage: ResultStore | str | Path | None
    result_serializer: Any
    cache_result_in_memory: bool | None
    log_prints: bool | None
    on_completion: list[Hook] | None
    on_failure: list[Hook] | None
    on_cancellation: list[Hook] | None
    on_crashed: list[Hook] | None
    on_running: list[Hook] | None


HOOKS = {
    "on_completion": StateType.COMPLETED,
    "on_failure": StateType.FAILED,
    "on_cancellation": StateType.CANCELLED,
    "on_crashed": StateType.CRASHED,
    "on_running": StateType.RUNNING,
}


class Flow(Submittable[P, R]):
    """A function whose calls are runs: with a state, a log, and a runner for its tasks.

    Made by `flow`; the function itself stays there as `fn`.
    """

    def __init__(self, fn: Callable[P, R], **options: Unpack[FlowOptions]) -> None:
        if not callable(fn):
            raise TypeError(f"A flow is made from a function, not from {fn!r}.")
        known_options("flow", options, FlowOptions)
        self.fn = fn
        self.options = options
        default = getattr(fn, "__name__", type(fn).__name__).replace("_", "-")
        self.name = options.get("name") or default
        self.version = options.get("version")
        self.description = options.get("description") or described(fn)
        self.tags = frozenset(options.get("tags") or ())
        self.flow_run_name = checked_run_name(self.name, options.get("flow_run_name"))
        checked_retries(self.name, options.get("retries"))
        delays_in_seconds(options.get("retry_delay_seconds"), self.retries)
        self.task_runner = options.get("task_runner")
        self.timeout_seconds = checked_timeout(self.name, options.get("timeout_seconds"))
        self.log_prints = options.get("log_prints")
        check_flags(self.name, options)
        check_storage(self.name, options.get("result_storage"))
        checked_serializer(self.name, options.get("result_serializer"))
        self.hooks: dict[StateType, tuple[Hook, ...]] = {
            kind: checked_hooks(self.name, option, options.get(option))
            for option, kind in HOOKS.items()
        }
        self.is_async, self.yields = is_async(fn), yields(fn)
        self._signature = inspect.signature(fn)
        refuse_reserved("flow", self.name, self._signature)
        functools.update_wrapper(self, fn, updated=())

    def __repr__(self) -> str:
        return f"<Flow {self.name}>"

    @overload
    def __get__(self, instance: None, owner_type: type | None = None) -> "Flow[P, R]": ...
    @overload
    def __get__(
        self: "Flow[Concatenate[Any, Q], S]", instance: object, owner_type: type | None = None
    ) -> "Flow[Q, S]": ...
    def __get__(self, instance: object, owner_type: type | None = None) -> Any:
        """Bind the flow to an instance, as a method is bound."""
        if instance is None:
            return self
        return Flow(bound_method(self.fn, instance), **self._all_options())

    def __getstate__(self) -> dict[str, Any]:
        # What pydantic made of the annotations may hold anything; it is made again where needed.
        return {name: held for name, held in self.__dict__.items() if name != "validate"}

    @property
    def retries(self) -> int:
        """How often it is called again after an exception."""
        given = self.options.get("retries")
        return settings.current().flows_default_retries if given is None else given

    @property
    def results(self) -> ResultOptions:
        """What it says of the results of its tasks; asking for more of them keeps them."""
        options = self.options
        storage = options.get("result_storage")
        persist, serializer = options.get("persist_result"), options.get("result_serializer")
        if persist is None and (storage is not None or serializer):
            persist = True
        return ResultOptions(persist=persist, storage=storage, serializer=serializer)

    def called(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        return_state: bool,
        wait_for: Iterable[Any] | None,
    ) -> Any:
        """Run it here; see `Submittable`."""
        loading.refuse(f"flow {self.name}")
        execution = Execution(self._spec(), args, kwargs, wait_for)
        if self.yields and not return_state:
            return _items_async(execution) if self.is_async else _items(execution)
        if self.is_async:
            return _finished_async(execution, return_state)
        state = _exhausted(execution) if self.yields else execution.finish()
        return execution.answer(state, return_state)

    def resume(self, run_id: str, *, return_state: bool = False) -> Any:
        """Go on with a run of this flow that has ended without a value, or whose process died.

        It keeps its id and parameters. The flow's code runs from its start; results of tasks and
        elements that were committed are taken as they are, and only the rest runs. Works on any
        machine that shares the history and the result storage.

        Args:
            run_id: The run's id, or the beginning of it that no other has.
            return_state: Whether to return the final State instead of the value.

        Returns:
            What a call of the flow returns: something to await where that is async.

        Raises:
            RunHeld: Somebody drives the run: says who.
            UsageError: There is no such run of this flow, it has ended with a value, or what it was
                called with isn't kept or doesn't fit the flow any more.
            Exception: What the flow raises.
        """
        find = functools.partial(resumption, run_id, self.name, self.fn, self.validate)
        if self.is_async and not (self.yields and not return_state):
            return self._resumed_async(find, return_state)
        found = find()
        with found.going_on():
            return self.called(found.args, found.kwargs, return_state=return_state, wait_for=None)

    async def _resumed_async(self, find: Callable[[], Resumption], return_state: bool) -> Any:
        import asyncio  # 10 ms, which only async flows need

        found = await asyncio.to_thread(find)
        with found.going_on():
            called = self.called(found.args, found.kwargs, return_state=return_state, wait_for=None)
        return await called

    def submitted(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None
    ) -> TaskFuture[Any]:
        """Hand one call out; see `Submittable`."""
        return self._as_task().submitted(args, kwargs, wait_for)

    def mapped(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None
    ) -> MapFuture[Any]:
        """Hand a map out; see `Submittable`."""
        return self._as_task().with_options(chunk_size=1).mapped(args, kwargs, wait_for)

    def with_options(self, **options: Unpack[FlowOptions]) -> "Flow[P, R]":
        """Return a flow of the same function with some options changed.

        Raises:
            TypeError: There is no such option.
        """
        known_options("flow", options, FlowOptions)
        return Flow(self.fn, **cast(FlowOptions, {**self._all_options(), **options}))

    def on_completion(self, hook: Hook) -> Hook:
        """Have a function called when a run is Completed; usable as a decorator."""
        return self._add("on_completion", hook)

    def on_failure(self, hook: Hook) -> Hook:
        """Have a function called when a run has Failed, retries included; a decorator."""
        return self._add("on_failure", hook)

    def on_cancellation(self, hook: Hook) -> Hook:
        """Have a function called when a run was Cancelled; usable as a decorator."""
        return self._add("on_cancellation", hook)

    def on_crashed(self, hook: Hook) -> Hook:
        """Have a function called when a run has Crashed; usable as a decorator."""
        return self._add("on_crashed", hook)

    def on_running(self, hook: Hook) -> Hook:
        """Have a function called when a run begins; usable as a decorator."""
        return self._add("on_running", hook)

    @functools.cached_property
    def validate(self) -> Callable[..., Arguments]:
        """Returns arguments coerced to the annotations, or raises ParameterTypeError."""
        if self.options.get("validate_parameters") is not False:
            return validator(self.name, self.fn)
        return self._unchecked

    def _unchecked(self, *args: Any, **kwargs: Any) -> Arguments:
        self._signature.bind(*args, **kwargs)
        return args, kwargs

    def _bound(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def _add(self, option: str, hook: Hook) -> Hook:
        kind = HOOKS[option]
        self.hooks[kind] = (*self.hooks[kind], *checked_hooks(self.name, option, [hook]))
        return hook

    def _all_options(self) -> FlowOptions:
        """Return the options, those of hooks as they are by now."""
        hooks = {option: list(self.hooks[kind]) for option, kind in HOOKS.items()}
        return cast(FlowOptions, {**self.options, **hooks})

    def _as_task(self) -> "Task[..., Any]":
        # A flow is retried as it says itself, not as tasks are by default.
        return Task(_Subflow(self), name=self.name, retries=0)

    def _spec(self) -> FlowSpec:
        options, held = self.options, settings.current()
        replayed = replaying() is not None
        delays = options.get("retry_delay_seconds")
        if delays is None:
            delays = held.flows_default_retry_delay_seconds
        return FlowSpec(
            flow=self,
            fn=self.fn,
            name=self.name,
            version=self.version,
            tags=self.tags,
            run_name=self.flow_run_name,
            retries=0 if replayed else self.retries,
            delays_s=delays_in_seconds(delays, self.retries) if held.retry_delays else (),
            timeout_s=self.timeout_seconds,
            log_prints=held.logging_log_prints or None
            if self.log_prints is None
            else self.log_prints,
            loggers=tuple(held.logging_extra_loggers),
            results=self.results,
            runner=lambda: registry.runner("inline" if replayed else self.task_runner),
            validate=self.validate,
            bind=self._bound,
            hooks={} if replayed else self.hooks,
            is_async=self.is_async,
            yields=self.yields,
            keep=self._keep,
            in_memory=options.get("cache_result_in_memory") is not False,
        )

    def _keep(self, info: RunInfo, value: Any) -> Stored | None:
        held, results = settings.current(), info.results
        persists = held.results_persist_by_default if results.persist is None else results.persist
        if not persists or replaying() is not None:
            return None
        store = registry.result_store_of(results.storage)
        serializer = results.serializer or held.results_default_serializer
        fencing.check(store, info)
        return keep_flow_result(
            store,
            self.name,
            info.id,
            raw_serializer(serializer, held.results_accepted_codecs),
            value,
        )


class _Subflow:
    """A flow as the function of a task: its final state is that of the element."""

    def __init__(self, flow: Flow[Any, Any]) -> None:
        self._flow = flow
        self.__name__ = flow.name
        self.__signature__ = inspect.signature(flow.fn)
        self.is_async = flow.is_async

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return cast(Any, self._flow)(*args, return_state=True, **kwargs)


def _items(execution: Execution) -> Any:
    return execution.value((yield from execution.items())) and None


async def _items_async(execution: Execution) -> Any:
    finals: list[State] = []
    async with aclosing(execution.items_async(finals.append)) as items:
        async for item in items:
            yield item
    execution.value(finals[0])


async def _finished_async(execution: Execution, return_state: bool) -> Any:
    if execution.spec.yields:
        finals: list[State] = []
        async for _ in execution.items_async(finals.append):
            pass
        state = finals[0]
    else:
        state = await execution.finish_async()
    return execution.answer(state, return_state)


def _exhausted(execution: Execution) -> State:
    items = execution.items()
    while True:
        try:
            next(items)
        except StopIteration as end:
            return end.value


@overload
def flow(fn: Callable[P, R], /, **options: Unpack[FlowOptions]) -> Flow[P, R]: ...
@overload
def flow(
    fn: None = None, /, **options: Unpack[FlowOptions]
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(fn: Any = None, /, **options: Any) -> Any:
    """Make a flow of a function: `@flow`, `@flow(task_runner="dask")` or `flow(fn)`.

    Args:
        fn: The function: sync, async, or a generator of either kind. Arguments are validated
            against its annotations.
        **options: Any of these:

            name: What runs and log lines call it; the function's name if not given.
            version: Yours, for the record.
            flow_run_name: What its runs are called: a template of the arguments such as
                "load-{day}", or a function that returns a name.
            description: For people; the function's docstring if not given.
            tags: Labels of all its runs and of the runs inside.
            retries: How often it is called again after an exception.
            retry_delay_seconds: Seconds before each retry, a timedelta, one number for each, or a
                function of the number of retries that returns them.
            task_runner: Where submitted and mapped tasks run: "threads" (the default), "inline",
                "processes", "dask", "ray", or a runner object.
            timeout_seconds: How long a try may take; it then ends TimedOut.
            validate_parameters: False takes arguments as they are, unchecked and not coerced.
            persist_result: Whether results of its tasks and subflows are kept, unless they say
                otherwise; a kept subflow that is over isn't run again when its caller is retried.
            result_storage: Folder, URL or store of kept results.
            result_serializer: "pickle", "json", "compressed/pickle", "compressed/json", or an
                object with `dumps` and `loads`.
            cache_result_in_memory: False keeps no result in memory that storage holds.
            log_prints: Whether prints in it and in its tasks become log lines.
            on_completion: Functions that are called as hook(flow, flow_run, state); also to be
                added with `@my_flow.on_completion`, and the same for the other four.
            on_failure: Called when a run has failed for good.
            on_cancellation: Called when a run was cancelled.
            on_crashed: Called when a run has crashed.
            on_running: Called when a run begins.

    Raises:
        ReservedArgumentError: A parameter has a name that calls need themselves.
        TypeError: An option isn't known, or isn't what it must be.
    """
    if fn is None:
        return functools.partial(_make, options)
    return _make(options, fn)


def _make(options: dict[str, Any], fn: Any) -> Any:
    return made_of(fn, lambda function: Flow(function, **options))
