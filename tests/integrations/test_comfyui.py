"""The nodes for ComfyUI, without ComfyUI."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
import skimage.data
import torch

from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.recipes.brush import apply

FOLDER = Path(__file__).resolve().parents[2] / "integrations" / "comfyui"


@pytest.fixture(scope="module")
def nodes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("impasto_nodes", FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    torch.manual_seed(5)  # noqa: TID251  (initialization has no generator)
    save_brush(tmp_path / "tiny.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "tiny"})
    return tmp_path / "tiny.brush"


def batch(count: int = 2) -> torch.Tensor:
    """Pictures as ComfyUI passes them: (batch, height, width, 3), float32 in [0, 1]."""
    photo = torch.from_numpy(skimage.data.astronaut()[::8, ::6] / 255.0).float()
    return torch.stack([photo.roll(number, 0) for number in range(count)])


def check(found: torch.Tensor, given: torch.Tensor) -> None:
    assert found.shape == given.shape
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    assert 0 <= found.min() < found.max() <= 1
    assert (found - given).abs().mean() > 0.01


def test_every_node_describes_itself(nodes: ModuleType) -> None:
    assert nodes.NODE_CLASS_MAPPINGS.keys() == nodes.NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node in nodes.NODE_CLASS_MAPPINGS.values():
        required = node.INPUT_TYPES()["required"]
        assert required["image"] == ("IMAGE",)
        assert all(isinstance(kind, tuple) for kind in required.values())
        assert node.RETURN_TYPES == ("IMAGE",)
        assert callable(getattr(node(), node.FUNCTION))


def test_a_brush_paints_every_picture_of_a_batch(nodes: ModuleType, tiny: Path) -> None:
    given = batch(3)
    (found,) = nodes.ApplyBrush().paint(given, "none", strength=0.8, stroke=1.5, brush_file=str(tiny))
    check(found, given)
    wanted = apply(tiny, given[0].permute(2, 0, 1)[None], strength=0.8, stroke=1.5).image
    assert (found[0].permute(2, 0, 1)[None] - wanted).abs().mean() < 0.01


def test_a_brush_is_read_once_and_again_after_it_has_changed(
    nodes: ModuleType, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    painter = nodes.BrushPainter
    monkeypatch.setattr(nodes, "BrushPainter", lambda path: read.append(path) or painter(path))
    for _ in range(2):
        nodes.ApplyBrush().paint(batch(1), "none", brush_file=str(tiny))
    assert len(read) == 1
    before = nodes.ApplyBrush.IS_CHANGED("none", brush_file=str(tiny), image=None)
    os.utime(tiny, (1, 1))
    assert nodes.ApplyBrush.IS_CHANGED("none", brush_file=str(tiny), image=None) != before
    nodes.ApplyBrush().paint(batch(1), "none", brush_file=str(tiny))
    assert len(read) == 2


@pytest.mark.slow
def test_instant_and_paint_use_the_first_style_picture(nodes: ModuleType) -> None:
    given, style = batch(1), torch.from_numpy(skimage.data.coffee()[::6, ::6] / 255.0).float()[None]
    check(nodes.Instant().paint(given, style)[0], given)
    (found,) = nodes.Paint().paint(given, style, size=64, steps=1)
    assert max(found.shape[1:3]) == 64


def test_transparency_is_dropped(nodes: ModuleType, tiny: Path) -> None:
    given = batch(1)
    with_alpha = torch.cat([given, torch.ones_like(given[..., :1])], dim=-1)
    assert nodes.ApplyBrush().paint(with_alpha, "none", brush_file=str(tiny))[0].shape == given.shape
