"""Credentials of a storage: named in its options, looked up in each process, masked, never pickled.

An option such as `"env:MY_SECRET"` or `"file:/run/secrets/token"` stands for what that variable or
file holds where the storage is connected. One that is written out stays in its process.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanfold.values.secrets import FILE, KNOWN, VARIABLE, hide, is_reference, is_secret

Options = Mapping[str, Any]

_BESIDE = frozenset({"key", "username", "user", "aws_access_key_id"})
"""Go with a secret: without it they would keep a process from finding credentials of its own."""


def divided(options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return options without the secrets that are written out in them, and those secrets."""
    plain: dict[str, Any] = {}
    held: dict[str, Any] = {}
    secrets = {name for name, value in options.items() if is_secret(name, value)}
    for name, value in options.items():
        if name in secrets or (secrets and name in _BESIDE and not is_reference(value)):
            held[name] = value
        elif isinstance(value, Mapping):
            plain[name], inside = divided(value)
            if inside:
                held[name] = inside
        else:
            plain[name] = value
    hide(held)
    return plain, held


def joined(options: Options, more: Options) -> dict[str, Any]:
    """Return options with others put into them, which count where both have one."""
    both = dict(options)
    for name, value in more.items():
        inner = both.get(name)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = joined(inner, value)
        both[name] = value
    return both


def resolved(options: Options) -> dict[str, Any]:
    """Return options with what is named in them, which is masked from then on.

    Raises:
        LookupError: A variable isn't set here.
        OSError: A file can't be read.
    """
    return {name: _resolved(name, value) for name, value in options.items()}


def frozen(value: Any) -> Any:
    """Return something hashable that is equal for equal options."""
    if isinstance(value, Mapping):
        return frozenset((name, frozen(part)) for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(frozen, value))
    return value if getattr(value, "__hash__", None) is not None else id(value)


def _resolved(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return resolved(value)
    if not isinstance(value, str):
        return value
    if found := VARIABLE.fullmatch(value):
        text = os.environ.get(found[1])
        if text is None:
            raise LookupError(
                f"its option {name} is {value}, but {found[1]} isn't in the environment here"
            )
    elif found := FILE.fullmatch(value):
        text = Path(found[1]).expanduser().read_text().strip()
    else:
        return value
    KNOWN.add(text)
    return text
