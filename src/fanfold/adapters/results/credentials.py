"""Credentials of a storage: named in its options, looked up in each process, masked, never pickled.

An option such as `"env:MY_SECRET"` or `"file:/run/secrets/token"` stands for what that variable or
file holds where the storage is connected. One that is written out stays in its process.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanfold.values.secrets import FILE, KNOWN, VARIABLE, Secret, hide, is_reference, is_secret

Options = Mapping[str, Any]

_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")
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
            left, inside = divided(value)
            if inside:
                held[name] = inside
            if left or not inside:  # an empty one may mean that there shall be nothing
                plain[name] = left
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
        LookupError: A variable isn't set here, or a file can't be read.
    """
    return {name: _resolved(name, value) for name, value in options.items()}


def unknown_option(error: TypeError) -> TypeError:
    """Return an error that says where an option was given that a file system doesn't have."""
    found = _UNKNOWN.search(str(error))
    if found is None:
        return error
    meant = " Did you mean endpoint_url?" if found[1] == "endpoint" else ""
    return TypeError(
        f"there is no option {found[1]} for this storage. Correct it in the options of FsspecStore "
        f"or in the setting results.storage_options.{meant}"
    )


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
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_resolved(name, part) for part in value)
    if isinstance(value, Secret):
        return value.get()
    if not isinstance(value, str):
        return value
    if found := VARIABLE.fullmatch(value):
        text = os.environ.get(found[1])
        if text is None:
            raise LookupError(
                f"its option {name} is {value}, but {found[1]} isn't in the environment here"
            )
    elif found := FILE.fullmatch(value):
        try:
            text = Path(found[1]).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            # Not an OSError: one of them means that there is no such object.
            reason = getattr(error, "strerror", None) or str(error)
            raise LookupError(
                f"its option {name} is {value}, but {found[1]} can't be read here: {reason}"
            ) from None
    else:
        return value
    KNOWN.add(text)
    return text
