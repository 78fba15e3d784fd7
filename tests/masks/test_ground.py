"""The black ground on which a style was photographed is found, and is not painted with."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto import images
from impasto.color.transfer import color_moments
from impasto.masks.ground import cells_within, colors_within, painted_area
from impasto.options import Run
from impasto.recipes import gatys, neighbors
from impasto.recipes.instant_painter import InstantPainter, blended
from impasto.recipes.presets import paint_options

GROUND = 15 / 255
COFFEE = images.resize(images.read(skimage.data.coffee()).image, (160, 240))
EXACT = Run(device="cpu", precision="fp32")


def photographed(painting: Tensor, ground: float = GROUND, border: int = 25) -> Tensor:
    """Put a painting on a flat ground that is cut off at no side."""
    noise = 2 / 255 * torch.rand(1, 3, *(side + 2 * border for side in painting.shape[-2:]), generator=torch.Generator())
    found = noise + ground
    found[..., border:-border, border:-border] = painting
    return found


def test_the_area_is_the_painting_without_its_ground() -> None:
    area = painted_area(photographed(COFFEE))
    assert area is not None
    painted = F.interpolate(area, size=(210, 290), mode="nearest")[0, 0]
    assert float(painted[:22].max()) == float(painted[:, :22].max()) == 0
    assert float(painted[29:-29, 29:-29].mean()) > 0.98
    assert not bool(cells_within(area, (42, 58))[:5].any())


@pytest.mark.parametrize(
    ("what", "picture"),
    [
        ("no ground", lambda: COFFEE),
        ("white ground", lambda: photographed(COFFEE, ground=0.96)),
        ("ground at three sides", lambda: photographed(COFFEE)[..., :180, :]),
        ("more ground than painting", lambda: photographed(COFFEE[..., :50, :50])),
        ("black lines on all of it", lambda: photographed(torch.where(COFFEE.mean(1, keepdim=True) < 0.4, GROUND, COFFEE))),
        ("one color", lambda: torch.full((1, 3, 64, 64), GROUND)),
    ],
)
def test_other_pictures_are_used_as_a_whole(what: str, picture: Callable[[], Tensor]) -> None:
    assert painted_area(picture()) is None, what


def test_colors_of_an_area_are_those_of_the_painting() -> None:
    picture = photographed(COFFEE)
    whole, within, wanted = color_moments(picture), colors_within(picture, painted_area(picture)), color_moments(COFFEE)
    torch.testing.assert_close(within.mean, wanted.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(within.covariance, wanted.covariance, atol=0.01, rtol=0)
    assert float((whole.mean - wanted.mean).abs().min()) > 0.05


def test_instant_does_not_paint_with_the_ground() -> None:
    painter = InstantPainter(EXACT, engine="torch")
    photo = images.resize(images.read(skimage.data.astronaut()).image, (128, 128))
    code = painter.encode_picture(photographed(COFFEE))
    used = painter.level(code, 128).keys
    assert 0.4 < float(used.allowed.float().mean()) < 0.7
    assert bool(used.allowed[used.match(torch.rand(1, len(used.basis), 12, 12), coherence=0.1).position].all())
    with_ground = replace(code, areas=(), colors=(color_moments(code.pictures[0]),), levels={})
    dark = [float((painter.paint(photo, each).amax(1) < 0.1).float().mean()) for each in (code, with_ground)]
    assert dark[0] < 0.5 * dark[1]


def test_the_areas_of_several_styles_are_kept() -> None:
    painter = InstantPainter(EXACT, engine="torch")
    framed, plain = painter.encode_picture(photographed(COFFEE)), painter.encode_picture(COFFEE)
    areas = blended([plain, framed], [1, 2]).areas
    assert areas[0] is None
    assert areas[1] is framed.areas[0]


def test_paint_does_not_paint_with_the_ground() -> None:
    photo, style = images.read(skimage.data.astronaut()), images.read(photographed(COFFEE))
    context = gatys.set_up(photo, [style], paint_options(size=64, margin=0), EXACT)
    painting = neighbors._Painting(context)
    torch.testing.assert_close(painting.palettes[0].mean, color_moments(COFFEE).mean, atol=0.02, rtol=0)
    painting.objective_at(context.sizes[0][0], context.content)
    area = painting.painted[0]
    assert area is not None
    height, width = painting._keys([torch.rand(1, 8, 30, 40)]).sizes[0]
    allowed = painting._keys([torch.rand(1, 8, height, width)]).allowed
    assert 0.4 < float(allowed.float().mean()) < 0.7
