"""Encoders: networks that take a picture and return features by layer name; they include the input normalization.

Modules:
    vgg: VGG-19 and VGG-16 at any width.
    precision: selection of device and precision.
"""

import os
from pathlib import Path

import torch

from impasto.encoders.vgg import BLOCKS, BLOCKS_OF_VGG16, LAYERS, Vgg
from impasto.errors import OptionError, WeightsError, nearest_name
from impasto.options import Border, Pooling
from impasto.runtime.torch_state import in_known_state
from impasto.weights import SHIPPED, VggWeights, catalogue, find, read_vgg_once

__all__ = ["LAYERS", "Border", "Pooling", "Vgg", "load_encoder", "vgg_from_weights"]


@in_known_state
def load_encoder(name_or_path: str | Path = SHIPPED, *, pooling: Pooling = "max", border: Border = "mixed") -> Vgg:
    """Load a feature extractor.

    Args:
        name_or_path: ``"vgg19-slim"``, which is included in the package; ``"vgg19"``, ``"vgg16"`` or another name in the cache,
            see :mod:`impasto.weights`; or a file of VGG-19 or VGG-16 weights in any published form.
        pooling: how the network downsamples between blocks.
        border: padding mode of the convolutions.

    Returns:
        The network on the CPU, in channels-last format, with frozen float32 parameters. A large file is read only once, but
        each network has its own copy of the weights, so changes to one network do not affect the others.

    Raises:
        WeightsError: if the weights are not on this machine, or the file is invalid.
        OptionError: if the name is neither known nor an existing file.

    Example:
        >>> from impasto.weights import save_vgg
        >>> save_vgg("narrow.safetensors", Vgg((4, 4, 8, 8, 16)), {})
        >>> encoder = load_encoder("narrow.safetensors")
        >>> encoder(torch.rand(1, 3, 64, 96), ["relu5_1"])["relu5_1"].shape
        torch.Size([1, 16, 4, 6])

    Source:
        Simonyan and Zisserman 2014 (arXiv:1409.1556) for VGG-19 and VGG-16.
    """
    return vgg_from_weights(_read(name_or_path), pooling, border)


@in_known_state
def vgg_from_weights(weights: VggWeights, pooling: Pooling = "max", border: Border = "mixed") -> Vgg:
    """Build a network that matches the width and depth of the given weights, and copy them into it.

    Args:
        weights: weights in the canonical form, see :func:`impasto.weights.read_vgg_once`.
        pooling: how the network downsamples between blocks.
        border: padding mode of the convolutions.

    Returns:
        The network on the CPU, in float32.

    Raises:
        WeightsError: if the heads do not fit the network.

    Example:
        >>> from impasto.weights import SHIPPED, find, read_vgg_once
        >>> vgg_from_weights(read_vgg_once(find(SHIPPED))).layers[0]
        'conv1_1'
    """
    *_, last = weights.convolutions
    blocks = BLOCKS_OF_VGG16 if weights.network == "vgg16" else BLOCKS
    with torch.device("meta"):
        vgg = Vgg(weights.widths, pooling=pooling, border=border, with_heads=bool(weights.heads), last=last, blocks=blocks)
    state = {"mean": weights.mean.clone(), "std": weights.std.clone()}
    for kind, pairs in (("convolutions", weights.convolutions), ("heads", weights.heads)):
        for name, (weight, bias) in pairs.items():
            layout = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
            state[f"{kind}.{name}.weight"] = weight.clone(memory_format=layout)
            state[f"{kind}.{name}.bias"] = bias.clone()
    try:
        vgg.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise WeightsError("the heads of these weights do not fit their layers; train or fetch them again") from error
    vgg.sha256 = weights.sha256
    return vgg.eval().requires_grad_(False)


def _read(name_or_path: str | Path) -> VggWeights:
    name = str(name_or_path)
    if name != SHIPPED and os.path.isfile(name):
        return read_vgg_once(Path(name))
    try:
        return read_vgg_once(find(name))
    except OptionError as error:
        if isinstance(name_or_path, Path) or Path(name).name != name or Path(name).suffix:
            return read_vgg_once(Path(name))  # looks like a file: raises an error that says why it cannot be read
        names = (SHIPPED, *catalogue)
        raise OptionError(f"encoder {name!r} is neither a name nor a file{nearest_name(name, names)}") from error
