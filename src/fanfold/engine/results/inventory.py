"""What lies in a result store: the objects of each task, what its indexes name, and the rest.

Everything is read as it was when the objects were listed, or later: objects first, then indexes.
So whatever was committed when a listed object was written is known, and what isn't named by any
index was not committed then.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from fanfold.engine.results import fencing, object_names, segments
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.object_names import MERGED
from fanfold.engine.results.segments import RECORD_BYTES, Index, Record
from fanfold.ports.results import TEMPORARY, Listed, ResultStore
from fanfold.values.errors import StoreError

READERS = 8
"""Indexes that are read at a time: a request to S3 takes tens of milliseconds, mostly waiting."""
TRIES = 5
"""Listings until nothing is missing any more of what they named: writers merge indexes."""


class Entry(NamedTuple):
    """A result as an index names it."""

    committed_by: str
    """The index."""
    segment: str
    """As the index calls it."""
    row: bytes
    """Its packed record."""

    @property
    def key(self) -> bytes:
        """Its key, 16 bytes."""
        return self.row[:16]

    @property
    def content(self) -> bytes:
        """Its key and the digest of its value, which are the same wherever that lies."""
        return self.key + self.record.digest

    @property
    def record(self) -> Record:
        """What the index says of it."""
        return segments.unpack_records(self.row)[0]

    @property
    def place(self) -> str:
        """The object that holds its payload."""
        return place_of(self.committed_by, self.segment)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Those of the runs that are named where it lies: of its flow run, its map or call.

        None where calls of several runs were merged.
        """
        run, _, of_map, _ = object_names.split_index_name(self.committed_by)
        named = [] if run == MERGED else [run, of_map]
        if object_names.is_segment(self.place):
            named.append(object_names.run_of_segment(self.place))
        return tuple(each for each in named if each != MERGED)

    @property
    def named_by_user(self) -> bool:
        """Whether it is an object that a user has named, which is his."""
        return not object_names.is_of_task(self.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What is there of one task."""

    name: str
    objects: Mapping[str, Listed]
    """By name, those of users' own naming excepted."""
    indexes: Mapping[str, Index]
    unread: Mapping[str, str] = field(default_factory=dict[str, str])
    """Indexes that aren't believed here, and why."""
    overtaken: Sequence[str] = ()
    """Indexes of drivers that came too late, when others had resumed their runs: nobody's."""

    def entries(self) -> Iterator[Entry]:
        """Yield all results, those that others have replaced included; the oldest first."""
        tables = [
            (object_names.written(segment), index, segment, table)
            for index, held in self.indexes.items()
            for segment, table in held.tables.items()
        ]
        for _, index, segment, table in sorted(tables, key=lambda one: one[:3]):
            for start in range(0, len(table), RECORD_BYTES):
                yield Entry(index, segment, table[start : start + RECORD_BYTES])

    @property
    def size_bytes(self) -> int:
        """Of all objects."""
        return sum(each.size_bytes for each in self.objects.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What is there in a store."""

    folders: Sequence[Folder]
    others: Mapping[str, Listed]
    """Ours that are of no task: results of flows, records of transactions, claims."""


def place_of(index: str, segment: str) -> str:
    """Return the object that holds the payloads of what an index says of a segment."""
    return object_names.untimed(segment) or index  # a small value lies in the index itself


def taken(
    store: ResultStore, keyring: Keyring | None, prefix: str = "tasks/", *, others: bool = False
) -> Inventory:
    """Look through a store.

    Args:
        store: Where results are.
        keyring: Whose indexes are believed; None where nobody else can write.
        prefix: Of the tasks' objects that are looked at.
        others: Whether what is of no task is listed as well.

    Raises:
        StoreError: The store can't be read.
    """
    found: defaultdict[str, dict[str, Listed]] = defaultdict(dict)
    for each in store.listing(prefix):
        if object_names.is_of_task(each.name):
            found[folder_of(each.name)][each.name] = each
    rest = [each for start in OTHERS for each in store.listing(start)] if others else []
    return Inventory(
        folders=[_folder(store, keyring, name, found[name]) for name in sorted(found)],
        others={each.name: each for each in rest},
    )


def folder_of(name: str) -> str:
    """Return the task's part of an object's name, as it stands there."""
    return name.split("/")[1]


OTHERS = ("claims/", "flows/", "runs/", "signatures/", "transactions/", TEMPORARY)
"""Where what is of no task lies, and what writers left that were killed."""


def _folder(
    store: ResultStore, keyring: Keyring | None, name: str, objects: dict[str, Listed]
) -> Folder:
    indexes: dict[str, Index] = {}
    unread: dict[str, str] = {}
    for _ in range(TRIES):
        every = [each.name for each in store.listing(f"tasks/{name}/index/")]
        names = fencing.counting(store, unquote(name), every)
        new = [each for each in names if each not in indexes and each not in unread]
        gone = False
        for read, found in zip(new, _each(store, new), strict=True):
            if found is None:
                gone = True
                continue
            try:
                indexes[read] = segments.unpack_index(found, read, keyring)
            except segments.Damaged as error:
                unread[read] = error.reason
        if not gone:
            there = set(names)
            return Folder(
                name=name,
                objects=objects,
                indexes={each: index for each, index in indexes.items() if each in there},
                unread={each: why for each, why in unread.items() if each in there},
                overtaken=[each for each in every if each not in there],
            )
    raise StoreError(
        f"The indexes of {name} in {store} change as fast as they are read. Try again later."
    )


def _each(store: ResultStore, names: Sequence[str]) -> list[bytes | None]:
    def read(name: str) -> bytes | None:
        try:
            return bytes(store.read(name))
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    if len(names) < 2:
        return [read(name) for name in names]
    with ThreadPoolExecutor(min(READERS, len(names))) as readers:
        return list(readers.map(read, names))
