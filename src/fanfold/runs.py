"""What hooks and conditions are called with."""

from fanfold.values.runs import FlowRun as FlowRun
from fanfold.values.runs import TaskRun as TaskRun
