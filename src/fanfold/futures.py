"""Futures, and waiting for several of them."""

from fanfold.engine.futures import DoneAndNotDoneFutures as DoneAndNotDoneFutures
from fanfold.engine.futures import MapFuture as MapFuture
from fanfold.engine.futures import TaskFuture as TaskFuture
from fanfold.engine.futures import as_completed as as_completed
from fanfold.engine.futures import wait as wait
