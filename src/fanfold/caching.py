"""Cache keys: what makes two calls of a task the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fanfold.engine import keys
from fanfold.engine.spec import TaskSpec, taken_apart


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """What a key function may know of the task."""

    name: str
    fn: Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRunContext:
    """What a key function is called with, beside the arguments by name."""

    task: TaskFacts
    run_id: str
    flow_run_id: str


KeyFunction = Callable[[TaskRunContext, dict[str, Any]], str | None]
"""Returns what is equal for calls that may share a result; None: this call isn't cached."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What a key is made from."""

    name: str


INPUTS = CachePolicy("INPUTS")
"""Calls of one task with equal arguments share a result, whatever the task's code is by then."""


def task_input_hash(context: TaskRunContext, arguments: Mapping[str, Any]) -> str:
    """Return a key of the task's name, its code and its arguments.

    Raises:
        KeyNotStable: An argument has no encoding that is equal in every process.
    """
    inputs = keys.digest(dict(arguments), "")
    return keys.digest((context.task.name, _code_digest(context.task.fn), inputs)).hex()


@lru_cache(maxsize=256)
def _code_digest(fn: Callable[..., Any]) -> bytes:
    return keys.code_digest(fn)


def key_of_inputs(spec: TaskSpec, arguments: dict[str, Any]) -> bytes:
    """Return the key of the `INPUTS` policy; 16 bytes."""
    return keys.digest({"policy": INPUTS.name, "inputs": keys.digest(arguments, "")})


@dataclass(frozen=True, slots=True)
class KeyByFunction:
    """The key of a user's `cache_key_fn`; travels to workers with the task."""

    function: KeyFunction

    def __call__(self, spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        """Return 16 bytes, or None where the function returns None."""
        context = TaskRunContext(
            task=TaskFacts(name=spec.info.name, fn=taken_apart(spec.fn)[0]),
            run_id=spec.info.id,
            flow_run_id=spec.info.flow_run_id,
        )
        key = self.function(context, arguments)
        return None if key is None else keys.digest({"key": key})
