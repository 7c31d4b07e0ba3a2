"""Times, sizes, states and texts of others, as people and programs read them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from fanfold.engine.wording import share, span
from fanfold.values.facts import now_us
from fanfold.values.states import StateName, StateType
from fanfold.values.usage import Usage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
"""Seconds of the units of an age, the largest first."""
_SIZES = ("kB", "MB", "GB", "TB")
_STYLES = {
    StateType.COMPLETED: "green",
    StateType.FAILED: "red",
    StateType.CRASHED: "bold red",
    StateType.CANCELLED: "yellow",
    StateType.CANCELLING: "yellow",
    StateType.PAUSED: "yellow",
    StateType.RUNNING: "cyan",
}
_BAD = (StateType.FAILED, StateType.CRASHED)


def moment(at_us: int) -> datetime:
    """Return a time of the history, in UTC."""
    return _EPOCH + timedelta(microseconds=at_us)


def iso(at_us: int) -> str:
    """Return a time for programs: "2026-05-03T14:02:11.250000Z"."""
    return f"{moment(at_us).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def local(at_us: int) -> str:
    """Return a time for people where they are: "2026-05-03 14:02:11"."""
    return moment(at_us).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(at_us: int, now: int | None = None) -> str:
    """Return how long ago something was: "3 min ago"; "now" within a second.

    Args:
        at_us: When it was.
        now: The time to count from, in microseconds; this machine's clock by default.
    """
    seconds = int(((now_us() if now is None else now) - at_us) / SECOND_US)
    for unit, name in _AGES:
        if abs(seconds) >= unit:
            count = abs(seconds) // unit
            # Clocks of several machines may differ by some seconds.
            return f"{count:,} {name} ago" if seconds > 0 else f"in {count:,} {name}"
    return "now"


def took(started_us: int | None, ended_us: int | None, now: int | None = None) -> str:
    """Return how long something took, or takes so far; empty for what hasn't started."""
    if started_us is None:
        return ""
    until = ended_us if ended_us is not None else (now_us() if now is None else now)
    return span(max(0, until - started_us) / SECOND_US)


def size(count_bytes: int) -> str:
    """Return a size for people: "812 bytes", "4.2 kB", "120 MB"."""
    if count_bytes < 1_000:
        return f"{count_bytes} byte{'s' if count_bytes != 1 else ''}"
    value, unit = count_bytes / 1_000, 0
    while value >= 999.5 and unit < len(_SIZES) - 1:
        value, unit = value / 1_000, unit + 1
    return f"{value:.1f} {_SIZES[unit]}" if value < 9.95 else f"{value:,.0f} {_SIZES[unit]}"


def memory(count_bytes: int) -> str:
    """Return an amount of memory in the units in which it is asked for: "310 MiB", "1.5 GiB"."""
    value, unit = count_bytes / 2**20, "MiB"
    if value >= 1_023.5:
        value, unit = value / 2**10, "GiB"
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"


def costs(usage: Usage) -> str:
    """Return what elements needed: "cpu 12 ms, wall 15 ms per element, up to 310 MiB"."""
    parts: list[str] = []
    if usage.elements:
        times = {"cpu": usage.cpu_s, "wall": usage.wall_s}
        told = ", ".join(f"{name} {_short_span(s)}" for name, s in times.items() if s)
        parts.append(f"{told} per element" if usage.elements > 1 else told)
    if usage.peak_bytes:
        rise = f" ({memory(usage.rise_bytes)} more than before)" if usage.rise_bytes else ""
        parts.append(f"up to {memory(usage.peak_bytes)}{rise}")
    return ", ".join(part for part in parts if part)


def _short_span(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 0.0009995 else span(seconds)


def plural(count: int, noun: str, several: str = "") -> str:
    """Return a count with its noun: "1 line", "1,200 lines"."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def style(state: StateName) -> str:
    """Return the style in which a state is shown, as rich names it; empty for the plain one."""
    return _STYLES.get(state.type, "")


def state_words() -> list[str]:
    """Return what may be typed for states: types and names, in lower case."""
    words = [word for state in StateName for word in (state.type, state.label)]
    return list(dict.fromkeys(word.lower() for word in words))


def counted(counts: Mapping[StateName, int]) -> str:
    """Return how many elements are in which state: "647 Completed, 350 Cached (35 %), 3 Failed"."""
    whole = sum(counts.values())
    parts: list[str] = []
    for state in sorted(counts, key=_first_values_then_failures):
        if not counts[state]:
            continue
        cached = f" ({share(counts[state], whole)})" if state is StateName.CACHED else ""
        parts.append(f"{counts[state]:,} {state.label}{cached}")
    return ", ".join(parts)


def failed(counts: Mapping[StateName, int]) -> int:
    """Return how many elements failed or crashed."""
    return sum(count for state, count in counts.items() if state.type in _BAD)


def clean(text: str, end: str = "\n") -> str:
    """Return a text of others without what moves a terminal's cursor or changes its colours.

    Args:
        text: Whatever somebody called or logged something.
        end: What ends of lines become; tabs become spaces.
    """
    lines = (
        "".join(char if char.isprintable() else " " if char == "\t" else "\ufffd" for char in line)
        for line in text.splitlines()
    )
    return end.join(lines)


def data(value: Any) -> Any:
    """Return a record, or what is made of records, as JSON has it.

    Times are ISO texts in UTC, under names without `_us`; states are their names, bytes are left
    out.
    """
    if isinstance(value, StateName):
        return value.label
    if is_dataclass(value) and not isinstance(value, type):
        return dict(
            _field(each.name, getattr(value, each.name))
            for each in fields(value)
            if not isinstance(getattr(value, each.name), bytes)
        )
    if isinstance(value, Mapping):
        return {str(data(name)): data(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [data(each) for each in cast(tuple[Any, ...], value)]
    return value


def written(value: Any, *, indent: int | None = 2) -> str:
    """Return a record, or what is made of records, as a text of JSON; see `data`."""
    return json.dumps(data(value), indent=indent)


def _field(name: str, value: Any) -> tuple[str, Any]:
    if not name.endswith("_us"):
        return name, data(value)
    return name.removesuffix("_us"), None if value is None else iso(value)


_ORDER: Callable[[StateName], int] = list(StateName).index


def _first_values_then_failures(state: StateName) -> tuple[bool, int]:
    return not state.final, _ORDER(state)
