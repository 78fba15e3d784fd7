"""Memory, tiling, folders, and the state of PyTorch."""
