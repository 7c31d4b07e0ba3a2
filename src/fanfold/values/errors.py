"""The errors, one tree.

    FanfoldError
    ├── UsageError                    the call was wrong; nothing ran
    │   ├── ReservedArgumentError     a parameter has a name that calls need themselves
    │   ├── ParameterTypeError        arguments don't fit the flow's annotations
    │   ├── MappingMissingIterable    a map without anything to map over
    │   ├── MappingLengthMismatch     a map over inputs of different lengths
    │   ├── UnknownRunner             no runner of that name is installed
    │   └── NotPicklable              an argument, the task or a result can't travel
    ├── RunError                      a run that has no value
    │   ├── UpstreamFailed            it never started, for what it needs failed
    │   ├── Crashed                   its infrastructure failed too often
    │   ├── RunCancelled              it was cancelled
    │   └── RemoteError               stands in for an exception that can't travel
    ├── KeyNotStable                  an argument can't be encoded to a stable cache key
    ├── StoreError                    a result store failed, or what it holds is damaged
    └── InfrastructureError           the cluster failed, not the user's code
        ├── WorkerLost                the process that ran a chunk is gone
        ├── ValuesLost                values that were on the cluster are gone
        ├── ChunkCancelled            the cluster dropped a chunk
        ├── ResourcesUnavailable      the cluster can't give what was asked for
        ├── VersionMismatch           driver and worker can't understand each other
        └── SessionClosed             the session was closed before

A user's own exception is none of these: it comes home as itself, with a note that holds the
worker's traceback. Every error pickles, for errors cross processes.
"""

from collections.abc import Sequence


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


class UnknownRunner(UsageError, LookupError):
    """No runner of that name is installed."""


class NotPicklable(UsageError, TypeError):
    """An argument, the task or a result can't travel between processes."""


class RunError(FanfoldError):
    """A run that ended without a value."""


class UpstreamFailed(RunError):
    """The run never started, for something that it needs failed."""


class Crashed(RunError):
    """The run's infrastructure failed more often than it may."""


class RunCancelled(RunError):
    """The run was cancelled before it had a value."""


class RemoteError(RunError):
    """Stands in for an exception that can't travel; the message names its type."""


class KeyNotStable(FanfoldError, TypeError):
    """A value has no encoding that is the same in every process.

    Args:
        path: Where in the arguments it sits, such as `config.lock`.
        kind: Its type, as a reader knows it.
    """

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(path, kind)
        self.path = path
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.path} is a {self.kind}, which has no encoding that is equal in every process"


class StoreError(FanfoldError):
    """A result store failed, or what it holds is damaged."""


class InfrastructureError(FanfoldError):
    """The cluster failed, not the user's code."""


class WorkerLost(InfrastructureError):
    """The process that ran the chunk is gone."""


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


class ChunkCancelled(InfrastructureError):
    """The cluster dropped a chunk, because we or somebody else cancelled it."""


class ResourcesUnavailable(InfrastructureError):
    """The cluster can't give what was asked for."""


class VersionMismatch(InfrastructureError):
    """Driver and worker can't understand each other."""


class SessionClosed(InfrastructureError):
    """The session was closed before."""
