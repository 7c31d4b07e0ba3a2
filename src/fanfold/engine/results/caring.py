"""Carries out what `garbage` decided, so that whoever reads meanwhile loses nothing that stays."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from fanfold.engine.results import inventory, object_names, segments
from fanfold.engine.results.garbage import Verdict, Wishes, judged
from fanfold.engine.results.keyring import Keyring
from fanfold.ports.results import ResultStore
from fanfold.values.errors import StoreError
from fanfold.values.ids import new_id

AT_ONCE = 1_000
"""Objects that are removed in one go."""
MARK = "claims/clock-"


def storage_now(store: ResultStore) -> float:
    """Return what time it is by the storage's own clock, in unix seconds.

    Raises:
        StoreError: Nothing can be written, listed or removed there.
    """
    name = MARK + new_id()
    store.write(name, [b"now"])
    try:
        return max(each.modified_s for each in store.listing(name))
    finally:
        with suppress(StoreError):
            store.remove([name])


def carry_out(
    store: ResultStore, keyring: Keyring | None, verdicts: Sequence[Verdict], loose: Sequence[str]
) -> None:
    """Remove what was judged; each step leaves a store that is right.

    Args:
        store: Where it is.
        keyring: Signs indexes; None where nobody else can write.
        verdicts: What goes, task by task.
        loose: What else goes.

    Raises:
        StoreError: The store failed; what was done until then stays done.
    """
    for verdict in verdicts:
        _carry_out(store, keyring, verdict)
        for _ in range(inventory.TRIES):
            again = _merged_meanwhile(store, keyring, verdict)
            for each in again:
                _carry_out(store, keyring, each)
            if not again:
                break
    _remove(store, loose)


def _carry_out(store: ResultStore, keyring: Keyring | None, verdict: Verdict) -> None:
    signatures = map(object_names.signature_name, verdict.users)
    _remove(store, [*verdict.users, *signatures])
    for index, tables in verdict.replacements.items():
        _replace(store, keyring, index, tables)
    _remove(store, verdict.indexes)
    _remove(store, verdict.objects)


def _merged_meanwhile(
    store: ResultStore, keyring: Keyring | None, verdict: Verdict
) -> list[Verdict]:
    """Return what is to go once more, since a writer has merged indexes after they were listed."""
    prefix = f"tasks/{verdict.folder.name}/"
    names = store.names(f"{prefix}index/") if verdict.chosen else []
    if all(name in verdict.folder.indexes for name in filter(object_names.is_merged, names)):
        return []
    wishes = Wishes(now=0.0, expired=False, named=lambda _, entry: entry.content in verdict.chosen)
    return judged(inventory.taken(store, keyring, prefix), wishes)


def _replace(
    store: ResultStore, keyring: Keyring | None, index: str, tables: Mapping[str, bytes]
) -> None:
    """Create an index of the same run and epoch that names the rest."""
    start, number = object_names.replaceable(index), object_names.split_index_name(index)[3]
    following = max(number, object_names.FIRST_REPLACEMENT - 1) + 1
    while True:
        name = f"{start}.{following:08d}"
        if store.create(name, segments.pack_index(tables, name, keyring)):
            return
        following += 1


def _remove(store: ResultStore, names: Iterable[str]) -> None:
    names = list(names)
    for start in range(0, len(names), AT_ONCE):
        store.remove(names[start : start + AT_ONCE])
