"""What tasks and flows have in common: both are submitted, and mapped over many inputs.

A function's parameters can't be declared as "this, or a future of it", one by one. So `submit` is
declared three times. First with the parameters of the function: what fits them is right. Then with
plain values alone: what consists of those and fits nothing is a mistake, and reported as a use of
something deprecated, which is how an overload can be made to report itself. Last with anything:
where there are futures, states or marks among the arguments, only the call itself can tell.

All three return the same type, for otherwise an argument of type Any would make the result Any.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Never, ParamSpec, TypeVar, overload

from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.values.cards import WithCard
from fanfold.values.states import State

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
S = TypeVar("S")

if TYPE_CHECKING:
    from typing_extensions import deprecated as deprecated

    Plain = (
        complex
        | str
        | bytes
        | date
        | time
        | timedelta
        | Path
        | Sequence["Plain"]
        | AbstractSet["Plain"]
        | Mapping[Any, "Plain"]
        | None
    )
    """Values that hold no futures, whoever looks at them."""
else:
    Plain = Any

    def deprecated(message: str) -> Callable[[S], S]:
        """Mark an overload for type checkers; nothing is to be told at run time."""
        return lambda function: function


Yields = Generator[S, Any, Any] | AsyncGenerator[S, Any] | Iterator[S] | AsyncIterator[S]
"""What a generator function returns by its annotation: its run's value is the list of items."""


class Submittable(WithCard, Generic[P, R]):
    """A function that is called here, or by a task runner: a task, or a flow as a subflow."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(
        self: "Submittable[P, Coroutine[Any, Any, S]]",
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State]: ...
    @overload
    def __call__(
        self,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State: ...
    @overload
    def __call__(self, *args: Any, wait_for: Iterable[Any] | None, **kwargs: Any) -> R: ...
    def __call__(
        self,
        *args: Any,
        return_state: bool = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run it here and now and return its value; where it is async, return what to await.

        What a flow submitted is over when it returns; inside another flow it is a subflow. A
        generator returns a generator, and each retry yields from the beginning again.

        Args:
            *args: The function's own.
            return_state: Return the final State instead, and raise nothing of the function's.
            wait_for: Futures and states that must be there before it begins.
            **kwargs: The function's own.

        Raises:
            ParameterTypeError: The arguments don't fit the annotations of a flow; nothing ran.
            UpstreamFailed: Something that it needs has no value; it didn't run.
            Exception: What the function raised, after its retries.
        """
        return self.called(args, kwargs, return_state=return_state, wait_for=wait_for)

    @overload
    def submit(
        self: "Submittable[P, Yields[S]]", *args: P.args, **kwargs: P.kwargs
    ) -> TaskFuture[list[S]]: ...
    @overload
    def submit(
        self: "Submittable[P, Coroutine[Any, Any, S]]", *args: P.args, **kwargs: P.kwargs
    ) -> TaskFuture[S]: ...
    @overload
    def submit(self: "Submittable[P, S]", *args: P.args, **kwargs: P.kwargs) -> TaskFuture[S]: ...
    @overload
    def submit(
        self,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State: ...
    @overload
    @deprecated("The arguments don't fit the function.")
    def submit(
        self: "Submittable[P, Yields[S]]",
        *args: Plain,
        return_state: Never = ...,
        wait_for: Never = ...,
        **kwargs: Plain,
    ) -> TaskFuture[list[S]]: ...
    @overload
    @deprecated("The arguments don't fit the function.")
    def submit(
        self: "Submittable[P, Coroutine[Any, Any, S]]",
        *args: Plain,
        return_state: Never = ...,
        wait_for: Never = ...,
        **kwargs: Plain,
    ) -> TaskFuture[S]: ...
    @overload
    @deprecated("The arguments don't fit the function.")
    def submit(
        self: "Submittable[P, S]",
        *args: Plain,
        return_state: Never = ...,
        wait_for: Never = ...,
        **kwargs: Plain,
    ) -> TaskFuture[S]: ...
    @overload
    def submit(
        self: "Submittable[P, Yields[S]]",
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> TaskFuture[list[S]]: ...
    @overload
    def submit(
        self: "Submittable[P, Coroutine[Any, Any, S]]",
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> TaskFuture[S]: ...
    @overload
    def submit(
        self: "Submittable[P, S]",
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> TaskFuture[S]: ...
    def submit(
        self,
        *args: Any,
        return_state: bool = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Hand one call to the flow's task runner and return a future at once.

        Futures anywhere in the arguments are waited for where the call runs. A flow runs as a
        subflow beside the caller, and has a runner of its own for its tasks.

        Args:
            *args: The function's own, or futures of them.
            return_state: Wait, and return the final State instead of a future.
            wait_for: Futures and states that must be there before it begins.
            **kwargs: The function's own.

        Raises:
            TypeError: The arguments don't fit the function.
            NotPicklable: They can't travel to where the call should run.
            ResourcesUnavailable: The runner can't give what the task asks for.
        """
        future = self.submitted(args, kwargs, wait_for)
        if not return_state:
            return future
        future.wait()
        return future.state

    @overload
    def map(
        self,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> list[State]: ...
    @overload
    def map(
        self: "Submittable[P, Yields[S]]",
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> MapFuture[list[S]]: ...
    @overload
    def map(
        self: "Submittable[P, Coroutine[Any, Any, S]]",
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> MapFuture[S]: ...
    @overload
    def map(
        self: "Submittable[P, S]",
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> MapFuture[S]: ...
    def map(
        self,
        *args: Any,
        return_state: bool = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make one call for each element of the iterables, on the flow's task runner.

        Lists, tuples, ranges, arrays, other iterables and maps' futures are mapped over, in step;
        strings, bytes and whatever is marked `unmapped` are the same for all calls. An iterator
        is read bit by bit, as the results are: it may be endless.

        Args:
            *args: The function's own, each an iterable of them or the same for all.
            return_state: Wait, and return the list of final States instead of futures.
            wait_for: Futures and states that must be there before any call begins.
            **kwargs: The function's own; and the options `chunk_size`, `max_in_flight` and
                `on_error`, unless the function has such a parameter itself.

        Raises:
            MappingMissingIterable: Nothing can be mapped over.
            MappingLengthMismatch: The iterables differ in length.
            TypeError: The arguments don't fit the function.
            ResourcesUnavailable: The runner can't give what the task asks for.
        """
        future = self.mapped(args, kwargs, wait_for)
        if not return_state:
            return future
        future.wait()
        return [one.state for one in future]

    def called(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        return_state: bool,
        wait_for: Iterable[Any] | None,
    ) -> Any:
        """Make one call here."""
        raise NotImplementedError

    def submitted(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None
    ) -> TaskFuture[Any]:
        """Hand one call out, without the options of `submit`."""
        raise NotImplementedError

    def mapped(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None
    ) -> MapFuture[Any]:
        """Hand a map out, without the options of `map` but for those of its task."""
        raise NotImplementedError
