"""Optimization: the engine, optimizers, and how the picture is parametrized."""
