"""Cache policies: what makes two calls of a task the same.

A policy says what a call's key is made from, and policies add up: `INPUTS + TASK_SOURCE`. Results
are kept per task, so calls of different tasks never share one.

| policy | calls share a result that have |
|---|---|
| `INPUTS` | equal arguments; `INPUTS - "debug"` doesn't look at one of them |
| `TASK_SOURCE` | the same code, with all that it reaches in the project |
| `RUN_ID` | the same flow run; outside of flows, the same task run |
| `FLOW_PARAMETERS` | equal parameters of the flow around |
| `DEFAULT` | all of the first three |
| `NO_CACHE` | nothing is cached; adds nothing to others |

A subclass of `CachePolicy` with a `compute_key` of its own, or a function given to
`CachePolicy.from_cache_key_fn`, makes keys in any other way.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from fanfold.engine import keys
from fanfold.engine.entrypoints import imported_as
from fanfold.engine.keys.forms import module_named
from fanfold.engine.keys.makers import (
    CODE,
    InParts,
    KeyMaker,
    OfInputs,
    Parts,
    Same,
    Unkeyed,
    marked,
)
from fanfold.engine.keys.policies import DEFAULT as DEFAULT
from fanfold.engine.keys.policies import FLOW_PARAMETERS as FLOW_PARAMETERS
from fanfold.engine.keys.policies import INPUTS as INPUTS
from fanfold.engine.keys.policies import NO_CACHE as NO_CACHE
from fanfold.engine.keys.policies import NONE as NONE
from fanfold.engine.keys.policies import PUBLIC_NAMES, parts_of, source_digest
from fanfold.engine.keys.policies import RUN_ID as RUN_ID
from fanfold.engine.keys.policies import TASK_SOURCE as TASK_SOURCE
from fanfold.engine.keys.policies import CacheKeyFnPolicy as CacheKeyFnPolicy
from fanfold.engine.keys.policies import CachePolicy as CachePolicy
from fanfold.engine.keys.policies import CompoundCachePolicy as CompoundCachePolicy
from fanfold.engine.keys.policies import FlowParameters as FlowParameters
from fanfold.engine.keys.policies import Inputs as Inputs
from fanfold.engine.keys.policies import IsolationLevel as IsolationLevel
from fanfold.engine.keys.policies import KeyFunction as KeyFunction
from fanfold.engine.keys.policies import NoCache as NoCache
from fanfold.engine.keys.policies import RunId as RunId
from fanfold.engine.keys.policies import TaskFacts as TaskFacts
from fanfold.engine.keys.policies import TaskRunContext as TaskRunContext
from fanfold.engine.keys.policies import TaskSource as TaskSource
from fanfold.engine.keys.policies import task_input_hash as task_input_hash
from fanfold.engine.spec import TaskSpec, taken_apart
from fanfold.values.errors import KeyNotStable, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What a policy may look at that is the same for all calls of a map."""

    task_name: str
    task_key: str
    """Tells tasks apart: the module-qualified name."""
    fn: Callable[..., Any]
    run_id: str
    flow_run_id: str
    """Empty outside of flows. In a retry, that of the run which it does anew."""
    flow_parameters: Mapping[str, Any] | None
    task: Any = None
    """The task itself, for policies that users wrote."""
    told: bool = False
    """Whether somebody wants to know what keys are made from."""


def key_maker(policy: CachePolicy, facts: KeyFacts) -> KeyMaker | None:
    """Return what makes the keys of a map's elements by a policy; None if nothing is cached.

    What is the same for all elements is digested here, so that only bytes travel; users' own
    policies travel whole, with the flow's parameters. Where something here has no stable form, each
    call of what is returned tells of it.

    Raises:
        UsageError: It isn't a policy.
    """
    if not isinstance(cast(Any, policy), CachePolicy):
        raise UsageError(
            f"The task {facts.task_name} can't follow cache_policy={policy!r}. Give a policy such "
            "as INPUTS, from fanfold, or make keys of your own by cache_key_fn."
        )
    if isinstance(policy, NoCache):
        return None
    if type(policy) is CacheKeyFnPolicy:
        function = policy.cache_key_fn
        return by_key_function(function, facts, facts.task) if function else None
    strict = policy.strict or any(part.strict for part in parts_of(policy))
    try:
        return _maker(policy, facts, strict)
    except KeyNotStable as error:
        return Unkeyed(error.path, error.kind, strict)


def by_key_function(function: KeyFunction, facts: KeyFacts, task: Any = None) -> KeyMaker:
    """Return what makes the keys of a map's elements by a user's function.

    Args:
        function: The user's.
        facts: What is the same for all of them.
        task: What the function is told of the task; its name and function by default.
    """
    return KeyByFunction(function, task, _shared(facts, _function_name(function), []))


def _maker(policy: CachePolicy, facts: KeyFacts, strict: bool) -> KeyMaker | None:
    parts = parts_of(policy)
    inputs = next((part for part in parts if type(part) is Inputs), None)
    exclude = None if inputs is None else tuple(inputs.exclude)
    known = sorted(
        (PUBLIC_NAMES[type(p)], _SAME[type(p)](facts)) for p in parts if type(p) in _SAME
    )
    own = tuple(part for part in parts if type(part) is not Inputs and type(part) not in _SAME)
    names = sorted(_type_name(part) for part in own)
    same = keys.digest((facts.task_key, known, exclude, names))
    some = any(key for _, key in known)
    shared = _shared(facts, policy, known)
    if own:
        return OfPolicies(
            policies=own,
            inputs=None if exclude is None else OfInputs(same, exclude, strict),
            same=same,
            some=some,
            strict=strict,
            context=_context(facts),
            flow_parameters=dict(facts.flow_parameters or {}),
            shared=shared,
        )
    if exclude is not None:
        return OfInputs(same, exclude, strict, shared)
    return Same(same, shared) if some else None


def _shared(
    facts: KeyFacts, policy: CachePolicy | str, known: Sequence[tuple[str, bytes]]
) -> Parts | None:
    """Return what is the same for all calls by name; None where nobody asks."""
    if not facts.told:
        return None
    parts = {"task": facts.task_key, "policy": str(policy)}
    for name, key in known:
        if name == PUBLIC_NAMES[TaskSource]:
            parts[CODE] = key.hex()
        elif name == PUBLIC_NAMES[RunId]:
            parts[name] = key.decode()
        elif facts.flow_parameters:
            _, found = keys.digest_in_parts(dict(facts.flow_parameters))
            parts.update({f"flow parameter {path}": part for path, part in found.items()})
    return parts


def _function_name(function: Callable[..., Any]) -> str:
    function = taken_apart(function)[0]
    return f"cache_key_fn={imported_as(function)}.{function.__qualname__}"


def ignored(key: KeyMaker | None, fn: Callable[..., Any]) -> frozenset[str] | None:
    """Return the arguments that don't count for a key.

    None where calls with equal arguments need not have equal keys, or have none.
    """
    if isinstance(key, OfInputs):
        return frozenset(key.exclude)
    if isinstance(key, Same):
        return frozenset(inspect.signature(taken_apart(fn)[0]).parameters)
    if isinstance(key, OfPolicies):
        return frozenset(key.inputs.exclude) if key.inputs is not None else frozenset()
    return frozenset() if isinstance(key, KeyByFunction) else None


def _flow_parameters(facts: KeyFacts) -> bytes:
    if not facts.flow_parameters:
        return b""
    try:
        return keys.digest(dict(facts.flow_parameters), "")
    except KeyNotStable as error:
        raise KeyNotStable(f"flow parameter {error.path}", error.kind) from None


_SAME: dict[type, Callable[[KeyFacts], bytes]] = {
    TaskSource: lambda facts: source_digest(facts.fn),
    RunId: lambda facts: (facts.flow_run_id or facts.run_id).encode(),
    FlowParameters: _flow_parameters,
}
"""What is the same for all calls of a map; empty if it can't tell calls apart."""


def _context(facts: KeyFacts) -> TaskRunContext:
    task = facts.task
    if task is None:
        task = TaskFacts(name=facts.task_name, fn=taken_apart(facts.fn)[0], task_key=facts.task_key)
    return TaskRunContext(task=task, run_id=facts.run_id, flow_run_id=facts.flow_run_id)


def _type_name(policy: CachePolicy) -> str:
    return f"{module_named(type(policy))}:{type(policy).__qualname__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfPolicies(InParts):
    """Keys that users' policies make, together with those of ours; travels with the task."""

    policies: tuple[CachePolicy, ...]
    inputs: OfInputs | None
    same: bytes
    some: bool
    """Whether `same` alone would be a key."""
    strict: bool
    context: TaskRunContext
    flow_parameters: dict[str, Any]
    shared: Parts | None = None

    def __call__(self, spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        """Return 16 bytes, or None where no policy has a key.

        Raises:
            KeyNotStable: An argument has no stable form.
        """
        mine = b"" if self.inputs is None else self.inputs(spec, arguments)
        return self._joined(mine, self._made(arguments))

    def told(self) -> Parts | None:
        """Return what is the same for all calls."""
        return self.shared

    def in_parts(self, spec: TaskSpec, arguments: dict[str, Any]) -> tuple[bytes | None, Parts]:
        """Return the key of one call, and digests of its arguments and of what policies say.

        Raises:
            KeyNotStable: An argument has no stable form.
        """
        inputs = (b"", {}) if self.inputs is None else self.inputs.in_parts(spec, arguments)
        made = self._made(arguments)
        own = {f"policy {name.rpartition(':')[2]}": keys.digest(key).hex() for name, key in made}
        return self._joined(inputs[0], made), {**inputs[1], **own}

    def _made(self, arguments: dict[str, Any]) -> list[tuple[str, str]]:
        try:
            return sorted(
                (_type_name(policy), key)
                for policy in self.policies
                if (key := policy.compute_key(self.context, arguments, self.flow_parameters))
                is not None
            )
        except KeyNotStable as error:
            raise marked(error, self.strict) from None

    def _joined(self, mine: bytes | None, made: list[tuple[str, str]]) -> bytes | None:
        if not made and not self.some and self.inputs is None:
            return None
        try:
            return keys.digest((mine, made), before=self.same)
        except KeyNotStable as error:
            raise marked(error, self.strict) from None


@dataclass(frozen=True, slots=True)
class KeyByFunction(InParts):
    """The key of a user's `cache_key_fn`; travels to workers with the task."""

    function: KeyFunction
    task: Any = None
    shared: Parts | None = None

    def __call__(self, spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        """Return 16 bytes, or None where the function returns None."""
        info = spec.info
        task = self.task
        if task is None:
            task = TaskFacts(name=info.of or info.name, fn=taken_apart(spec.fn)[0])
        context = TaskRunContext(task=task, run_id=info.id, flow_run_id=info.key_run_id)
        key = self.function(context, arguments)
        return None if key is None else keys.digest({"key": key})

    def told(self) -> Parts | None:
        """Return what is the same for all calls."""
        return self.shared

    def in_parts(self, spec: TaskSpec, arguments: dict[str, Any]) -> tuple[bytes | None, Parts]:
        """Return the key, which is all that there is to tell."""
        key = self(spec, arguments)
        return key, {} if key is None else {"what cache_key_fn returned": key.hex()}
