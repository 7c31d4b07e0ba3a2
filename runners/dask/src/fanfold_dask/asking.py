"""What chunks ask for, in Dask's terms: where they may run, and what is held for them by whom.

- A CPU is a thread of a worker, or what the worker advertises as CPU if that is more. Chunks count
  them where they run (holds.py), so this works on every cluster, and a waiting chunk holds none.
- Memory is Dask's own resource MEMORY, in bytes, where any worker advertises it. Elsewhere it is a
  worker's memory limit, counted like CPUs.
- GPUs and whatever has another name are Dask's own resources, which workers advertise when they are
  started: `dask worker --resources "GPU=1 licence=2"`. Upper and lower case are the same.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from fanfold.values.resources import Resources
from fanfold_dask.holds import CPU, GPU, MEMORY, Amount, offered

_USUAL = {GPU: "GPU", MEMORY: "MEMORY"}
"""How Dask's documentation spells them."""


class Offer(NamedTuple):
    """What one worker offers."""

    threads: int
    holds: Amount
    """What its chunks count themselves."""
    resources: Mapping[str, float]
    """What it advertises."""
    nanny: str
    """Address of the process that watches over it, if any."""

    @classmethod
    def of(cls, identity: Mapping[str, Any]) -> "Offer":
        """Return what a worker offers, as the scheduler describes it."""
        threads, resources = identity["nthreads"], identity["resources"]
        holds = offered(threads, identity["memory_limit"], resources)
        return cls(threads, holds, resources, identity["nanny"] or "")

    def advertises(self, name: str) -> float:
        """Return how much it advertises of a resource, written in whatever case."""
        return max(
            (n for own, n in self.resources.items() if own.lower() == name.lower()), default=0
        )


class Place(NamedTuple):
    """Where a chunk may run, and what is held for it."""

    amount: Amount
    """What it counts itself."""
    resources: dict[str, float]
    """What Dask holds for it."""
    workers: list[str] | None
    """Addresses; None for any."""


def place(want: Resources, offers: Mapping[str, Offer]) -> Place | None:
    """Return where a chunk may run; None if there are workers, but none has enough.

    Without any worker it is sent off all the same, for clusters may grow by what is waiting.
    """
    wanted = _wanted(want)
    natively = {name for name in wanted if name != CPU and _native(name, offers)}
    memory = 0.0 if MEMORY in natively else wanted.get(MEMORY, 0.0)
    amount = Amount(want.cpu, memory)
    resources = {_spelled(name, offers): wanted[name] for name in sorted(natively)}
    fitting = [at for at, offer in offers.items() if _counts(offer, amount)]
    if offers and not fitting:
        return None
    return Place(amount, resources, fitting if len(fitting) < len(offers) else None)


def lacking(want: Resources, offers: Mapping[str, Offer], address: str) -> str:
    """Return why none of the workers could ever run such a chunk, in words; empty if one could.

    Args:
        want: What it asks for.
        offers: Of all workers.
        address: The scheduler's.
    """
    if not offers:
        return f"there are no workers at {address}"
    if want.plain:
        return ""
    wanted = _wanted(want)
    if any(
        all(_has(offer, name, offers) >= wanted[name] for name in wanted)
        for offer in offers.values()
    ):
        return ""
    best = {name: max(_has(offer, name, offers) for offer in offers.values()) for name in wanted}
    short = [name for name in wanted if best[name] < wanted[name]]
    if not short:
        return f"no worker has all of {want} at once; {_told(offers)}"
    missing = ", and ".join(_short(name, wanted[name], best[name]) for name in short)
    ways = _advice({name: wanted[name] for name in short}, offers)
    return f"{missing}; {_told(offers)}. Start workers with {ways}"


def totals(offers: Mapping[str, Offer]) -> dict[str, float]:
    """Return what all workers offer together, by name; the common names in lower case."""
    found: dict[str, float] = {}
    for offer in offers.values():
        own = {CPU: offer.holds.cpu, MEMORY: offer.advertises(MEMORY) or offer.holds.memory}
        for name, amount in offer.resources.items():
            known = name.lower() if name.lower() in (CPU, GPU, MEMORY) else name
            own.setdefault(known, amount)
        for name, amount in own.items():
            found[name] = found.get(name, 0.0) + amount
    return {name: amount for name, amount in found.items() if amount}


def _wanted(want: Resources) -> dict[str, float]:
    """Return everything that is asked for beyond nothing, by name."""
    common = {CPU: want.cpu, GPU: want.gpu, MEMORY: float(want.memory)}
    return {name: amount for name, amount in (*common.items(), *want.custom) if amount}


def _native(name: str, offers: Mapping[str, Offer]) -> bool:
    """Return whether Dask holds it; memory only where somebody advertises it."""
    return name != MEMORY or any(offer.advertises(name) for offer in offers.values())


def _has(offer: Offer, name: str, offers: Mapping[str, Offer]) -> float:
    if name == CPU:
        return offer.holds.cpu
    return offer.advertises(name) if _native(name, offers) else offer.holds.memory


def _counts(offer: Offer, amount: Amount) -> bool:
    return offer.holds.cpu >= amount.cpu and offer.holds.memory >= amount.memory


def _spelled(name: str, offers: Mapping[str, Offer]) -> str:
    """Return a resource's name as the workers write it that have the most of it."""
    found = [
        (amount, own)
        for offer in offers.values()
        for own, amount in offer.resources.items()
        if own.lower() == name.lower()
    ]
    return max(found)[1] if found else _USUAL.get(name, name)


def _short(name: str, wanted: float, best: float) -> str:
    if not best:
        return f"no worker offers {name}"
    return f"no worker has {_amount(name, wanted)}, the most is {_amount(name, best)}"


def _told(offers: Mapping[str, Offer]) -> str:
    found = totals(offers)
    return f"the cluster offers {', '.join(_amount(name, found[name]) for name in found)}"


def _advice(short: Mapping[str, float], offers: Mapping[str, Offer]) -> str:
    """Return the options of `dask worker` that make workers have it."""
    ways = [f"--nthreads {math.ceil(short[CPU])}"] if CPU in short else []
    if MEMORY in short and not _native(MEMORY, offers):
        ways.append(f"--memory-limit {short[MEMORY]:.0f}")
    named = [
        f"{_spelled(name, offers)}={amount:.12g}"
        for name, amount in short.items()
        if name != CPU and _native(name, offers)
    ]
    if named:
        ways.append(f'--resources "{" ".join(named)}"')
    return " ".join(ways)


def _amount(name: str, amount: float) -> str:
    """Return "memory=4GiB" or the like."""
    return str(Resources(memory=int(amount))) if name == MEMORY else f"{name}={amount:g}"
