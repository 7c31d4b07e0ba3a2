"""What a call's key is made from, told apart: the digest of each argument and of what is in it.

The key is the same as `digests.digest` makes it, and so is the work: each piece of the form is
digested once more as it is written. Big contents stand in the form as digests, so that is little.
"""

from collections.abc import Callable
from typing import Any, cast

from blake3 import blake3

from fanfold.engine.keys import digests
from fanfold.engine.keys.codes import PART_BYTES
from fanfold.engine.keys.forms import (
    VERSION,
    Above,
    EntryWriter,
    Unstable,
    head,
    write,
    write_entries,
    write_str,
    writer_of,
)
from fanfold.engine.keys.model_forms import FIELDS

MOST_MEMBERS = 16
"""A container of more is one part: a list that differs in a place differs in many."""
MOST_PARTS = 16
"""Containers beyond aren't looked into: a part costs some 2 µs, which each call pays."""
MOST_STEPS = 3
"""Of a path such as `config.days[3]`."""
SECRET = "secret"
"""Stands for what no digest is kept of: short secrets could be found by trying."""

_SEQUENCES = {list: b"l", tuple: b"u"}


def digest_in_parts(arguments: dict[str, Any], before: bytes = b"") -> tuple[bytes, dict[str, str]]:
    """Return a key of arguments, and digests of what it is made from by path.

    Args:
        arguments: By name.
        before: Part of the key too.

    Raises:
        KeyNotStable: Something in them has no form.
    """
    parts = _Parts()
    out = bytearray(before + VERSION)
    try:
        write_entries(arguments, out, {id(arguments): 0}, parts.entry("", "{}"))
    except Unstable:
        # The same error again, with all of its path.
        return digests.digest(arguments, "", before=before), {}
    return blake3(out).digest(digests.KEY_BYTES), parts.told


class _Parts:
    """Writes forms, and notes the digests of their parts."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def entry(self, path: str, step: str) -> EntryWriter:
        """Return what writes entries or fields of what is at a path."""

        def write_entry(name: Any, held: Any, out: bytearray, above: Above) -> None:
            if type(name) is str:
                write_str(name, out, above)
            else:
                write(name, out, above)
            shown = str(name) if step in (".{}", "{}") else repr(name)
            self._write(path + step.format(shown), held, out, above)

        return write_entry

    def _write(self, path: str, value: Any, out: bytearray, above: Above) -> None:
        inner = self._inner(path, value, above)
        if inner is not None:
            above[id(value)] = len(above)
            inner(value, out, above)
            del above[id(value)]
            return
        start = len(out)
        write(value, out, above)
        secret = hasattr(type(value), "get_secret_value")
        self.told[path] = SECRET if secret else blake3(out[start:]).hexdigest(PART_BYTES)

    def _inner(
        self, path: str, value: Any, above: Above
    ) -> Callable[[Any, bytearray, Above], None] | None:
        """Return what writes a value part by part; None where it is a part itself."""
        kind = cast("type[Any]", type(value))
        deep = len(above) > MOST_STEPS - 1 or id(value) in above
        if deep or len(self.told) >= MOST_PARTS:
            return None
        if kind is dict or kind in _SEQUENCES:
            if not 0 < len(value) <= MOST_MEMBERS:
                return None
            if kind is dict:
                each = self.entry(path, "[{}]")
                return lambda value, out, above: write_entries(value, out, above, each)
            return lambda value, out, above: self._sequence(path, value, out, above)
        fields = FIELDS.get(writer_of(kind))
        if fields is None:
            return None
        field = self.entry(path, ".{}")
        return lambda value, out, above: fields(value, out, above, field)

    def _sequence(self, path: str, value: Any, out: bytearray, above: Above) -> None:
        out += head(_SEQUENCES[type(value)], len(value))
        for place, item in enumerate(value):
            self._write(f"{path}[{place}]", item, out, above)
