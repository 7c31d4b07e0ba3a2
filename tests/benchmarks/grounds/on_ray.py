"""A Ray of two CPUs on this machine, already initialised, as a user would have it."""

import functools
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from fanfold_ray import RayTaskRunner
from fanfold_ray.start import loopback_only
from tests.benchmarks import slices
from tests.benchmarks.grounds import SLOTS, Cluster, Function

_run_slice = ray.remote(slices.run_slice)


@dataclass(frozen=True, slots=True)
class OnRay:
    """This process's Ray."""

    runner: RayTaskRunner
    name: str = "ray"
    one_each_sizes: frozenset[int] = frozenset({10, 1_000, 50_000})

    def by_hand(self, function: Function, items: Sequence[Any], pieces: int) -> list[Any]:
        return slices.join(ray.get(self._sent(function, items, pieces)))

    def held(self, function: Function, items: Sequence[Any], pieces: int) -> Sequence[Any]:
        references = self._sent(function, items, pieces)
        ray.wait(references, num_returns=len(references), fetch_local=False)
        return references

    def one_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        remote = _exported(function)
        return ray.get([remote.remote(item) for item in items])

    def chained(self, functions: Sequence[Function], items: Sequence[Any]) -> list[Any]:
        references = list(items)
        for function in functions:
            remote = _exported(function)
            references = [remote.remote(reference) for reference in references]
        return ray.get(references)

    def tree(
        self, make: Function, combine: Callable[..., Any], items: Sequence[Any], width: int
    ) -> Any:
        made, combined = ray.remote(lambda item: make(item)), _exported(combine)
        references = [made.remote(item) for item in items]
        while len(references) > 1:
            groups = [references[at : at + width] for at in range(0, len(references), width)]
            references = [combined.remote(*group) for group in groups]
        return ray.get(references[0])

    def spread(
        self, function: Callable[[Any, Any], Any], items: Sequence[Any], big: Any
    ) -> list[Any]:
        put, remote = ray.put(big), _exported(function)
        return ray.get([remote.remote(item, put) for item in items])

    def settle(self) -> None:
        # Answered by both workers after whatever they had to do before.
        ray.get([_run_slice.remote(payload, abs) for payload in slices.cut([1, 2], SLOTS)])

    @property
    def address(self) -> str:
        return ray.get_runtime_context().gcs_address

    def _sent(self, function: Function, items: Sequence[Any], pieces: int) -> list[Any]:
        return [_run_slice.remote(payload, function) for payload in slices.cut(items, pieces)]


@contextmanager
def started() -> Generator[Cluster, None, None]:
    """Start Ray and warm it up."""
    with loopback_only():
        ray.init(
            # Or it would join any Ray that somebody else runs on this machine.
            address="local",
            num_cpus=SLOTS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        ground = OnRay(RayTaskRunner())
        ground.settle()
        yield ground
    finally:
        ray.shutdown()


@contextmanager
def reached(address: str) -> Generator[Cluster, None, None]:
    """Connect to a Ray that another process has started."""
    with loopback_only():
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield OnRay(RayTaskRunner())
    finally:
        ray.shutdown()


@functools.cache
def _exported(function: Function) -> Any:
    # Once per function: each call of `ray.remote` makes Ray ship the code again.
    return ray.remote(function)
