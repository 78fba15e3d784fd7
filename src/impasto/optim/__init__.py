"""Optimization of a picture.

Modules:
    engine: ``optimize`` and ``pyramid``, generators that minimize an objective and yield steps.
    adam: Adam and multigrid Adam.
    parametrization: the tensors that represent the picture during optimization (pixels, color planes, Laplacian pyramid).
"""

from impasto.optim.engine import OptimizerSettings, Step, optimize, pyramid

__all__ = ["OptimizerSettings", "Step", "optimize", "pyramid"]
