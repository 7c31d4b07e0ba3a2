"""Where a transaction with a key keeps what was staged in it.

The object holds the value as its serializer writes it, for others to read. Where others may also
write, an index beside it signs its digest, and without that the record was never written.
"""

import logging
from dataclasses import dataclass
from typing import Any

from fanfold.engine import keys
from fanfold.engine.results import object_names, segments
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.payloads import RAW, from_raw, raw
from fanfold.engine.results.segments import Damaged, Record
from fanfold.ports.results import Buffer, ResultStore
from fanfold.values.errors import StoreError

logger = logging.getLogger("fanfold.results")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRecord:
    """The record of one transaction."""

    store: ResultStore
    key: str
    keyring: Keyring | None = None
    """Signs it; None where nobody else can write."""
    serializer: Any = "pickle"

    @property
    def name(self) -> str:
        """The object's name."""
        return object_names.transaction_name(self.key)

    @property
    def claimed(self) -> str:
        """What is claimed by who wants to be the only one that writes it."""
        return object_names.claim_prefix("transactions", keys.digest(self.key))

    def exists(self) -> bool:
        """Return whether it was written, by somebody who is believed.

        Raises:
            StoreError: The store can't be asked.
        """
        if self.keyring is not None:
            return self._payload(self.keyring) is not None
        return _read(self.store, self.name, 0) is not None

    def read(self) -> Any:
        """Return its value, None if it wasn't written.

        Raises:
            StoreError: It can't be read.
        """
        keyring = self.keyring
        payload = _read(self.store, self.name) if keyring is None else self._payload(keyring)
        return from_raw(self.serializer, payload) if payload is not None else None

    def write(self, value: Any) -> None:
        """Write it, in place of an older one.

        Raises:
            Exception: The value can't be serialized, or the object not be written.
        """
        payload = raw(self.serializer, value)
        self.store.write(self.name, [payload])
        if self.keyring is not None:
            sign(self.store, self.name, payload, self.keyring)

    def _payload(self, keyring: Keyring) -> Buffer | None:
        """Return what the object holds if it is signed, else None; tells what isn't."""
        payload = _read(self.store, self.name)
        if payload is None:
            return None
        try:
            check(self.store, self.name, payload, keyring)
        except Damaged as error:
            logger.warning(
                "%s: %s. The transaction %s isn't taken for committed.", self.store, error, self.key
            )
            return None
        return payload


def sign(store: ResultStore, name: str, payload: Buffer, keyring: Keyring) -> None:
    """Write the index that says what an object of this name holds.

    Raises:
        StoreError: It can't be written.
    """
    digest = segments.digest([payload])
    record = Record(
        key=digest, offset=0, length=memoryview(payload).nbytes, digest=digest, codec=RAW
    )
    beside = object_names.signature_name(name)
    store.write(beside, [segments.pack_index({name: (record,)}, beside, keyring)])


def check(store: ResultStore, name: str, payload: Buffer, keyring: Keyring) -> None:
    """Raise unless an index that is believed says that an object of this name holds that.

    Raises:
        Damaged: None does.
        StoreError: The store can't be asked.
    """
    beside = object_names.signature_name(name)
    signed = _read(store, beside)
    if signed is None:
        raise Damaged(name, "isn't signed, and others may write to this storage")
    tables = segments.unpack_index(signed, beside, keyring).records()
    if [record.digest for record in tables.get(name, ())] != [segments.digest([payload])]:
        raise Damaged(name, f"is damaged: it doesn't have the digest that {beside} signs")


def _read(store: ResultStore, name: str, length: int | None = None) -> Buffer | None:
    """Return an object's content, or the beginning of it; None if there is no such object."""
    try:
        return store.read(name, 0, length)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
