"""Image analogies: filters with a known answer, learned from one pair, and what the engine refuses."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto import images
from impasto.color.transfer import to_space
from impasto.errors import ImpastoError, OptionError, ShapeError
from impasto.optim.engine import Step
from impasto.recipes.analogy_classic import AnalogySettings, classic_analogy


def square(pixels: Any, side: int) -> Tensor:
    """Crop a picture to its central square and resize it."""
    height, width = pixels.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    crop = torch.from_numpy(pixels[top : top + edge, left : left + edge].copy())
    return images.resize(crop.permute(2, 0, 1)[None].float() / 255, (side, side))


def correlated(image: Tensor, kernel: Tensor) -> Tensor:
    """Filter each channel; the picture is mirrored at its borders."""
    edge = kernel.shape[-1] // 2
    padded = F.pad(image, (edge,) * 4, mode="reflect")
    return F.conv2d(padded, kernel[None, None].expand(3, 1, -1, -1), groups=3)


def blur(image: Tensor) -> Tensor:
    bell = torch.exp(-(torch.arange(-5, 6).float() ** 2) / (2 * 1.5**2))
    return correlated(image, torch.outer(bell, bell) / bell.sum() ** 2)


def emboss(image: Tensor) -> Tensor:
    return (0.5 + correlated(image, torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, -1]]))).clamp(0, 1)


def invert(image: Tensor) -> Tensor:
    return 1 - image


def color_map(image: Tensor) -> Tensor:
    red, green, blue = image.unbind(1)
    return torch.stack([red**0.6, 0.2 + 0.6 * green**1.5 + 0.2 * blue, 0.9 - 0.7 * blue + 0.1 * red], dim=1).clamp(0, 1)


def psnr(image: Tensor, other: Tensor) -> float:
    return -10 * math.log10(float((image - other).square().mean()))


def gray(image: Tensor) -> Tensor:
    return image.mean(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()


def last(a: Tensor, a_prime: Tensor, b: Tensor, **settings: Any) -> Step:
    *_, step = classic_analogy(a, a_prime, b, AnalogySettings(**settings))
    return step


A, B = square(skimage.data.coffee(), 128), square(skimage.data.astronaut(), 96)[..., :80]
SMALL_A, SMALL_B = square(skimage.data.coffee(), 48), square(skimage.data.chelsea(), 40)[..., :33]


@pytest.mark.slow
@pytest.mark.parametrize(("true", "bar"), [(blur, 40), (emboss, 40), (invert, 50), (color_map, 28)])
def test_a_filter_is_learned_from_one_pair_and_applied_to_another_picture(true: Callable[[Tensor], Tensor], bar: float) -> None:
    step = last(A, true(A), B, color="learn")
    assert step.image.shape == B.shape
    assert psnr(step.image, true(B)) >= bar
    assert psnr(B, true(B)) < 24  # the filter changes the picture


@pytest.mark.slow
def test_copying_alone_learns_to_blur_a_gray_picture() -> None:
    a, b = gray(A), gray(B)
    assert psnr(last(a, blur(a), b, transfer="copy", kappa=0, remap=False).image, blur(b)) >= 27


def test_copying_takes_pixels_of_the_filtered_example_alone() -> None:
    a_prime = color_map(SMALL_A)
    found = last(SMALL_A, a_prime, SMALL_B, color="learn", transfer="copy").image
    allowed = set(map(tuple, a_prime[0].flatten(1).T.tolist()))
    assert set(map(tuple, found[0].flatten(1).T.tolist())) <= allowed


@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["copy", "linear"])
def test_the_example_itself_becomes_its_filtered_version(transfer: str) -> None:
    found = last(SMALL_A, emboss(SMALL_A), SMALL_A, color="learn", transfer=transfer, kappa=0).image
    assert psnr(found, emboss(SMALL_A)) > 40


@pytest.mark.slow
def test_the_result_is_the_same_each_time() -> None:
    one, other = (last(SMALL_A, emboss(SMALL_A), SMALL_B).image for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.slow
def test_a_higher_kappa_continues_more_matches_at_a_greater_distance() -> None:
    near, far = (last(SMALL_A, emboss(SMALL_A), SMALL_B, kappa=kappa, transfer="copy") for kappa in (0.0, 10.0))
    assert not torch.equal(near.image, far.image)
    assert far.loss > near.loss


def test_keep_takes_luminance_from_the_example_and_colors_from_the_photo() -> None:
    photo = 0.25 + 0.5 * SMALL_B  # far from black and white, so that every color can be shown
    found = last(SMALL_A, blur(SMALL_A), photo).image
    colors, own = (to_space(each, "yiq")[:, 1:] for each in (found, photo))
    torch.testing.assert_close(colors, own, atol=2e-3, rtol=0)
    assert psnr(to_space(found, "yiq")[:, :1], to_space(blur(photo), "yiq")[:, :1]) > 30


@pytest.mark.slow
def test_remapping_gives_a_dark_example_the_light_of_the_photo() -> None:
    dark, bright = 0.2 * SMALL_A, 0.5 + 0.4 * SMALL_B
    remapped, plain = (last(dark, dark, bright, transfer="copy", remap=remap).image.mean() for remap in (True, False))
    assert abs(float(remapped - bright.mean())) < 0.05
    assert float(plain) < float(bright.mean()) - 0.3


def test_steps_go_from_coarse_to_fine_and_count_to_the_total() -> None:
    steps = list(classic_analogy(SMALL_A, blur(SMALL_A), SMALL_B, AnalogySettings(levels=3)))
    assert [step.number for step in steps] == list(range(1, steps[-1].total + 1))
    assert sorted({step.size for step in steps}) == [(10, 9), (20, 17), (40, 33)]
    assert all(step.image.shape[-2:] == step.size and bool(torch.isfinite(step.image).all()) for step in steps)
    assert steps[-1].seconds_left == 0


@pytest.mark.parametrize("size", [(5, 5), (5, 9), (6, 40)])
def test_small_pictures_are_filtered(size: tuple[int, int]) -> None:
    b = images.resize(SMALL_B, size)
    for settings in ({}, {"color": "learn", "transfer": "copy"}):
        assert last(SMALL_A, 1 - SMALL_A, b, **settings).image.shape == b.shape


def test_flat_pictures_are_filtered() -> None:
    flat = torch.full((1, 3, 24, 20), 0.75)
    torch.testing.assert_close(last(flat, 1 - flat, flat, color="learn").image, 1 - flat, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("pictures", "settings", "error", "words"),
    [
        ((SMALL_A, SMALL_A[..., 1:], SMALL_B), {}, ShapeError, "A has 48x48 pixels and A' has 47x48; .*resize or crop"),
        ((SMALL_A[..., :4], SMALL_A[..., :4], SMALL_B), {}, ShapeError, "A has 4x48 pixels, less than a patch; .*at least 5"),
        ((SMALL_A, SMALL_A, SMALL_B[..., :3, :]), {}, ShapeError, "B has 33x3 pixels"),
        ((SMALL_A[0], SMALL_A[0], SMALL_B), {}, ShapeError, r"A is a tensor of shape \(3, 48, 48\)"),
        ((SMALL_A, SMALL_A, SMALL_B), {"kappa": -1.0}, OptionError, "kappa is -1; .*at least 0"),
        ((SMALL_A, SMALL_A, SMALL_B), {"kappa": math.nan}, OptionError, "kappa is nan"),
        ((SMALL_A, SMALL_A, SMALL_B), {"levels": 9}, OptionError, "levels is 9; .*allow 1 to 4"),
        ((SMALL_A, SMALL_A, SMALL_B), {"levels": 0}, OptionError, "levels is 0"),
        ((SMALL_A, SMALL_A, SMALL_B), {"color": "learned"}, OptionError, "color 'learned' is not known; did you mean 'learn'"),
        (
            (SMALL_A, SMALL_A, SMALL_B),
            {"transfer": "x"},
            OptionError,
            "transfer 'x' is not known; use one of 'linear', 'copy'",
        ),
    ],
)
def test_pictures_and_settings_that_cannot_be_used_are_refused(
    pictures: tuple[Tensor, Tensor, Tensor], settings: dict[str, Any], error: type[ImpastoError], words: str
) -> None:
    with pytest.raises(error, match=words):
        next(classic_analogy(*pictures, AnalogySettings(**settings)))
