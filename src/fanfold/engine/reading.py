"""Brings values home: some chunks at a time, and with a window for readers that go one by one."""

import logging
import re
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from fanfold.engine import waiting, wire
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.here import HERE
from fanfold.engine.inputs import load_stored
from fanfold.engine.locations import Stretch
from fanfold.engine.results.stored import Stored
from fanfold.engine.run import Run
from fanfold.engine.sources import spans_of
from fanfold.engine.verdicts import error_of, error_of_all, without_value
from fanfold.ports.runner import Ref
from fanfold.values.errors import SessionClosed, StoreError, ValuesLost
from fanfold.values.states import WITH_VALUE

AT_A_TIME = 32
"""Chunks whose values are fetched together."""
KEPT = 3
"""Chunks that are kept unpickled: enough for two readers that go one by one."""
STORED_AHEAD = 64
"""Values of a result store that a reader that goes one by one gets together."""

ABSENT = object()
"""In a window: this element's value isn't there."""

logger = logging.getLogger("fanfold.engine")

_NO_VALUE = re.compile(b"[^" + re.escape(bytes(sorted(WITH_VALUE))) + b"]")


def read(run: Run, indices: range, timeout: float | None, raise_on_failure: bool) -> list[Any]:
    """Return the values of elements, waiting for them; see `MapFuture.result`."""
    values = _gathered(run, indices, timeout)
    failed = without_value(run, indices)
    if failed and raise_on_failure:
        raise error_of_all([(run, index) for index in failed], len(indices))
    for index in failed:
        values[indices.index(index)] = error_of(run, index)
    return values


def in_window(run: Run, index: int) -> bool:
    """Return whether an element's value is at hand, unpickled."""
    start, stop, values = run.window
    return start <= index < stop and values[index - start] is not ABSENT


def _gathered(run: Run, indices: range, timeout: float | None) -> list[Any]:
    """Return values, and anything where there is none.

    Raises:
        TimeoutError: Not all elements are over in time.
        SessionClosed: Their flow run is over, and they are gone with its workers.
    """
    deadline = waiting.deadline_of(timeout)
    while True:
        left = waiting.seconds_left(deadline)
        if not waiting.wait(run, indices, left):
            open_ones = sum(1 for i in indices if not run.settled(range(i, i + 1)))
            raise TimeoutError(
                f"{open_ones} of {len(indices)} calls of {run.name} aren't over after {timeout} s; "
                "they go on, and can be waited for again."
            )
        try:
            return _values(run, indices, left)
        except _Gone as gone:
            if run.owner is not None and run.owner.over:
                raise SessionClosed(
                    f"The values of {run.name} are gone with the workers that held them, for the "
                    f"run of the flow {run.owner.info.of} is over. Read them inside the flow, or "
                    "return them from it."
                ) from None
            dispatcher().lost(run, gone.refs)
            with run.changed:
                run.changed.wait_for(lambda: not run.settled(indices), 1.0)


def _values(run: Run, indices: range, timeout: float | None) -> list[Any]:
    """Bring values home, some chunks at a time.

    Raises:
        _Gone: Some can't be had any more.
    """
    with run.changed:
        stretches = [s for span in spans_of(indices) for s in run.locations.find(*span)]
        ahead = _following(run, indices[0]) if len(indices) == 1 else []
    lists = list(_lists(run, [stretch.ref for stretch in stretches], ahead, timeout))
    if len(indices) == 1 and run.count > 1 and lists:
        _open_window(run, indices[0], stretches[0], lists[0])
    values = _joined(indices, zip(stretches, lists, strict=True))
    if run.call.spec.cache is None:
        return values
    return _loaded(run, values, [stretch.ref for stretch in stretches])


def _loaded(run: Run, values: list[Any], refs: list[Ref]) -> list[Any]:
    """Return values with references to stored ones replaced by what they refer to.

    Raises:
        _Gone: Something can't be read: it is damaged, or somebody has removed it. It is made again.
        StoreError: That was tried before, or nobody can make it again.
    """
    try:
        return load_stored(values)
    except StoreError as error:
        if run.remade or run.session is HERE:
            raise
        logger.warning("Results of %s are made again. %s", run.name, error)
        raise _Gone(refs) from error


def _open_window(run: Run, index: int, stretch: Stretch, found: list[Any]) -> None:
    """Put the values around an element where a reader that goes one by one finds them."""
    before = stretch.slot
    with run.changed:
        around = next(
            s
            for s in run.locations.find(max(0, index - before), index - before + len(found))
            if s.first <= index < s.first + s.count
        )
        first, count, slot = around.first, around.count, around.slot
        if around.ref != stretch.ref or not run.settled(range(first, first + count)):
            return
        codes = run.states[first : first + count]
    values = found if slot == 0 and count == len(found) else found[slot : slot + count]
    if run.call.spec.cache is not None:
        past = index - first
        first, values = index, values[past : past + STORED_AHEAD]
        codes = codes[past : past + STORED_AHEAD]
        if any(type(value) is Stored for value in values):
            # Loaded ahead only for one who went through the window before.
            wanted = values if _was_here(run, index) else values[:1]
            values = _loaded(run, wanted, [stretch.ref])
    missing = [match.start() for match in _NO_VALUE.finditer(codes[: len(values)])]
    if missing:
        values = list(values)
        for place in missing:
            values[place] = ABSENT
    run.window = (first, first + len(values), values)


def _was_here(run: Run, index: int) -> bool:
    start, stop, _ = run.window
    return start < stop == index


def _joined(indices: range, pairs: Iterable[tuple[Stretch, list[Any]]]) -> list[Any]:
    """Return the values in the order of the indices, None where a stretch is missing."""
    if indices.step != 1:
        by_index = {s.first + k: found[s.slot + k] for s, found in pairs for k in range(s.count)}
        return [by_index.get(index) for index in indices]
    values: list[Any] = []
    at = indices.start
    for stretch, found in pairs:
        values.extend(repeat(None, stretch.first - at))
        whole = stretch.slot == 0 and stretch.count == len(found)
        values += found if whole else found[stretch.slot : stretch.slot + stretch.count]
        at = stretch.first + stretch.count
    values.extend(repeat(None, len(indices) - len(values)))
    return values


def _following(run: Run, index: int) -> list[Ref]:
    """Return what a reader that goes one by one will want next."""
    if not run.remote or not _was_here(run, index):
        return []
    here = next(run.locations.find(index, run.count), None)
    if here is None:
        return []
    end = here.first + here.count
    return [stretch.ref for stretch in run.locations.find(end, end + 1)]


def _lists(
    run: Run,
    refs: list[Ref],
    ahead: list[Ref],
    timeout: float | None,
) -> Iterator[list[Any]]:
    """Yield the unpickled results behind refs, in order."""
    found = dict(run.read)
    for start in range(0, len(refs), AT_A_TIME):
        batch = refs[start : start + AT_A_TIME]
        missing = [ref for ref in dict.fromkeys(batch) if ref not in found]
        if missing:
            more = [ref for ref in ahead if ref not in found and ref not in missing]
            found = {ref: found[ref] for ref in batch if ref in found}
            found.update(_fetch(run, missing + more, timeout))
        for ref in batch:
            yield found[ref]
    if run.remote and len(refs) == 1:
        run.read = dict(list({**run.read, **found}.items())[-KEPT:])


def _fetch(run: Run, refs: list[Ref], timeout: float | None) -> dict[Ref, list[Any]]:
    try:
        fetched = run.session.fetch(refs, timeout)
    except ValuesLost as gone:
        raise _Gone([refs[at] for at in gone.lost]) from gone
    return {
        ref: wire.load(values) if run.remote else values
        for ref, values in zip(refs, fetched, strict=True)
    }


class _Gone(Exception):
    """Some values are gone from the cluster; holds their refs."""

    def __init__(self, refs: list[Ref]) -> None:
        super().__init__(refs)
        self.refs = refs
