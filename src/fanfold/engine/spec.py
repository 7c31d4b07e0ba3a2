"""What a chunk must know of its task: the same for all chunks of a map, pickled once."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import repeat
from os import urandom
from types import MethodType
from typing import Any

from fanfold.engine.context import RunInfo
from fanfold.engine.dataflow import substitute
from fanfold.engine.results.codec_names import ACCEPTED
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.segments import SECRET_BYTES
from fanfold.ports.results import ResultStore
from fanfold.values.stand_ins import had, stood_for
from fanfold.values.states import WITH_VALUE, StateName


@dataclass(frozen=True, slots=True)
class Mapped:
    """Stands in a call for the argument that comes from a column."""

    column: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Stands in an argument, however deep, for a value that another run makes."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The shape of every call of a map: static values, columns and holes."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    holes: bool = False
    """Whether some static value has holes inside."""

    def filled(self, values: Mapping[int, Any]) -> "Layout":
        """Return the layout with its holes filled."""
        if not self.holes:
            return self
        args, kwargs = substitute(
            (self.args, dict(self.kwargs)), Hole, lambda hole: values[hole.number]
        )
        return Layout(args=args, kwargs=kwargs)

    def with_values(self) -> "Layout":
        """Return the layout with values in the places of arguments that stand for them.

        Raises:
            Exception: Whatever keeps one from being had.
        """
        args, kwargs = stood_for(self.args), stood_for(tuple(self.kwargs.values()))
        if args is self.args and isinstance(kwargs, tuple):
            return self
        named = dict(zip(self.kwargs, had(tuple(kwargs)), strict=True))
        return Layout(args=tuple(had(tuple(args))), kwargs=named, holes=self.holes)

    def static(self) -> list[tuple[int | str, Any]]:
        """Return the arguments that are the same for all calls, by position or name."""
        every = [*enumerate(self.args, 1), *self.kwargs.items()]
        return [(where, value) for where, value in every if not isinstance(value, Mapped)]

    def call(
        self, fn: Callable[..., Any], columns: Sequence[Sequence[Any]], count: int
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Return a function of one row, and the iterables whose rows it takes.

        Static positional arguments are repeated, static keywords bound, so that `map` can call
        the user's function itself in the plain case.
        """
        rows = [
            columns[arg.column] if isinstance(arg, Mapped) else repeat(arg, count)
            for arg in self.args
        ]
        static = {k: v for k, v in self.kwargs.items() if not isinstance(v, Mapped)}
        mapped = {k: v.column for k, v in self.kwargs.items() if isinstance(v, Mapped)}
        bound = partial(fn, **static) if static else fn
        if not mapped:
            return (bound, rows) if rows else (lambda _: bound(), [repeat(None, count)])
        names, places = tuple(mapped), len(rows)

        def call_by_name(*row: Any) -> Any:
            return bound(*row[:places], **dict(zip(names, row[places:], strict=True)))

        return call_by_name, [*rows, *(columns[at] for at in mapped.values())]

    def row(self, columns: Sequence[Sequence[Any]], position: int) -> tuple[Any, ...]:
        """Return one row of what `call` returns, without walking there."""
        args = [columns[a.column][position] if isinstance(a, Mapped) else a for a in self.args]
        mapped = [v.column for v in self.kwargs.values() if isinstance(v, Mapped)]
        row = (*args, *(columns[at][position] for at in mapped))
        return row if args or mapped else (None,)

    def arguments(self, row: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return one row of `call` as the positional and named arguments that it stands for."""
        places = len(self.args)
        mapped = [name for name, value in self.kwargs.items() if isinstance(value, Mapped)]
        by_name = dict(zip(mapped, row[places:], strict=False))
        return tuple(row[:places]), {**self.kwargs, **by_name}

    def bind(self, fn: Callable[..., Any], row: Sequence[Any]) -> dict[str, Any]:
        """Return one element's arguments by parameter name, in order, defaults included.

        Of a method that is the instance too, of a partial function what it was given.

        Args:
            fn: The task's function, as it is called.
            row: What the iterables of `call` gave for the element.
        """
        function, args, kwargs = taken_apart(fn)
        positional, by_name = self.arguments(row)
        bound = _signature(function).bind(*args, *positional, **{**kwargs, **by_name})
        bound.apply_defaults()
        return bound.arguments

    def binder(self, fn: Callable[..., Any]) -> Callable[[Sequence[Any]], dict[str, Any]]:
        """Return what does the same as `bind`, in a tenth of the time for most functions.

        Where each argument comes from is found out once, by binding marks. What is gathered in
        `*args` or `**kwargs` is bound anew each time.
        """
        places = {Mapped(place): place for place in range(self._row_length())}
        try:
            marked = self.bind(fn, list(places))
        except TypeError:  # `bind` says so when an element is called
            return lambda row: self.bind(fn, row)
        function = taken_apart(fn)[0]
        kinds = [parameter.kind for parameter in _signature(function).parameters.values()]
        if _GATHERING & set(kinds):
            return lambda row: self.bind(fn, row)
        fixed = dict(marked)
        moving = [(n, places[v]) for n, v in marked.items() if type(v) is Mapped and v in places]

        def bound(row: Sequence[Any]) -> dict[str, Any]:
            arguments = fixed.copy()
            for name, place in moving:
                arguments[name] = row[place]
            return arguments

        return bound

    def _row_length(self) -> int:
        mapped = sum(isinstance(value, Mapped) for value in self.kwargs.values())
        return len(self.args) + mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """How a task's results are found and kept."""

    key: Callable[["TaskSpec", dict[str, Any]], bytes | None]
    """Makes an element's key; None: this element isn't cached."""
    store: ResultStore
    folder: str
    """The task's folder in the store."""
    lookup: Lookup
    """What was committed when the map started."""
    expires_in_s: float = float("inf")
    in_memory: bool = True
    """Whether the value itself goes on, too; False leaves a reference to what is stored."""
    ignored: frozenset[str] | None = None
    """Arguments that don't count for the key; None where equal arguments need not have one key."""
    serial: bool = False
    """Whether an element needs the lease of its key to run."""
    reads: bool = True
    """Whether what is there may be taken as the result."""
    since: str = ""
    """Id of a run: what was kept before it came into being isn't taken; empty for no such bound."""
    serializer: Any = None
    """What values are written with: an object or a name; None to go by their types."""
    accepted: tuple[str, ...] = ACCEPTED
    """What readers accept, whatever a record says; see `results.accepted_codecs`."""
    name: Callable[["TaskSpec", dict[str, Any]], str] | None = None
    """Names the object that holds an element's result, where the user wants that."""
    by_name: bool = False
    """Whether an object of that name is the result, whatever it was made from."""
    deferred: bool = False
    """Whether such objects come into being only when a transaction is committed."""
    guarded: bool = False
    """Whether others may write to the store, so that nothing is believed that no index names."""
    secret: bytes = field(default_factory=lambda: urandom(SECRET_BYTES), repr=False)
    """Of the map, by which a chunk knows what its own earlier tries have staged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What is called where the element runs, when it gets there; each as hook(task, run, state)."""

    running: tuple[Callable[..., Any], ...] = ()
    completion: tuple[Callable[..., Any], ...] = ()
    failure: tuple[Callable[..., Any], ...] = ()

    def of(self, state: StateName) -> tuple[Callable[..., Any], ...]:
        """Return the hooks of a state."""
        if state is StateName.RUNNING:
            return self.running
        return self.completion if state in WITH_VALUE else self.failure


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """The task, the shape of its calls, and how it is run."""

    fn: Callable[..., Any]
    layout: Layout
    info: RunInfo
    retries: int = 0
    delays_s: tuple[float, ...] = ()
    jitter: float = 0.0
    """Share of a delay that may be added to it."""
    condition: Callable[..., Any] | None = None
    """Asked before a retry: condition(task, task_run, state)."""
    timeout_s: float | None = None
    is_async: bool = False
    yields: bool = False
    """Whether it is a generator function, whose items are the value."""
    cache: CacheSpec | None = None
    hooks: Hooks | None = None
    run_name: str | Callable[..., Any] | None = None
    """How calls are named: a template of their arguments, or a function that returns a name."""
    task: Any = None
    """The task itself, where hooks or conditions want it."""
    around: Context | None = None
    """The context variables at the call; None where it runs in another process."""
    part: Any = None
    """Its part in a transaction; None outside of any, and where it runs in another process."""

    @property
    def plain(self) -> bool:
        """Whether the fast path may run it."""
        return not (
            self.cache is not None
            or self.is_async
            or self.yields
            or self.timeout_s is not None
            or self.run_name is not None
            or self.part is not None
            or (self.hooks is not None and (self.hooks.running or self.hooks.completion))
        )


def taken_apart(
    fn: Callable[..., Any],
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return the plain function behind a callable, and what it is given besides its arguments."""
    if isinstance(fn, partial):
        function, args, kwargs = taken_apart(fn.func)
        return function, (*args, *fn.args), {**kwargs, **fn.keywords}
    if isinstance(fn, MethodType):
        return fn.__func__, (fn.__self__,), {}
    if inspect.isroutine(fn):
        return fn, (), {}
    return type(fn).__call__, (fn,), {}


_GATHERING = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)
