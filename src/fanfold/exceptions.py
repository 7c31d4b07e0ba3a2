"""What can be caught, with the names that users of Prefect know beside ours."""

from fanfold.values.errors import Crashed as Crashed
from fanfold.values.errors import Crashed as CrashedRun
from fanfold.values.errors import CrashedWithCluster as CrashedWithCluster
from fanfold.values.errors import FailedRun as FailedRun
from fanfold.values.errors import FanfoldError as FanfoldError
from fanfold.values.errors import InfrastructureError as InfrastructureError
from fanfold.values.errors import KeyNotStable as HashError
from fanfold.values.errors import KeyNotStable as KeyNotStable
from fanfold.values.errors import MapError as MapError
from fanfold.values.errors import MappingLengthMismatch as MappingLengthMismatch
from fanfold.values.errors import MappingMissingIterable as MappingMissingIterable
from fanfold.values.errors import MissingContextError as MissingContextError
from fanfold.values.errors import NotPicklable as NotPicklable
from fanfold.values.errors import NotPicklable as SerializationError
from fanfold.values.errors import ParameterTypeError as ParameterTypeError
from fanfold.values.errors import ReservedArgumentError as ReservedArgumentError
from fanfold.values.errors import ResourcesUnavailable as ResourcesUnavailable
from fanfold.values.errors import RunCancelled as CancelledRun
from fanfold.values.errors import RunCancelled as RunCancelled
from fanfold.values.errors import RunError as RunError
from fanfold.values.errors import StoreError as StoreError
from fanfold.values.errors import TimedOut as TimedOut
from fanfold.values.errors import UnfinishedRun as UnfinishedRun
from fanfold.values.errors import UpstreamFailed as UpstreamFailed
from fanfold.values.errors import UpstreamFailed as UpstreamTaskError
from fanfold.values.errors import UsageError as UsageError

__all__ = [
    "CancelledRun",
    "Crashed",
    "CrashedRun",
    "CrashedWithCluster",
    "FailedRun",
    "FanfoldError",
    "HashError",
    "InfrastructureError",
    "KeyNotStable",
    "MapError",
    "MappingLengthMismatch",
    "MappingMissingIterable",
    "MissingContextError",
    "NotPicklable",
    "ParameterTypeError",
    "ReservedArgumentError",
    "ResourcesUnavailable",
    "RunCancelled",
    "RunError",
    "SerializationError",
    "StoreError",
    "TimedOut",
    "UnfinishedRun",
    "UpstreamFailed",
    "UpstreamTaskError",
    "UsageError",
]
