"""A Ray of two CPUs on this machine, already initialised, as a user would have it."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from fanfold_ray import RayTaskRunner
from tests.benchmarks import slices
from tests.benchmarks.grounds import SLOTS, Function, Ground

_run_slice = ray.remote(slices.run_slice)


@dataclass(frozen=True, slots=True)
class OnRay:
    """This process's Ray."""

    runner: RayTaskRunner
    name: str = "ray"
    one_each_limit: int = 50_000

    def by_hand(self, function: Function, items: Sequence[Any], pieces: int) -> list[Any]:
        references = [
            _run_slice.remote(payload, function) for payload in slices.cut(items, pieces)
        ]
        return slices.join(ray.get(references))

    def one_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        remote = _exported(function)
        return ray.get([remote.remote(item) for item in items])

    def settle(self) -> None:
        # Answered by both workers after whatever they had to do before.
        ray.get([_run_slice.remote(payload, abs) for payload in slices.cut([1, 2], SLOTS)])

    def driver(self) -> list[str]:
        return [self.name, ray.get_runtime_context().gcs_address]


@contextmanager
def started() -> Iterator[Ground]:
    """Start Ray and warm it up."""
    ray.init(
        num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    try:
        ground = OnRay(RayTaskRunner())
        ground.settle()
        yield ground
    finally:
        ray.shutdown()


@contextmanager
def reached(address: str) -> Iterator[Ground]:
    """Connect to a Ray that another process has started."""
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        yield OnRay(RayTaskRunner())
    finally:
        ray.shutdown()


@functools.cache
def _exported(function: Function) -> Any:
    # Once per function: each call of `ray.remote` makes Ray ship the code again.
    return ray.remote(function)
