"""What code can put around runs, and what key functions are told of them."""

from fanfold.caching import TaskRunContext as TaskRunContext
from fanfold.engine.context import tagged as tags

__all__ = ["TaskRunContext", "tags"]
