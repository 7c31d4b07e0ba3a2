"""How values and functions travel between processes: pickle protocol 5, big buffers beside it."""

import pickle
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import cloudpickle

from fanfold.values.errors import NotPicklable

OUT_OF_BAND_BYTES = 65_536
"""Smaller buffers stay inside the pickle: a cluster pays some microseconds per frame it carries."""

SHARED_APART_BYTES = 1 << 20
"""Of what all chunks need: a smaller buffer is copied faster than looked up once more."""
MOST_APART = 16
"""Each is one more thing that every chunk names to its cluster."""
_PICKLERS = frozenset({__name__.partition(".")[0], "cloudpickle", "copyreg", "pickle"})
"""Packages in whose frames nobody finds what is wrong with a value of theirs."""

Buffers = list[Any]


def dump(value: Any) -> Buffers:
    """Return the pickle of a value, then its out-of-band buffers, which are not copied.

    Raises:
        Exception: Whatever the value's own pickling raises.
    """
    aside: list[Any] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND_BYTES:
            return True
        aside.append(raw)
        return False

    return [_pickled(value, keep_inside), *aside]


def load(buffers: Sequence[Any]) -> Any:
    """Return the value that `dump` was given."""
    return pickle.loads(buffers[0], buffers=buffers[1:])


def dump_list(values: list[Any]) -> tuple[Buffers, dict[int, Exception]]:
    """Pickle a list in one go, or one by one if that fails.

    Returns:
        The buffers of the list, in which each value that can't be pickled is None; and those
        values' errors by position.
    """
    try:
        return dump(values), {}
    except Exception:  # the loop below finds whose error it is and returns it
        pass
    errors: dict[int, Exception] = {}
    for position, value in enumerate(values):
        try:
            dump(value)
        except Exception as error:  # returned as the element's own outcome
            errors[position] = error
    return dump([None if at in errors else value for at, value in enumerate(values)]), errors


def dump_function(what: str, value: Any) -> bytes:
    """Pickle something that must travel whole.

    Args:
        what: Names it in the error.
        value: A task's spec, arguments.

    Raises:
        NotPicklable: It can't be pickled.
    """
    try:
        return cloudpickle.dumps(value, protocol=5)
    except Exception as error:
        raise not_picklable(what, error) from _telling(error)


def dump_shared(what: str, value: Any) -> Buffers:
    """Pickle something that all chunks of a run need, its big buffers beside it.

    They are copies, for it is sent later than it was handed over. Where processes share memory
    they are then read in place, so nobody may change them: arrays in them come out read-only.

    Args:
        what: Names it in the error.
        value: A task's spec.

    Raises:
        NotPicklable: It can't be pickled.
    """
    aside: list[Any] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < SHARED_APART_BYTES or len(aside) == MOST_APART:
            return True
        aside.append(bytes(raw))
        return False

    try:
        return [_pickled(value, keep_inside), *aside]
    except Exception as error:
        raise not_picklable(what, error) from _telling(error)


def _pickled(value: Any, keep_inside: Callable[[pickle.PickleBuffer], bool]) -> bytes:
    stream = BytesIO()
    cloudpickle.CloudPickler(stream, protocol=5, buffer_callback=keep_inside).dump(value)
    return stream.getvalue()


def _telling(error: Exception) -> Exception | None:
    """Return an error that the value's own code raised; None for a pickler's, told by its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    home = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return None if home.partition(".")[0] in _PICKLERS else error


def not_picklable(what: str, error: BaseException) -> NotPicklable:
    """Return the error for something that can't travel."""
    return NotPicklable(
        f"{what} can't be pickled, so it can't travel between processes: "
        f"{type(error).__name__}: {error}. Make it from plain data inside the task, or use a "
        "runner that shares memory (threads)."
    )
