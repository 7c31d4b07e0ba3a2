"""Options of Ray for what is submitted inside a block: `with remote_options(num_gpus=1): ...`."""

import importlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from fanfold.ports.wants import wanting
from fanfold.values.errors import UsageError
from fanfold.values.resources import PLAIN, Resources

_OURS = {
    "max_retries": "Fanfold itself runs again what a worker's death has cost: "
    "@task(infrastructure_retries=...)",
    "retry_exceptions": "Fanfold itself retries: @task(retries=..., retry_condition_fn=...)",
    "num_returns": "a task returns one value, which may be a tuple",
    "name": "runs are named by @task(name=..., task_run_name=...)",
    "max_calls": "Ray takes it where a remote function is made, and this one is Fanfold's",
    "object_store_memory": "Ray doesn't hold it for tasks",
}
"""What a user may not say, and what is said instead."""

_MOST = (2**63 - 1) // 10_000
"""Of any resource; of memory it is 838 TiB. Ray counts ten-thousandths in 64 bits, and takes more
for less than none: it runs at once what it could never hold."""
_FIELDS = {"num_cpus": "cpu", "num_gpus": "gpu", "memory": "memory"}
"""What `Resources` has a field for; the rest is opaque to the engine."""


@dataclass(frozen=True, slots=True, eq=False)
class Native:
    """Options of Ray that no other runner has a word for; compares by identity, to be hashable."""

    options: Mapping[str, Any]

    def __str__(self) -> str:
        # Names alone: an environment's variables may be secret.
        return f"remote_options({', '.join(sorted(self.options))})"


@contextmanager
def remote_options(**options: Any) -> Generator[None]:
    """Run what is submitted and mapped inside with these options of Ray.

    Each chunk gets them, and runs its elements one after the other: `num_cpus=2` gives two CPUs to
    each call. They say more than the task's own `resources`. In a block inside a block, the inner
    one's options come on top. Direct calls run where the caller is, whatever is said here.

    Args:
        **options: As Ray's `.options()` takes them for a task: `num_cpus`, `num_gpus`, `memory` in
            bytes, `resources`, `accelerator_type`, `label_selector`, `runtime_env`,
            `scheduling_strategy` and so on.

    Raises:
        UsageError: Ray knows no such option or takes no such value, or Fanfold decides it.
    """
    for name in _OURS.keys() & options.keys():
        raise UsageError(f"remote_options() can't take {name}: {_OURS[name]}.")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        importlib.import_module("ray").remote(_nothing).options(**given)
    except (TypeError, ValueError) as error:
        raise UsageError(f"remote_options() can't be understood by Ray: {error}") from error

    def change(want: Resources) -> Resources:
        return _changed(want, given)

    with wanting(change):
        yield


def options_for(want: Resources) -> dict[str, Any]:
    """Return what Ray's `.options()` takes for a chunk that wants so much."""
    if want is PLAIN or want.plain:
        return {}
    options: dict[str, Any] = {"num_cpus": want.cpu}
    if want.gpu:
        options["num_gpus"] = want.gpu
    if want.memory:
        options["memory"] = min(want.memory, _MOST)
    if want.custom:
        options["resources"] = {name: min(amount, _MOST) for name, amount in want.custom}
    return options | dict(want.native.options if isinstance(want.native, Native) else {})


def _changed(want: Resources, given: Mapping[str, Any]) -> Resources:
    fields: dict[str, Any] = {_FIELDS[name]: given[name] for name in _FIELDS.keys() & given.keys()}
    custom = dict(want.custom) | given.get("resources", {})
    before = want.native.options if isinstance(want.native, Native) else {}
    native = {name: one for name, one in given.items() if name not in (*_FIELDS, "resources")}
    told = Native({**before, **native})
    return replace(
        want, **fields, custom=tuple(sorted(custom.items())), native=told if told.options else None
    )


def _nothing() -> None:
    """Stands in for any task while options are checked."""
