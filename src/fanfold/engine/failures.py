"""Exceptions on their way home: readable everywhere, the user's frame first."""

import pickle
import traceback
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle

from fanfold.engine.recording.masking import mask
from fanfold.engine.wording import said
from fanfold.values.errors import RemoteError
from fanfold.values.messages import Failure

_OUR_FOLDER = str(Path(__file__).parents[1])


def capture(error: BaseException, *, travels: bool) -> Failure:
    """Turn an exception into a value.

    Args:
        error: What user code raised.
        travels: Whether it goes to another process; then it is pickled, and read back once to see
            that it survives.
    """
    error.__traceback__ = users_frames(error.__traceback__)
    message, text = said(error), "".join(traceback.format_exception(error))
    if travels:  # for the driver doesn't know what is secret in this process
        message, text = mask(message), mask(text)
    return Failure(
        kind=_qualified(type(error)),
        message=message,
        traceback=text,
        where=_first_frame(error.__traceback__),
        error=_pickled(error) if travels else None,
        live=None if travels else error,
        frames=None if travels else error.__traceback__,
    )


def restore(failure: Failure) -> BaseException:
    """Return the exception to raise at the driver; a remote one carries its traceback as a note."""
    if failure.live is not None:
        # Each time it is raised it would grow by the frames of the raising.
        return failure.live.with_traceback(failure.frames)
    error: BaseException
    try:
        error = pickle.loads(failure.error) if failure.error else _stand_in(failure)
    except Exception:  # told as a stand-in: the type exists only on the worker
        error = _stand_in(failure)
    error.add_note(f"On the worker:\n{failure.traceback.rstrip()}")
    return error


def users_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return the traceback without Fanfold's own frames, unless nothing would be left."""
    kept = [
        tb for tb in _walk(frames) if not tb.tb_frame.f_code.co_filename.startswith(_OUR_FOLDER)
    ]
    if not kept:
        return frames
    following: TracebackType | None = None
    for tb in reversed(kept):
        following = TracebackType(following, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    return following


def _first_frame(frames: TracebackType | None) -> str:
    if frames is None or frames.tb_frame.f_code.co_filename.startswith(_OUR_FOLDER):
        return ""
    code = frames.tb_frame.f_code
    return f"{Path(code.co_filename).name}:{frames.tb_lineno} in {code.co_name}"


def _walk(frames: TracebackType | None) -> list[TracebackType]:
    found: list[TracebackType] = []
    while frames is not None:
        found.append(frames)
        frames = frames.tb_next
    return found


def _pickled(error: BaseException) -> bytes | None:
    try:
        stream = BytesIO()
        _Pickler(stream, protocol=5).dump(error)
        payload = stream.getvalue()
        pickle.loads(payload)
    except Exception:  # nothing is lost: kind, message and traceback travel as text
        return None
    return payload


class _Pickler(cloudpickle.CloudPickler):
    """Pickles exceptions as they say themselves.

    Dask's workers have tblib's reducers registered for all exceptions: those keep frames that we
    send as text, and lose what built-in exceptions hold outside of `__dict__`.
    """

    def reducer_override(self, obj: Any) -> Any:
        """Prefer an exception's own way over a registered one."""
        if isinstance(obj, BaseException):
            return obj.__reduce_ex__(5)
        return super().reducer_override(obj)


def _stand_in(failure: Failure) -> RemoteError:
    return RemoteError(f"{failure.kind}: {failure.message}")


def _qualified(kind: type) -> str:
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
