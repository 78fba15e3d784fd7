"""Doodle, analogy and texture on real pictures: where things are, how they look, and what is refused."""

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

import impasto
from impasto import images
from impasto.errors import ImpastoError, OptionError, ShapeError
from impasto.images import Picture, resize
from impasto.options import Run
from impasto.options.guided import AnalogyOptions, DoodleOptions, TextureOptions
from impasto.recipes.analogy import AnalogyInputs, analogy_of
from impasto.recipes.doodle import DoodleInputs, doodle_of, doodle_steps, suggest_map
from impasto.recipes.guided import guided_steps, last_of
from impasto.recipes.texture import TextureInputs, texture_of

EXACT = Run(device="cpu", precision="fp32")
COFFEE, ASTRONAUT = skimage.data.coffee()[::4, ::4], skimage.data.astronaut()[::4, ::4]


def halves(height: int, width: int, *, upside_down: bool = False, transposed: bool = False) -> np.ndarray:
    """Draw a map of two halves, black above white."""
    colors = np.zeros((height, width, 3), np.uint8)
    colors[height // 2 :] = 255
    colors = colors[::-1] if upside_down else colors
    return np.ascontiguousarray(colors.transpose(1, 0, 2) if transposed else colors)


def two_tone() -> np.ndarray:
    """Join two textures: grass above, brick below."""
    grass, brick = skimage.data.grass()[:96, :192], skimage.data.brick()[:96, :192]
    colored = [
        np.stack([gray * share for share in shares], -1) for gray, shares in ((grass, (0.4, 1, 0.3)), (brick, (1, 0.4, 0.3)))
    ]
    return np.concatenate(colored).clip(0, 255).astype(np.uint8)


def greenness(image: Tensor) -> Tensor:
    return image[:, 1] - image[:, 0]


@pytest.mark.slow
def test_a_doodle_puts_the_parts_of_the_style_where_the_map_says() -> None:
    pastiche = impasto.doodle(two_tone(), halves(128, 128, upside_down=True), style_map=halves(192, 192), run=EXACT, size=128)
    green = greenness(pastiche.image)[0]
    assert pastiche.image.shape == (1, 3, 128, 128)
    assert float(green[:48].mean()) < -0.05
    assert float(green[80:].mean()) > 0.05
    assert float(pastiche.image.std()) > 0.1
    assert pastiche.record["recipe"] == "doodle"
    assert set(pastiche.record) >= {"map", "style_map", "steps", "options"}


@pytest.mark.slow
def test_nearly_all_positions_of_a_doodle_come_from_the_same_label() -> None:
    inputs = DoodleInputs(*map(images.read, (two_tone(), halves(96, 96, transposed=True), halves(192, 192))))
    last = last_of(doodle_steps(inputs, DoodleOptions(size=96), EXACT))
    assert last.losses["guide"] < 0.1


@pytest.mark.slow
def test_a_doodle_without_weight_ignores_the_map() -> None:
    inputs = DoodleInputs(*map(images.read, (two_tone(), halves(96, 96, upside_down=True), halves(192, 192))))
    shares = []
    for weight in (0.0, 1.0):
        image = last_of(doodle_steps(inputs, DoodleOptions(size=96, semantic_weight=weight), EXACT)).image
        shares.append(float((greenness(image)[0, 56:] > 0).float().mean()))
    assert shares[1] > shares[0] + 0.1


@pytest.mark.slow
def test_a_doodle_follows_a_photo() -> None:
    def edges(image: Tensor) -> Tensor:
        gray = image.mean(1)
        return (gray[:, 1:, 1:] - gray[:, :-1, 1:]).abs() + (gray[:, 1:, 1:] - gray[:, 1:, :-1]).abs()

    photo = resize(images.read(ASTRONAUT).image, (128, 128))
    found = []
    for content in (None, ASTRONAUT):
        image = impasto.doodle(
            COFFEE,
            halves(128, 128),
            style_map=halves(*COFFEE.shape[:2]),
            content=content,
            run=EXACT,
            size=128,
            content_weight=0.9,
        ).image
        found.append(float(torch.corrcoef(torch.stack([edges(image).flatten(), edges(photo).flatten()]))[0, 1]))
    assert found[1] > found[0] + 0.1


@pytest.mark.slow
def test_the_map_of_the_style_may_be_a_draft() -> None:
    drafted = suggest_map(COFFEE, labels=3)
    inputs = DoodleInputs(images.read(COFFEE), drafted)
    guided = doodle_of(inputs, DoodleOptions(size=64, labels=3), EXACT)
    assert "draft" in guided.notes[0]
    assert float(last_of(guided_steps(guided, EXACT)).image.std()) > 0.05


@pytest.mark.slow
def test_the_draft_for_a_large_style_has_its_size_and_flat_colors() -> None:
    drafted = suggest_map(np.ascontiguousarray(halves(1600, 400)), labels=2)
    assert drafted.size == (1600, 400)
    assert len(np.unique(drafted.image[0].flatten(1).T.numpy(), axis=0)) == 2


@pytest.mark.slow
def test_a_doodle_repeats_itself_and_another_seed_differs() -> None:
    first, again, other = (
        impasto.doodle(
            COFFEE, halves(64, 64), style_map=halves(100, 150), run=Run(device="cpu", precision="fp32", seed=seed), size=64
        ).image
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.slow
def test_a_texture_looks_like_its_picture_at_any_size() -> None:
    brick = np.stack([skimage.data.brick()] * 3, -1)[:256, :256]
    image = impasto.texture(brick, size="200x120", run=EXACT).image
    assert image.shape == (1, 3, 120, 200)
    original = images.read(brick).image
    assert abs(float(image.mean() - original.mean())) < 0.05
    assert abs(float(image.std() / original.std()) - 1) < 0.25


def seam_energy(image: Tensor) -> tuple[float, float]:
    """Return the mean difference across the opposite edges, and inside."""
    across = (image[..., 0] - image[..., -1]).abs().mean() + (image[..., 0, :] - image[..., -1, :]).abs().mean()
    inside = (image[..., 1:] - image[..., :-1]).abs().mean() + (image[..., 1:, :] - image[..., :-1, :]).abs().mean()
    return float(across), float(inside)


@pytest.mark.slow
def test_a_tileable_texture_has_no_seam_and_another_one_has() -> None:
    grass = np.stack([skimage.data.grass()] * 3, -1)[:200, :200]
    across, inside = seam_energy(impasto.texture(grass, size="96x64", tileable=True, run=EXACT).image)
    assert across <= inside
    across, inside = seam_energy(impasto.texture(grass, size="96x64", run=EXACT).image)
    assert across > 1.1 * inside


@pytest.mark.slow
def test_an_expanded_picture_is_kept_in_the_middle() -> None:
    image = impasto.texture(COFFEE, size="240x180", expand=True, run=EXACT).image
    middle = image[..., 40 + 12 : 140 - 12, 45 + 12 : 195 - 12]
    assert float((middle - images.read(COFFEE).image[..., 12:-12, 12:-12]).abs().max()) < 0.01
    border = torch.cat([image[..., :30, :].flatten(), image[..., -30:, :].flatten()])
    assert float(border.std()) > 0.05


@pytest.mark.slow
def test_inpainting_fills_the_white_area_and_keeps_the_rest() -> None:
    photo = np.stack([skimage.data.brick()] * 3, -1)[:160, :160].copy()
    photo[60:100, 60:100] = (255, 0, 0)
    mask = np.zeros((160, 160, 3), np.uint8)
    mask[56:104, 56:104] = 255
    pastiche = impasto.texture(photo, inpaint=mask, run=EXACT)
    image = pastiche.image
    assert image.shape == (1, 3, 160, 160)
    torch.testing.assert_close(image[..., :40, :], images.read(photo).image[..., :40, :])
    assert float((image[:, 0] - image[:, 1])[..., 56:104, 56:104].max()) < 0.3  # no red is left


@pytest.mark.slow
def test_mixing_uses_both_pictures() -> None:
    red, green = (two_tone()[part] for part in (np.s_[96:], np.s_[:96]))
    green_share = float((greenness(impasto.texture([red, green], size="128x128", run=EXACT).image) > 0).float().mean())
    assert 0.15 < green_share < 0.85


@pytest.mark.slow
def test_an_analogy_transfers_the_look_of_the_example() -> None:
    a, b = skimage.data.coffee()[::3, ::3], ASTRONAUT
    tinted = np.stack([a.mean(-1)] * 3, -1) * (1.0, 0.8, 0.5)
    unguided, image = (
        impasto.analogy(a, tinted.astype(np.uint8), b, run=EXACT, size=128, analogy_weight=weight).image for weight in (0, 2)
    )
    assert image.shape == (1, 3, 128, 128)
    red, _, blue = image[0].flatten(1).mean(1).tolist()
    assert blue < 0.75 * red
    photo = images.read(b).image.mean(1).flatten()
    like, unlike = (float(torch.corrcoef(torch.stack([each.mean(1).flatten(), photo]))[0, 1]) for each in (image, unguided))
    assert like > unlike + 0.3


def read(*pictures: np.ndarray) -> list[Picture]:
    return [images.read(each) for each in pictures]


def tall() -> np.ndarray:
    return COFFEE[:, :40]


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        (
            lambda: analogy_of(AnalogyInputs(*read(COFFEE, tall(), COFFEE)), AnalogyOptions(), EXACT),
            ShapeError,
            "150x100.*40x100",
        ),
        (
            lambda: analogy_of(AnalogyInputs(*read(COFFEE[:4], COFFEE[:4], COFFEE)), AnalogyOptions(), EXACT),
            ShapeError,
            "150x4",
        ),
        (lambda: texture_of(TextureInputs((read(COFFEE[:4])[0],)), TextureOptions(), EXACT), ShapeError, "too few"),
        (
            lambda: texture_of(
                TextureInputs((read(COFFEE)[0],), read(np.full((9, 9, 3), 255, np.uint8))[0]), TextureOptions(), EXACT
            ),
            OptionError,
            "covers everything",
        ),
        (
            lambda: texture_of(
                TextureInputs((read(COFFEE)[0],), read(np.zeros((9, 9, 3), np.uint8))[0]), TextureOptions(), EXACT
            ),
            OptionError,
            "covers nothing",
        ),
        (
            lambda: texture_of(TextureInputs(tuple(read(COFFEE, COFFEE))), TextureOptions(expand=True), EXACT),
            OptionError,
            "2 were given",
        ),
        (
            lambda: texture_of(TextureInputs((read(COFFEE)[0],)), TextureOptions(expand=True, size="64x64"), EXACT),
            OptionError,
            "larger --size",
        ),
        (lambda: TextureOptions(size="big"), OptionError, "'big' is not a size"),
        (lambda: TextureOptions(size="20x512"), OptionError, "side of 20"),
        (lambda: TextureOptions(size="100x512", tileable=True), OptionError, "such as 96x512"),
        (lambda: DoodleOptions(labels=40), OptionError, "--labels is 40"),
        (lambda: AnalogyOptions(engine="fast"), OptionError, "neural"),  # type: ignore[arg-type]
        (lambda: suggest_map(COFFEE, labels=1), OptionError, "--labels is 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(prepare: Any, error: type[ImpastoError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        prepare()
    assert "\n" not in str(caught.value)
