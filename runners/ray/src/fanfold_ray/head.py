"""Looks at the head of the Ray that this process is connected to."""

import importlib
import select
import socket
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Protocol

from ray._private import worker
from ray.exceptions import AuthenticationError

from fanfold_ray import table
from fanfold_ray.table import ASK_S, Away


class Fate(Enum):
    """What a look at the head shows."""

    THERE = auto()
    AWAY = auto()
    """It may come back as it was."""
    GONE = auto()
    """Nothing that this connection knows will ever be there again."""


class Head(Protocol):
    """The head as one connection sees it. Thread-safe."""

    dashboard: str
    """Host and port of Ray's dashboard, as Ray told them; empty if it didn't."""
    stalls: bool
    """Whether calls that hand out work wait for it while it is away."""

    def look(self) -> tuple[Fate, str]:
        """Return how it is, and why it is thought so; blocks for some seconds at most."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait so long, or until it is gone or somebody calls `wake`."""
        ...

    def wake(self) -> None:
        """End a pause."""
        ...

    def broken(self) -> bool:
        """Return whether the connection has ended though nobody ended it; doesn't block."""
        ...

    def close(self) -> None:
        """Let go of what was opened for looking; idempotent."""
        ...


class Direct:
    """Looked at by Ray's core in this process, which lives by the node daemon of this machine.

    When that daemon ends, the core ends this process at its next use of shared memory, without a
    word. A connection to the daemon's socket shows its end at once.
    """

    def __init__(self) -> None:
        self.dashboard = ""  # the node knows it, and may be asked
        self.stalls = False
        self._node: Any = getattr(worker, "_global_node", None)
        self._ours, self._theirs = socket.socketpair()
        self._daemon: socket.socket | None = None
        path = getattr(self._node, "raylet_socket_name", None)
        if path:
            self._daemon = socket.socket(socket.AF_UNIX)
            with suppress(OSError):  # the next look tells
                self._daemon.connect(path)

    def look(self) -> tuple[Fate, str]:
        """See `Head`."""
        if self._daemon_ended():
            return Fate.GONE, "Ray's node daemon on this machine has ended"
        if self._own_head_ended():
            return Fate.GONE, "its head process has ended"
        try:
            table.exists(b"fanfold", b"fanfold")
        except Away as error:
            cause = error.__cause__
            if isinstance(cause, AuthenticationError) and "WrongClusterID" in str(cause):
                return Fate.GONE, "its head was started anew and knows nothing of what was there"
            return Fate.AWAY, "its head didn't answer"
        return Fate.THERE, ""

    def pause(self, seconds: float) -> None:
        """See `Head`."""
        watched = [one for one in (self._theirs, self._daemon) if one is not None]
        with suppress(OSError, ValueError):  # closed meanwhile
            select.select(watched, [], [], seconds)

    def wake(self) -> None:
        """See `Head`."""
        with suppress(OSError):
            self._ours.send(b"!")

    def broken(self) -> bool:
        """See `Head`."""
        return False  # only `ray.shutdown` ends it

    def close(self) -> None:
        """See `Head`."""
        for one in (self._ours, self._theirs, self._daemon):
            if one is not None:
                one.close()

    def _daemon_ended(self) -> bool:
        if self._daemon is None:
            return False
        try:
            return self._daemon.recv(1, socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _own_head_ended(self) -> bool:
        if self._node is None or not self._node.is_head():
            return False
        return any(kind == "gcs_server" for kind, _ in self._node.dead_processes())


class ThroughClient:
    """Looked at through Ray's client server, in whose process the core is."""

    def __init__(self, client: Any, dashboard: str) -> None:
        self.dashboard = dashboard
        self.stalls = True
        self._client = client
        self._ours, self._theirs = socket.socketpair()

    def look(self) -> tuple[Fate, str]:
        """See `Head`."""
        if self.broken() or self._client._in_shutdown:
            return Fate.GONE, "its client server has let this connection go"
        try:
            if self._client.ping_server(timeout=ASK_S):
                return Fate.THERE, ""
        except Exception:
            # Nothing is lost: whatever the channel raises, it gave no answer.
            return Fate.AWAY, "its client server didn't answer"
        return Fate.AWAY, "its client server had no Ray"

    def pause(self, seconds: float) -> None:
        """See `Head`."""
        with suppress(OSError, ValueError):  # closed meanwhile
            select.select([self._theirs], [], [], seconds)

    def wake(self) -> None:
        """See `Head`."""
        with suppress(OSError):
            self._ours.send(b"!")

    def broken(self) -> bool:
        """See `Head`."""
        return self._client.data_client._last_exception is not None

    def close(self) -> None:
        """See `Head`."""
        self._ours.close()
        self._theirs.close()


def current(dashboard: str = "") -> Head:
    """Return the head of the Ray that the calling thread is connected to.

    Args:
        dashboard: What Ray told of it when it connected.
    """
    client = importlib.import_module("ray.util.client").ray
    if client.is_connected():
        return ThroughClient(client.get_context().client_worker, dashboard)
    return Direct()
