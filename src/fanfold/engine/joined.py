"""A session on somebody else's: a subflow on the cluster of the flow that calls it."""

from collections.abc import Callable, Collection, Sequence
from weakref import WeakSet

from fanfold.ports.runner import Chunk, Ref, Session, Values
from fanfold.values.errors import SessionClosed
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits


class JoinedSession:
    """Passes all on, and ends what it has submitted itself; the other session stays open."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self._refs: WeakSet[Ref] = WeakSet()
        self._closed = False

    @property
    def traits(self) -> Traits:
        """What the cluster can do."""
        return self._inner.traits

    @property
    def sealed(self) -> bool:
        """Whether nobody else can read what goes to the workers."""
        return self._inner.sealed

    @property
    def dashboard(self) -> str:
        """Address of the cluster's web page."""
        return self._inner.dashboard

    def slots(self) -> Slots:
        """Return the slots of the cluster, which others use too."""
        return self._inner.slots()

    def lacking(self, want: Resources) -> str:
        """Return what no worker has."""
        return self._inner.lacking(want)

    def stuck(self, refs: Collection[Ref]) -> Collection[Ref]:
        """Return chunks whose process is stopped or gone."""
        return self._inner.stuck(refs)

    def share(self, key: str, payload: bytes) -> Ref:
        """Put a payload where every worker can get it."""
        self._refuse_if_closed()
        return self._inner.share(key, payload)

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ref:
        """Hand a chunk to the cluster.

        Raises:
            SessionClosed: This session or the other one was closed before.
            ResourcesUnavailable: The runner can't hold such resources for anybody.
        """
        self._refuse_if_closed()
        ref = self._inner.submit(chunk, needs, shared, want=want, done=done)
        self._refs.add(ref)
        return ref

    def fetch(self, refs: Sequence[Ref], timeout_s: float | None = None) -> Sequence[Values]:
        """Bring values to the driver.

        Raises:
            SessionClosed: This session or the other one was closed before.
            TimeoutError: Not all came in time.
            ValuesLost: Some are gone.
        """
        self._refuse_if_closed()
        return self._inner.fetch(refs, timeout_s)

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        """Keep pending chunks from starting and ask running ones to stop."""
        self._inner.cancel(refs, interrupt=interrupt)

    def close(self) -> None:
        """Cancel what was submitted here and isn't over; idempotent."""
        if not self._closed:
            self._closed = True
            self._inner.cancel(list(self._refs))

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SessionClosed("The session was closed, for its flow run is over.")
