"""The instant painter for one style as an ONNX graph, for other programs. Needs the extra ``impasto[export]``.

The graph paints like ``impasto instant --fast``: at a single size. The style is encoded for one size of photos. It is stored in
the graph, which accepts photos of any size.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from impasto.color.transfer import LUMA
from impasto.errors import WeightsError
from impasto.features.neighbors import Patches
from impasto.images import read, resize
from impasto.networks.onnx_graph import Graph, onnx_package, save_graph
from impasto.networks.onnx_match import matched
from impasto.networks.onnx_palette import recolored, with_colors
from impasto.networks.onnx_runtime import load_onnxruntime
from impasto.networks.onnx_swap import decoded, encoded, searched, swapped, without_grid
from impasto.networks.style_swap import CELL_PX, COHERENCE, COLOR, SEARCH_LAYERS, SWAP_LAYERS
from impasto.options import Run
from impasto.recipes.instant_painter import BLENDED_BELOW, EVENLY, MULTIPLE_PX, InstantPainter, StyleCode
from impasto.recipes.neighbor_layers import FLAT_TOLERANCE, PATCH, TOLERANCE, VARIETY
from impasto.recipes.starts import SMALLEST_SIDE, Style
from impasto.runtime.torch_state import in_known_state
from impasto.styles.named import NamedStyle

if TYPE_CHECKING:
    from onnx import ModelProto

_WINDOW_PX, _FLAT = 9, 0.2
_VISIBLE = 2 / 255
"""Pixels count as different if a channel differs by more than this."""
_MOST_DIFFERENT = 0.05
_PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
_KEPT_FACTS = ("name", "title", "artist", "date", "source", "licence")


class Difference(NamedTuple):
    """Difference of a graph from PyTorch on several photos; colors range from 0 to 1.

    Attributes:
        share: share of pixels that differ by more than two steps of 1/255. Where two matches are almost equally similar,
            rounding decides which is used, and neighboring positions follow that choice.
        least: this share in the photo where it is smallest.
        mean: mean difference of all values.
    """

    share: float
    least: float
    mean: float


@dataclass(frozen=True)
class InstantGraph:
    """What a graph is made from.

    Attributes:
        style: the style.
        size_px: longer side of the photos for which the style is encoded.
        stroke: stroke size, see :meth:`InstantPainter.encode`.
        strength: strength of the style, 0 (the photo) to 1.
    """

    style: Style
    size_px: int = 512
    stroke: float = 1.0
    strength: float = 1.0


@in_known_state
@torch.no_grad()
def instant_graph(given: InstantGraph, painter: InstantPainter, code: StyleCode) -> "ModelProto":
    """Build the instant painter for one style as an ONNX graph.

    The input is ``photo``, (1, 3, height, width) in [0, 1]; the output is ``picture``, of the same shape and range.

    Args:
        given: the settings.
        painter: a painter on the CPU, in fp32.
        code: the code of the style.

    Raises:
        OptionError: if onnx is not installed.
    """
    onnx = onnx_package()
    g = Graph()
    sides = g.node("Shape", "photo", start=2)
    photo = g.enlarged(sides, MULTIPLE_PX, SMALLEST_SIDE)
    picture = _painted(g, photo, given, painter, code)
    picture = g.node("Slice", picture, g.integers(0, 0), sides, g.integers(2, 3))
    _finish(g, recolored(g, picture, code.colors[0], given.strength), given.strength)
    known = {"format": "impasto", "impasto_onnx": "2", "sides": "1", "decoder_sha256": painter.network.sha256}
    known |= {"encoder_sha256": painter.slim.sha256, "size": str(given.size_px), "strength": f"{given.strength:g}"}
    model: ModelProto = g.model({**known, "stroke": f"{given.stroke:g}", **_facts(given.style)}, name="impasto-instant")
    onnx.checker.check_model(model, full_check=True)
    return model


@in_known_state
def save_instant_graph(path: str | Path, given: InstantGraph) -> Difference:
    """Write the graph of a style, atomically, and only if ONNX Runtime paints the same pictures as PyTorch.

    Raises:
        OptionError: if onnx or onnxruntime is not installed.
        StyleFileError: a named style has no swatch.
        WeightsError: if the pictures differ, or the file cannot be written.
    """
    painter = InstantPainter(Run(precision="fp32", device="cpu"), engine="torch")
    code = painter.encode(given.style, stroke=given.stroke)
    found = []

    def check(partial: Path) -> None:
        found.append(difference(partial, given, painter, code))
        if not found[0].least <= _MOST_DIFFERENT:  # also if it is not a number
            raise WeightsError(
                f"graph {str(path)!r} is not written: in each of {len(_PHOTOS)} photos, more than {_MOST_DIFFERENT:.0%} of the "
                "pixels differ from PyTorch; try another version of onnxruntime"
            )

    save_graph(path, instant_graph(given, painter, code), check)
    return found[0]


@in_known_state
@torch.no_grad()
def difference(path: Path, given: InstantGraph, painter: InstantPainter, code: StyleCode) -> Difference:
    """Compare a graph file in ONNX Runtime with the painter on photos of the size for which the style is encoded.

    Raises:
        OptionError: if onnxruntime is not installed.
    """
    import skimage.data

    session = load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    short = max(SMALLEST_SIDE, round(0.6 * given.size_px) | 1)
    sizes = itertools.cycle([(given.size_px, short), (short, given.size_px)])
    errors = []
    for name, size in zip(_PHOTOS, sizes, strict=False):
        photo = resize(read(getattr(skimage.data, name)()).image, size)
        (found,) = session.run(None, {"photo": photo.numpy()})
        wanted = painter.paint(photo, code, strength=given.strength, fast=True)
        errors.append((torch.from_numpy(found) - wanted).abs()[0].flatten(1))
    shares = torch.stack([(each.amax(0) > _VISIBLE).float().mean() for each in errors])
    return Difference(float(shares.mean()), float(shares.min()), float(torch.stack([each.mean() for each in errors]).mean()))


def _painted(g: Graph, photo: str, given: InstantGraph, painter: InstantPainter, code: StyleCode) -> str:
    """Add the nodes of the painter at one size, before the colors are mapped."""
    level, decoder = painter.level(code, given.size_px), painter.network
    features = encoded(g, photo, painter.slim, {*SWAP_LAYERS, *SEARCH_LAYERS})
    columns = with_colors(g, searched(g, features, decoder), "photo", photo, COLOR)
    patches = Patches(PATCH, variety=VARIETY)
    position = matched(g, columns, level.keys_for(given.size_px), patches, _tolerance(g, photo), COHERENCE)
    found = swapped(g, level.rows, decoder.channels, position)
    if given.strength < 1:
        share = given.strength**EVENLY
        found = [_mixed(g, features[layer], each, share) for layer, each in zip(SWAP_LAYERS, found, strict=True)]
    return without_grid(g, decoded(g, decoder, found))


def _tolerance(g: Graph, photo: str) -> str:
    """Add the nodes for the tolerance of :func:`impasto.recipes.neighbor_layers.patches_where_flat`, (height, width)."""
    weight = g.floats(np.reshape(LUMA, (1, 3, 1, 1)))  # as in impasto.losses.picture.flatness
    luminance = g.node("Conv", photo, weight, kernel_shape=[1, 1])
    down, right = (_squared_differences(g, luminance, axis) for axis in (2, 3))
    reach = _WINDOW_PX // 2
    edged = g.edged(g.node("Add", right, down), reach)
    activity = g.node("AveragePool", edged, kernel_shape=[_WINDOW_PX, _WINDOW_PX], strides=[1, 1])
    scale = g.node("Max", g.node("Mul", g.node("ReduceMean", activity), g.floats(_FLAT)), g.floats(1e-6))
    flat = g.node("Reciprocal", g.node("Add", g.node("Div", activity, scale), g.floats(1.0)))
    flat = g.node("AveragePool", flat, kernel_shape=[CELL_PX, CELL_PX], strides=[CELL_PX, CELL_PX])
    found = g.node("Mul", g.node("Mul", flat, flat), g.floats(FLAT_TOLERANCE))
    return g.node("Squeeze", g.node("Add", found, g.floats(TOLERANCE)), g.integers(0, 1))


def _squared_differences(g: Graph, x: str, axis: int) -> str:
    """Return the squared differences of neighbors along an axis; the last one is repeated."""
    after = g.node("Slice", x, g.integers(1), g.integers(2**31), g.integers(axis))
    before = g.node("Slice", x, g.integers(0), g.integers(-1), g.integers(axis))
    difference = g.node("Sub", after, before)
    pads = [0] * 8
    pads[4 + axis] = 1
    return g.node("Pad", g.node("Mul", difference, difference), g.integers(*pads), mode="edge")


def _mixed(g: Graph, a: str, b: str, share: float) -> str:
    return g.node("Add", g.node("Mul", a, g.floats(1 - share)), g.node("Mul", b, g.floats(share)))


def _finish(g: Graph, picture: str, strength: float) -> None:
    """Add nodes that clip colors and, at low strengths, blend with the photo."""
    is_blended = strength < BLENDED_BELOW
    x = g.node("Clip", picture, g.floats(0.0), g.floats(1.0), name="" if is_blended else "picture")
    if is_blended:
        share = strength / BLENDED_BELOW
        g.node("Add", g.node("Mul", "photo", g.floats(1 - share)), g.node("Mul", x, g.floats(share)), name="picture")


def _facts(style: Style) -> Mapping[str, str]:
    known = style.facts if isinstance(style, NamedStyle) else {"name": Path(style.name).name}
    return {f"style_{name}": known[name] for name in _KEPT_FACTS if known.get(name)}
