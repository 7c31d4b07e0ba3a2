"""Credentials of a storage: named in its options, looked up in each process, masked, never pickled.

An option such as `"env:MY_SECRET"` or `"file:/run/secrets/token"` stands for what that variable or
file holds where the storage is connected. One that is written out stays in its process.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanfold.values.secrets import KNOWN

Options = Mapping[str, Any]

_SECRET = re.compile(
    r"secret|token|passw|passphrase|credential|connection_string|(account|private)_key$",
    re.IGNORECASE,
)
_BESIDE = frozenset({"key", "username", "user", "aws_access_key_id"})
"""Go with a secret: without it they would keep a process from finding credentials of its own."""
_WAYS = frozenset({"anon", "browser", "cache", "cloud", "google_default"})
"""Of gcsfs to find credentials, where others have a token."""
_VARIABLE = re.compile(r"env:([A-Za-z_]\w*)", re.ASCII)
_FILE = re.compile(r"file:(?!//)(.+)")


def divided(options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return options without the secrets that are written out in them, and those secrets."""
    plain: dict[str, Any] = {}
    held: dict[str, Any] = {}
    secrets = {name for name, value in options.items() if _is_secret(name, value)}
    for name, value in options.items():
        if name in secrets or (secrets and name in _BESIDE and not _is_reference(value)):
            held[name] = value
        elif isinstance(value, Mapping):
            plain[name], inside = divided(value)
            if inside:
                held[name] = inside
        else:
            plain[name] = value
    learn(held)
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


def learn(options: Options) -> None:
    """Mask the secrets that are written out in options, wherever something is shown."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            learn(value)
        elif isinstance(value, str) and _is_secret(name, value):
            KNOWN.add(value)


def frozen(value: Any) -> Any:
    """Return something hashable that is equal for equal options."""
    if isinstance(value, Mapping):
        return frozenset((name, frozen(part)) for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(frozen, value))
    return value if getattr(value, "__hash__", None) is not None else id(value)


def _is_secret(name: str, value: Any) -> bool:
    """Return whether an option is a secret that is written out."""
    if not value or isinstance(value, (bool, int, float)) or _is_reference(value):
        return False
    return bool(_SECRET.search(name)) and not (isinstance(value, str) and value in _WAYS)


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and bool(_VARIABLE.fullmatch(value) or _FILE.fullmatch(value))


def _resolved(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return resolved(value)
    if not isinstance(value, str):
        return value
    if found := _VARIABLE.fullmatch(value):
        text = os.environ.get(found[1])
        if text is None:
            raise LookupError(
                f"its option {name} is {value}, but {found[1]} isn't in the environment here"
            )
    elif found := _FILE.fullmatch(value):
        text = Path(found[1]).expanduser().read_text().strip()
    else:
        return value
    KNOWN.add(text)
    return text
