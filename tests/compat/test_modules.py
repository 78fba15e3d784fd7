"""Brushes and the instant recipe as modules, and the entry points for torch.hub."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest
import skimage.data
import skimage.io
import torch

import impasto
from impasto.compat.modules import BrushModule, InstantModule
from impasto.errors import ImpastoError, OptionError, ShapeError
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    torch.manual_seed(5)  # noqa: TID251  (initialization has no generator)
    save_brush(tmp_path / "tiny.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "tiny"})
    return tmp_path / "tiny.brush"


def photos(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_a_brush_paints_every_picture_of_a_batch(tiny: Path) -> None:
    given, paint = photos(2, 3, 37, 50), BrushModule(tiny)
    found = paint(given)
    assert found.shape == given.shape
    assert 0 <= found.min() < found.max() <= 1
    for one, picture in zip(given, found, strict=True):
        assert (impasto.read(one[None]).image - one[None]).abs().max() < 1e-6
        assert (BrushModule(tiny)(one[None])[0] - picture).abs().max() < 1e-5
    assert torch.equal(BrushModule(tiny, strength=0.0)(given), given)


def test_gradients_pass_through_a_brush(tiny: Path) -> None:
    given = photos(1, 3, 32, 32).requires_grad_()
    BrushModule(tiny)(given).mean().backward()
    assert given.grad is not None
    assert given.grad.abs().sum() > 0


def test_instant_paints_every_picture_of_a_batch() -> None:
    given = photos(2, 3, 40, 64)
    found = InstantModule(skimage.data.coffee()[::4, ::4], run=impasto.Run(device="cpu", precision="fp32"))(given)
    assert found.shape == given.shape
    assert 0 <= found.min() < found.max() <= 1
    assert (found - given).abs().mean() > 0.02


@pytest.mark.parametrize("bad", [photos(3, 20, 20), photos(1, 20, 20, 3), torch.zeros(1, 3, 20, 20, dtype=torch.uint8)])
def test_a_batch_of_another_form_is_reported(tiny: Path, bad: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"photos have shape .*; give .batch, 3, height, width., floats in"):
        BrushModule(tiny)(bad)


def test_photos_too_small_for_instant_are_reported() -> None:
    with pytest.raises(ShapeError, match="both sides must be at least 32 pixels"):
        InstantModule(skimage.data.coffee()[::8, ::8])(photos(1, 3, 31, 80))


def test_other_strengths_and_missing_brushes_are_reported(tiny: Path) -> None:
    with pytest.raises(OptionError, match=r"--strength is 1\.2; it must be a number from 0 to 1"):
        BrushModule(tiny, strength=1.2)
    with pytest.raises(OptionError, match="--strength is 2;"):
        InstantModule(skimage.data.coffee(), strength=2)
    with pytest.raises(ImpastoError, match=r"'missing\.brush' does not exist"):
        BrushModule("missing.brush")


def test_torch_hub_loads_both_entry_points(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    paint = torch.hub.load(str(ROOT), "brush", str(tiny), source="local")
    assert paint(photos(2, 3, 20, 30)).shape == (2, 3, 20, 30)
    style = tmp_path / "style.png"
    skimage.io.imsave(style, skimage.data.coffee()[::4, ::4])
    assert torch.hub.load(str(ROOT), "instant", str(style), source="local")(photos(1, 3, 32, 40)).shape == (1, 3, 32, 40)


def test_torch_hub_checks_packages_that_are_dependencies_of_impasto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = {"PIL": "Pillow", "skimage": "scikit-image"}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    known = {re.split("[>=]", each)[0] for each in declared}
    assert {names.get(each, each) for each in module.dependencies} <= known
