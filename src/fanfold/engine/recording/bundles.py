"""Lines of logs as they travel home: many in one message, what they share only once.

A message is `LINE` and a pickle of (speakers, places, lines). A speaker is the run that said
something, a place the statement that did, and a line refers to both by their numbers.
"""

import logging
import os.path
import pickle
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from fanfold.engine.context import FLOW_RUN, TASK_RUN, RunInfo
from fanfold.engine.recording.sinks import LINE

MOST_BYTES = 12 << 10
"""Of a message. Dask's scheduler keeps the last 1,000 of a session, and 16 KiB is much to it."""
LONGEST_BYTES = 7 << 10
"""Of a line's text; a longer one is cut, and says so."""
LONGEST_TRACE_BYTES = 4 << 10
"""Of an exception or a stack below it; of longer ones the two ends are kept."""
_SPEAKER_BYTES, _PLACE_BYTES, _LINE_BYTES = 250, 60, 32
"""What they take beside the texts in them, about."""
DROPPED = "dropped"
"""Attribute of a record from another process: for how many lines it stands that were dropped."""
LOGGERS = {FLOW_RUN: "fanfold.flow_runs", TASK_RUN: "fanfold.task_runs"}
"""Names of the loggers of runs."""


class Speaker(NamedTuple):
    """A run that says something, as its records name it."""

    under: tuple[str, ...]
    """Flow runs that its lines are recorded under: its own, then those that called it."""
    flow: tuple[str | None, str | None, str | None]
    """Id and name of the flow run around it, and its flow's name."""
    task: tuple[str | None, str | None, str | None]
    """Likewise of a task run."""
    single: bool


class Place(NamedTuple):
    """Where lines come from."""

    logger: str
    level: int
    level_name: str
    path: str
    line: int
    function: str | None
    process: int | None
    thread: str | None


class Line(NamedTuple):
    """What differs from line to line; travels as a plain tuple."""

    speaker: int
    place: int
    created: float
    text: str
    map_index: int | None = None
    """In the map; None for single calls and flows."""
    attempt: int | None = None
    name: str | None = None
    """Of an element that has a name of its own."""
    traces: tuple[str, str] | None = None
    """The exception and the stack, as text."""
    dropped: Mapping[int, int] | None = None
    """It stands for others that were dropped: how many of each level."""


class Said(NamedTuple):
    """The contents of a message."""

    speakers: Sequence[Speaker]
    places: Sequence[Place]
    lines: Sequence[Line]


class Bundle:
    """Collects lines until they are said; not thread-safe."""

    def __init__(self) -> None:
        self.size = 0
        """About as many bytes as their message will have."""
        self._speakers: dict[int, tuple[int, RunInfo]] = {}
        """By id of the info, which is held so that no other gets this id."""
        self._places: dict[Place, int] = {}
        self._lines: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, info: RunInfo, place: Place, line: Line) -> None:
        """Add a line; its numbers of speaker and place are found here.

        Args:
            info: Of the run that said it.
            place: Where.
            line: What, masked and not too long.
        """
        speaker = self._speakers.get(id(info))
        if speaker is None:
            speaker = self._speakers[id(info)] = len(self._speakers), info
            self.size += _SPEAKER_BYTES + 2 * len(info.name)
        number = self._places.get(place)
        if number is None:
            number = self._places[place] = len(self._places)
            self.size += _PLACE_BYTES + len(place.path) + len(place.logger)
        self._lines.append((speaker[0], number, *line[2:]))
        self.size += _LINE_BYTES + size_of(line.text)
        if line.traces is not None:
            self.size += sum(map(size_of, line.traces))

    def messages(self) -> Iterator[bytes]:
        """Yield messages that hold all lines, in order."""
        speakers = [_speaker(info) for _, info in self._speakers.values()]
        yield from _packed(speakers, [tuple(place) for place in self._places], self._lines)


def _packed(speakers: list[Any], places: list[Any], lines: list[Any]) -> Iterator[bytes]:
    message = LINE + pickle.dumps((speakers, places, lines), protocol=5)
    if len(message) <= MOST_BYTES or len(lines) == 1:
        yield message
        return
    half = len(lines) // 2
    yield from _packed(speakers, places, lines[:half])
    yield from _packed(speakers, places, lines[half:])


def opened(message: bytes) -> Said:
    """Return what a message holds."""
    speakers, places, lines = pickle.loads(memoryview(message)[1:])
    return Said(
        [Speaker(*each) for each in speakers],
        [Place(*each) for each in places],
        [Line(*each) for each in lines],
    )


def place_of(record: logging.LogRecord) -> Place:
    """Return where a record was made."""
    return Place(
        *(record.name, record.levelno, record.levelname, record.pathname, record.lineno),
        *(record.funcName, record.process, record.threadName),
    )


def record_of(said: Said, line: Line) -> logging.LogRecord:
    """Return a record like the one that the line was made of."""
    speaker, place = said.speakers[line.speaker], said.places[line.place]
    file, module = _file(place.path)
    task_id, task_name, task = speaker.task
    if line.map_index is not None and not speaker.single:
        task_id = f"{task_id}-{line.map_index}"
    trace, stack = line.traces or (None, None)
    facts = {
        **{"name": place.logger, "levelno": place.level, "levelname": place.level_name},
        **{"msg": line.text, "args": (), "created": line.created},
        **{"msecs": float(int(line.created % 1 * 1000)), "exc_text": trace or None},
        **{"pathname": place.path, "filename": file, "module": module, "lineno": place.line},
        **{"funcName": place.function, "process": place.process, "threadName": place.thread},
        **{"stack_info": stack or None, "flow_run_id": speaker.flow[0]},
        **{"flow_run_name": speaker.flow[1], "flow_name": speaker.flow[2]},
        **{"task_run_id": task_id, "task_run_name": line.name or task_name, "task_name": task},
        **{"map_index": line.map_index, "attempt": line.attempt},
        DROPPED: sum(line.dropped.values()) if line.dropped else 0,
    }
    return logging.makeLogRecord(facts)


def size_of(text: str) -> int:
    """Return how many bytes a text takes."""
    return len(text) if text.isascii() else len(_encoded(text))


def cut(text: str, most: int = LONGEST_BYTES) -> str:
    """Return a text that takes not many more bytes than that; a cut one says so."""
    if len(text) <= most and size_of(text) <= most:
        return text
    # A character takes a byte at least, so what is encoded is never much.
    kept = _encoded(text[:most])[:most].decode("utf-8", "ignore")
    return f"{kept}... ({len(text) - len(kept):,} more characters)"


def ends(text: str, most: int = LONGEST_TRACE_BYTES) -> str:
    """Return a text that takes not many more bytes than that: of a longer one the two ends."""
    if len(text) <= most and size_of(text) <= most:
        return text
    head = _encoded(text[: most // 2])[: most // 2].decode("utf-8", "ignore")
    tail = _encoded(text[-(most // 2) :])[-(most // 2) :].decode("utf-8", "ignore")
    left = len(text) - len(head) - len(tail)
    return f"{head}\n... {left:,} characters left out ...\n{tail}"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _speaker(info: RunInfo) -> tuple[Any, ...]:
    flow = info if info.kind == FLOW_RUN else info.flow
    own = (None, None, None) if info.kind == FLOW_RUN else (info.id, info.name, info.of)
    around = (flow.id, flow.name, flow.of) if flow is not None else (None, None, None)
    return tuple(Speaker(recorded_under(info), around, own, info.single))


def recorded_under(info: RunInfo | None) -> tuple[str, ...]:
    """Return which flow runs a line is recorded under: its own, then those that called it."""
    found: dict[str, None] = {}
    while info is not None and info.recorded_under:
        found[info.recorded_under] = None
        info = info.flow
    return tuple(found)


@lru_cache(maxsize=256)
def _file(path: str) -> tuple[str, str]:
    name = os.path.basename(path)
    return name, os.path.splitext(name)[0]
