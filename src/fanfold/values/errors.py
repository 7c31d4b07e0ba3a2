"""The errors, one tree.

    FanfoldError
    ├── UsageError                    the call was wrong; nothing ran
    │   ├── ReservedArgumentError     a parameter has a name that calls need themselves
    │   ├── ParameterTypeError        arguments don't fit the flow's annotations
    │   ├── MappingMissingIterable    a map without anything to map over
    │   ├── MappingLengthMismatch     a map over inputs of different lengths
    │   ├── MissingContextError       only runs can do that, and there is none
    │   ├── RunHeld                   somebody drives the run already
    │   ├── UnknownAdapter            nothing of that name is installed
    │   │   ├── UnknownRunner         no runner
    │   │   ├── UnknownHistory        no history
    │   │   └── UnknownStorage        no storage for results
    │   └── NotPicklable              an argument, the task or a result can't travel
    ├── RunError                      a run that has no value
    │   ├── FailedRun                 it failed without an exception: a hand-made state
    │   ├── TimedOut                  it overran its time limit
    │   ├── UnfinishedRun             it isn't over yet
    │   ├── UpstreamFailed            it never started, for what it needs failed
    │   ├── Crashed                   its infrastructure failed too often
    │   │   ├── CrashedWithCluster    the whole cluster is gone
    │   │   └── RunTakenOver          somebody else goes on with it
    │   ├── RunCancelled              it was cancelled
    │   ├── RemoteError               stands in for an exception that can't travel
    │   └── MapError                  some elements of a map have no value, each for its own reason
    ├── KeyNotStable                  an argument can't be encoded to a stable cache key
    ├── StoreError                    a result store failed, or what it holds is damaged
    ├── HistoryError                  the record of runs can't be used
    │   ├── HistoryUnavailable        for now: it can't be reached, or is full or locked
    │   └── HistoryTooNew             a newer version of Fanfold has changed it
    └── InfrastructureError           the cluster failed, not the user's code
        ├── WorkerLost                the process that ran a chunk is gone
        ├── ClusterLost               the whole cluster is gone
        ├── ValuesLost                values that were on the cluster are gone
        ├── InputsUnreadable          a chunk's arguments can't be unpickled where it should run
        ├── ChunkCancelled            the cluster dropped a chunk
        ├── ResourcesUnavailable      the cluster can't give what was asked for
        ├── VersionMismatch           driver and worker can't understand each other
        └── SessionClosed             the session was closed before

A user's own exception is none of these: it comes home as itself, with a note that holds the
worker's traceback. Every error pickles, for errors cross processes.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from inspect import isgetsetdescriptor, ismemberdescriptor
from typing import Any


class FanfoldError(Exception):
    """Whatever Fanfold itself has to complain about."""


class UsageError(FanfoldError):
    """The call was wrong; nothing ran."""


class ReservedArgumentError(UsageError, TypeError):
    """A flow or task declares a parameter with a name that calls need themselves."""


class ParameterTypeError(UsageError, TypeError):
    """The arguments don't fit the flow's annotations."""


class MappingMissingIterable(UsageError, TypeError):
    """A map was given nothing to map over."""


class MappingLengthMismatch(UsageError, ValueError):
    """A map was given inputs of different lengths."""


class MissingContextError(UsageError, RuntimeError):
    """What was called makes sense only inside a run of a flow or a task."""


class RunHeld(UsageError):
    """Somebody drives the flow run already, so nobody else may resume it.

    Args:
        flow_run_id: The run.
        host: Where it is driven; empty where that isn't known yet.
        process: By which process there.
        since_us: Since when, in microseconds since 1970.
    """

    def __init__(self, flow_run_id: str, host: str, process: int, since_us: int) -> None:
        super().__init__(flow_run_id, host, process, since_us)
        self.flow_run_id = flow_run_id
        self.host = host
        self.process = process
        self.since_us = since_us

    def __str__(self) -> str:
        run = f"Flow run {self.flow_run_id}"
        if not self.host:
            return f"{run} was taken by another process just now, which goes on with it."
        return (
            f"{run} is driven by process {self.process} on {self.host} since "
            f"{_in_utc(self.since_us)}, so nobody else resumes it. Wait for its end, or cancel it "
            f"first: fanfold runs cancel {self.flow_run_id}"
        )


class UnknownAdapter(UsageError, LookupError):
    """Nothing of that name is installed."""


class UnknownRunner(UnknownAdapter):
    """No runner of that name is installed."""


class UnknownHistory(UnknownAdapter):
    """No history of that kind is installed."""


class UnknownStorage(UnknownAdapter):
    """No storage of that kind is installed."""


class NotPicklable(UsageError, TypeError):
    """An argument, the task or a result can't travel between processes."""


class RunError(FanfoldError):
    """A run that ended without a value."""


class FailedRun(RunError):
    """The run failed, and there is no exception to tell why but the state's message."""


class TimedOut(RunError, TimeoutError):
    """The run overran its time limit.

    Args:
        name: What overran it.
        seconds: The limit.
        how: "soft" if an exception stopped it, "late" if it ended by itself, "hard" if its process
            was ended, "abandoned" if it goes on and nobody waits for it.
    """

    def __init__(self, name: str, seconds: float, how: str = "soft") -> None:
        # Without arguments: a TimeoutError is an OSError, which takes them for errno and file name.
        super().__init__()
        self.name = name
        self.seconds = seconds
        self.how = how

    def __reduce__(self) -> tuple[type, tuple[str, float, str], dict[str, object]]:
        return type(self), (self.name, self.seconds, self.how), self.__dict__

    def __str__(self) -> str:
        ends = {
            "soft": "it was stopped by an exception",
            "late": "it ended by itself, too late for its result to count",
            "hard": "its process was ended",
            "abandoned": "it could not be stopped, goes on, and nobody waits for it",
        }
        return f"{self.name} overran its time limit of {self.seconds:g} s; {ends[self.how]}."

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class UnfinishedRun(RunError):
    """The run isn't over, so it has no value yet."""


class UpstreamFailed(RunError):
    """The run never started, for something that it needs failed."""


class Crashed(RunError):
    """The run's infrastructure failed more often than it may."""


class CrashedWithCluster(Crashed):
    """The whole cluster is gone for good. A flow that doesn't catch this is Crashed too."""


class RunTakenOver(Crashed):
    """Another process goes on with the flow run: what this one does for it doesn't count any more.

    Args:
        flow_run_id: The run.
        host: Where it is driven now.
        process: By which process there.
        since_us: Since when, in microseconds since 1970.
    """

    def __init__(self, flow_run_id: str, host: str, process: int, since_us: int) -> None:
        super().__init__(flow_run_id, host, process, since_us)
        self.flow_run_id = flow_run_id
        self.host = host
        self.process = process
        self.since_us = since_us

    def __str__(self) -> str:
        return (
            f"Flow run {self.flow_run_id} was resumed by process {self.process} on {self.host} at "
            f"{_in_utc(self.since_us)}, which goes on with it. What this process hadn't committed "
            "by then doesn't count."
        )


def _in_utc(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class RunCancelled(RunError):
    """The run was cancelled before it had a value."""


class RemoteError(RunError):
    """Stands in for an exception that can't travel; the message names its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Elements of a map that failed alike."""

    kind: str
    """Qualified name of the exceptions' type."""
    where: str
    """The first frame of user code, such as "pipeline.py:12 in parse"; empty if there is none."""
    message: str
    """Of the first of them."""
    count: int
    first: tuple[int, ...]
    """Indexes of the first few."""

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        said = (self.message.splitlines() or [""])[0][:SHOWN_CHARACTERS]
        some = ", ".join(map(str, self.first)) + (", ..." if self.count > len(self.first) else "")
        elements = "element" if self.count == 1 else "elements"
        said = f": {said}" if said else ""
        return f"{self.count:,} x {self.kind}{place}{said} ({elements} {some})"


SHOWN_GROUPS = 10
"""Groups of failures that a MapError tells of; `groups` holds all."""
SHOWN_CHARACTERS = 200
"""Of the first line of a message that stands for a group."""


class MapError(RunError):
    """Several elements of a map have no value; its cause is the failure of the first.

    Made by `made`, it is also an instance of the type of that first failure, with its attributes,
    so that `except ValueError` catches a map whose elements raised one.

    Args:
        name: The map's.
        total: How many elements were asked for.
        groups: What failed, the biggest group first.
    """

    name: str
    total: int
    groups: tuple[FailureGroup, ...]

    def __init__(self, name: str, total: int, groups: tuple[FailureGroup, ...]) -> None:
        self.name = name
        self.total = total
        self.groups = groups

    @staticmethod
    def made(
        name: str, total: int, groups: tuple[FailureGroup, ...], cause: BaseException | None
    ) -> "MapError":
        """Return one that is also of its cause's type; plain where no such class can be."""
        error: MapError | None = None
        if isinstance(cause, Exception) and not isinstance(cause, MapError):
            try:
                error = _in_the_likeness(cause)
                MapError.__init__(error, name, total, groups)
            except Exception:  # a type that can't be derived from: the plain error says as much
                error = None
        error = error or MapError(name, total, groups)
        error.__cause__ = cause
        return error

    @property
    def count(self) -> int:
        """How many elements have no value."""
        return sum(group.count for group in self.groups)

    def __str__(self) -> str:
        lines = [f"{self.count:,} of {self.total:,} elements of `{self.name}` failed:"]
        lines += [f"  {group}" for group in self.groups[:SHOWN_GROUPS]]
        hidden = self.groups[SHOWN_GROUPS:]
        if hidden:
            lines.append(f"  {sum(group.count for group in hidden):,} in {len(hidden)} more ways")
        lines.append("See .failed, or result(raise_on_failure=False).")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<MapError {self.count:,} of {self.total:,} elements of {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        cause = self.__cause__
        try:
            pickle.loads(pickle.dumps(cause))
        except Exception:  # it goes without its cause: the groups name its type and message
            cause = None
        return MapError.made, (self.name, self.total, self.groups, cause)


def _in_the_likeness(cause: Exception) -> MapError:
    """Return an empty MapError of the cause's type, with the cause's attributes."""
    kind = type(cause)
    made = MapError if issubclass(MapError, kind) else _derived(kind)
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    # The built-in base's own: a user's __new__ or __init__ may want anything.
    error = builtin.__new__(made)
    error.args = cause.args
    # What isn't in __dict__: fields of built-in types in C, and slots.
    for name, member in [item for base in kind.__mro__ for item in vars(base).items()]:
        if (ismemberdescriptor(member) or isgetsetdescriptor(member)) and name[:2] != "__":
            value = getattr(cause, name, None)
            if value is not None:
                setattr(error, name, value)
    error.__dict__.update(cause.__dict__)
    return error


@lru_cache(maxsize=128)
def _derived(kind: type[Exception]) -> type[MapError]:
    return type(MapError.__name__, (MapError, kind), {"__module__": __name__})


class KeyNotStable(FanfoldError, TypeError):
    """A value has no encoding that is the same in every process.

    Args:
        path: Where in the arguments it sits, such as `config.lock`.
        kind: Its type, as a reader knows it.
        strict: Whether the call fails by it, instead of running uncached.
    """

    def __init__(self, path: str, kind: str, strict: bool = False) -> None:
        super().__init__(path, kind, strict)
        self.path = path
        self.kind = kind
        self.strict = strict

    def __str__(self) -> str:
        return f"{self.path} is a {self.kind}, which has no encoding that is equal in every process"


class StoreError(FanfoldError):
    """A result store failed, or what it holds is damaged."""


class HistoryError(FanfoldError):
    """The record of runs can't be used."""


class HistoryUnavailable(HistoryError):
    """The history can't be reached for now, or is full or locked; nothing was changed."""


class HistoryTooNew(HistoryError):
    """A newer version of Fanfold has changed the history's tables; nothing was touched."""

    def __init__(self, place: str, found: int, known: int) -> None:
        super().__init__(
            f"The history at {place} has tables of version {found}, but this Fanfold knows them up "
            f"to {known}. Upgrade Fanfold here, or choose another history with FANFOLD_HISTORY_URL."
        )
        self.place, self.found, self.known = place, found, known

    def __reduce__(self) -> tuple[Any, ...]:
        return HistoryTooNew, (self.place, self.found, self.known)


class InfrastructureError(FanfoldError):
    """The cluster failed, not the user's code."""


class WorkerLost(InfrastructureError):
    """The process that ran the chunk is gone; the message says what ended it, if that is known."""


class ClusterLost(InfrastructureError):
    """The whole cluster is gone for good: nothing that was sent there will ever come home."""


class ValuesLost(InfrastructureError):
    """Values that were on the cluster are gone.

    Args:
        message: What happened.
        lost: Positions of the lost values among the refs or needs that were asked for.
    """

    def __init__(self, message: str, lost: Sequence[int]) -> None:
        super().__init__(message, lost)
        self.message = message
        self.lost = tuple(lost)

    def __str__(self) -> str:
        return self.message


class InputsUnreadable(InfrastructureError):
    """What a chunk is called with can't be unpickled where it should run.

    Args:
        kind: Qualified type of the exception that the unpickling raised.
        message: Its message.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"The arguments can't be unpickled: {self.kind}: {self.message}"


class ChunkCancelled(InfrastructureError):
    """The cluster dropped a chunk, because we or somebody else cancelled it."""


class ResourcesUnavailable(InfrastructureError):
    """The cluster can't give what was asked for."""


class VersionMismatch(InfrastructureError):
    """Driver and worker can't understand each other."""


class SessionClosed(InfrastructureError):
    """The session was closed before."""
