"""Cache policies: what the key of a call is made from, and how policies add up.

`fanfold.caching`, their public home, tells what each is for.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import BuiltinFunctionType
from typing import Any, Self, cast

from fanfold.engine import keys
from fanfold.engine.keys.makers import without
from fanfold.engine.spec import taken_apart
from fanfold.values.errors import UsageError


class IsolationLevel(Enum):
    """What calls with equal keys see of each other."""

    READ_COMMITTED = "READ_COMMITTED"
    """Whatever is committed when they start; calls at the same time may all run."""
    SERIALIZABLE = "SERIALIZABLE"
    """One of them runs and the others wait for it, in whatever process or machine.

    It holds a lease of its key in the result storage meanwhile, which costs some requests for each
    call that isn't cached. The lease of a process that died expires after 20 s.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """What a key function may know of the task."""

    name: str
    fn: Callable[..., Any]
    task_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRunFacts:
    """What a key function may know of the run."""

    id: str
    name: str
    flow_run_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRunContext:
    """What a key function is called with, beside the arguments by name."""

    task: Any
    """The task where it is known, else `TaskFacts`: either has `name` and `fn`."""
    run_id: str
    flow_run_id: str

    @property
    def task_run(self) -> TaskRunFacts:
        """The task run; its `flow_run_id` is None outside of flows."""
        flow_run_id = self.flow_run_id or None
        return TaskRunFacts(id=self.run_id, name=self.task.name, flow_run_id=flow_run_id)


KeyFunction = Callable[[TaskRunContext, dict[str, Any]], str | None]
"""Returns what is equal for calls that may share a result; None: this call isn't cached."""


class CachePolicy:
    """What a key is made from; subclasses have a `compute_key` of their own."""

    isolation_level: IsolationLevel | str | None = None
    strict: bool = False
    """Whether an argument without a stable key is an error instead of a warning."""

    @classmethod
    def from_cache_key_fn(cls, cache_key_fn: KeyFunction) -> "CacheKeyFnPolicy":
        """Return a policy whose keys a function makes."""
        return CacheKeyFnPolicy(cache_key_fn=cache_key_fn)

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return a call's key, None not to cache it."""
        raise NotImplementedError(f"{type(self).__name__} doesn't say how to compute_key.")

    def configure(
        self,
        key_storage: Any = None,
        lock_manager: Any = None,
        isolation_level: IsolationLevel | str | None = None,
        *,
        strict: bool | None = None,
    ) -> Self:
        """Return the policy with some of its settings changed; what isn't given stays.

        Raises:
            UsageError: The isolation level is unknown, or there is a key storage or a lock manager.
        """
        _refuse_places(key_storage, lock_manager)
        changed = copy.copy(self)
        given = {
            "isolation_level": checked_isolation(isolation_level),
            "strict": strict,
        }
        for name, value in given.items():
            if value is not None:
                # Policies of our own are frozen.
                object.__setattr__(changed, name, value)
        return changed

    def __add__(self, other: "CachePolicy") -> "CachePolicy":
        """Return the policy by which calls share a result that do so by both.

        Raises:
            ValueError: Both have settings, and these differ.
        """
        if not isinstance(cast(Any, other), CachePolicy):
            return NotImplemented
        if isinstance(other, NoCache):
            return self
        if isinstance(self, NoCache):
            return other
        settings = {name: _agreed(name, self, other) for name in _SETTINGS}
        both = CompoundCachePolicy(
            policies=(self, other), strict=self.strict or other.strict, **settings
        )
        return both if len(both.policies) > 1 else both.policies[0]

    def __sub__(self, other: str) -> "CachePolicy":
        """Return the policy without one argument; names that don't occur change nothing.

        Raises:
            TypeError: It isn't a name.
        """
        _checked_name(other)
        return self


_SETTINGS = ("isolation_level",)


def checked_isolation(level: IsolationLevel | str | None) -> IsolationLevel | None:
    """Return an isolation level by itself or its name, in either case.

    Raises:
        UsageError: There is no such level.
    """
    if level is None:
        return None
    name = level.value if isinstance(level, IsolationLevel) else str(level).upper()
    if name not in IsolationLevel.__members__:
        raise UsageError(
            f"There is no isolation level {level!r}; there are READ_COMMITTED and SERIALIZABLE."
        )
    return IsolationLevel[name]


def checked_key_function(whose: str, function: Any) -> Any:
    """Return a function that makes keys, or None.

    Args:
        whose: Names the task or policy that it is given to.
        function: What was given.

    Raises:
        TypeError: It can't be called as such a function is.
    """
    if function is None:
        return None
    if not callable(function):
        raise TypeError(f"cache_key_fn of {whose} takes a function, not {function!r}.")
    if any(map(inspect.iscoroutinefunction, (taken_apart(function)[0], type(function).__call__))):
        raise TypeError(f"cache_key_fn of {whose} is async; it must be a plain function.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions in C don't say what they take
        return function
    try:
        signature.bind(None, {})
    except TypeError as error:
        raise TypeError(
            f"cache_key_fn of {whose} is called with (context, parameters), and takes "
            f"{signature}: {error}."
        ) from None
    return function


def _refuse_places(key_storage: Any, lock_manager: Any) -> None:
    """Refuse places for keys and locks of their own.

    Raises:
        UsageError: One is given.
    """
    if key_storage is not None:
        raise UsageError(
            "Keys are kept beside the results that they belong to, so key_storage can't be kept. "
            "Give the task or its flow result_storage."
        )
    if lock_manager is not None:
        raise UsageError(
            "No lock_manager is needed: with isolation_level='SERIALIZABLE' whoever makes a result "
            "holds a lease in the result storage meanwhile. Leave it out."
        )


def _agreed(name: str, one: CachePolicy, other: CachePolicy) -> Any:
    first, second = getattr(one, name), getattr(other, name)
    if first is not None and second is not None and first != second:
        raise ValueError(
            f"The policies {one!r} and {other!r} can't be added, for they have a different {name}."
        )
    return second if first is None else first


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"A policy can leave out an argument by its name, not by {name!r}.")
    return name


@dataclass(frozen=True, kw_only=True)
class _Settled(CachePolicy):
    """What our own policies share: settings as fields, so that they are compared and pickled."""

    isolation_level: IsolationLevel | str | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "isolation_level", checked_isolation(self.isolation_level))

    def __repr__(self) -> str:
        """Return what one would write to have it."""
        names = (*_SETTINGS, "strict")
        changed = {name: getattr(self, name) for name in names if getattr(self, name)}
        settings = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        return f"({self._named()}).configure({settings})" if settings else self._named()

    def _named(self) -> str:
        return PUBLIC_NAMES.get(type(self), type(self).__name__)


@dataclass(frozen=True, repr=False)
class Inputs(_Settled):
    """Calls with equal arguments share a result."""

    exclude: Sequence[str] = ()
    """Arguments that don't count; kept sorted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "exclude", tuple(sorted({*self.exclude})))

    def _named(self) -> str:
        return "".join(["INPUTS", *(f" - {name!r}" for name in self.exclude)])

    def __sub__(self, other: str) -> "Inputs":
        changed = copy.copy(self)
        left_out = tuple(sorted({*self.exclude, _checked_name(other)}))
        object.__setattr__(changed, "exclude", left_out)
        return changed

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return a key of the arguments that count."""
        return keys.digest(without(inputs, tuple(self.exclude)), "").hex()


@dataclass(frozen=True, repr=False)
class TaskSource(_Settled):
    """Calls of the same code share a result."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return a key of the code."""
        return source_digest(task_ctx.task.fn).hex()


@dataclass(frozen=True, repr=False)
class RunId(_Settled):
    """Calls of the same flow run share a result."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return the flow run's id, outside of flows the task run's."""
        return str(task_ctx.flow_run_id or task_ctx.run_id)


@dataclass(frozen=True, repr=False)
class FlowParameters(_Settled):
    """Calls in flow runs of equal parameters share a result."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return a key of the parameters, None if there are none."""
        return keys.digest(dict(flow_parameters), "").hex() if flow_parameters else None


@dataclass(frozen=True, repr=False)
class NoCache(_Settled):
    """Nothing is cached."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return None."""
        return None


@dataclass(frozen=True, repr=False)
class CacheKeyFnPolicy(_Settled):
    """Calls for which a function returns equal keys share a result."""

    cache_key_fn: KeyFunction | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_key_function("a cache policy", self.cache_key_fn)

    def _named(self) -> str:
        return f"CacheKeyFnPolicy({self.cache_key_fn!r})"

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return what the function returns."""
        return None if self.cache_key_fn is None else self.cache_key_fn(task_ctx, inputs)


@dataclass(frozen=True, repr=False, eq=False)
class CompoundCachePolicy(_Settled):
    """Several policies at once; their order doesn't count."""

    policies: Sequence[CachePolicy] = ()
    """Flat and each once; of several that look at arguments one is left."""

    def __post_init__(self) -> None:
        super().__post_init__()
        flat = [part for policy in self.policies for part in parts_of(policy)]
        inputs = [part for part in flat if type(part) is Inputs]
        kept: list[CachePolicy] = []
        for part in flat:
            if type(part) is not Inputs and part not in kept:
                kept.append(part)
        if inputs:
            kept.insert(0, functools.reduce(_looked_at_by_both, inputs))
        object.__setattr__(self, "policies", tuple(kept))

    def __eq__(self, other: object) -> bool:
        if type(other) is not CompoundCachePolicy:
            return NotImplemented
        mine, theirs = self.policies, other.policies
        settings = all(getattr(self, name) == getattr(other, name) for name in _SETTINGS)
        same = len(mine) == len(theirs) and all(part in theirs for part in mine)
        return same and settings and self.strict == other.strict

    def __hash__(self) -> int:
        # Users' policies may have no hash.
        return hash((type(self), len(self.policies)))

    def _named(self) -> str:
        return " + ".join(map(repr, self.policies))

    def __sub__(self, other: str) -> "CompoundCachePolicy":
        changed = copy.copy(self)
        parts = tuple(part - _checked_name(other) for part in self.policies)
        object.__setattr__(changed, "policies", parts)
        return changed

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return a key of the parts' keys, None if none of them has one."""
        made = [
            (type(part).__qualname__, part.compute_key(task_ctx, inputs, flow_parameters, **kwargs))
            for part in self.policies
        ]
        if all(key is None for _, key in made):
            return None
        return keys.digest(sorted(made, key=repr)).hex()


def parts_of(policy: CachePolicy) -> Sequence[CachePolicy]:
    """Return the policies that one is the sum of."""
    return policy.policies if isinstance(policy, CompoundCachePolicy) else (policy,)


def _looked_at_by_both(one: CachePolicy, other: CachePolicy) -> CachePolicy:
    return functools.reduce(Inputs.__sub__, cast(Inputs, other).exclude, cast(Inputs, one))


PUBLIC_NAMES: dict[type, str] = {
    TaskSource: "TASK_SOURCE",
    RunId: "RUN_ID",
    FlowParameters: "FLOW_PARAMETERS",
    NoCache: "NO_CACHE",
}

INPUTS = Inputs()
TASK_SOURCE = TaskSource()
RUN_ID = RunId()
FLOW_PARAMETERS = FlowParameters()
DEFAULT = INPUTS + TASK_SOURCE + RUN_ID
NO_CACHE = NONE = NoCache()


def task_input_hash(context: TaskRunContext, arguments: Mapping[str, Any]) -> str:
    """Return a key of the task's name, its code and its arguments.

    Raises:
        KeyNotStable: Something of these has no form that is equal in every process.
    """
    inputs = keys.digest(dict(arguments), "")
    return keys.digest((context.task.name, source_digest(context.task.fn), inputs)).hex()


def source_digest(fn: Callable[..., Any]) -> bytes:
    """Return 16 bytes that change with what a task's function does, whatever it is bound to.

    Raises:
        KeyNotStable: It has no bytecode, or holds something that has no form.
    """
    function, given, named = taken_apart(fn)
    if isinstance(function, BuiltinFunctionType):
        # C code has no text to look at; it changes with Python or its package.
        return keys.digest((function, *given, named))
    return keys.code_digest(function, *given, *named.values())
