"""The public interface: composition of objects, and type checking."""

import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, get_type_hints

import pytest
import skimage.data
import torch

import impasto
from impasto import PaintOptions
from impasto.errors import OptionError
from impasto.losses import PIXELS, Loss
from impasto.options import by_present_names
from impasto.recipes.keywords import PaintKeywords
from impasto.recipes.masking import MASK_FLAGS
from impasto.tensors import Features

ROOT = Path(__file__).resolve().parent.parent
PHOTO, STYLE = skimage.data.astronaut()[::8, ::8].copy(), skimage.data.coffee()[::8, ::8].copy()


@dataclass(frozen=True)
class Brightness(Loss):
    target: float
    name: ClassVar[str] = "brightness"

    @property
    def layers(self) -> frozenset[str]:
        return frozenset({PIXELS})

    def __call__(self, features: Features) -> torch.Tensor:
        return (features[PIXELS].mean() - self.target) ** 2


@pytest.mark.slow
def test_options_objects_and_keywords_paint_the_same() -> None:
    by_name = impasto.paint(PHOTO, STYLE, size=64, steps=2, strength=0.8)
    whole = impasto.paint(PHOTO, STYLE, PaintOptions(size=64, steps=2, strength=0.8))
    assert torch.equal(by_name.image, whole.image)
    assert by_name.record["options"] == whole.record["options"]


@pytest.mark.slow
def test_keywords_override_an_options_object() -> None:
    pastiche = impasto.paint(PHOTO, STYLE, PaintOptions(size=64, steps=9), steps=2)
    assert pastiche.record["options"]["steps"] == 2


def test_an_options_object_and_a_preset_together_are_refused() -> None:
    with pytest.raises(OptionError, match="options= and preset= each define all options"):
        impasto.paint(PHOTO, STYLE, PaintOptions(), preset="neural-style")


@pytest.mark.slow
def test_an_encoder_can_be_given_as_an_object_or_by_name() -> None:
    encoder = impasto.load_encoder("vgg19-slim", border="replicate")
    given = impasto.paint(PHOTO, STYLE, size=64, steps=2, encoder=encoder)
    named = impasto.paint(PHOTO, STYLE, size=64, steps=2, encoder="vgg19-slim")
    assert torch.equal(given.image, named.image)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["neighbors", "gatys", "nnst", "strotss"])
def test_a_custom_loss_works_with_every_recipe(recipe: str) -> None:
    weighted = [1000.0 * Brightness(1.0)]
    steps = list(impasto.steps(PHOTO, STYLE, size=64, steps=8, smallest_size=64, recipe=recipe, losses=weighted))  # type: ignore[arg-type]
    assert steps[-1].losses["brightness"] < 0.8 * steps[0].losses["brightness"]


def test_paint_keywords_are_the_options_and_the_masks() -> None:
    hints = get_type_hints(PaintKeywords)
    assert set(hints) | {"encoder"} == {each.name for each in fields(PaintOptions)} | set(MASK_FLAGS)


@pytest.mark.slow
def test_former_option_names_are_accepted() -> None:
    assert by_present_names({"calm_weight": 1.0, "init": "grey"}) == {"edge_aware_weight": 1.0, "init": "gray"}
    assert (
        impasto.paint(PHOTO, STYLE, size=64, steps=2, recipe="gatys", calm_weight=1.0).record["options"]["edge_aware_weight"]
        == 1.0
    )  # type: ignore[call-arg]


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(impasto, name) is not None for name in impasto.__all__)


@pytest.mark.slow  # mypy reads torch
def test_a_users_program_passes_mypy_strict(tmp_path: Path) -> None:
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    paths = []
    for number, block in enumerate(blocks):
        paths.append(tmp_path / f"program{number}.py")
        paths[-1].write_text(block, encoding="utf-8")
    words = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)  # ROOT has the cache of mypy
    assert done.returncode == 0, done.stdout
