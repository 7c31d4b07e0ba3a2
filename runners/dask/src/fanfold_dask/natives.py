"""Users' own Dask futures in arguments and results, alone and inside of Dask's collections.

The engine pickles values itself, so Dask doesn't see the futures in them: it wouldn't keep alive
what they refer to, and one that comes out of a pickle belongs to no client. So a future leaves a
mark in the pickle, by which both ends find it:

- One that a task is called with, alone or in lists, tuples and dicts, is worth its value. Dask
  moves that to the worker, as it does for its own tasks.
- One that sits deeper, such as those that persisted collections are made of, stays what it is.
- One that a task returns is the driver's from then on, as long as somebody may ask for the task's
  values. The worker has the scheduler know that before it tells of them, for when its own client
  lets go of it, the value is gone.
"""

import copyreg
import pickle
import re
import threading
import uuid
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from distributed import Future, get_worker
from distributed.client import default_client

from fanfold.ports.runner import Site
from fanfold.values.stand_ins import stands_in
from fanfold_dask import resident
from fanfold_dask.native import NativeClient, NativeFuture, run_on_scheduler
from fanfold_dask.scheduling import claim

ARRIVES_S = 10.0
"""For what was submitted just before to reach the scheduler and be taken in; takes 15 ms. What
isn't there by then was dropped by its owner."""

_MARK = f"fanfold-dask-future:{uuid.uuid4().hex}:"
"""Only this process makes such marks, so that nobody's data are taken for one."""
_FOUND = re.compile(_MARK.encode() + rb"([0-9a-f]+);")


@dataclass(slots=True, kw_only=True)
class Carried:
    """What a chunk that runs in this thread knows of futures."""

    home: str
    """Names its session."""
    site: Site
    given: Mapping[Any, Any]
    """Values that Dask has moved here, by key."""
    pickled: list[NativeFuture] = field(default_factory=list)
    """Those that were pickled meanwhile, alive."""


class _Here(threading.local):
    carried: Carried | None = None


_here = _Here()
_homes: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""Clients of the sessions of this process, by the sessions' names."""
_in_use: "WeakSet[Arrived]" = WeakSet()
_chunks = 0
"""How many run in this process."""
_lock = threading.Lock()
_any = False
"""Whether a future was ever pickled here; until then nobody looks for marks."""


class Arrived(Future):  # pyright: ignore[reportMissingTypeArgument]  # generic in new versions alone
    """A future that came out of a pickle on a worker; it belongs to its client once it is used.

    Not sooner, for what tasks are called with is remembered, and would keep the value alive.
    """

    @property
    def client(self) -> Any:
        """The client of the worker that it is used on."""
        if self._client is None:
            client = _client_here()
            if client is not None:
                unknown = self.key not in client.futures
                self.bind_client(client)
                _in_use.add(self)
                if unknown:
                    client.loop.add_callback(_claim, client, [self.key])
        return self._client

    def leave(self) -> None:
        """Belong to nobody again."""
        if self._client is not None:
            self.release()
            self._client = self._state = None
            self._cleared = False

    def __del__(self) -> None:
        if self._client is not None:
            super().__del__()


def open_home(name: str, client: NativeClient) -> None:
    """Let futures that a session's tasks return belong to its client."""
    _homes[name] = client


def marked_in(pickles: Iterable[Any]) -> list[Any]:
    """Return the keys of the futures that this process has pickled, as their marks tell.

    Where no future was ever pickled it costs nothing, elsewhere 1 ms per megabyte.
    """
    if not _any:
        return []
    found = {match[1] for one in pickles for match in _FOUND.finditer(one)}
    return [_key(name.decode()) for name in found]


def pickled() -> bool:
    """Return whether a future was ever pickled in this process."""
    return _any


def held(client: NativeClient, keys: Collection[Any]) -> list[NativeFuture]:
    """Return futures of a client's own, which keep what they refer to; never blocks."""
    if not keys:
        return []
    foreign = [key for key in keys if key not in client.futures]
    futures = [Future(key, client) for key in keys]
    if foreign:
        client.loop.add_callback(_claim, client, foreign)
    return futures


def hand_over(carried: Carried, parts: Iterable[Any], to: str) -> bytes:
    """Let another client have what the futures in a chunk's values refer to.

    Args:
        carried: What the chunk has pickled; not only its values.
        parts: The pickled values.
        to: Id of the other client.

    Returns:
        Their keys, pickled; nothing if there are none.
    """
    if not carried.pickled:
        return b""
    keys = marked_in(parts)
    clients = {id(one.client): one.client for one in carried.pickled if one.key in keys}
    for client in clients.values():
        client.run_on_scheduler(claim, keys, to, ARRIVES_S)
    return pickle.dumps(keys) if keys else b""


@contextmanager
def carrying(home: str, site: Site, given: Mapping[Any, Any]) -> Generator[Carried]:
    """Let the code inside, in this thread, unpickle what a chunk gets and pickle what it returns.

    Args:
        home: Names the chunk's session.
        site: Its own.
        given: Values of futures that it needs, by key.
    """
    global _chunks
    carried = Carried(home=home, site=site, given=given)
    before, _here.carried = _here.carried, carried
    with _lock:
        _chunks += 1
    try:
        yield carried
    finally:
        _here.carried = before
        with _lock:
            _chunks -= 1
            unused = list(_in_use) if not _chunks else []
            _in_use.difference_update(unused)
        for future in unused:
            future.leave()


def revived(mark: str, home: str) -> NativeFuture:
    """Return the future that a mark stands for.

    Args:
        mark: Made by its pickling.
        home: Names the session that it comes home to; empty if it has left there.
    """
    key = _key(mark.rstrip(";").rpartition(":")[2])
    if _here.carried is not None:
        stands_in(Arrived, _value, inside=True)
        return Arrived(key)
    client = _homes.get(home)
    return Arrived(key) if client is None else held(client, [key])[0]


def _reduced(future: NativeFuture) -> tuple[Any, ...]:
    global _any
    carried = _here.carried
    if carried is None and not _ours(future):
        return Future, (future.key,)
    _any = True
    mark = f"{_MARK}{pickle.dumps(future.key).hex()};"
    if carried is None:
        return revived, (mark, "")
    # One that has just come out of a pickle is nobody's until it is asked for its client.
    if future.client is not None:
        carried.pickled.append(future)
    return revived, (mark, carried.home)


def _key(name: str) -> Any:
    """Return a key by its name in marks."""
    # Not as Python's text: its parser fails at times in several threads (python/cpython#106905).
    return pickle.loads(bytes.fromhex(name))


def _ours(future: NativeFuture) -> bool:
    """Return whether a future is of a cluster that a session of this process is on."""
    client = future._client
    scheduler = getattr(client, "scheduler", None)
    if scheduler is None:
        return False
    open_ones = [getattr(one, "scheduler", None) for one in list(_homes.values())]
    return any(one is not None and one.address == scheduler.address for one in open_ones)


def _value(future: Arrived) -> Any:
    """Return what a future stands for; what Dask hasn't moved here is waited for and fetched.

    Raises:
        Exception: Why it has no value.
    """
    carried = _here.carried
    if carried is not None and future.key in carried.given:
        return carried.given[future.key]
    client = _client_here()
    if client is None:
        raise RuntimeError(f"There is no Dask client here that could bring {future.key!r}.")
    (mine,) = held(client, [future.key])
    # What it waits for may need this very slot.
    free = carried.site.waiting() if carried is not None and not mine.done() else nullcontext()
    try:
        with free:
            return mine.result()
    finally:
        # At once, for an exception keeps the frames that it came through.
        mine.release()


def _client_here() -> NativeClient | None:
    with suppress(ValueError):
        return resident.of(get_worker())
    with suppress(ValueError):
        return default_client()
    return None


async def _claim(client: NativeClient, keys: Collection[Any]) -> None:
    """Have the scheduler tell a client what becomes of keys that others have submitted."""
    unknown: Collection[Any] = keys
    with suppress(OSError):
        # Otherwise the connection is gone, and the futures with it.
        unknown = await run_on_scheduler(client, claim, list(keys), client.id, ARRIVES_S)
    for key in unknown:
        state = client.futures.get(key)
        if state is not None:
            state.cancel(reason="unknown", msg="The scheduler doesn't know it any more.")


for _kind in (Future, Arrived):
    copyreg.pickle(_kind, _reduced)  # pyright: ignore[reportArgumentType]
