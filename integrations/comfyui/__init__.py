"""Nodes for ComfyUI: apply a brush, instant, paint. Copy or link this folder into ComfyUI/custom_nodes.

Pictures are IMAGE tensors: (batch, height, width, 3), float32 in [0, 1].
"""

import torch

import impasto
from impasto.networks.brush_files import brush_path, shipped_brushes
from impasto.recipes.brush import BrushPainter, apply

CATEGORY = "impasto"
RETURN_TYPES = ("IMAGE",)
_STRENGTH = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05})


def painted(images, paint):
    """Paint each picture of a batch with a function of (1, 3, height, width) that returns a pastiche."""
    found = [paint(each.permute(2, 0, 1)[None, :3].float().cpu()).image for each in images]
    return (torch.cat(found).permute(0, 2, 3, 1).contiguous(),)


def first(style):
    """Return the first picture of a batch as (1, 3, height, width)."""
    return style[0].permute(2, 0, 1)[None, :3].float().cpu()


def _state(path):
    return f"{path} {path.stat().st_mtime_ns}"


class ApplyBrush:
    """Paint with a brush: a network trained for one style."""

    CATEGORY, RETURN_TYPES, FUNCTION = CATEGORY, RETURN_TYPES, "paint"
    _painters: dict = {}  # noqa: RUF012  (ComfyUI creates a node for each run)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        """Describe the inputs for ComfyUI."""
        stroke = ("FLOAT", {"default": 1.0, "min": 0.25, "max": 4.0, "step": 0.05})
        file = ("STRING", {"default": "", "tooltip": "a .brush file; empty: the brush chosen above"})
        brushes = (list(shipped_brushes()) or ["none"],)
        return {
            "required": {"image": ("IMAGE",), "brush": brushes, "strength": _STRENGTH, "stroke": stroke},
            "optional": {"brush_file": file},
        }

    @classmethod
    def IS_CHANGED(cls, brush, brush_file="", **_):  # noqa: N802
        """Tell ComfyUI to paint again if the file has changed."""
        return _state(brush_path(brush_file or brush))

    def _painter(self, path):
        if _state(path) not in self._painters:
            self._painters.clear()
            self._painters[_state(path)] = BrushPainter(path)
        return self._painters[_state(path)]

    def paint(self, image, brush, strength=1.0, stroke=1.0, brush_file=""):
        """Paint each picture of the batch."""
        painter = self._painter(brush_path(brush_file or brush))
        return painted(image, lambda photo: apply(painter, photo, strength=strength, stroke=stroke))


class Instant:
    """Paint in the style of a picture in one pass."""

    CATEGORY, RETURN_TYPES, FUNCTION = CATEGORY, RETURN_TYPES, "paint"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        """Describe the inputs for ComfyUI."""
        strength = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.5, "step": 0.05})
        return {"required": {"image": ("IMAGE",), "style": ("IMAGE",), "strength": strength}}

    def paint(self, image, style, strength=1.0):
        """Paint each picture of the batch in the style of the first style picture."""
        return painted(image, lambda photo: impasto.instant(photo, first(style), strength=strength))


class Paint:
    """Paint in the style of a picture by optimization: slower, and finer, than Instant."""

    CATEGORY, RETURN_TYPES, FUNCTION = CATEGORY, RETURN_TYPES, "paint"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        """Describe the inputs for ComfyUI."""
        size = ("INT", {"default": 512, "min": 64, "max": 4096, "tooltip": "longer side of the result"})
        steps = ("INT", {"default": 0, "min": 0, "max": 10_000, "tooltip": "steps at each size; 0: the default"})
        return {"required": {"image": ("IMAGE",), "style": ("IMAGE",), "size": size, "steps": steps}}

    def paint(self, image, style, size=512, steps=0):
        """Paint each picture of the batch in the style of the first style picture."""
        options = {"size": size} | ({"steps": steps} if steps else {})
        return painted(image, lambda photo: impasto.paint(photo, first(style), **options))


NODE_CLASS_MAPPINGS = {"ImpastoBrush": ApplyBrush, "ImpastoInstant": Instant, "ImpastoPaint": Paint}
NODE_DISPLAY_NAME_MAPPINGS = {
    "ImpastoBrush": "Apply brush (impasto)",
    "ImpastoInstant": "Instant style (impasto)",
    "ImpastoPaint": "Paint (impasto)",
}
