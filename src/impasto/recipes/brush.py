"""The brush recipe: paint photos with a network that was trained for one style."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from impasto.encoders.precision import choose_device, has_fast_bf16
from impasto.images import Picture, Source, fitted_size, resize
from impasto.networks.brush_engines import Engines
from impasto.networks.brush_files import brush_facts, load_brush
from impasto.networks.johnson import Johnson
from impasto.options import Run
from impasto.options.brush import BrushOptions
from impasto.recipes.painting import read_content
from impasto.recipes.pastiche import Pastiche, recorded
from impasto.runtime.tiling import painted_in_tiles
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image

_WHOLE_PX = 2**21
"""Pictures with more pixels are painted in tiles, with statistics measured on the picture reduced to this many pixels."""
_TILE_PX = 1024


class BrushPainter:
    """A brush that is ready to paint, on one device.

    Args:
        brush: a .brush file, or a name from ``impasto brushes list``.
        run: device and precision.
        engine: torch, openvino, onnxruntime, or auto: on the CPU, the first picture is painted with PyTorch, which starts
            immediately, and later pictures with OpenVINO if it is installed. Engines round differently.

    Raises:
        WeightsError: if the brush cannot be read.
        OptionError: if the engine or the device is not available.
    """

    def __init__(self, brush: str | Path, run: Run | None = None, engine: str = "auto") -> None:
        self.run = run or Run()
        self.device = torch.device(choose_device(self.run.device))
        self.network = load_brush(brush).to(self.device)
        self.facts = brush_facts(brush)
        self.is_bf16 = self.run.precision == "bf16" or (self.run.precision == "auto" and has_fast_bf16(self.device))
        self.engines = Engines(engine, self.device, "bf16" if self.is_bf16 else "fp32")

    @in_known_state
    @torch.no_grad()
    def paint(self, image: Image) -> Image:
        """Paint a picture: (1, 3, height, width), sRGB in [0, 1], on the CPU; any size.

        Pictures of more than two megapixels are painted in tiles. All tiles are normalized with the statistics of the reduced
        picture, so they fit together.
        """
        height, width = image.shape[-2:]
        paint = self.engines.next_picture() or self._painted
        if height * width <= _WHOLE_PX:
            return paint(self.network, image)
        ratio = (_WHOLE_PX / (height * width)) ** 0.5
        reduced = resize(image, (max(1, round(ratio * height)), max(1, round(ratio * width))))
        network = self.network.with_statistics_of(reduced.to(self.device))
        found = image.clone()
        for _ in painted_in_tiles(found, lambda tile, _: paint(network, tile), _TILE_PX, network.halo_px):
            pass
        return found

    def _painted(self, network: Johnson, image: Image) -> Image:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_bf16):
            painted: Image = network(image.to(self.device)).float().clamp(0, 1).cpu()
        return painted


def apply(brush: str | Path | BrushPainter, content: Source | Picture, *, run: Run | None = None, **options: Any) -> Pastiche:
    """Paint a photo with a brush.

    Args:
        brush: a .brush file, a name from ``impasto brushes list``, or a :class:`BrushPainter`, which reads its file only once.
        content: the photo: a path, bytes, a Pillow image, a NumPy array or a tensor.
        run: device and precision.
        options: any field of :class:`impasto.options.brush.BrushOptions`.

    Returns:
        The result; see :class:`impasto.Pastiche`.

    Raises:
        ImpastoError: if the brush or the photo cannot be read; the message is one sentence.
    """
    chosen = BrushOptions(**options)
    painter = brush if isinstance(brush, BrushPainter) else BrushPainter(brush, run)
    return applied(painter, read_content(content), chosen)


def applied(painter: BrushPainter, photo: Picture, options: BrushOptions) -> Pastiche:
    """Paint a photo that was read before; see :func:`apply`."""
    size = planned_size(photo, options)
    image = resize(photo.image, size)
    height, width = (max(1, round(side / options.stroke)) for side in size)
    painted = resize(painter.paint(resize(image, (height, width))), size).clamp(0, 1)
    image = torch.lerp(image, painted, options.strength)
    record = recorded("brush", photo, (), painter.run) | {
        "brush": {"name": painter.facts.get("name", ""), "sha256": painter.network.sha256},
        "options": asdict(options),
    }
    alpha = None if photo.alpha is None else resize(photo.alpha, size)
    return Pastiche(image, alpha, photo.metadata, record)


def planned_size(photo: Picture, options: BrushOptions) -> tuple[int, int]:
    """Return the (height, width) of the result."""
    return fitted_size(photo.size, min(options.size or max(photo.size), max(photo.size)))
