"""Cache policies, under the name that users of Prefect know; they live in `fanfold.caching`."""

from fanfold.caching import DEFAULT as DEFAULT
from fanfold.caching import FLOW_PARAMETERS as FLOW_PARAMETERS
from fanfold.caching import INPUTS as INPUTS
from fanfold.caching import NO_CACHE as NO_CACHE
from fanfold.caching import NONE as NONE
from fanfold.caching import RUN_ID as RUN_ID
from fanfold.caching import TASK_SOURCE as TASK_SOURCE
from fanfold.caching import CacheKeyFnPolicy as CacheKeyFnPolicy
from fanfold.caching import CachePolicy as CachePolicy
from fanfold.caching import CompoundCachePolicy as CompoundCachePolicy
from fanfold.caching import FlowParameters as FlowParameters
from fanfold.caching import Inputs as Inputs
from fanfold.caching import RunId as RunId
from fanfold.caching import TaskSource as TaskSource
