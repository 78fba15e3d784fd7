"""Every preset and every recipe paints: its objective decreases, and the result is neither the photo nor blank."""

from pathlib import Path

import pytest
import skimage.data
import torch

from impasto import images
from impasto.optim.engine import Step
from impasto.options import Run
from impasto.recipes import gatys
from impasto.recipes.painting import run_recipe
from impasto.recipes.presets import PRESETS, RECIPES, paint_options

PUBLISHED = [name for name in PRESETS if name != "impasto"]
EVERY = (*PUBLISHED, *RECIPES)  # the preset impasto is the recipe neighbors
EXACT = Run(device="cpu", precision="fp32", threads=1)
ADAM_STEPS, OTHER_STEPS = 20, 8


def steps_of(name: str, size: int, **options: object) -> tuple[list[Step], torch.Tensor]:
    """Paint a face in the style of a cup of coffee, with few steps; return them, and the photo at the size of the result."""
    photo, style = images.read(skimage.data.astronaut()[:384, 32:416]), images.read(skimage.data.coffee())
    start = {"recipe": name} if name in RECIPES else {"preset": name}
    known = RECIPES.get(name) or PRESETS[name]
    count = ADAM_STEPS if known.optimizer == "adam" and known.recipe == "gatys" else OTHER_STEPS
    chosen = paint_options(**start, size=size, smallest_size=64, steps=count, first_steps=0, **options)  # type: ignore[arg-type]
    context = gatys.set_up(photo, (style,), chosen, EXACT)
    return list(run_recipe(context)), images.resize(photo.image, (size, size))


def check_painted(name: str, steps: list[Step], photo: torch.Tensor) -> None:
    for scale in {step.scale for step in steps}:
        first, *_, last = [step.loss for step in steps if step.scale == scale]
        # Recipes compare angles, or relative sizes, of which some are left in any case.
        least = 0.0 if scale else 0.5 if name in PUBLISHED else 0.2
        assert first - last > least * first, (scale, first, last)
    image = steps[-1].image
    assert steps[-1].failure == ""
    assert float((image - photo).abs().mean()) > 0.03  # eight of 255
    assert float(image.std()) > 0.08
    assert float(image.mean(1).std(dim=-1).median()) > 0.02  # no row is of one color
    assert bool(image.isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_every_preset_and_recipe_paints(name: str) -> None:
    check_painted(name, *steps_of(name, 80))


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_every_preset_and_recipe_paints_with_the_full_network(name: str, shared: Path) -> None:
    check_painted(name, *steps_of(name, 64, encoder=str(shared / "teachers" / "vgg19_uint8.safetensors")))
