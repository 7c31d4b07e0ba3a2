"""The keys that sign what lies where others may write, and tell it from what others wrote.

What is read from such storage, and may be unpickled, was found right before that:

- An index carries a signature over its name and content; so do the records of transactions, by an
  index beside each. Only drivers have keys. `segments.unpack_index` checks before it parses.
- A payload, in a segment or an object of its own, is read through a reference that came with a
  verified index, a worker's report or a flow's state: `stored.decode` compares its digest first.
- What a chunk staged before its cluster ran it again is believed by a secret of its map.
- Of claims and probes the bytes alone are compared, or names and times listed; nothing is parsed.

What isn't signed, or wrongly, was never written. Somebody who can write there can still remove
results, keep claims from being had, and put back an index that was signed and removed: that is work
done anew or late, or what was once the result under that key; never another's code.

Pure; `signing_keys` says where the keys come from.
"""

import hmac
import re
from collections.abc import Sequence
from typing import Any

from blake3 import blake3

ID_BYTES = 16
"""Of a key's name in a signed object, in ASCII, filled up with zeros."""
SIGNATURE_BYTES = 32
KEY_BYTES = 32
"""That a key must have at least: as many as what is made of it."""
UNSIGNED = bytes(ID_BYTES), bytes(SIGNATURE_BYTES)
"""Key and signature of what nobody has signed."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,16}", re.ASCII)
_PURPOSE = "fanfold 2026 signatures of results"


class Keyring:
    """Some keys, the first of which signs. They never leave the process, nor show in a text.

    Args:
        keys: Each with its name.

    Raises:
        ValueError: There is none, two have one name, or one isn't what it must be.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        if not keys:
            raise ValueError("There is no key")
        for name, key in keys:
            if not is_id(name):
                raise ValueError(f"{name!r} can't name a key: up to 16 letters, digits, - and _")
            if len(key) < KEY_BYTES:
                raise ValueError(f"The key {name} has {len(key)} bytes, not {KEY_BYTES} or more")
        self._keys = {name: blake3(key, derive_key_context=_PURPOSE).digest() for name, key in keys}
        if len(self._keys) < len(keys):
            raise ValueError("Two keys have one name")

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(self._keys)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyring) and list(self._keys.items()) == list(other._keys.items())

    def __hash__(self) -> int:
        return hash(tuple(self._keys.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("Signing keys stay in their process")

    @property
    def ids(self) -> tuple[str, ...]:
        """The names of the keys."""
        return tuple(self._keys)

    @property
    def first_id(self) -> bytes:
        """The name of the key that signs, filled up."""
        return next(iter(self._keys)).encode("ascii").ljust(ID_BYTES, b"\0")

    def sign(self, message: bytes) -> bytes:
        """Return the signature of the first key."""
        return _signature(next(iter(self._keys.values())), message)

    def problem(self, key_id: bytes, signature: bytes, message: bytes) -> str:
        """Return why a message isn't believed, to follow its name; empty if one of these signed it.

        Args:
            key_id: The name of the key as it lies there, filled up; anything at all.
            signature: What is beside it.
            message: What was signed.
        """
        if (key_id, signature) == UNSIGNED:
            return "isn't signed, and others may write to this storage"
        name = key_id.rstrip(b"\0").decode("ascii", "replace")
        key = self._keys.get(name)
        if key is None:
            told = f"{name!r}" if is_id(name) else "of no possible name"
            return (
                f"is signed with the key {told}, which isn't known here (known: "
                f"{', '.join(self._keys)}); if keys were changed, add the old one to "
                "results.signing_keys, behind the new one"
            )
        if not hmac.compare_digest(signature, _signature(key, message)):
            return (
                f"has a wrong signature of the key {name!r}: it was changed or put there by others"
            )
        return ""


def is_id(name: str) -> bool:
    """Return whether a key can have this name."""
    return _ID.fullmatch(name) is not None


def _signature(key: bytes, message: bytes) -> bytes:
    return blake3(message, key=key).digest(SIGNATURE_BYTES)
