"""What must hold after a driver was killed, and after another has done the work once more."""

from collections import Counter
from dataclasses import dataclass, replace
from math import isqrt

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results import object_names, stored
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.segments import Record, unpack_index
from fanfold.engine.results.stored import Stored
from tests.torture.nursery import Nursery
from tests.torture.squares import Order


def committed(store: FsspecStore, keyring: Keyring | None = None) -> Counter[int]:
    """Return how often indexes name each element, whose values are read as look-ups read them."""
    found: Counter[int] = Counter()
    for name in store.names("tasks/"):
        if "/index/" in name:
            index = unpack_index(bytes(store.read(name)), name, keyring)
            for segment, records in index.records().items():
                found.update(_element(store, segment, record) for record in records)
    return found


@dataclass(frozen=True, slots=True)
class Trial:
    """A driver that is killed, and one that does the same again."""

    order: Order
    keyring: Keyring | None = None

    def repeat(self, nursery: Nursery) -> int:
        """Run it once more, and see that it does what wasn't committed, and nothing else.

        Returns:
            How many elements were committed before.
        """
        again = replace(self.order, life="again", watched=False, lingers=False)
        everything = Counter(range(self.order.count))
        before = committed(self.order.store, self.keyring)
        ran = self.order.ledger.counts(self.order.life)
        assert ran <= everything, "a killed driver ran an element twice"
        assert before <= ran, "what never ran was committed"

        nursery.start(again)
        code = nursery.ended()

        assert code == 0, (again.folder / "again.log").read_text()
        assert int(again.told.read_text()) == sum(x * x for x in everything)
        assert again.ledger.counts("again") == everything - before
        assert committed(self.order.store, self.keyring) == everything
        return before.total()


def _element(store: FsspecStore, segment: str, record: Record) -> int:
    reference = Stored(
        store=store,
        segment=object_names.untimed(segment),
        offset=record.offset,
        length=record.length,
        digest=record.digest,
        codec=record.codec,
    )
    value = stored.load(reference)
    assert isinstance(value, int)
    return isqrt(value)
