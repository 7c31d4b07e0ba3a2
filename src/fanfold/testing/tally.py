"""A runner that is passed through, with a note of each time that a chunk is carried out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fanfold.ports.runner import Chunk, Ref, Session, Site, TaskRunner
from fanfold.testing.ledger import Ledger
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources


@dataclass(frozen=True, slots=True)
class Tallied:
    """Opens the runner's own sessions."""

    runner: TaskRunner
    ledger: Ledger

    def open(self, heard: Callable[[str, bytes], None]) -> Session:
        """Return a session whose chunks leave a note under "carried"."""
        session: Any = _TalliedSession(self.runner.open(heard), self.ledger)
        return session


class _TalliedSession:
    def __init__(self, inner: Session, ledger: Ledger) -> None:
        self._inner = inner
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ref:
        noted = _Noted(chunk, self._ledger)
        return self._inner.submit(noted, needs, shared, want=want, done=done)


@dataclass(frozen=True, slots=True)
class _Noted:
    chunk: Chunk
    ledger: Ledger

    @property
    def id(self) -> str:
        return self.chunk.id

    @property
    def label(self) -> str:
        return self.chunk.label

    @property
    def priority(self) -> int:
        return self.chunk.priority

    def run(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> tuple[Report, Any]:
        self.ledger.note("carried", self.chunk.id)
        return self.chunk.run(needs, shared, site)
