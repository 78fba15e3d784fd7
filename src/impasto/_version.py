"""The package version. The build reads it from this file."""

__version__ = "1.0.0"
