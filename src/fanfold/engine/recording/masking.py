"""Masks secrets in texts, before they are recorded or shown.

What is masked: every secret of at least 4 characters that this process has seen, also as it is
written in JSON, in Python and in URLs; and what matches `logging.masked`. Thread-safe.
"""

import json
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fanfold.engine import settings
from fanfold.engine.dataflow import hollow, substitute
from fanfold.values.secrets import KNOWN

if TYPE_CHECKING:
    from fanfold.values.facts import Fact, Problem

MASK = "********"
"""What stands for a secret, whatever its length."""
TEXTS = frozenset(
    {
        *("data", "description", "label", "message", "name", "parameters", "parts", "problem"),
        *("runner", "tags", "traceback"),
    }
)
"""Fields of facts that hold what users wrote. Masked ids or names of code would tie a fact to
nothing, so others are left alone."""
MOST_ITEMS = 1_000
"""Of a collection that is looked through for secrets: in a million numbers there are none."""
_COLLECTIONS = frozenset({list, tuple, set, frozenset, dict})
RUNS_KEPT = 1_000
"""Flow runs whose patterns are remembered, for facts that come after their end."""

T = TypeVar("T")
_Fact = TypeVar("_Fact", bound="Fact | Problem")
Patterns = tuple[str, ...]

_patterns_of: OrderedDict[str, Patterns] = OrderedDict()


def mask(text: str, patterns: Patterns | None = None) -> str:
    """Return a text without secrets; the same object where nothing is masked.

    Args:
        text: What is to be recorded or shown.
        patterns: Regular expressions; None for those of the settings.
    """
    if patterns is None:
        patterns = settings.current().logging_masked
    spans = KNOWN.spans(text) if KNOWN else []
    if patterns:
        found = [match.span() for one in _compiled(patterns) for match in one.finditer(text)]
        spans += [(start, stop) for start, stop in found if stop > start]
    return _covered(text, spans) if spans else text


def heed(flow_run_id: str) -> None:
    """Mask a flow run's facts by the patterns that hold here and now, not in the recorder."""
    patterns = settings.current().logging_masked
    if patterns:
        _patterns_of[flow_run_id] = patterns
        if len(_patterns_of) > RUNS_KEPT:
            _patterns_of.popitem(last=False)


def learn(parameters: Mapping[str, Any]) -> None:
    """Mask from now on what pydantic's secrets hide that are somewhere among parameters.

    Takes some 20 µs; so collections with more items than `MOST_ITEMS` aren't looked through.
    """
    types = sys.modules.get("pydantic.types")
    if types is None:
        return
    kinds = (types.SecretStr, types.SecretBytes, types.Secret)

    def seen(secret: Any) -> Any:
        hidden = secret.get_secret_value()
        if isinstance(hidden, bytes):
            KNOWN.add(repr(hidden)[2:-1])
            hidden = hidden.decode("utf-8", "replace")
        KNOWN.add(str(hidden))
        return secret

    for value in parameters.values():
        # Only of these is the length known at once; a Dask frame would have to be computed for it.
        if type(value) in _COLLECTIONS and len(value) > MOST_ITEMS:
            continue
        if type(value) not in (list, tuple) or not hollow(value, kinds):
            substitute(value, kinds, seen)


def masked(fact: _Fact) -> _Fact:
    """Return a fact without secrets in its texts; the same object where nothing is masked."""
    patterns = _patterns_of.get(getattr(fact, "flow_run_id", ""))
    if patterns is None:
        patterns = settings.current().logging_masked
    if not KNOWN and not patterns:
        return fact
    changes: dict[str, Any] = {}
    for name in _texts_of(type(fact)):
        value = getattr(fact, name)
        clean = _CLEAN.get(name, _masked)(value, patterns)
        if clean is not value:
            changes[name] = clean
    return replace(fact, **changes) if changes else fact


def _masked(value: Any, patterns: Patterns) -> Any:
    """Return a field of a fact, or a part of one, without secrets."""
    if isinstance(value, str):
        return mask(value, patterns) if value else value
    if is_dataclass(value):
        return masked_problem(cast("Problem", value), patterns)
    if isinstance(value, Mapping):
        parts = cast("Mapping[str, str]", value)
        clean = {name: mask(part, patterns) for name, part in parts.items()}
        return clean if clean != parts else parts
    if isinstance(value, tuple):
        texts = cast("tuple[str, ...]", value)
        covered = tuple(mask(part, patterns) for part in texts)
        return covered if covered != texts else texts
    return value


def masked_problem(problem: "Problem", patterns: Patterns | None = None) -> "Problem":
    """Return a problem without secrets in what it says."""
    message = mask(problem.message, patterns)
    traceback = mask(problem.traceback, patterns)
    if message is problem.message and traceback is problem.traceback:
        return problem
    return replace(problem, message=message, traceback=traceback)


def _json(data: str, patterns: Patterns) -> str:
    """Return JSON without secrets: text by text, so that it stays JSON."""
    if not patterns and mask(data, patterns) is data:
        return data
    return json.dumps(_walked(json.loads(data), lambda text: mask(text, patterns)))


def _named(parts: Mapping[str, str], patterns: Patterns) -> Mapping[str, str]:
    """Return parts without secrets in their names; digests stay as they are, to be compared."""
    clean = {mask(name, patterns): part for name, part in parts.items()}
    return clean if clean.keys() != parts.keys() else parts


_CLEAN: dict[str, Callable[[Any, Patterns], Any]] = {"data": _json, "parts": _named}
"""How fields are masked that aren't texts to be read."""


def _walked(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_walked(item, clean) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return {clean(name): _walked(item, clean) for name, item in entries.items()}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        written = str(value)
        covered = clean(written)
        return value if covered is written else covered
    return value


def _covered(text: str, spans: list[tuple[int, int]]) -> str:
    """Return a text with all that some span holds covered; what overlaps is covered as one."""
    spans.sort()
    parts: list[str] = []
    shown, (start, stop) = 0, spans[0]
    for after_start, after_stop in spans[1:]:
        if after_start < stop:
            stop = max(stop, after_stop)
            continue
        parts += [text[shown:start], MASK]
        shown, start, stop = stop, after_start, after_stop
    return "".join([*parts, text[shown:start], MASK, text[stop:]])


@lru_cache(maxsize=64)
def _compiled(patterns: Patterns) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in patterns)


@cache
def _texts_of(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name in TEXTS)
