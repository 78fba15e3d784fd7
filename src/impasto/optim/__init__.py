"""Optimization: the engine, optimizers, and how the picture is parametrized."""

from impasto.optim.engine import OptimizerSettings, Step, optimize, pyramid

__all__ = ["OptimizerSettings", "Step", "optimize", "pyramid"]
