"""Values that nobody should read in logs, in the history or on a screen."""

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from fanfold.values.errors import UsageError

COVER = "**********"
"""What is shown in a secret's place."""
SHORTEST = 4
"""Characters that a secret must have to be masked: a shorter one is in every other word."""
VARIABLE = re.compile(r"env:([A-Za-z_]\w*)", re.ASCII)
FILE = re.compile(r"file:(?!//)(.+)")
"""How an option may name where its value is."""
_SECRET = re.compile(
    r"secret|token|passw|passphrase|credential|connection_string|(account|private|access)_key$"
    r"|^auth$|authorization|api[_-]?key",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"://[^/?#\s:@]*:(?!\d+(?:[/?#]|$))([^\s@]+)@")
"""A password in a URL; what are digits alone is a port."""
_WAYS = frozenset({"anon", "browser", "cache", "cloud", "google_default"})
"""Of Google's storage to find credentials, where others have a token."""
_FEW = 64
"""So many are looked for one by one, which takes 50 ns each; more by how they begin."""


class Secret:
    """A text that is shown as asterisks, and masked in what Fanfold records and shows of runs.

    Flows and tasks take it as any other argument: it pickles, compares by value, has a stable
    cache key, and pydantic makes it of a text where a flow's parameter is annotated with it.

    Args:
        value: The text to hide. One of fewer than 4 characters isn't masked inside other texts.

    Raises:
        UsageError: It is no text.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"Secret() takes a text, not a {type(value).__name__}.")
        self._value = value
        KNOWN.add(value)

    def get(self) -> str:
        """Return the text itself."""
        return self._value

    def get_secret_value(self) -> str:
        """Return the text itself, by the name that pydantic has for it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __str__(self) -> str:
        return COVER

    def __repr__(self) -> str:
        return f"Secret({COVER!r})"

    def __format__(self, spec: str) -> str:
        return format(COVER, spec)

    def __reduce__(self) -> tuple[Any, ...]:
        # By the constructor, so that a process which unpickles it masks it too.
        return Secret, (self._value,)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # it is pydantic that asks

        shown = core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        return core_schema.no_info_plain_validator_function(_made, serialization=shown)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "writeOnly": True, "format": "password"}


def _made(given: object) -> Secret:
    """Return what a caller gave as a secret; raises as pydantic's validators do."""
    if isinstance(given, Secret):
        return given
    if not isinstance(given, str):
        unwrap = getattr(given, "get_secret_value", None)
        given = unwrap() if unwrap is not None else None
    if not isinstance(given, str):
        raise ValueError("a Secret or a text is wanted")
    return Secret(given)


class Known:
    """Texts to be masked. Thread-safe; looking takes no lock."""

    def __init__(self) -> None:
        self.longest = 0
        """Characters of the longest of them."""
        self._few: tuple[str, ...] | None = ()
        """All of them, None if there are many."""
        self._by_start: dict[str, tuple[str, ...]] = {}
        """Of the first characters; the tuples are replaced, never changed."""
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return self.longest > 0

    def add(self, secret: str) -> None:
        """Look for a text from now on, and for how it is written in JSON, Python and URLs."""
        if len(secret) < SHORTEST:
            return
        if secret in self._by_start.get(secret[:SHORTEST], ()):
            return
        with self._lock:
            for form in _written(secret):
                start = form[:SHORTEST]
                same = self._by_start.get(start, ())
                if form in same:
                    continue
                self._by_start[start] = (*same, form)
                if self._few is not None:
                    few = (*self._few, form)
                    self._few = few if len(few) <= _FEW else None
                self.longest = max(self.longest, len(form))

    def unlock(self) -> None:
        """Be free in a forked process, in which no other thread is left that is adding."""
        self._lock = threading.Lock()

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where in a text they stand, in any order; they may overlap."""
        found: list[tuple[int, int]] = []
        few = self._few
        if few is not None:
            for secret in few:
                at = text.find(secret)
                while at >= 0:
                    found.append((at, at + len(secret)))
                    at = text.find(secret, at + 1)
            return found
        by_start = self._by_start
        for at in range(len(text) - SHORTEST + 1):
            for secret in by_start.get(text[at : at + SHORTEST], ()):
                if text.startswith(secret, at):
                    found.append((at, at + len(secret)))
        return found


def _written(secret: str) -> set[str]:
    forms = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        quote(secret, safe="", errors="surrogatepass"),
    }
    return {form for form in forms if len(form) >= SHORTEST}


def untold(error: BaseException, masked: Callable[[object], str]) -> BaseException | None:
    """Return an error to chain another to; None if it, or what led to it, tells what is masked."""
    one: BaseException | None = error
    while one is not None:
        if masked(one) != str(one):
            return None
        one = one.__cause__ or one.__context__
    return error


def is_secret(name: str, value: object) -> bool:
    """Return whether an option is a secret that is written out."""
    if isinstance(value, (list, tuple)):
        parts: list[object] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        return not any(map(is_reference, parts)) and any(is_secret(name, part) for part in parts)
    if not value or isinstance(value, (bool, int, float)) or is_reference(value):
        return False
    if isinstance(value, Secret) or (isinstance(value, str) and _IN_URL.search(value)):
        return True
    return bool(_SECRET.search(name)) and not (isinstance(value, str) and value in _WAYS)


def hide(options: Mapping[str, Any]) -> None:
    """Mask the secrets that are written out in options, wherever something is shown."""
    for name, value in options.items():
        _hide(name, value)


def _hide(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        hide(value)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _hide(name, part)
    elif isinstance(value, str) and is_secret(name, value):
        KNOWN.add(value)
        for password in _IN_URL.findall(value):
            KNOWN.add(unquote(password))
        if "authorization" in name.lower():
            KNOWN.add(value.rpartition(" ")[2])  # behind a word such as Bearer


def is_reference(value: object) -> bool:
    """Return whether an option names a variable or a file that holds what it stands for."""
    return isinstance(value, str) and bool(VARIABLE.fullmatch(value) or FILE.fullmatch(value))


KNOWN = Known()
"""Those that this process has seen: made, unpickled, or among a flow's parameters."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=KNOWN.unlock)
