"""Entry points for torch.hub.

>>> import torch
>>> paint = torch.hub.load("OWNER/impasto", "brush", "starry-night")  # doctest: +SKIP
>>> pictures = paint(torch.rand(1, 3, 256, 256))  # doctest: +SKIP
"""

import sys
from pathlib import Path

dependencies = ["torch", "numpy", "scipy", "PIL", "safetensors", "skimage", "platformdirs"]

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))
from impasto.compat.modules import BrushModule, InstantModule  # noqa: E402


def brush(name="starry-night", strength=1.0):
    """Return a brush as a module.

    Its input and its output are float tensors of shape (batch, 3, height, width) with values in [0, 1].

    Args:
        name: a .brush file, or a name from "impasto brushes list".
        strength: 0 (the photo) to 1.
    """
    return BrushModule(name, strength=strength).eval()


def instant(style="starry-night", strength=1.0):
    """Return the instant recipe with one style, as a module.

    Its input and its output are float tensors of shape (batch, 3, height, width) with values in [0, 1].

    Args:
        style: a picture file, or a name from "impasto styles list".
        strength: 0 (the photo) to 1.5.
    """
    return InstantModule(style, strength=strength).eval()
