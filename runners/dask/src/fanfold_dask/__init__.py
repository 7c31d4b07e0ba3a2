"""Runs the tasks of Fanfold on a Dask cluster, its own or one that exists."""

from fanfold_dask.clients import get_async_dask_client, get_dask_client
from fanfold_dask.runner import DaskTaskRunner

__all__ = ["DaskTaskRunner", "get_async_dask_client", "get_dask_client"]
