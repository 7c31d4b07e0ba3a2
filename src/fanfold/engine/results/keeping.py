"""A chunk's part in caching: look elements up, stage their values."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fanfold.engine import keys
from fanfold.engine.attempt import Hit, Known, Wanted
from fanfold.engine.chunking import Span
from fanfold.engine.context import current
from fanfold.engine.keys.makers import InParts
from fanfold.engine.results import object_names, segments, stored
from fanfold.engine.results.codec_names import ACCEPTED
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.payloads import (
    RAW,
    codec_name,
    encoder,
    raw,
    raw_serializer,
    readable,
)
from fanfold.engine.results.pickles import size_bytes
from fanfold.engine.results.segments import INLINED, Index, Record, Segment
from fanfold.engine.results.stored import Stored
from fanfold.engine.results.turns import Turns
from fanfold.engine.spec import CacheSpec, TaskSpec
from fanfold.ports.results import Buffer
from fanfold.values.errors import KeyNotStable, StoreError, UsageError
from fanfold.values.ids import new_id
from fanfold.values.states import StateName

if TYPE_CHECKING:
    from fanfold.engine.work import Work

FIRST_TOLD = 100
"""Elements of a map of which the history is told what their keys were made from."""
BIG_BYTES = 1 << 20
"""A bigger payload is an object of its own, which is written when its element ends."""
TRAVELLING_BYTES = 65_536
"""A bigger value that was found is read again where it is wanted, instead of travelling there."""

INLINED_BYTES = 16_384
"""A bigger value of a call isn't held by its index, which is read whole by all that look there."""

Answer = Stored | Known | Hit | Wanted | BaseException | None


class Keeper:
    """What one execution of a chunk finds and keeps; warns of what it can't keep."""

    def __init__(self, work: "Work", spec: TaskSpec, cache: CacheSpec) -> None:
        self._work = work
        self._spec = spec
        self._cache = cache
        self._encode = encoder(cache.serializer, cache.accepted)
        self._segment = Segment()
        self._inlines = spec.info.single and not work.remote and cache.in_memory
        """Whether a small value may lie in the index itself: that is one object instead of two."""
        self._object_names: dict[bytes, str] = {}
        """What users call the objects of elements that were looked up, by key."""
        hooks = spec.hooks
        self._at_hand = spec.info.single or (hooks is not None and bool(hooks.completion))
        """Whether what is found is wanted at once, not where somebody asks for it later."""
        self._lookup = cache.lookup if work.made is None else cache.lookup.and_also(work.made)
        self._several = cache.reads and len(work.batch) > 1
        """Whether a later element may have the key of an earlier one."""
        self.found = Turns(self.find).find if self._several and spec.is_async else self.find
        """As `find`; async elements wait for others that make the same."""
        self._here: dict[bytes, tuple[Record, str, Sequence[Buffer]]] = {}
        """What this chunk has made, by key: record, name of the object, payload if not written."""
        self.warnings: list[str] = []
        self.staged: dict[str, bytes] = {}
        """Packed index records by segment name."""
        self._repeated = self._own_segments()
        self.keyed: dict[int, Mapping[str, str]] = {}
        """What keys of elements were made from, by position."""
        told = isinstance(cache.key, InParts) and cache.key.told() is not None
        self._to_tell = among_first(work.batch.spans, FIRST_TOLD) if told else 0
        self._not_met = self._repeated.keys() if self._repeated is not None else set[bytes]()
        """Keys of what an earlier try of this chunk got done; this one stops behind the last."""

    @property
    def caught_up(self) -> bool:
        """Whether an earlier try got something done, and this one has found all of it."""
        return self._repeated is not None and not self._not_met

    def find(self, arguments: dict[str, Any]) -> tuple[bytes | None, Answer]:
        """Return an element's key, and its value where it is known already.

        An error in place of the value is what the element fails by.
        """
        key, answer = self._looked_up(arguments)
        if answer is None and key is not None and self._cache.serial:
            return key, None if key in self._work.held else Wanted()
        return key, answer

    def _looked_up(self, arguments: dict[str, Any]) -> tuple[bytes | None, Answer]:
        cache = self._cache
        try:
            key = None if cache.by_name else self._key(arguments)
            name = cache.name(self._spec, arguments) if cache.name is not None else None
        except (KeyNotStable, UsageError) as error:
            return None, error
        reads = cache.reads
        if name is not None:
            reads = reads and (key is not None or cache.by_name)
            key = keys.digest(("object", name)) if key is None else key
            self._object_names[key] = name
        if key is None:
            return None, None
        now = time.time()
        mine = self._repeated.find(key, now) if self._repeated is not None else None
        if mine is not None:
            self._not_met.discard(key)
        elif self._work.known is not None:
            mine = self._work.known.find(key, now)
        mine = self._accepted(mine)
        if mine is not None and self._whole(mine):
            return key, Known(mine)
        if not reads:
            return key, None
        if (here := self._found_here(key, now)) is not None:
            return key, here
        if name is not None and cache.by_name:
            return key, self._named(key, name, now)
        found = self._accepted(self._committed(key, now))
        held = found is not None and found.segment in self._lookup.held
        if found is None or not (self._at_hand or self._doubted or held or found.codec == RAW):
            return key, found
        return key, self._read(found)

    def keep(self, key: bytes, value: Any) -> Any:
        """Stage a value for commit; return what stands for it from now on."""
        name = self._object_names.pop(key, None) if self._object_names else None
        try:
            if name is not None:
                return self._put(key, name, value)
            codec, payload = self._encode(value)
            if sum(map(size_bytes, payload)) > BIG_BYTES:
                return self._put_big(key, codec, payload, value)
        except Exception as error:  # the value goes home all the same, only the copy is missing
            self.warn(f"A result of {self._spec.info.name} isn't kept: {error}")
            return value
        record = self._segment.append(key, payload, codec, self._expiry(), StateName.COMPLETED)
        if self._several:
            self._here[key] = record, self._name, payload
        return value if self._cache.in_memory else self._reference(record, self._name)

    def stage(self, values: list[Any]) -> None:
        """Write what is to be kept under a name of this try's own.

        Args:
            values: Of the chunk; where the write fails, references in it become values again.
        """
        if not len(self._segment):
            return
        if self._inlines and len(self._segment) == 1 and self._segment.size <= INLINED_BYTES:
            self.staged[INLINED] = self._segment.alone()
            return
        parts = self._segment.parts(self._name, self._cache.secret)
        try:
            self._cache.store.write(self._name, parts)
        except Exception as error:  # the run has its values, only the copies are missing
            self.warn(f"Results of {self._spec.info.name} aren't kept: {error}")
            self._take_back(values, parts)
            return
        self.staged[self._name] = self._segment.packed

    def warn(self, message: str) -> None:
        """Say something once; errors in it may end with a full stop or not."""
        message = f"{message.rstrip('.')}."
        if message not in self.warnings:
            self.warnings.append(message)

    @cached_property
    def _name(self) -> str:
        return self._new_name()

    def _new_name(self) -> str:
        return object_names.segment_name(
            self._cache.folder, self._spec.info.id, self._work.id, new_id()
        )

    @property
    def _doubted(self) -> bool:
        """Whether values of this run could not be read before, so that each is tried now."""
        return self._work.known is not None

    def _expiry(self) -> float:
        return time.time() + self._cache.expires_in_s

    # What is there.

    def _committed(self, key: bytes, now: float) -> Stored | None:
        # A run that refreshes takes only what it has made before.
        return self._lookup.find(key, now, self._cache.since)

    def _found_here(self, key: bytes, now: float) -> Hit | Stored | None:
        """Return what an earlier element of this chunk has made, most of it not written yet."""
        record, name, payload = self._here.get(key, (None, "", ()))
        if record is None or record.expiry <= now:
            return None
        found = self._reference(record, name)
        if not self._at_hand:
            return found
        if not payload:
            return self._read(found)
        return self._answer(found, stored.decode(found, b"".join(payload)))

    def _read(self, found: Stored) -> Hit | Stored | None:
        """Return what was found, the value itself where that is wanted; None if it is damaged."""
        try:
            if found.codec == RAW:
                found = replace(found, serializer=self._serializer)
            payload = self._lookup.held.get(found.segment)
            value = stored.load(found) if payload is None else stored.decode(found, payload)
        except Exception as error:  # the call makes the value again
            other = found.codec == RAW and _is_other(error) and not self._cache.guarded
            if not _is_missing(error) and not other:
                self._complain(str(found), error)
            return None
        return self._answer(found, value)

    def _named(self, key: bytes, name: str, now: float) -> Hit | Stored | None:
        """Return what the object of this name holds; None if there is none, or it has expired."""
        store = self._cache.store
        try:
            payload = store.read(name)
            digest = segments.digest([payload])
            if self._lookup.expired(key, digest, now):
                return None
            if self._cache.guarded:
                self._check_named(key, name, digest, now)
            found = Stored(
                store=store,
                segment=name,
                offset=0,
                length=len(payload),
                digest=digest,
                codec=RAW,
                serializer=self._serializer,
            )
            return self._answer(found, stored.decode(found, payload))
        except Exception as error:  # the call makes the value again
            if not _is_missing(error):
                self._complain(f"{name} in {store}", error)
            return None

    def _check_named(self, key: bytes, name: str, digest: bytes, now: float) -> None:
        """Raise unless an index says that an object of the user's naming was last written so."""
        committed = self._lookup.find(key, now)
        if committed is None or (committed.segment, committed.digest) != (name, digest):
            raise segments.Damaged(
                name,
                f"in {self._cache.store} isn't what was committed last under this name, and others "
                "may write there",
            )

    def _answer(self, found: Stored, value: object) -> Hit | Stored:
        if found.segment in self._lookup.held:
            # Its index may be merged and removed before somebody follows a reference to it.
            return Hit(value)
        far = self._work.remote and found.length > TRAVELLING_BYTES
        return Hit(value) if self._at_hand and self._cache.in_memory and not far else found

    def _whole(self, mine: Stored) -> bool:
        return not self._doubted or self._read(mine) is not None

    def _complain(self, what: str, error: Exception) -> None:
        told = str(error) if what in str(error) else f"{what} can't be read: {error}"
        self.warn(f"A result of {self._spec.info.name} is made again. {told}")

    @cached_property
    def _serializer(self) -> Any:
        """What objects are written by that stand alone.

        Raises:
            UsageError: Readers don't accept that.
        """
        return raw_serializer(self._cache.serializer, self._cache.accepted)

    def _accepted(self, found: Stored | None) -> Stored | None:
        """Return what was found if it may be read here, which its record has no say in."""
        if found is None or self._cache.accepted == ACCEPTED:
            return found
        codec = readable(found.codec, self._cache.accepted)
        if codec is None:
            needed = f"it has the codec {codec_name(found.codec)}"
            self._complain(str(found), UsageError(f"{needed}, which isn't accepted"))
            return None
        return found if codec == found.codec else replace(found, codec=codec)

    # What is kept.

    def _put(self, key: bytes, name: str, value: Any) -> Any:
        """Write the object that the user has named, or what it is to become.

        Raises:
            Exception: The value can't be serialized, or the object not be written.
        """
        cache = self._cache
        payload = raw(self._serializer, value)
        if cache.deferred:
            name = object_names.staged_object_name(cache.folder, new_id(), name)
        cache.store.write(name, [payload])
        record = Record(
            key=key,
            offset=0,
            length=len(payload),
            digest=segments.digest([payload]),
            expiry=self._expiry(),
            codec=RAW,
            state=StateName.COMPLETED,
        )
        self.staged[object_names.timed(name, new_id())] = segments.pack_records((record,))
        if self._several:
            self._here[key] = record, name, ()
        return value if cache.in_memory else self._reference(record, name)

    def _put_big(self, key: bytes, codec: int, payload: Sequence[Buffer], value: Any) -> Any:
        """Write a big payload at once, as a segment of its own; a chunk may have many of them.

        Raises:
            StoreError: It can't be written.
        """
        segment, name = Segment(), self._new_name()
        record = segment.append(key, payload, codec, self._expiry(), StateName.COMPLETED)
        self._cache.store.write(name, segment.parts(name, self._cache.secret))
        self.staged[name] = segment.packed
        if self._several:
            self._here[key] = record, name, ()
        return value if self._cache.in_memory else self._reference(record, name)

    def _reference(self, record: Record, name: str) -> Stored:
        return Stored(
            store=self._cache.store,
            segment=name,
            offset=record.offset,
            length=record.length,
            digest=record.digest,
            codec=record.codec,
            serializer=self._serializer if record.codec == RAW else None,
        )

    def _take_back(self, values: list[Any], parts: Sequence[Buffer]) -> None:
        whole = memoryview(b"".join(parts))
        for position, value in enumerate(values):
            if type(value) is Stored and value.segment == self._name:
                payload = whole[value.offset : value.offset + value.length]
                values[position] = stored.decode(value, payload)

    def _key(self, arguments: dict[str, Any]) -> bytes | None:
        try:
            if len(self.keyed) < self._to_tell:
                return self._key_in_parts(arguments)
            return self._cache.key(self._spec, arguments)
        except KeyNotStable as error:
            if error.strict:
                raise
            self.warn(f"{self._spec.info.name} runs uncached: {error}")
        except Exception as error:  # the call goes on, only without a key
            told = f"its key could not be made: {type(error).__name__}: {error}"
            self.warn(f"{self._spec.info.name} runs uncached: {told}")
        return None

    def _key_in_parts(self, arguments: dict[str, Any]) -> bytes | None:
        """Return a key, and note what it was made from if that is to be told of the element."""
        maker, context = self._cache.key, current()
        assert isinstance(maker, InParts)
        element = context.element if context is not None else None
        if element is None or element.position >= self._to_tell:
            return maker(self._spec, arguments)
        key, parts = maker.in_parts(self._spec, arguments)
        if key is not None:
            self.keyed[element.position] = {"key": key.hex(), **parts}
        return key

    def _own_segments(self) -> Lookup | None:
        """Return what an earlier try of this very chunk staged; it counts, and isn't done again.

        The elements behind it were handed to other chunks when that try's report was home.
        """
        if not self._work.rerun:
            return None
        store = self._cache.store
        prefix = object_names.segment_prefix(self._cache.folder, self._spec.info.id, self._work.id)
        for name in store.names(prefix):
            try:
                self.staged[name] = segments.staged(store, name, self._cache.secret)
            except segments.Damaged as error:  # whoever wrote that, it wasn't this chunk
                self.warn(f"{store}: {str(error).rstrip('.')}. What it names is made again")
        return Lookup.merge(store, [Index(tables=self.staged)]) if self.staged else None


def _is_missing(error: Exception) -> bool:
    return isinstance(error.__cause__, FileNotFoundError)


def _is_other(error: Exception) -> bool:
    """Return whether an object that users name holds something else by now, as it may."""
    return isinstance(error, StoreError) and (
        error.__cause__ is None or isinstance(error.__cause__, EOFError)
    )


def among_first(spans: Sequence[Span], most: int) -> int:
    """Return how many of a chunk's elements, from its start, are among the map's first ones."""
    count = 0
    for start, stop in spans:
        if start >= most:
            break
        count += min(stop, most) - start
    return count
