"""The nodes of the cluster, as Ray saw them some seconds ago: what they have, and who is dead."""

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from fanfold.values.resources import Resources, Slots
from fanfold_ray import table

AGE_S = 5.0
"""How old the picture may be before another is asked for."""
EAGER_AGE_S = 1.0
"""The same while something is lacking: somebody waits for a node to join."""

_STATUS = b"__autoscaling_status"
_SECOND = b"__autoscaler_v2_enabled"
_SECOND_NAMESPACE = b"__autoscaler"
_BARE = "node_"
"""How Ray's monitor names the type of a node that no autoscaler has started."""
_OUR_NAMES = {"CPU": "cpu", "GPU": "gpu"}


class Nodes:
    """A picture of the cluster; `refresh` makes another, and only that asks Ray. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lacked = False
        self._address: str = ray.get_runtime_context().gcs_address
        self.refresh()

    def refresh(self) -> None:
        """Look at the cluster; blocks for two round trips to the head node.

        Raises:
            RayError: The head node doesn't answer.
        """
        nodes = table.nodes()
        grows = _autoscaled()
        alive = {node["NodeID"]: _amounts(node["Resources"]) for node in nodes if node["Alive"]}
        dead = {node["NodeID"]: _death(node) for node in nodes if not node["Alive"]}
        now = sum(int(amounts.get("cpu", 0.0)) for amounts in alive.values())
        with self._lock:
            self._alive, self._dead = alive, dead
            self._slots = Slots(now=now, most=now, grows=grows, offers=_summed(alive))
            self._seen = time.monotonic()

    @property
    def old(self) -> bool:
        """Whether it is time for another look."""
        age_s = EAGER_AGE_S if self._lacked else AGE_S
        return time.monotonic() - self._seen > age_s

    @property
    def slots(self) -> Slots:
        """How many CPUs there are."""
        return self._slots

    def alive(self) -> list[str]:
        """Return the ids of the nodes that live; may look at the cluster first."""
        if time.monotonic() - self._seen > EAGER_AGE_S:
            # While the head node is away, what was true is the best guess.
            with contextlib.suppress(RayError):
                self.refresh()
        return list(self._alive)

    @property
    def dead(self) -> Mapping[str, str]:
        """Why nodes died, by id."""
        return self._dead

    def lacking(self, want: Resources) -> str:
        """Return why no node could ever run such a chunk, in words; empty if one could."""
        wanted = _wanted(want)
        alive = list(self._alive.values())
        self._lacked = not any(_holds(amounts, wanted) for amounts in alive)
        if not self._lacked:
            return ""
        offers = _summed(self._alive)
        if not offers.get("cpu") and not offers.get("gpu"):
            if want.plain:
                return f"there are no workers at {self._address}"
            return f"no worker offers {_told(wanted)}: there are none at {self._address}"
        missing = [name for name in wanted if not offers.get(name)]
        if missing:
            return f"no worker offers {_listed(missing)}; the cluster offers {_told(offers)}"
        most = {name: max(amounts.get(name, 0.0) for amounts in alive) for name in wanted}
        small = {name: amount for name, amount in wanted.items() if most[name] < amount}
        if small:
            return (
                f"no worker offers {_told(small)}; the most that one offers is "
                f"{_told({name: most[name] for name in small})}"
            )
        return f"no worker offers {_told(wanted)} all together; the cluster offers {_told(offers)}"


def _wanted(want: Resources) -> dict[str, float]:
    wanted = {"cpu": want.cpu, "gpu": want.gpu, "memory": float(want.memory), **dict(want.custom)}
    return {name: amount for name, amount in wanted.items() if amount}


def _holds(amounts: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(amounts.get(name, 0.0) >= amount for name, amount in wanted.items())


def _amounts(resources: Mapping[str, float]) -> dict[str, float]:
    """Return what a node has under our names, without what Ray keeps for itself."""
    return {
        _OUR_NAMES.get(name, name): amount
        for name, amount in resources.items()
        if not name.startswith("node:") and name != "object_store_memory"
    }


def _summed(nodes: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for amounts in nodes.values():
        for name, amount in amounts.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def _told(amounts: Mapping[str, float]) -> str:
    told = [f"{name}={amount:g}" for name, amount in amounts.items() if name != "memory"]
    if memory := int(amounts.get("memory", 0)):
        told.append(str(Resources(memory=memory)))
    return ", ".join(told)


def _listed(names: list[str]) -> str:
    return " or ".join(names)


def _death(node: Mapping[str, Any]) -> str:
    return str(node.get("DeathReasonMessage") or "it was lost")


def _autoscaled() -> bool:
    """Return whether nodes join by themselves: Ray's monitor knows of types of nodes.

    The monitor of the second generation tells nobody what it knows. It is only there where somebody
    asked for it, which makes little sense without an autoscaler.
    """
    status = table.get(_STATUS, None)
    if not status:
        return table.get(_SECOND, _SECOND_NAMESPACE) == b"1"
    report = json.loads(status).get("autoscaler_report") or {}
    kinds = [
        *(report.get("active_nodes") or ()),
        *(report.get("pending_launches") or ()),
        *(report.get("node_type_mapping") or {}).values(),
    ]
    return any(not str(kind).startswith(_BARE) for kind in kinds)
