"""What the value of a setting may be: parsed from text as well as from what TOML holds."""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

from fanfold.engine.results.codec_names import ACCEPTED, SERIALIZERS
from fanfold.values.secrets import KNOWN, hide
from fanfold.values.states import StateName

T = TypeVar("T")
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Colors = Literal["auto", "true", "false"]
Progress = Literal["auto", "on", "off", "plain"]


class Kind(NamedTuple, Generic[T]):
    """A set of values, and how each may be written."""

    parse: Callable[[object, str], T]
    """Takes what was written and the folder that relative paths start from.

    Raises ValueError, TypeError or KeyError for what isn't of the kind.
    """
    allowed: str
    """What it takes, as the end of "it takes ..."."""
    hidden: bool = False
    """Whether what was written may be a secret, so that no error repeats it."""


def or_none(kind: Kind[T]) -> Kind[T | None]:
    """Return the kind that takes None, or the text `none`, as well."""

    def parse(written: object, folder: str) -> T | None:
        if written is None or (isinstance(written, str) and written.strip().lower() == "none"):
            return None
        return kind.parse(written, folder)

    return Kind(parse=parse, allowed=f"{kind.allowed}, or none")


def one_of(choices: Mapping[str, T]) -> Kind[T]:
    """Return the kind that takes these words, whatever their case; `true` stands for True too."""

    def parse(written: object, folder: str) -> T:
        if not isinstance(written, (bool, str)):
            raise TypeError(written)
        return choices[str(written).strip().lower()]

    return Kind(parse=parse, allowed=f"one of {', '.join(choices)}")


def _whole(written: object, folder: str, *, least: int) -> int:
    if isinstance(written, bool) or not isinstance(written, (int, str)):
        raise TypeError(written)
    number = int(written)
    if number < least:
        raise ValueError(written)
    return number


def _seconds(written: object, folder: str) -> float:
    if isinstance(written, bool) or not isinstance(written, (int, float, str)):
        raise TypeError(written)
    number = float(written)
    if not math.isfinite(number) or number < 0:
        raise ValueError(written)
    return number


def _delays(written: object, folder: str) -> float | tuple[float, ...]:
    if isinstance(written, str) and ("," in written or "[" in written):
        written = written.strip().removeprefix("[").removesuffix("]").split(",")
    if not isinstance(written, (list, tuple)):
        return _seconds(written, folder)
    if not written:
        raise ValueError(written)
    return tuple(_seconds(delay, folder) for delay in written)


def _word(written: object, folder: str) -> str:
    if not isinstance(written, str):
        raise TypeError(written)
    if not written.strip():
        raise ValueError(written)
    return written.strip()


def _words(written: object, folder: str) -> tuple[str, ...]:
    if isinstance(written, str):
        return tuple(word.strip() for word in written.split(",") if word.strip())
    if not isinstance(written, (list, tuple)):
        raise TypeError(written)
    return tuple(_word(word, folder) for word in written)


def _patterns(written: object, folder: str) -> tuple[str, ...]:
    patterns = written.split() if isinstance(written, str) else written
    if not isinstance(patterns, (list, tuple)):
        raise TypeError(written)
    words = tuple(_word(pattern, folder) for pattern in patterns)
    for word in words:
        try:
            re.compile(word)
        except re.error as error:
            raise ValueError(str(error)) from error
    return words


def _keys(written: object, folder: str) -> tuple[str, ...]:
    if isinstance(written, Mapping):
        written = [f"{name}={source}" for name, source in written.items()]
    found: list[str] = []
    for word in _words(written, folder):
        name, _, source = (part.strip() for part in word.partition("="))
        kind, colon, place = source.partition(":")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,16}", name, re.ASCII):
            raise ValueError(name)
        if not colon:
            if not bytes.fromhex(source):
                raise ValueError(name)
            KNOWN.add(source)
        elif not place or kind not in ("env", "file"):
            raise ValueError(kind)
        found.append(
            f"{name}=file:{_folder(place, folder)}" if kind == "file" else f"{name}={source}"
        )
    if len({word.partition("=")[0] for word in found}) < len(found):
        raise ValueError("two keys have one name")
    return tuple(found)


def _options(written: object, folder: str) -> str:
    """Return options as JSON, which is as immutable as the values of other settings."""
    if isinstance(written, str) and written.strip().startswith("{"):
        written = json.loads(written)
    if not isinstance(written, Mapping):
        pairs = [word.partition("=") for word in _words(written, folder)]
        if not all(name.strip() and equals for name, equals, _ in pairs):
            raise ValueError(written)
        written = {name.strip(): value.strip() for name, _, value in pairs}
    hide(written)
    return json.dumps(written, sort_keys=True) if written else ""


def _days_by_state(written: object, folder: str) -> tuple[str, ...]:
    if isinstance(written, Mapping):
        written = [f"{name}={days}" for name, days in written.items()]
    found: list[str] = []
    for word in _words(written, folder):
        name, _, days = word.partition("=")
        state = _FINAL_STATES[name.strip().lower()]
        found.append(f"{state.label}={_seconds(days, folder):g}")
    return tuple(found)


def _codecs(written: object, folder: str) -> tuple[str, ...]:
    names = _words(written, folder)
    if unknown := set(names) - set(ACCEPTED):
        raise ValueError(unknown)
    return names


def _history(written: object, folder: str) -> str:
    word = _word(written, folder)
    if word.lower() in ("off", "false", "none"):
        return OFF
    if ":" not in word:
        raise ValueError(word)
    return word


def _folder(written: object, folder: str) -> Path:
    path = written if isinstance(written, Path) else Path(_word(written, folder))
    return Path(folder or os.sep, path.expanduser())


def _place(written: object, folder: str) -> str:
    if isinstance(written, str) and "://" in written:
        return written.strip()
    return str(_folder(written, folder))


_FLAGS = {
    **{"true": True, "1": True, "yes": True, "on": True},
    **{"false": False, "0": False, "no": False, "off": False},
}
_LEVELS: dict[str, Level] = {
    "debug": "DEBUG",
    "info": "INFO",
    "warning": "WARNING",
    "error": "ERROR",
    "critical": "CRITICAL",
}
_COLORS: dict[str, Colors] = {"auto": "auto", "true": "true", "false": "false"}
_PROGRESS: dict[str, Progress] = {"auto": "auto", "on": "on", "off": "off", "plain": "plain"}

OFF = "off"
"""Of a history: none is kept."""
_FINAL_STATES = {state.label.lower(): state for state in StateName if state.final}

FLAG = Kind(parse=one_of(_FLAGS).parse, allowed="true or false")
COUNT = Kind(parse=partial(_whole, least=0), allowed="a whole number from 0")
WORKERS = or_none(Kind(parse=partial(_whole, least=1), allowed="a whole number from 1"))
SECONDS = Kind(parse=_seconds, allowed="a number of seconds from 0")
DELAYS = Kind(parse=_delays, allowed="a number of seconds, or a list of them such as 1,10,60")
WORD = Kind(parse=_word, allowed="a name")
WORDS = Kind(parse=_words, allowed="names with commas between them, or a list of names")
PATTERNS = Kind(
    parse=_patterns, allowed="regular expressions with spaces between them, or a list of them"
)
KEYS = Kind(
    parse=_keys,
    allowed="keys with commas between them, each as ID=env:VARIABLE, ID=file:PATH or ID=HEX",
    hidden=True,
)
DAYS = Kind(parse=_seconds, allowed="a number of days from 0")
DAYS_BY_STATE = Kind(
    parse=_days_by_state, allowed="final states and days such as completed=30,failed=365"
)
SERIALIZER = one_of({name: name for name in SERIALIZERS})
CODECS = Kind(parse=_codecs, allowed=f"some of {','.join(ACCEPTED)}")
HISTORY = Kind(
    parse=_history,
    allowed="a URL such as sqlite:////data/runs.db or postgresql://user@host/name, or off",
)
FOLDER = Kind(parse=_folder, allowed="a folder")
PLACE = Kind(parse=_place, allowed="a folder or a URL such as s3://bucket/results")
OPTIONS = Kind(parse=_options, allowed="name=value, with commas between them, or a JSON object")
LEVEL = one_of(_LEVELS)
COLORS = one_of(_COLORS)
PROGRESS = one_of(_PROGRESS)
