"""Runtime support: memory, tiling, resampling, folders, and PyTorch's global state."""
