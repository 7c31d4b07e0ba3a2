"""Runs the tasks of Fanfold on a Dask cluster, its own or one that exists."""

from fanfold_dask.runner import DaskTaskRunner

__all__ = ["DaskTaskRunner"]
