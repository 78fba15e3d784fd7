"""The parts of ONNX graphs, compared with PyTorch in ONNX Runtime: color maps and the search for matches."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from impasto.color.transfer import MOST_GAIN, color_moments, monge_kantorovich, raised_contrast
from impasto.color.transfer import recolored as recolored_by_torch
from impasto.errors import OptionError, WeightsError
from impasto.features.neighbors import Keys, Patches
from impasto.features.statistics import Affine, Moments
from impasto.networks.onnx_graph import Graph, numbers, onnx_package, save_graph
from impasto.networks.onnx_match import matched
from impasto.networks.onnx_palette import recolored
from impasto.networks.onnx_runtime import load_onnxruntime

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def run(g: Graph, photo: Tensor) -> Tensor:
    """Run a graph whose last node is named ``picture``."""
    data = g.model({}, name="test").SerializeToString()
    session = load_onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"photo": numbers(photo)})
    return torch.from_numpy(found)


# ---------------------------------------------------------------------------------------------------- files


def test_without_onnx_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(OptionError, match=r"impasto\[export\]"):
        onnx_package()


@pytest.mark.parametrize("fault", ["full", "checked"])
def test_a_graph_is_written_completely_or_not_at_all(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> Any:
        path.open("wb").close()
        raise OSError(28, "No space left on device")

    def check(_: Path) -> None:
        raise WeightsError("the pictures differ")

    g = Graph()
    g.node("Identity", "photo", name="picture")
    if fault == "full":
        monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WeightsError, match="No space left" if fault == "full" else "the pictures differ"):
        save_graph(tmp_path / "a.onnx", g.model({}, name="test"), check)
    assert list(tmp_path.iterdir()) == []


def test_weights_are_stored_as_float16_only_if_this_changes_none() -> None:
    g = Graph()
    g.weight(np.array([0.5, 0.25], np.float32))
    g.weight(np.array([0.1, 0.25], np.float32))
    assert [each.dtype for each in g.constants.values()] == [np.float16, np.float32]


# ---------------------------------------------------------------------------------------------------- colors

STYLE = Moments(torch.tensor([[0.6, 0.4, 0.2]]), torch.tensor([[[0.05, 0.02, 0.0], [0.02, 0.04, -0.01], [0.0, -0.01, 0.03]]]))
WIDER = Moments(STYLE.mean, 4 * STYLE.covariance)  # such as no picture has; the gain of flat pictures is then limited


@pytest.mark.slow
@pytest.mark.parametrize("contrast", [1.0, 0.1, 0.01, 0.0])
@pytest.mark.parametrize("target", [STYLE, WIDER], ids=["style", "wider"])
def test_the_color_map_agrees_with_torch(contrast: float, target: Moments, random: torch.Generator) -> None:
    photo = 0.5 + contrast * (torch.rand(1, 3, 33, 47, generator=random) - 0.5)
    palette = monge_kantorovich(color_moments(photo), target)
    g = Graph()
    g.node("Identity", recolored(g, "photo", target, 1.0), name="picture")
    assert (run(g, photo) - recolored_by_torch(photo, palette)).abs().max() < 1e-4
    is_limited = float(torch.linalg.eigvalsh(palette.matrix).max()) > 0.99 * MOST_GAIN
    assert is_limited == (contrast < 0.1 or (contrast == 0.1 and target is WIDER))


@pytest.mark.parametrize("share", [0.2, 0.35, 1.0], ids=["photo like the style", "more contrast", "black and white"])
def test_the_contrast_of_a_pale_style_is_raised_as_in_torch(share: float, random: torch.Generator) -> None:
    pale = Moments(torch.tensor([[0.6, 0.55, 0.5]]), 0.005 + 0.001 * torch.eye(3)[None])
    photo = 0.5 + share * (torch.rand(1, 1, 24, 40, generator=random).round().expand(1, 3, -1, -1) - 0.5)
    photo = photo + 0.02 * torch.rand(1, 3, 24, 40, generator=random)
    target = raised_contrast(pale, color_moments(photo))
    assert bool((target.covariance > 1.1 * pale.covariance).any()) == (share > 0.3)
    g = Graph()
    g.node("Identity", recolored(g, "photo", pale, 1.0), name="picture")
    palette = monge_kantorovich(color_moments(photo), target)
    assert (run(g, photo) - recolored_by_torch(photo, palette)).abs().max() < 1e-4


def test_a_fraction_of_the_color_map_is_applied(random: torch.Generator) -> None:
    photo = torch.rand(1, 3, 20, 30, generator=random)
    full = monge_kantorovich(color_moments(photo), STYLE)
    part = Affine(torch.lerp(torch.eye(3)[None], full.matrix, 0.4), 0.4 * full.bias)
    g = Graph()
    g.node("Identity", recolored(g, "photo", STYLE, 0.4), name="picture")
    assert (run(g, photo) - recolored_by_torch(photo, part)).abs().max() < 1e-5


# ---------------------------------------------------------------------------------------------------- matches


@pytest.mark.slow
@pytest.mark.parametrize("size", [(9, 13), (1, 11), (3, 70), (24, 16)])
@pytest.mark.parametrize(("style", "most"), [((12, 17), 4096), ((21, 30), 100), ((40, 50), 100), ((3, 5), 4096)])
def test_matches_are_those_of_torch(size: tuple[int, int], style: tuple[int, int], most: int, random: torch.Generator) -> None:
    def columns(height: int, width: int) -> Tensor:
        coarse = torch.randn(1, 3, 2 + height // 6, 2 + width // 6, generator=random)
        return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")

    keys = Keys.of([columns(*style)], directions=3, most=most)
    queries, tolerance = columns(*size), 0.3 * torch.rand(size, generator=random)
    wanted = keys.match(queries, coherence=0.02, patches=Patches(8, tolerance, 0.05)).position
    g = Graph()  # whose photo is the queries here
    found = matched(g, "photo", keys, Patches(8, variety=0.05), g.floats(numbers(tolerance)), 0.02)
    g.node("Unsqueeze", g.node("Cast", found, to=g.FLOAT), g.integers(0, 1), name="picture")
    # Where similarities are nearly equal, rounding decides, which differs between processors. Leave these out.
    noise = torch.randn(3, *queries.shape, generator=random)
    others = [keys.match(queries + 1e-5 * each, coherence=0.02, patches=Patches(8, tolerance, 0.05)).position for each in noise]
    is_certain = torch.stack([each == wanted for each in others]).all(0)
    assert is_certain.float().mean() > 0.9
    assert (run(g, queries)[0, 0] == wanted)[is_certain].float().mean() > 0.98


def test_a_single_position_is_matched(random: torch.Generator) -> None:
    """Its centered query is zero, so all positions of the style are equally similar."""
    keys = Keys.of([torch.randn(1, 3, 12, 17, generator=random)], directions=3)
    g = Graph()
    found = matched(g, "photo", keys, Patches(8), g.floats(np.zeros((1, 1))), 0.02)
    g.node("Unsqueeze", g.node("Cast", found, to=g.FLOAT), g.integers(0, 1), name="picture")
    assert 0 <= float(run(g, torch.randn(1, 3, 1, 1, generator=random))) < 12 * 17
