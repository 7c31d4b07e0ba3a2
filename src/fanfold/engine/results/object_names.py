"""What the objects in a result store are called.

tasks/FOLDER/index/RUN.EPOCH.MAP.NUMBER        commits what segments hold
tasks/FOLDER/index/RUN.EPOCH.MAP~WHEN.NUMBER   commits a value of a call, which it holds itself
tasks/FOLDER/index/merged.TIER.ID.00000000     the same, of several indexes that it replaces
tasks/FOLDER/segments/RUN/CHUNK.ATTEMPT        what one try of a chunk staged
tasks/FOLDER/objects/ATTEMPT/NAME              what is to become NAME when it is committed
claims/FOLDER/KEY/EPOCH                        who may make what has a key
flows/FLOW/RUN                                 the result of a flow run
runs/RUN.EPOCH                                 says who drives a flow run that was resumed
runs/RUN.EPOCH.FOLDER                          names the indexes of older epochs that count
transactions/KEY                               the record of a transaction
signatures/NAME                                signs an object that holds nothing but a value
NAME                                           a result where the user wants it
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from fanfold.values.errors import UsageError

MERGED = "merged"
"""Stands for the run in names of what was merged of several runs."""
FIRST_REPLACEMENT = 90_000_000
"""Number of the first index that stands for an older one; drivers count from 1."""
_OURS = re.compile(r"(claims|flows|runs|signatures|tasks|transactions)(/|$)")
_OF_TASK = re.compile(r"tasks/[^/]+/(index|segments|objects)/")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TIMED = "\n"
"""Stands before the time in what an index calls an object; no name has it."""
_PART_BYTES = 255
"""Of one part of a path at most, on the file systems of Linux and macOS alike."""
_SEGMENT = re.compile(r"tasks/[^/]*/segments/")
_INDEX = re.compile(r"tasks/[^/]*/index/[^/]+\.[0-9]{6,}\.[^/.]*\.[0-9]{8,}")
_FENCE = re.compile(r"runs/[^/.]*\.([0-9]{6,})(?:\.[^/]*)?")
_MERGED_INDEX = re.compile(rf"/index/{MERGED}\.\d{{6}}\.[^./]+\.\d{{8}}$")


def filled_in(template: str, of: str, variables: Mapping[str, Any]) -> str:
    """Return the name that a `result_storage_key` comes to for one call.

    Args:
        template: With places such as `{parameters[day]}`.
        of: Names the task in errors.
        variables: What may stand in its places.

    Raises:
        UsageError: It can't be filled in, or what it comes to is no name inside the storage.
    """
    try:
        name = template.format(**variables)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        known = ", ".join(map(str, variables.get("parameters") or ())) or "none"
        raise UsageError(
            f"The result_storage_key {template!r} of {of} can't be filled in ({error!r}). It may "
            "hold {parameters[name]}, {flow_run.name}, {task_run.task_name} and {task_run.id}; the "
            f"parameters of the call are: {known}."
        ) from error
    problem = _problem(name)
    if problem:
        raise UsageError(
            f"The result_storage_key {template!r} of {of} can't be {name!r}: {problem}."
        )
    return name


def _problem(name: str) -> str:
    if not name:
        return "it is empty"
    if name.startswith("/"):
        return "it must be relative to the result storage"
    parts = re.split(r"[/\\]", name)
    if ".." in parts:
        return "it would leave the result storage"
    if "" in parts or "." in parts or any(part.startswith(".tmp-") for part in parts):
        return "each part between slashes must be a name, and not begin with '.tmp-'"
    if _UNWRITABLE.search(name):
        return "it has characters that no file's name can have"
    if max(len(part.encode()) for part in parts) > _PART_BYTES:
        return f"a part between slashes is longer than {_PART_BYTES} bytes, which no file's name is"
    return "Fanfold keeps its own objects there" if _OURS.match(name) else ""


def flow_result_name(flow: str, run_id: str) -> str:
    """Return the name of a flow run's result."""
    return f"flows/{quoted(flow)}/{quoted(run_id)}"


def transaction_name(key: str) -> str:
    """Return the name of a transaction's record."""
    return f"transactions/{quoted(key)}"


def signature_name(name: str) -> str:
    """Return the name of the index that signs an object of this name."""
    return f"signatures/{name}"


def folder_start(task: str) -> str:
    """Return what the name of a task's folder begins with, for people to read."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", task)[:40]


def claim_prefix(of: str, key: bytes) -> str:
    """Return what is claimed, by names below it, by who wants to make what has a key.

    Args:
        of: A task's part of all its names, or whose keys these are.
        key: Such as an element's.
    """
    return f"claims/{quoted(of)}/{key.hex()}"


def is_of_task(name: str) -> bool:
    """Return whether an object is one that Fanfold keeps of a task; others aren't its own."""
    return _OF_TASK.match(name) is not None


def is_segment(name: str) -> bool:
    """Return whether an object of this name holds what a chunk staged."""
    return _SEGMENT.match(name) is not None


def run_of_segment(name: str) -> str:
    """Return the id of the map or call whose chunk staged a segment."""
    return unquote(name.split("/")[3])


def index_prefix(task_folder: str) -> str:
    """Return what the names of all of a task's indexes begin with."""
    return f"tasks/{quoted(task_folder)}/index/"


def index_name(
    task_folder: str, run_id: str, epoch: int, map_id: str, number: int, when: str = ""
) -> str:
    """Return the name of an index.

    Args:
        task_folder: The task's part of all its names.
        run_id: The flow run that it belongs to; outside of flows, the map or call itself.
        epoch: Of the lease under which the driver works on that run.
        map_id: The map or call.
        number: Counted from 1.
        when: Where the index holds a value itself: an id that was made at that time.
    """
    start = f"{index_prefix(task_folder)}{quoted(run_id)}.{epoch:06d}.{quoted(map_id)}"
    return f"{start}~{when}.{number:08d}" if when else f"{start}.{number:08d}"


def merged_index_name(task_folder: str, tier: int, merged_id: str) -> str:
    """Return the name of an index that stands for others, which were merged `tier` times."""
    return index_name(task_folder, MERGED, tier, merged_id, 0)


def split_index_name(name: str) -> tuple[str, int, str, int]:
    """Return run id, epoch, map id and number of an index's name."""
    run_id, epoch, map_id, number = name.rpartition("/")[2].rsplit(".", 3)
    return unquote(run_id), int(epoch), unquote(map_id.partition("~")[0]), int(number)


def run_and_epoch(name: str) -> tuple[str, int]:
    """Return run id and epoch of an index's name."""
    run_id, epoch, _, _ = split_index_name(name)
    return run_id, epoch


def is_index(name: str) -> bool:
    """Return whether an object has the name of an index; anybody may put others beside them."""
    return _INDEX.fullmatch(name) is not None


def is_resumed(name: str) -> bool:
    """Return whether an index is of a run that was resumed by then."""
    run_id, epoch = run_and_epoch(name)
    return run_id != MERGED and epoch > 1


def replaceable(name: str) -> str:
    """Return what the names of an index and of those that come to stand for it begin with."""
    return name.rpartition(".")[0]


def is_replacement(name: str) -> bool:
    """Return whether an index stands for one of which something was removed."""
    return split_index_name(name)[3] >= FIRST_REPLACEMENT


def fence_prefix(run_id: str) -> str:
    """Return what the names of all fences and seals of a run begin with."""
    return f"runs/{quoted(run_id)}."


def fence_name(run_id: str, epoch: int) -> str:
    """Return the name of what says who drives a run in an epoch."""
    return f"{fence_prefix(run_id)}{epoch:06d}"


def seal_name(task_folder: str, run_id: str, epoch: int) -> str:
    """Return the name of what names the indexes of older epochs that count for a task."""
    return f"{fence_name(run_id, epoch)}.{quoted(task_folder)}"


def epoch_of_fence(name: str) -> int:
    """Return the epoch of a fence or a seal; 0 of what is neither."""
    found = _FENCE.fullmatch(name)
    return int(found[1]) if found else 0


def tier(name: str) -> int | None:
    """Return how often what an index names was merged; None if the index must stay as it is."""
    run_id, epoch, _, _ = split_index_name(name)
    if run_id == MERGED:
        return epoch
    return 0 if epoch == 1 else None


def is_merged(name: str) -> bool:
    """Return whether an object is an index that stands for several, which were merged."""
    return _MERGED_INDEX.search(name) is not None


def by_age(names: Iterable[str]) -> list[str]:
    """Return indexes in the order in which what they name was written, roughly.

    Args:
        names: Sorted, in which order those of runs stay, as ids of runs are; anything may be among
            them.
    """
    merged: list[str] = []
    others: list[str] = []
    for name in names:
        (merged if is_merged(name) else others).append(name)
    # What was merged more often is older.
    return sorted(merged, key=lambda name: tier(name) or 0, reverse=True) + others


def timed(name: str, when: str) -> str:
    """Return what an index calls an object of which its name doesn't tell when it was written.

    Args:
        name: The object's.
        when: An id that was made at that time.
    """
    return f"{name}{_TIMED}{when}"


def untimed(name: str) -> str:
    """Return the name of an object that an index calls so."""
    return name.partition(_TIMED)[0]


def written(name: str) -> str:
    """Return what tells when an object was written that an index calls so: ids sort by time.

    Nothing tells it of users' own where the time isn't said beside the name.
    """
    _, said, when = name.partition(_TIMED)
    if said:
        return when
    if _SEGMENT.match(name):
        return name.rpartition(".")[2]
    return name.rpartition("~")[2].partition(".")[0] if _INDEX.match(name) else ""


def segments_prefix(task_folder: str) -> str:
    """Return what the names of all of a task's segments begin with."""
    return f"tasks/{quoted(task_folder)}/segments/"


def segment_prefix(task_folder: str, run_id: str, chunk_id: str) -> str:
    """Return what the names of all segments of a chunk begin with."""
    return f"{segments_prefix(task_folder)}{quoted(run_id)}/{quoted(chunk_id)}."


def segment_name(task_folder: str, run_id: str, chunk_id: str, attempt: str) -> str:
    """Return the name of a chunk's segment.

    Args:
        task_folder: The task's part of all its names.
        run_id: The run that the chunk belongs to.
        chunk_id: The chunk.
        attempt: Different for each time that the chunk runs, even where the cluster repeats it by
            itself: two tries may come to different bytes, and neither may replace what an index
            names.
    """
    return segment_prefix(task_folder, run_id, chunk_id) + quoted(attempt)


def objects_prefix(task_folder: str) -> str:
    """Return what the names of all staged objects of a task begin with."""
    return f"tasks/{quoted(task_folder)}/objects/"


def staged_object_name(task_folder: str, attempt: str, name: str) -> str:
    """Return where an object of the user's naming waits until a transaction is committed.

    Args:
        task_folder: The task's part of all its names.
        attempt: Different for each time that it is made.
        name: The object's own.
    """
    return f"{objects_prefix(task_folder)}{quoted(attempt)}/{quoted(name)}"


def split_staged_object_name(name: str) -> str:
    """Return the name that an object is to have."""
    return unquote(name.rpartition("/")[2])


def quoted(part: str) -> str:
    """Make one part of an object's name of any text, one to one."""
    name = quote(part, safe="")
    return "%2E" + name[1:] if name.startswith(".") else name or "%"
