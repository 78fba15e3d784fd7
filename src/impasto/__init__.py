"""Neural style transfer that works right after installation.

>>> import impasto, skimage.data
>>> pastiche = impasto.paint(skimage.data.astronaut(), skimage.data.coffee(), size=64, steps=1)
>>> pastiche.image.shape[1]
3

Large dependencies are imported on first use, so ``import impasto`` and ``impasto --help`` are fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from impasto._version import __version__

if TYPE_CHECKING:
    from impasto.encoders import load_encoder
    from impasto.errors import (
        ClipError,
        ImageFileError,
        ImpastoError,
        OptionError,
        ResourceError,
        ShapeError,
        StyleFileError,
        WeightsError,
    )
    from impasto.images import Picture, read
    from impasto.metrics.report import Report
    from impasto.optim.engine import Step
    from impasto.options import InstantOptions, PaintOptions, Run, TuneOptions
    from impasto.options.brush import BrushOptions
    from impasto.options.guided import AnalogyOptions, DoodleOptions, TextureOptions
    from impasto.recipes.analogy import analogy
    from impasto.recipes.brush import BrushPainter, apply
    from impasto.recipes.doodle import doodle, suggest_map
    from impasto.recipes.instant import instant
    from impasto.recipes.instant_painter import InstantPainter
    from impasto.recipes.painting import paint, steps
    from impasto.recipes.pastiche import Pastiche
    from impasto.recipes.reporting import judge
    from impasto.recipes.texture import texture
    from impasto.recipes.tuning import Tuning, tune

_MODULES = {
    "AnalogyOptions": "options.guided",
    "BrushOptions": "options.brush",
    "BrushPainter": "recipes.brush",
    "ClipError": "errors",
    "DoodleOptions": "options.guided",
    "ImageFileError": "errors",
    "ImpastoError": "errors",
    "InstantOptions": "options",
    "InstantPainter": "recipes.instant_painter",
    "OptionError": "errors",
    "PaintOptions": "options",
    "Pastiche": "recipes.pastiche",
    "Picture": "images",
    "Report": "metrics.report",
    "ResourceError": "errors",
    "Run": "options",
    "ShapeError": "errors",
    "Step": "optim.engine",
    "StyleFileError": "errors",
    "TextureOptions": "options.guided",
    "TuneOptions": "options",
    "Tuning": "recipes.tuning",
    "WeightsError": "errors",
    "analogy": "recipes.analogy",
    "apply": "recipes.brush",
    "doodle": "recipes.doodle",
    "instant": "recipes.instant",
    "judge": "recipes.reporting",
    "load_encoder": "encoders",
    "paint": "recipes.painting",
    "read": "images",
    "steps": "recipes.painting",
    "suggest_map": "recipes.doodle",
    "texture": "recipes.texture",
    "tune": "recipes.tuning",
}

__all__ = [
    "AnalogyOptions",
    "BrushOptions",
    "BrushPainter",
    "ClipError",
    "DoodleOptions",
    "ImageFileError",
    "ImpastoError",
    "InstantOptions",
    "InstantPainter",
    "OptionError",
    "PaintOptions",
    "Pastiche",
    "Picture",
    "Report",
    "ResourceError",
    "Run",
    "ShapeError",
    "Step",
    "StyleFileError",
    "TextureOptions",
    "TuneOptions",
    "Tuning",
    "WeightsError",
    "__version__",
    "analogy",
    "apply",
    "doodle",
    "instant",
    "judge",
    "load_encoder",
    "paint",
    "read",
    "steps",
    "suggest_map",
    "texture",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first access."""
    if name not in _MODULES:
        raise AttributeError(f"module 'impasto' has no attribute {name!r}")
    return getattr(import_module(f"impasto.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
