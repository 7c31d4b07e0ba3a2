"""Gets the leases of a run's keys, and looks what others have committed under them meanwhile."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial

from fanfold.engine.results import object_names
from fanfold.engine.results.claims import Lease
from fanfold.engine.results.clerk import clerk
from fanfold.engine.results.leasing import Granted
from fanfold.engine.results.segments import Index, Record, pack_records
from fanfold.engine.results.shelf import shelf
from fanfold.engine.run import Run


def claim(run: Run, keys: Iterable[bytes], tell: Callable[[Granted], None]) -> None:
    """Have the leases of keys claimed for a run; `tell` hears of each, in another thread.

    Runs of one transaction may all have the lease of a key at once: what they make is committed
    together, so they would wait for each other for ever.
    """
    cache, part = run.call.spec.cache, run.call.part
    assert cache is not None
    transaction = part.transaction if part is not None else None
    holder = transaction.outermost if transaction is not None else None
    for key in keys:
        prefix = object_names.claim_prefix(cache.folder, key)
        told = partial(_looked_up, run, key, tell)
        clerk().want(cache.store, prefix, told, owner=run, holder=holder)


@contextmanager
def closing_claims(run: Run) -> Generator[None]:
    """Let go of what a run has claimed, however its caller leaves it."""
    try:
        yield
    finally:
        let_go(run)


def let_go(run: Run) -> None:
    """Give back what a run that is over has claimed and not committed."""
    cache = run.call.spec.cache
    if cache is not None and cache.serial:
        clerk().close(run)


def _looked_up(
    run: Run,
    key: bytes,
    tell: Callable[[Granted], None],
    lease: Lease | None,
    error: Exception | None,
) -> None:
    found = None
    try:
        if lease is not None and not lease.first:
            found = _committed(run, key)
    except Exception as raised:  # the element fails by it
        error = raised
        clerk().release([lease] if lease is not None else [])
        lease = None
    tell(Granted(key=key, lease=lease, found=found, error=error))


def _committed(run: Run, key: bytes) -> Index | None:
    """Return what is committed under a key by now, None if nothing is."""
    cache = run.call.spec.cache
    if cache is None or not cache.reads:
        return None
    found = shelf(cache.store, cache.folder, run.call.keyring)
    lookup = found.look_up(single=run.call.spec.info.single)
    row = lookup.row(key)
    if row is None:
        return None
    record = Record(
        key=key,
        offset=row.offset,
        length=row.length,
        digest=row.digest,
        expiry=row.expiry,
        codec=row.codec,
        state=row.state,
    )
    payload = lookup.held.get(row.segment, b"")
    return Index(tables={row.label: pack_records((record,))}, payload=payload)
