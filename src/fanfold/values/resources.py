"""What work may ask of a cluster, and what a cluster has to give."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fanfold.values.errors import UsageError

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([kmgtp]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a chunk holds while it runs; by default one CPU, which is one slot."""

    cpu: float = 1.0
    gpu: float = 0.0
    memory: int = 0
    """In bytes; 0 asks for none in particular."""
    custom: tuple[tuple[str, float], ...] = ()
    """Amounts of resources of any other name, sorted by name."""
    native: Any = None
    """What a context manager of the runner's own package asks for besides, opaque to all others:
    hashable, and its text says what it is. None: nothing."""

    @classmethod
    def of(cls, asked: Mapping[Any, Any]) -> "Resources":
        """Return what a mapping such as `{"cpu": 2, "memory": "4GiB", "licence": 1}` asks for.

        Raises:
            UsageError: A name isn't text, or an amount is no positive number, or for memory no
                number of bytes either.
        """
        known: dict[str, Any] = {}
        custom: dict[str, float] = {}
        for name, amount in asked.items():
            if not isinstance(name, str) or not name:
                raise UsageError(f"Resources are asked for by name, but {name!r} is none.")
            if name == "memory":
                known[name] = _bytes(amount)
            elif name in ("cpu", "gpu"):
                known[name] = _amount(name, amount)
            else:
                custom[name] = _amount(name, amount)
        return cls(**known, custom=tuple(sorted(custom.items())))

    def beyond(self, honoured: frozenset[str]) -> list[str]:
        """Return what a runner that honours these fields can't hold, by the users' names."""
        asked = {"cpu": self.cpu != 1, "gpu": bool(self.gpu), "memory": bool(self.memory)}
        named = [name for name, there in asked.items() if there and name not in honoured]
        named += [name for name, _ in self.custom if "custom" not in honoured]
        foreign = self.native is not None and "native" not in honoured
        return [*named, str(self.native)] if foreign else named

    @property
    def plain(self) -> bool:
        """Whether any slot will do."""
        return self == PLAIN

    def __str__(self) -> str:
        """Return "cpu=2, memory=4GiB" or the like; what is as usual is left out."""
        told = [f"cpu={self.cpu:g}"] if self.cpu != 1 else []
        told += [f"gpu={self.gpu:g}"] if self.gpu else []
        told += [f"memory={_readable(self.memory)}"] if self.memory else []
        told += [f"{name}={amount:g}" for name, amount in self.custom]
        told += [str(self.native)] if self.native is not None else []
        return ", ".join(told) or "cpu=1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """How many chunks a session can run at once."""

    now: int
    """Free or busy slots that exist at this moment; 0 while a cluster is still starting."""
    most: int
    """Slots the cluster can grow to; at least `now`."""
    grows: bool = False
    """Whether workers may join by themselves, so that what isn't there now may come."""
    offers: Mapping[str, float] = field(default_factory=dict)
    """Amounts over the whole cluster, by the names that `Resources` has for them: "gpu", "memory",
    and custom ones; "cpu" too where that isn't the number of slots."""

    def holding(self, want: Resources) -> "Slots":
        """Return how many chunks that want so much can run at once."""
        if want.plain:
            return self
        wanted = (("cpu", want.cpu), ("gpu", want.gpu), ("memory", want.memory), *want.custom)
        offers = {"cpu": float(self.now), **self.offers}
        room = [int(offers.get(name, 0.0) / amount) for name, amount in wanted if amount]
        now = max(0, min(self.now, *room)) if want.cpu >= 1 else max(0, min(room, default=self.now))
        return replace(self, now=now, most=max(now, self.most) if self.grows else now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a runner can do by its nature; the conformance suite pins the table of all runners."""

    remote: bool = False
    """Chunks, inputs and values cross a process boundary and are pickled."""
    interrupts: bool = False
    """A running Python call can be stopped."""
    kills: bool = False
    """A worker process can die without harming the work of others."""
    reruns: bool = False
    """A chunk is run again by the cluster itself after its worker died."""
    recovers: bool = False
    """Lost values are made again by the cluster itself."""
    honours: frozenset[str] = frozenset()
    """Fields of `Resources` that it can hold for a chunk; asking for others is refused at once."""


PLAIN = Resources()
"""One CPU."""


def _amount(name: str, amount: Any) -> float:
    if (
        isinstance(amount, bool)
        or not isinstance(amount, (int, float))
        or not 0 < amount < math.inf
    ):
        raise UsageError(f"{name}={amount!r} can't be asked for: an amount is a number above 0.")
    return float(amount)


def _bytes(amount: Any) -> int:
    found = _SIZE.fullmatch(amount) if isinstance(amount, str) else None
    if found is not None:
        number, prefix, binary = found.groups()
        each = 1024 if binary else 1000
        amount = int(float(number) * each ** _POWERS[prefix.lower()])
    if (
        isinstance(amount, bool)
        or not isinstance(amount, (int, float))
        or not 0 < amount < math.inf
    ):
        raise UsageError(
            f"memory={amount!r} can't be asked for: it is a number of bytes, or a text such as "
            "'4GiB' or '500 MB'."
        )
    return int(amount)


def _readable(size: int) -> str:
    power = min(int(math.log2(size)) // 10 if size else 0, len(_UNITS) - 1)
    return f"{size / 1024**power:.4g}{_UNITS[power]}"
