"""What elements without a value say together: one exception for all of them."""

import re
from collections.abc import Iterable, Sequence

from fanfold.engine.failures import restore
from fanfold.engine.run import Run
from fanfold.values.errors import FailureGroup, MapError, UpstreamFailed
from fanfold.values.messages import Failure
from fanfold.values.states import WITH_VALUE

FIRST_ELEMENTS = 3
"""Indexes of failed elements that a group names."""

_CAUSE = re.compile(r"(?P<name>.*?)(\[\d+\])?(?P<what> \w+: [\w.]+: )")
"""How a root cause begins, as `readiness.root_cause` writes it: which element it was is apart."""


def without_value(run: Run, indices: range) -> list[int]:
    """Return the elements that are final and have no value, in the order of the indices."""
    if not run.details:
        return []
    with run.changed:
        if len(indices) < len(run.details):
            return [index for index in indices if _failed(run, index)]
        found = sorted(index for index in run.details if index in indices and _failed(run, index))
    return found if indices.step > 0 else found[::-1]


def error_of(run: Run, index: int) -> BaseException:
    """Return what an element without value raises."""
    failure = run.error(index)
    assert failure is not None
    return restore(failure)


def error_of_all(failed: Sequence[tuple[Run, int]], total: int) -> BaseException:
    """Return what some elements without value, of `total` that were asked for, raise together.

    A single one raises what it failed with itself.
    """
    cause = error_of(*failed[0])
    if len(failed) == 1:
        return cause
    name = failed[0][0].name
    return MapError.made(name, total, _groups(failed), cause)


def _failed(run: Run, index: int) -> bool:
    return run.states[index] not in WITH_VALUE and run.error(index) is not None


def _groups(failed: Iterable[tuple[Run, int]]) -> tuple[FailureGroup, ...]:
    found: dict[tuple[str, str, str], tuple[Failure, list[int]]] = {}
    for run, index in failed:
        failure = run.error(index)
        assert failure is not None
        _, indices = found.setdefault(_likeness(failure), (failure, []))
        indices.append(index + run.call.spec.info.first)
    groups = [
        FailureGroup(
            kind=failure.kind,
            where=failure.where,
            message=failure.message,
            count=len(indices),
            first=tuple(indices[:FIRST_ELEMENTS]),
        )
        for failure, indices in found.values()
    ]
    return tuple(sorted(groups, key=lambda group: -group.count))


def _likeness(failure: Failure) -> tuple[str, str, str]:
    """Return what failures of one kind have in common: type and place, or the root cause's."""
    cause = _CAUSE.match(failure.message) if failure.kind == UpstreamFailed.__name__ else None
    return failure.kind, failure.where, cause["name"] + cause["what"] if cause else ""
