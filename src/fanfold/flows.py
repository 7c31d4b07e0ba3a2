"""Flows: functions that orchestrate tasks."""

import functools
import inspect
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from fanfold.engine import registry
from fanfold.engine.binding import resolved
from fanfold.engine.context import RunInfo, current, current_tags, running
from fanfold.engine.drive import drive, drive_async
from fanfold.engine.flow import CallFlow, FlowOutcome, FlowRun, Sleep, flow_story, trimmed
from fanfold.engine.prints import logged
from fanfold.engine.telling import tell
from fanfold.ports.runner import TaskRunner
from fanfold.tasks import (
    Delays,
    bound_method,
    checked_retries,
    delays_in_seconds,
    made_of,
    refuse_reserved,
)
from fanfold.validation import validator
from fanfold.values.errors import UsageError
from fanfold.values.ids import new_id
from fanfold.values.states import StateName

P = ParamSpec("P")
R = TypeVar("R")


class FlowOptions(TypedDict, total=False):
    """The options of `flow`; said there."""

    name: str | None
    tags: Iterable[str] | None
    retries: int
    retry_delay_seconds: Delays
    task_runner: TaskRunner | str | None
    log_prints: bool | None


class Flow(Generic[P, R]):
    """A function whose calls are runs: with a state, a log, and a runner for its tasks.

    Made by `flow`; the function itself stays there as `fn`.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str | None = None,
        tags: Iterable[str] | None = None,
        retries: int = 0,
        retry_delay_seconds: Delays = 0,
        task_runner: TaskRunner | str | None = None,
        log_prints: bool | None = None,
    ) -> None:
        if not callable(fn):
            raise UsageError(f"A flow is made from a function, not from {fn!r}.")
        self.fn = fn
        self.name = name or getattr(fn, "__name__", type(fn).__name__).replace("_", "-")
        self.tags = frozenset(tags or ())
        self.retries = checked_retries(self.name, retries)
        self.delays_s = delays_in_seconds(retry_delay_seconds)
        self.task_runner = task_runner
        self.log_prints = log_prints
        self.is_async = inspect.iscoroutinefunction(fn)
        refuse_reserved("flow", self.name, inspect.signature(fn))
        functools.update_wrapper(self, fn, updated=())

    def __repr__(self) -> str:
        return f"<Flow {self.name}>"

    def __get__(self, instance: object, owner_type: type | None = None) -> "Flow[..., R]":
        """Bind the flow to an instance, as a method is bound."""
        if instance is None:
            return cast("Flow[..., R]", self)
        return Flow(bound_method(self.fn, instance), **self._options())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the flow and return its value; in an async flow, return what to await.

        Everything that it submitted is over when it returns.

        Raises:
            ParameterTypeError: The arguments don't fit the annotations; nothing ran.
            Exception: What the function raised, after its retries.
        """
        if self.is_async:
            return cast(R, self._run_async(args, kwargs))
        execution = _Execution(self, args, kwargs)
        try:
            outcome = drive(self._story(), execution.perform)
        finally:
            execution.run.close()
        return cast(R, execution.over(outcome))

    async def _run_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        execution = _Execution(self, args, kwargs)
        try:
            outcome = await drive_async(self._story(), execution.perform_async)
        finally:
            execution.run.close()
        return execution.over(outcome)

    def with_options(self, **options: Unpack[FlowOptions]) -> "Flow[P, R]":
        """Return a flow of the same function with some options changed.

        Raises:
            TypeError: There is no such option.
        """
        return Flow(self.fn, **cast(Any, {**self._options(), **options}))

    @functools.cached_property
    def validate(self) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
        """Returns arguments coerced to the annotations, or raises ParameterTypeError."""
        return validator(self.name, self.fn)

    def _story(self) -> Any:
        return flow_story(self.retries, self.delays_s)

    def _options(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "tags": self.tags,
            "retries": self.retries,
            "retry_delay_seconds": self.delays_s,
            "task_runner": self.task_runner,
            "log_prints": self.log_prints,
        }


class _Execution:
    """One call of a flow: carries out what its story asks for."""

    def __init__(self, flow: Flow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.flow = flow
        self.args, self.kwargs = flow.validate(*resolved(args), **resolved(kwargs))
        around = current()
        parent = around.info if around is not None else None
        prints = flow.log_prints
        info = RunInfo(
            kind="Flow run",
            id=new_id(),
            name=flow.name,
            tags=flow.tags | current_tags() | (parent.tags if parent is not None else frozenset()),
            log_prints=prints if prints is not None else bool(parent and parent.log_prints),
        )
        self.run = FlowRun(info, registry.runner(flow.task_runner))

    def perform(self, effect: Any) -> Any:
        if isinstance(effect, Sleep):
            return time.sleep(effect.seconds)
        return self._called(effect)

    def perform_async(self, effect: Any) -> Any:
        if isinstance(effect, Sleep):
            import asyncio  # 10 ms, which only async flows need

            return asyncio.sleep(effect.seconds)
        return self._called_async(effect)

    def _called(self, effect: CallFlow) -> tuple[Any, BaseException | None]:
        try:
            with running(self.run.context), logged(self.run.info.log_prints):
                value = self.flow.fn(*self.args, **self.kwargs)
                self.run.settle()
                return resolved(value), None
        except BaseException as error:  # the story decides what becomes of it
            self.run.abandon()
            return None, error

    async def _called_async(self, effect: CallFlow) -> tuple[Any, BaseException | None]:
        import asyncio  # 10 ms, which only async flows need

        try:
            with running(self.run.context), logged(self.run.info.log_prints):
                value = await self.flow.fn(*self.args, **self.kwargs)
                await asyncio.to_thread(self.run.settle)
                return await asyncio.to_thread(resolved, value), None
        except BaseException as error:  # the story decides what becomes of it
            self.run.abandon()
            return None, error

    def over(self, outcome: FlowOutcome) -> Any:
        """Return the value or raise the error."""
        if outcome.error is None:
            return outcome.value
        if outcome.state is StateName.FAILED:
            tell(self.run.info, f"Failed: {type(outcome.error).__name__}: {outcome.error}")
        raise trimmed(outcome.error)


@overload
def flow(fn: Callable[P, R], /, **options: Unpack[FlowOptions]) -> Flow[P, R]: ...
@overload
def flow(
    fn: None = None, /, **options: Unpack[FlowOptions]
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(fn: Any = None, /, **options: Any) -> Any:
    """Make a flow of a function: `@flow`, `@flow(task_runner="dask")` or `flow(fn)`.

    Args:
        fn: The function; sync or async. Arguments are validated against its annotations.
        **options: Any of these:

            name: What runs and log lines call it; the function's name if not given.
            tags: Labels of all its runs and of the runs inside.
            retries: How often it is called again after an exception.
            retry_delay_seconds: Seconds before each retry, a timedelta, or one number for each.
            task_runner: Where submitted and mapped tasks run: "threads" (the default), "inline",
                "processes", "dask", "ray", or a runner object.
            log_prints: Whether prints in it and in its tasks become log lines.

    Raises:
        ReservedArgumentError: A parameter has a name that calls need themselves.
    """
    if fn is None:
        return functools.partial(_make, options)
    return _make(options, fn)


def _make(options: dict[str, Any], fn: Any) -> Any:
    return made_of(fn, lambda function: Flow(function, **options))
