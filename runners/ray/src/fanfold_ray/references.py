"""Users' own Ray references inside arguments and results.

The engine pickles values itself, so Ray doesn't see the references in them: it wouldn't keep alive
what they refer to, and a bare id that comes out of a pickle elsewhere has no owner. So a reference
leaves a mark in the pickle, and travels beside the pickle as what it is. Whoever takes a pickle out
of Ray holds its references, so there Ray knows the ids that the marks name.

A reference that a task is called with is worth its value, as with Ray's own tasks; one that sits
deeper stays what it is.
"""

import copyreg
import re
import threading
from collections.abc import Iterable
from typing import Any

import ray

from fanfold.values.stand_ins import stands_in
from fanfold_ray.innards import known

_MARK = b"fanfold-ray-reference:"
_ID_BYTES = 28
_MARKED = re.compile(re.escape(_MARK) + b"(.{%d})" % _ID_BYTES, re.DOTALL)

_departing: dict[bytes, Any] = {}
"""What was pickled and not sent yet, by id: the pickle may be all that is left of it."""
_lock = threading.Lock()
_any = False
"""Whether a reference was ever pickled here; until then nobody looks for marks."""


def marked_in(pickles: Iterable[Any]) -> list[Any]:
    """Return the references whose marks are in pickles, to travel beside these.

    Where no reference was ever pickled it costs nothing, elsewhere 1 ms per megabyte.
    """
    if not _any:
        return []
    names = {match[1] for one in pickles for match in _MARKED.finditer(one)}
    with _lock:
        found = [_departing.pop(name, None) or known(name) for name in names]
    return [reference for reference in found if reference is not None]


def forget() -> None:
    """Let go of what was pickled and never sent."""
    with _lock:
        _departing.clear()


def _leave_mark(reference: Any) -> tuple[Any, ...]:
    global _any
    name = reference.binary()
    with _lock:
        _departing[name] = reference
        _any = True
    return _understood, (_MARK + name,)


def _understood(mark: bytes) -> Any:
    """Return the reference that a mark stands for.

    Raises:
        LookupError: Nobody in this process holds it.
    """
    name = mark[len(_MARK) :]
    reference = known(name)
    if reference is None:
        raise LookupError(
            f"The Ray object {name.hex()} can't be reached from here. Ray keeps an object for the "
            "references that it sees, and this one was stored elsewhere meanwhile."
        )
    stands_in(ray.ObjectRef, ray.get)
    return reference


# Ray's own pickler has its own way with references, and looks there first.
copyreg.pickle(ray.ObjectRef, _leave_mark)  # pyright: ignore[reportArgumentType]
