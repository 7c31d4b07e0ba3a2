"""Who may commit for a flow run: once it was resumed, only who resumed it.

A resumed run leaves a *fence* in each store that it uses, which says who drives it now. A driver
looks for one of a higher epoch before it commits, unless it has looked a moment ago: so one that
was frozen always looks. In each task's folder it also leaves a *seal*, which names the indexes of
older epochs that count: what an older driver commits later is read by nobody.
"""

import json
import os
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from fanfold.engine.context import FLOW_RUN, RunInfo
from fanfold.engine.results import object_names
from fanfold.ports.results import ResultStore
from fanfold.values.errors import RunTakenOver, StoreError
from fanfold.values.times import now_us

CHECK_S = 5.0
"""How long it is believed that nobody has resumed a run: one small request in that time."""
_MOST = 1_000
"""Runs in stores that are remembered; more are looked for once more."""

K = TypeVar("K")
_Place = tuple[ResultStore, str, int]
_checked: dict[_Place, float] = {}
"""When it was seen last that nobody has resumed a run."""
_fenced: dict[_Place, float] = {}
_sealed: dict[tuple[_Place, str], float] = {}


def begin(store: ResultStore, folder: str, info: RunInfo) -> None:
    """Prepare for commits of a run's task; a resumed run keeps older drivers from theirs.

    Raises:
        StoreError: The store can't be asked, or not be written.
    """
    flow = _outermost(info)
    if flow is None:
        return
    place = (store, flow.id, flow.epoch)
    if place not in _checked:
        _remember(_checked, place, _now())
    if flow.epoch > 1 and (place, folder) not in _sealed:
        if place not in _fenced:
            who = {"host": os.uname().nodename, "process": os.getpid(), "since_us": now_us()}
            name = object_names.fence_name(flow.id, flow.epoch)
            store.create(name, json.dumps(who).encode())
            _remember(_fenced, place, _now())
        _seal(store, folder, flow.id, flow.epoch)
        _remember(_sealed, (place, folder), _now())


def check(store: ResultStore, info: RunInfo, *, since: float | None = None) -> float:
    """Return when it was seen last that nobody else has resumed a run; looks if that is long ago.

    Args:
        store: Where something is committed for it.
        info: Of the run, or of one inside of it.
        since: When a commit began; what was seen before isn't enough if that took long.

    Raises:
        RunTakenOver: Somebody has; nothing may be committed.
        StoreError: The store can't be asked.
    """
    now, flow = _now(), _outermost(info)
    if flow is None or (since is not None and now - since < CHECK_S):
        return now
    place = (store, flow.id, flow.epoch)
    seen = _checked.get(place)  # another thread may forget it at any time
    if seen is None or now - seen >= CHECK_S:
        fences = store.names(object_names.fence_prefix(flow.id))
        later = max(map(object_names.epoch_of_fence, fences), default=0)
        if later > flow.epoch:
            raise _taken_over(store, flow.id, later)
        _remember(_checked, place, now)
        return now
    return seen


def counting(store: ResultStore, folder: str, names: Sequence[str]) -> list[str]:
    """Return the indexes that count: not those of a driver that came too late.

    Args:
        store: Where they are.
        folder: The task's.
        names: Of all of the task's indexes.
    """
    indexes = list(filter(object_names.is_index, names))
    resumed = {
        object_names.run_and_epoch(name) for name in filter(object_names.is_resumed, indexes)
    }
    late: set[str] = set()
    for run_id, epoch in resumed:
        if older := _older(indexes, run_id, epoch):
            late.update(set(older) - _named(store, folder, run_id, epoch, older))
    return [name for name in names if name not in late] if late else list(names)


def _seal(store: ResultStore, folder: str, run_id: str, epoch: int) -> None:
    """Name the indexes of older epochs that count from now on."""
    names = filter(object_names.is_index, store.names(object_names.index_prefix(folder)))
    mine = _older(counting(store, folder, list(names)), run_id, epoch)
    store.create(object_names.seal_name(folder, run_id, epoch), json.dumps(mine).encode())


def _older(indexes: Sequence[str], run_id: str, epoch: int) -> list[str]:
    """Return the indexes that were written for a run before an epoch of it."""
    places = [(name, *object_names.run_and_epoch(name)) for name in indexes]
    return [name for name, of, when in places if of == run_id and when < epoch]


def _named(store: ResultStore, folder: str, run_id: str, epoch: int, older: list[str]) -> set[str]:
    """Return which of some indexes a seal names, or those that they stand for.

    All, where there is no seal; none, where it is damaged, so that what they name runs again.
    """
    try:
        seal: Any = json.loads(bytes(store.read(object_names.seal_name(folder, run_id, epoch))))
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return set(older)
        raise
    except (ValueError, RecursionError):
        return set()
    named = {str(each) for each in seal} if isinstance(seal, list) else set[str]()
    starts = set(map(object_names.replaceable, named))
    return {
        name
        for name in older
        if name in named
        or (object_names.is_replacement(name) and object_names.replaceable(name) in starts)
    }


def _taken_over(store: ResultStore, run_id: str, epoch: int) -> RunTakenOver:
    try:
        who = json.loads(bytes(store.read(object_names.fence_name(run_id, epoch))))
        return RunTakenOver(run_id, str(who["host"]), int(who["process"]), int(who["since_us"]))
    except (StoreError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return RunTakenOver(run_id, "another machine", 0, now_us())


def _outermost(info: RunInfo) -> RunInfo | None:
    """Return the flow run that others may resume; None outside of flows."""
    while info.flow is not None:
        info = info.flow
    return info if info.kind == FLOW_RUN else None


def _remember(seen: dict[K, float], key: K, when: float) -> None:
    """Add when something was seen last, and forget the oldest of more than are remembered."""
    seen.pop(key, None)
    seen[key] = when
    if len(seen) > _MOST:
        for oldest in list(seen)[:-_MOST]:
            seen.pop(oldest, None)


def _now() -> float:
    """Return the time on a clock that goes on while a process, or its machine, sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
