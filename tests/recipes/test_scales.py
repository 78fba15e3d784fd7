"""Two scales of one style: shallow layers at one, deep layers at the other."""

import pytest

from impasto.options import PaintOptions
from impasto.recipes.scales import by_scale


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (("relu1_1", "relu3_1", "relu4_1", "relu5_1"), [(0.5, ("relu1_1", "relu3_1")), (2.0, ("relu4_1", "relu5_1"))]),
        (("relu1_1", "relu2_1"), [(0.5, ("relu1_1", "relu2_1"))]),
        (("relu4_1",), [(2.0, ("relu4_1",))]),
    ],
)
def test_each_layer_is_measured_at_one_of_the_scales(layers: tuple[str, ...], expected: list[tuple[float, object]]) -> None:
    options = PaintOptions(recipe="gatys", style_layers=layers, style_scales=(0.5, 2.0))
    parts = by_scale(options)
    assert [(scale, part.style_layers) for scale, part in parts] == expected
    assert all(part.style_scales == () and part.layer_weights == () for _, part in parts)
