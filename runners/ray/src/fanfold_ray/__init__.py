"""Fanfold on Ray."""

from fanfold_ray.runner import RayTaskRunner

__all__ = ["RayTaskRunner"]
