"""Pure functions on features: statistics, distributions, nearest neighbors."""
