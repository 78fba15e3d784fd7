"""Brushes as ONNX graphs, compared with PyTorch in ONNX Runtime."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from impasto.networks.johnson import LAYOUTS, Johnson, Layout
from impasto.networks.onnx_runtime import load_onnxruntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
onnxruntime = load_onnxruntime()

from impasto.networks.brush_onnx import allows_blocks, brush_graph  # noqa: E402

AGREES = 1e-4
"""Tolerance for values in [0, 1]; measured: 2e-5."""
AGREES_IF_FLAT = 0.02
"""Tolerance for pictures of one color: each normalization enlarges rounding errors 300 times."""
SIZES = ((1, 1), (1, 37), (3, 5), (15, 16), (16, 16), (17, 33), (64, 64), (61, 90), (40, 44), (128, 30))
TINY = Layout(4, blocks=1, ends=5)


def network_of(layout: Layout = TINY) -> Johnson:
    """Return a network with random weights that float16 represents exactly, as in a file."""
    torch.manual_seed(3)  # noqa: TID251  (initialization has no generator)
    network = Johnson(layout).eval().requires_grad_(False)
    for weight in network.parameters():
        spread = 0.1 * torch.randn(weight.shape) if weight.ndim == 1 else 0
        weight.data = (weight.data + spread).half().float()
    return network


def photo(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(100 * height + width))


def painted(model: Any, given: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"photo": given.numpy()})
    return torch.from_numpy(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    [
        *LAYOUTS.values(),
        TINY,
        Layout(4, blocks=2, border="zero", upsampling="transposed", output="tanh", epsilon=1e-3),
        Layout(4, blocks=1, border="zero", ends=5),
        Layout(4, blocks=0, upsampling="transposed", ends=1),
        Layout(13, blocks=1, output="tanh", ends=3),
    ],
    ids=lambda layout: "-".join(map(str, layout)),
)
def test_a_graph_agrees_with_torch_at_every_size(layout: Layout) -> None:
    network = network_of(layout)
    session = onnxruntime.InferenceSession(brush_graph(network).SerializeToString(), providers=["CPUExecutionProvider"])
    for size in SIZES:
        given = photo(*size)
        found, wanted = torch.from_numpy(session.run(None, {"photo": given.numpy()})[0]), network(given).clamp(0, 1)
        assert found.shape == given.shape
        assert (found - wanted).abs().max() < (AGREES if max(size) > 1 else AGREES_IF_FLAT), size
    assert wanted.std() > 0.05


@pytest.mark.parametrize(
    "layout", [LAYOUTS["small"], LAYOUTS["full"], Layout(4, blocks=0, ends=1)], ids=lambda layout: str(layout.width)
)
def test_a_graph_in_blocks_agrees_with_torch_at_every_size(layout: Layout) -> None:
    assert allows_blocks(layout)
    network = network_of(layout)
    graph = brush_graph(network, in_blocks=True).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for size in SIZES:
        given = photo(*size)
        found, wanted = torch.from_numpy(session.run(None, {"photo": given.numpy()})[0]), network(given).clamp(0, 1)
        assert found.shape == given.shape
        assert (found - wanted).abs().max() < (AGREES if max(size) > 1 else AGREES_IF_FLAT), size
    fixed = network.with_statistics_of(photo(64, 48))
    assert (painted(brush_graph(fixed, in_blocks=True), given) - fixed(given).clamp(0, 1)).abs().max() < AGREES


def test_a_network_with_fixed_statistics_paints_other_pictures_with_them() -> None:
    network, given = network_of(), photo(40, 40) ** 3
    fixed = network.with_statistics_of(photo(64, 48))
    found = painted(brush_graph(fixed), given)
    assert (found - fixed(given).clamp(0, 1)).abs().max() < AGREES
    assert (found - network(given).clamp(0, 1)).abs().max() > 100 * AGREES


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_strength_blends_with_the_photo(strength: float) -> None:
    network, given = network_of(), photo(21, 34)
    wanted = torch.lerp(given, network(given).clamp(0, 1), strength)
    assert (painted(brush_graph(network, strength=strength), given) - wanted).abs().max() < AGREES


def test_exact_weights_are_stored_as_float16_and_others_as_float32() -> None:
    network = network_of(Layout(16, blocks=2))
    count = sum(each.numel() for each in network.parameters())
    assert len(brush_graph(network).SerializeToString()) < 3 * count + 20_000
    for weight in network.parameters():
        weight.data += 1e-5
    given = photo(33, 20)
    assert (painted(brush_graph(network), given) - network(given).clamp(0, 1)).abs().max() < AGREES


def test_a_graph_names_its_brush() -> None:
    network = network_of()
    network.sha256 = "abc"
    model = brush_graph(network, facts={"title": "The Starry Night", "license": "CC0"})
    facts = {each.key: each.value for each in model.metadata_props}
    assert facts["brush_sha256"] == "abc"
    assert facts["title"] == "The Starry Night"
    assert Layout(**json.loads(facts["layout"])) == network.layout
    assert [each.name for each in model.graph.input] == ["photo"]
    assert [each.name for each in model.graph.output] == ["picture"]
