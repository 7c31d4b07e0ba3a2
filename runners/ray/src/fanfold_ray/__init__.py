"""Fanfold on Ray."""

from fanfold_ray.remote_options import remote_options
from fanfold_ray.runner import RayTaskRunner

__all__ = ["RayTaskRunner", "remote_options"]
