"""Hands a chunk to Ray: as a task that holds what the chunk wants."""

import functools
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fanfold.values.errors import ResourcesUnavailable
from fanfold.values.resources import Resources
from fanfold_ray.carrier import carry
from fanfold_ray.flights import Parcel
from fanfold_ray.remote_options import options_for

# Made once: each call of `ray.remote` makes another function to export. The worker finds `carry`
# by its name, for it is a function of an installed module.
_CARRIER = ray.remote(num_returns=2, num_cpus=1, max_retries=0)(carry)


def send(parcel: Parcel, want: Resources | None = None, near: str = "") -> tuple[Any, Any]:
    """Submit a task and return Ray's references to its report and its values; 0.1 ms.

    Args:
        parcel: What is sent.
        want: What it holds, if that is less than the parcel says.
        near: A node where it runs if it can; empty for anywhere.

    Raises:
        ResourcesUnavailable: Ray refuses such an amount or name for everybody.
    """
    holding = parcel.want if want is None else want
    try:
        report, values = _carrier(parcel.label, holding, near).remote(*parcel.arguments)
    except ValueError as error:
        if holding.plain:
            raise
        raise ResourcesUnavailable(f"Ray can't hold {holding} for a task: {error}") from error
    return report, values


@functools.lru_cache(maxsize=1024)
def _carrier(label: str, want: Resources, near: str) -> Any:
    options = options_for(want) | {"name": label}
    # What a user says of the place counts more.
    if near and want.native is None:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(near, soft=True)
    return _CARRIER.options(**options)
