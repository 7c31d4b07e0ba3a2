"""What two cache keys were made from, compared part by part. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fanfold.engine.keys.makers import CODE
from fanfold.engine.keys.parts import SECRET

KEY = "key"
"""The part that is the key itself, in hex digits."""
_FIRST = ("task", "policy")
_ORDER = (*_FIRST, "argument ", "flow parameter ", "what ", "policy ", CODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a key was made from."""

    parts: Mapping[str, str]
    """By name: short texts, or digests; without the key itself."""
    code: Mapping[str, str]
    """Parts of the task's code; empty if the key has none, or nobody knows them."""
    key: str = ""
    """Empty where only what several calls share is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A part that isn't the same in both."""

    part: str
    one: str | None
    """None where there is no such part."""
    other: str | None


def made(shared: Mapping[str, str], own: Mapping[str, str], code: Mapping[str, str]) -> Made:
    """Return what a key was made from.

    Args:
        shared: Parts that calls of a map have in common.
        own: Those of the call.
        code: Those of the task's code.
    """
    parts = {**shared, **own}
    key = parts.pop(KEY, "")
    return Made(parts={name: parts[name] for name in sorted(parts, key=_place)}, code=code, key=key)


def differences(one: Made, other: Made) -> Sequence[Difference]:
    """Return what differs: the code by its parts, where those are known of both."""
    found = _differing(one.parts, other.parts)
    if not (one.code and other.code):
        return found
    code = [
        Difference(part=f"{CODE}: {each.part}", one=each.one, other=each.other)
        for each in _differing(one.code, other.code)
    ]
    return [each for each in found if each.part != CODE or not code] + code


def untold(one: Made, other: Made) -> Sequence[str]:
    """Return the parts that may differ, but of which no digest is kept: secrets."""
    return [
        name
        for name, part in one.parts.items()
        if part == SECRET and other.parts.get(name) == SECRET
    ]


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(part=name, one=one.get(name), other=other.get(name))
        for name in sorted({*one, *other}, key=_place)
        if one.get(name) != other.get(name)
    ]


def _place(name: str) -> tuple[int, str]:
    """Return where a part stands: what people look for first comes first."""
    for place, start in enumerate(_ORDER):
        if name == start or (start.endswith(" ") and name.startswith(start)):
            return place, name
    return len(_ORDER), name
