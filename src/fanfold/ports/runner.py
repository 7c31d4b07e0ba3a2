"""The runner port: how the engine runs chunks on threads, processes or a cluster.

Four roles. A `TaskRunner` is a description of where tasks run; a `Session` is its live connection,
used by the driver; a `Chunk` is work, made by the engine and opaque to the plug-in; a `Site` is
what the plug-in gives to a running chunk. A plug-in knows nothing of tasks, elements, retries or
results: it carries chunks there and reports and values back.

The rules, numbered as tests and comments name them:

- R1 `submit` never waits for work. It refuses at once what it can't honour: a closed session, and
  resources that `traits.honours` doesn't name.
- R2 Each submit leads to exactly one `done(report)`, from any thread; `done` only enqueues, and is
  called with a report of an infrastructure error if the chunk itself could not make one.
- R3 Errors of users are values inside a report. A native failure always means infrastructure, and
  one function per plug-in translates it to the tree below `InfrastructureError`.
- R4 `needs` are the cluster's own dependencies: values move from worker to worker, never through
  the driver.
- R5 Report and values travel apart, and a report never waits for a free slot.
- R6 A chunk may run twice. The driver accepts the first report of each submit and drops the rest.
- R7 `cancel` is idempotent; pending work never starts, running work sees `Site.stopping`. With
  `interrupt`, where `traits.interrupts`, a running Python call ends within 2 s: by an exception in
  its thread, and where `traits.kills` by the end of its process if it goes on in spite of that.
  Elsewhere `interrupt` adds nothing, and running work ends at its next element.
- R8 `close` releases only what `open` created, without waiting for running user code. A borrowed
  cluster is clean within a second after the running element returns.
- R9 What `share` was given reaches each worker process at most once.
- R10 The engine owns retries: the cluster's own are off, and a dead worker is told as `WorkerLost`.
- R11 Dropping the last Ref frees the values on the cluster.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits

Ref = Any
"""Opaque to the engine, hashable and weakly referable: a future, an object reference, a file."""

Values = Any
"""A chunk's results. Where `traits.remote`: a list of buffers (the pickle, then its out-of-band
buffers), handed over without joining or looking inside. Otherwise: whatever the chunk returned."""


class Site(Protocol):
    """The worker's half, made by the plug-in around each `Chunk.run`."""

    @property
    def worker(self) -> str:
        """`host/pid/start`, stable for the life of the process."""
        ...

    def say(self, message: bytes) -> None:
        """Send a message to the session's `heard`, one way: never blocks, in order per chunk."""
        ...

    def stopping(self) -> bool:
        """Return whether the chunk should end after the running element; under a microsecond."""
        ...

    def session(self, heard: Callable[[str, bytes], None]) -> "Session | None":
        """Open a session on this same cluster, for what the running element starts.

        Called by the chunk's own threads, at first need, and closed by the chunk before it ends.
        None where such work runs in the element's own thread.

        Args:
            heard: As for `TaskRunner.open`.

        Raises:
            InfrastructureError: The cluster can't be reached from here.
        """
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Return what is entered while the running element waits for what it has started.

        Inside, this slot is free for others, or one chunk of a session of this site needs none: so
        a chain of waiting elements never blocks itself, however few slots there are. Entered by
        one of the chunk's threads at a time; may block when it is left.
        """
        ...


class Chunk(Protocol):
    """Work for one slot. Pickled with plain `pickle` by the plug-in where `traits.remote`."""

    @property
    def id(self) -> str:
        """Unique over all chunks of all runs."""
        ...

    @property
    def label(self) -> str:
        """A name for the cluster's dashboard: the task's name."""
        ...

    @property
    def priority(self) -> int:
        """Higher goes first among chunks that wait for a slot, on clusters that know such order."""
        ...

    def run(
        self, needs: Sequence[Values], shared: Sequence[Any], site: Site
    ) -> tuple[Report, Values]:
        """Do the work; called once per try, in the worker, off any event loop.

        Args:
            needs: The values behind the refs given to `submit`, in that order.
            shared: What was shared behind the refs given to `submit`, in that order, as
                bytes-like objects that need not be copied.
            site: The worker's half of the session.

        Raises:
            InfrastructureError: Some needs can't be used; never because of a user's error. It is
                told by `done`, as is whatever else comes out.
        """
        ...


class Session(Protocol):
    """The driver's half: a live connection. All methods are thread-safe."""

    @property
    def traits(self) -> Traits:
        """What this session can do."""
        ...

    @property
    def sealed(self) -> bool:
        """Whether nobody else can read what goes to the workers: over loopback or TLS alone.

        From memory; False where it isn't known.
        """
        ...

    def slots(self) -> Slots:
        """Return what the cluster can run now; never blocks on the network."""
        ...

    @property
    def dashboard(self) -> str:
        """Address of the cluster's own web page, without credentials; empty if there is none."""
        ...

    def lacking(self, want: Resources) -> str:
        """Return what keeps such a chunk from ever starting on the workers there are, in words.

        Empty if some worker has all of it, be it busy. From memory; never blocks.
        """
        ...

    def stuck(self, refs: Collection[Ref]) -> Collection[Ref]:
        """Return those chunks whose process is stopped or gone, as far as the cluster can see.

        May block for some seconds. One that is busy, even in C code that answers to nobody, isn't
        stuck, nor is one that waits for a slot. Raises nothing: what isn't known isn't stuck.
        """
        ...

    def share(self, key: str, payload: bytes) -> Ref:
        """Put a payload where every worker can get it; idempotent by key (R9)."""
        ...

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ref:
        """Hand a chunk to the cluster and return the handle on its values at once (R1, R2).

        Args:
            chunk: The work.
            needs: Chunks whose values it needs, be they over or not. Where one ends without values,
                or they are gone, this one never starts and is told as `ValuesLost`, with positions
                among the needs.
            shared: What was shared and it needs.
            want: What it holds while it runs. What no worker has now is waited for.
            done: Told once what became of it.

        Raises:
            SessionClosed: The session was closed before.
            ResourcesUnavailable: The runner can't hold such resources for anybody.
        """
        ...

    def fetch(self, refs: Sequence[Ref], timeout_s: float | None = None) -> Sequence[Values]:
        """Bring values to the driver, in the order of the refs; blocks.

        Raises:
            TimeoutError: Not all came in time; nothing was cancelled.
            ValuesLost: Some are gone from the cluster, or held by a process that is stopped, or
                their chunks ended without; `lost` holds their positions.
        """
        ...

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        """Keep pending chunks from starting and ask running ones to stop (R7); never blocks.

        Each leads to its one `done`: with the report it came to, or with `ChunkCancelled`. A chunk
        whose process had to be killed for it is told as `ChunkCancelled`, not as `WorkerLost`.

        Args:
            refs: Of chunks; what has ended stays as it is.
            interrupt: Don't wait for the running element. May be asked for later than the stop.
        """
        ...

    def close(self) -> None:
        """Release what `open` created (R8). Idempotent; pending chunks end as `ChunkCancelled`."""
        ...


class TaskRunner(Protocol):
    """An immutable, picklable, comparable description of where tasks run; holds no connection."""

    def open(self, heard: Callable[[str, bytes], None]) -> Session:
        """Connect, starting a cluster if the description says so.

        Args:
            heard: Called as `heard(chunk_id, message)` for each `Site.say`, from any thread; it
                only enqueues.

        Raises:
            InfrastructureError: The cluster can't be reached or started, or runs other versions.
        """
        ...
