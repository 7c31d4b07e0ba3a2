"""How values that are no numbers or texts stand in a column of a table."""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from fanfold.adapters.history import rules
from fanfold.values.facts import Problem
from fanfold.values.states import StateName

_PLAIN, _ZLIB = b"\0", b"\1"
_WORTH_PACKING_BYTES = 64
"""Shorter columns of states don't get shorter."""


def packed(codes: bytes) -> bytes:
    """Return a column of states as it is kept: compressed where that pays (see its first byte)."""
    if len(codes) >= _WORTH_PACKING_BYTES:
        smaller = zlib.compress(codes, 1)
        if len(smaller) < len(codes):
            return _ZLIB + smaller
    return _PLAIN + codes


def unpacked(kept: bytes) -> bytes:
    """Return the states of what `packed` made."""
    return zlib.decompress(kept[1:]) if kept[:1] == _ZLIB else kept[1:]


def counts_text(counts: Mapping[StateName, int]) -> str:
    """Return counts as JSON: one text for the same counts, so that databases can group by it."""
    return json.dumps({str(int(state)): counts[state] for state in sorted(counts)})


def counts_of(text: str) -> dict[StateName, int]:
    """Return the counts of what `counts_text` made."""
    return {StateName(int(code)): count for code, count in json.loads(text).items()}


def tags_text(tags: Iterable[str]) -> str:
    """Return tags as lines of JSON, each between line breaks, so that one can be searched for."""
    return "".join(["\n", *(json.dumps(tag) + "\n" for tag in tags)])


def tags_of(text: str) -> tuple[str, ...]:
    """Return the tags of what `tags_text` made."""
    return tuple(json.loads(line) for line in text.split("\n") if line)


def problem_text(problem: Problem | None) -> str | None:
    """Return a problem as JSON."""
    if problem is None:
        return None
    return json.dumps([problem.kind, problem.message, problem.where, problem.traceback])


def problem_of(text: str | None) -> Problem | None:
    """Return the problem of what `problem_text` made."""
    if text is None:
        return None
    kind, message, where, traceback = json.loads(text)
    return Problem(kind=kind, message=message, where=where, traceback=traceback)


def stored(row: Iterable[Any]) -> tuple[Any, ...]:
    """Return a row as databases take it: texts without what they refuse."""
    return tuple(rules.storable(value) if isinstance(value, str) else value for value in row)
