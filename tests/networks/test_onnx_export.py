"""The live network as an ONNX graph, compared with PyTorch in ONNX Runtime."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from impasto.cli import main
from impasto.color.transfer import color_moments, monge_kantorovich, recolored
from impasto.errors import OptionError, WeightsError
from impasto.features.statistics import Moments
from impasto.networks import InstantNetwork, Widths, load_instant, shipped_instant
from impasto.networks import onnx_graph as nodes
from impasto.networks.onnx_export import Fixed, instant_graph, largest_difference, save_graph
from impasto.networks.onnx_runtime import load_onnxruntime
from impasto.recipes.live_style import live_style
from impasto.styles.named import find_style

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
onnxruntime = load_onnxruntime()

AGREES = 2e-5
"""Tolerance for values in [0, 1]; a step of 255 is 4e-3. Measured on photos: 9e-7."""


@pytest.fixture
def network() -> InstantNetwork:
    torch.manual_seed(3)  # noqa: TID251  (initialization has no generator)
    network = InstantNetwork((4, 4, 4, 4, 4), Widths(6, 8, 48, 50, 2), code=8).eval().requires_grad_(False)
    for convolution in network.transfer.convolutions.values():
        convolution.weight.data = convolution.weight.half().float()  # as stored in a file
    return network


def modulation(network: InstantNetwork) -> Tensor:
    return torch.rand(1, network.transfer.modulations, generator=torch.Generator().manual_seed(1)) + 0.5


def photo(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def style() -> Moments:
    spread = torch.tensor([[0.05, 0.02, 0.0], [0.02, 0.04, -0.01], [0.0, -0.01, 0.03]])
    return Moments(torch.tensor([[0.6, 0.4, 0.2]]), spread[None])


def run(path: Path, **feeds: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: each.numpy() for name, each in feeds.items()})
    return torch.from_numpy(found)


@pytest.mark.parametrize(
    ("winograd", "size"),
    [(False, (64, 64)), (False, (40, 72)), (False, (136, 8)), (True, (64, 64)), (True, (32, 160)), (True, (96, 64))],
)  # fmt: skip
def test_a_graph_agrees_with_torch_at_any_size(
    network: InstantNetwork, tmp_path: Path, winograd: bool, size: tuple[int, int]
) -> None:
    save_graph(tmp_path / "a.onnx", instant_graph(network, winograd=winograd))
    given, numbers = photo(*size), modulation(network)
    palette = monge_kantorovich(color_moments(given), style())
    feeds = {"modulation": numbers, "strength": torch.ones(1), "matrix": palette.matrix[0], "bias": palette.bias[0]}
    found = run(tmp_path / "a.onnx", photo=given, **feeds)
    wanted = network(recolored(given, palette), numbers).clamp(0, 1)
    assert wanted.std() > 0.05
    assert (found - wanted).abs().max() < AGREES


@pytest.mark.parametrize("winograd", [False, True])
def test_a_graph_with_a_built_in_style_needs_only_the_photo(network: InstantNetwork, tmp_path: Path, winograd: bool) -> None:
    fixed = Fixed(modulation(network), style())
    save_graph(tmp_path / "a.onnx", instant_graph(network, style=fixed, winograd=winograd))
    given = photo(64, 96)
    wide = color_moments(given.double())
    palette = monge_kantorovich(Moments(wide.mean, wide.covariance), style())
    wanted = network(recolored(given, type(palette)(palette.matrix.float(), palette.bias.float())), fixed.modulation).clamp(
        0, 1
    )
    assert (run(tmp_path / "a.onnx", photo=given) - wanted).abs().max() < AGREES


def test_strength_multiplies_the_strokes(network: InstantNetwork, tmp_path: Path) -> None:
    save_graph(tmp_path / "a.onnx", instant_graph(network))
    given = 0.4 + 0.2 * photo(64, 64)
    plain = {"photo": given, "modulation": 0.2 * modulation(network), "matrix": torch.eye(3), "bias": torch.zeros(3)}
    none, half, full = (run(tmp_path / "a.onnx", strength=torch.tensor([each]), **plain) for each in (0.0, 0.5, 1.0))
    inside = ((full > 0.01) & (full < 0.99)).all(1, keepdim=True).expand_as(full)
    assert inside.float().mean() > 0.5
    assert (half - (none + full) / 2)[inside].abs().max() < AGREES
    assert (full - none).abs().max() > 0.05


def test_only_wide_convolutions_are_computed_in_tiles(network: InstantNetwork) -> None:
    plain, tiled = (Counter(each.op_type for each in instant_graph(network, winograd=w).graph.node) for w in (False, True))
    broad = sum(min(each.weight.shape[:2]) >= 48 and each.stride == (1, 1) for each in network.transfer.convolutions.values())
    assert broad == 7  # type: ignore[unreachable]  # four in blocks, the way up, and two at a quarter
    assert tiled["DepthToSpace"] - plain["DepthToSpace"] == broad
    assert plain["Pad"] == tiled["Pad"] == len(network.transfer.convolutions) + 1


def test_weights_are_stored_as_float16(network: InstantNetwork, tmp_path: Path) -> None:
    save_graph(tmp_path / "a.onnx", instant_graph(network, winograd=True))
    count = sum(each.weight.numel() for each in network.transfer.convolutions.values())  # type: ignore[operator, union-attr]
    assert (tmp_path / "a.onnx").stat().st_size < 2 * count + 60_000


def test_a_graph_of_the_shipped_network_matches_it(tmp_path: Path) -> None:
    network = load_instant(shipped_instant())
    save_graph(tmp_path / "a.onnx", instant_graph(network, winograd=True))
    facts = {each.key: each.value for each in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert (facts["instant_sha256"], facts["sides"]) == (network.sha256, "32")
    assert largest_difference(tmp_path / "a.onnx", network) < AGREES


def test_the_command_writes_a_graph_and_prints_the_largest_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a.onnx"
    assert main(["export", "onnx", str(target), "--style", "starry-night", "--size", "128"]) == 0
    output = capsys.readouterr()
    assert "sides in multiples of 8" in output.out + output.err
    model = onnx.load(target)
    assert [each.name for each in model.graph.input] == ["photo"]
    assert {each.key: each.value for each in model.metadata_props}["style"] == "starry-night"
    given, measured = photo(64, 96), live_style(find_style("starry-night"), edge_px=128)
    palette = monge_kantorovich(color_moments(given), measured.colors)
    wanted = load_instant(shipped_instant())(recolored(given, palette), measured.modulation).clamp(0, 1)
    assert (run(target, photo=given) - wanted).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.safetensors"], "does not end in .onnx"),
        (["a.onnx", "--size", "31"], "size is 31; it must be"),
        (["a.onnx", "--style", "starry"], "neither a picture file nor a named style"),
        (["missing/a.onnx"], "cannot be written"),
    ],
)
def test_a_failed_write_is_reported_in_one_sentence(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "onnx", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_the_error_names_the_package(network: InstantNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(OptionError, match=r"impasto\[export\]"):
        nodes.onnx_package()


def test_a_graph_is_written_atomically(network: InstantNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> Any:
        path.open("wb").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WeightsError, match="No space left"):
        save_graph(tmp_path / "a.onnx", instant_graph(network))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("blocks", [1, 4, 20])
def test_no_operation_has_more_inputs_and_outputs_than_webgpu_allows(blocks: int) -> None:
    network = InstantNetwork((4, 4, 4, 4, 4), Widths(4, 4, 8, 8, blocks), code=8).eval().requires_grad_(False)
    for node in instant_graph(network).graph.node:
        assert len(node.input) + len(node.output) <= 8
