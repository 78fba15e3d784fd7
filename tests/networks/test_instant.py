"""The network of the webcam page and the ONNX export, and its files."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto.color.transfer import recolored
from impasto.errors import WeightsError
from impasto.features.statistics import Affine, Moments, moments
from impasto.networks import InstantNetwork, Widths, instant_facts, load_instant, save_instant, shipped_instant
from impasto.networks.instant import STYLE_LAYERS, _Normalized, _Spread
from impasto.weights.files import sha256_of

CHANNELS = (4, 5, 6, 7, 8)
FACTS = {"licence": "MIT", "encoder_sha256": "abc"}


def tiny() -> InstantNetwork:
    """Make a small network with weights from a formula."""
    network = InstantNetwork(CHANNELS, Widths(4, 4, 8, 8, 1), code=8)
    for index, values in enumerate(network.parameters()):
        waves = torch.sin(torch.arange(values.numel(), dtype=torch.float64) * 12.9898 + index) * 43758.5453
        spread = 2.4 / values[0].numel() ** 0.5 if values.ndim > 1 else 0.2
        values.data.copy_(((waves - waves.floor() - 0.5) * spread).reshape(values.shape))
    return network.to(memory_format=torch.channels_last)


def style_of(random: torch.Generator, batch: int = 1) -> dict[str, Moments]:
    return {
        layer: moments(torch.rand(batch, channels, 6, 6, generator=random))
        for layer, channels in zip(STYLE_LAYERS, CHANNELS, strict=True)
    }


@torch.no_grad()
def painted(network: InstantNetwork, photo: torch.Tensor, picture: torch.Tensor, style: Mapping[str, Moments]) -> torch.Tensor:
    return network(photo, network.measure(picture, style))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_instant(tmp_path / "instant.safetensors", tiny(), FACTS)
    return tmp_path / "instant.safetensors"


# ---------------------------------------------------------------------------------------------------- the network


@settings(max_examples=10)
@given(st.integers(2, 8), st.integers(2, 8), st.integers(1, 3))
def test_the_result_has_the_photos_size_for_any_style_size(rows: int, columns: int, batch: int) -> None:
    random = torch.Generator().manual_seed(rows)
    photo = torch.rand(batch, 3, 8 * rows, 8 * columns, generator=random)
    image = painted(tiny(), photo, torch.rand(batch, 3, 24, 40, generator=random), style_of(random, batch))
    assert image.shape == photo.shape
    assert torch.isfinite(image).all()


def test_a_batch_is_painted_like_single_pictures(photo: torch.Tensor, random: torch.Generator) -> None:
    network, style = tiny(), style_of(random, 2)
    photos, pictures = torch.cat([photo, photo.flip(-1)]), torch.rand(2, 3, 48, 48, generator=random)
    together = painted(network, photos, pictures, style)
    first = {layer: Moments(m.mean[:1], m.covariance[:1]) for layer, m in style.items()}
    torch.testing.assert_close(together[:1], painted(network, photos[:1], pictures[:1], first), rtol=1e-4, atol=1e-5)


def test_two_styles_give_two_pictures(photo: torch.Tensor, random: torch.Generator) -> None:
    network, style = tiny(), style_of(random)
    first, second = (painted(network, photo, picture, style) for picture in (photo, photo.flip(1) ** 3))
    assert float((first - second).abs().mean()) > 1e-3
    other = painted(network, photo, photo, style_of(random))
    assert float((first - other).abs().mean()) > 1e-5


def test_a_zero_residual_only_blurs_the_colors(photo: torch.Tensor, random: torch.Generator) -> None:
    """Color is processed at half the size; luminance does not change."""
    network = tiny()
    for name in ("light", "color"):
        for values in network.transfer.convolutions[name].parameters():
            values.data.zero_()
    image = painted(network, photo, photo, style_of(random))
    luminance = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close((image * luminance).sum(1), (photo * luminance).sum(1), rtol=0, atol=1e-5)
    assert float((image - photo).abs().mean()) < 0.01


def test_the_folded_finest_convolution_equals_convolution_after_upsampling(random: torch.Generator) -> None:
    transfer = tiny().transfer
    finest = transfer.convolutions["light"]
    fine, light = torch.randn(2, finest.in_channels - 1, 5, 7, generator=random), torch.randn(2, 1, 10, 14, generator=random)
    doubled = torch.nn.functional.interpolate(fine, scale_factor=2.0, mode="bilinear", align_corners=False)
    edged = torch.nn.functional.pad(torch.cat([doubled, light], dim=1), (1, 1, 1, 1), mode="replicate")
    torch.testing.assert_close(transfer._fine_light(fine, light), finest(edged))


def test_recoloring_inside_the_network_equals_recoloring_before_it(photo: torch.Tensor, random: torch.Generator) -> None:
    network = tiny()
    modulation = network.measure(photo.flip(1), style_of(random))
    colors = Affine(torch.rand(1, 3, 3, generator=random), torch.rand(1, 3, generator=random) - 0.5)
    torch.testing.assert_close(network.recolored(photo, colors, modulation), network(recolored(photo, colors), modulation))


def test_a_new_reader_makes_no_correction(photo: torch.Tensor, random: torch.Generator) -> None:
    network = InstantNetwork(CHANNELS, Widths(4, 4, 8, 8, 1), code=8)
    first, second = (network.measure(photo, style_of(random)) for _ in range(2))
    assert first.shape == (1, network.transfer.modulations)
    assert torch.equal(first, second)


def test_every_parameter_has_a_gradient(photo: torch.Tensor, random: torch.Generator) -> None:
    network = tiny()
    network(photo, network.measure(photo.flip(1), style_of(random))).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_the_gradient_of_normalization_agrees_with_autograd(random: torch.Generator) -> None:
    def plainly(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.instance_norm(x, eps=1e-4) * scale[:, :, None, None] + shift[:, :, None, None]

    x = (3 + 2 * torch.randn(2, 5, 6, 7, generator=random)).requires_grad_()
    scale, shift = (torch.randn(2, 5, generator=random).requires_grad_() for _ in range(2))
    weight = torch.randn(x.shape, generator=random)
    ours, theirs = (
        torch.autograd.grad((normalized(x, scale, shift) * weight).sum(), (x, scale, shift))
        for normalized in (_Normalized.apply, plainly)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_mean_and_variance_agrees_with_autograd(random: torch.Generator) -> None:
    x = (3 + 2 * torch.randn(2, 5, 6, 7, generator=random)).requires_grad_()
    weights = torch.randn(2, 2, 5, generator=random)
    plain = (x.mean((2, 3)), x.var((2, 3), correction=0))
    ours, theirs = (torch.autograd.grad((torch.stack(found) * weights).sum(), x)[0] for found in (_Spread.apply(x), plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_scales_and_shifts_of_zero_give_a_finite_picture(photo: torch.Tensor) -> None:
    network = tiny()
    assert torch.isfinite(network(photo, torch.zeros(1, network.transfer.modulations))).all()
    assert torch.isfinite(network.reader(torch.zeros(1, 8))).all()


def test_a_flat_picture_can_be_a_style(photo: torch.Tensor) -> None:
    flat = {layer: moments(torch.zeros(1, channels, 4, 4)) for layer, channels in zip(STYLE_LAYERS, CHANNELS, strict=True)}
    assert torch.isfinite(painted(tiny(), photo, torch.full((1, 3, 32, 32), 0.5), flat)).all()


# ---------------------------------------------------------------------------------------------------- files


def test_a_network_is_restored_from_its_file_within_half_precision(
    path: Path, photo: torch.Tensor, random: torch.Generator
) -> None:
    network, back, style = tiny(), load_instant(path), style_of(random)
    assert back.transfer.widths == network.transfer.widths
    assert (network.sha256, back.sha256) == ("", hashlib.sha256(path.read_bytes()).hexdigest())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], value, rtol=1e-3, atol=1e-6)
    ours, theirs = (painted(each, photo, photo.flip(1), style) for each in (network, back))
    torch.testing.assert_close(theirs, ours, rtol=1e-2, atol=1e-2)


def test_a_loaded_network_paints_and_is_frozen(path: Path) -> None:
    network = load_instant(path)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    assert network.transfer.convolutions["down4"].weight.is_contiguous(memory_format=torch.channels_last)


def test_the_readers_center_and_spread_keep_full_precision(tmp_path: Path) -> None:
    network = tiny()
    network.reader.centre.fill_(1 / 3)
    save_instant(tmp_path / "a", network, {})
    assert torch.equal(load_instant(tmp_path / "a").reader.centre, network.reader.centre)


def test_a_file_contains_its_metadata_and_has_half_the_size(path: Path) -> None:
    assert instant_facts(path) == FACTS
    assert path.stat().st_size < 3 * sum(value.numel() for value in tiny().parameters()) + 6000


def test_a_failed_save_leaves_no_partial_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be written: .*; choose another path"):
        save_instant(tmp_path / "missing" / "a", tiny(), {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsError, match="cannot be written"):
        save_instant(tmp_path / "folder", tiny(), {})
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_weights_that_are_not_finite_are_neither_written_nor_read(path: Path) -> None:
    network = tiny()
    network.reader.tell[1].weight.data[0, 0] = 1e9  # more than float16 can hold
    with pytest.raises(WeightsError, match=r"reader\.tell\.1\.weight contains a value that is not finite"):
        save_instant(path, network, {})
    changed(path, lambda tensors: tensors["reader.spread"].fill_(torch.nan))
    with pytest.raises(WeightsError, match="some weights are not finite numbers"):
        load_instant(path)


def changed(path: Path, change: Callable[[dict[str, torch.Tensor]], object] = len, **header: str) -> None:
    """Rewrite a file with some changes."""
    with safetensors.safe_open(path, "pt") as opened:
        facts = opened.metadata()
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, facts | header)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere' does not exist"):
        load_instant(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff" * 100])
def test_a_file_of_another_format_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or not a network file"):
        load_instant(tmp_path / "a")


def test_a_truncated_file_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="damaged"):
        load_instant(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "a", {"impasto_style": "1"})
    with pytest.raises(WeightsError, match="is not an instant network; give a network file, such as"):
        load_instant(tmp_path / "a")


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    changed(path, impasto_instant="2")
    with pytest.raises(WeightsError, match="has version 2, but this impasto reads version 1"):
        load_instant(path)
    with pytest.raises(WeightsError, match="has version 2"):
        instant_facts(path)


@pytest.mark.parametrize(
    "header",
    [{"widths": "4,4,8,8,2"}, {"widths": "4,4,8,8"}, {"widths": "4,4,8,8,1000000000"}, {"code": "eight"}, {"channels": "-1"}],
)
def test_a_header_that_does_not_fit_the_weights_is_refused(header: dict[str, str], path: Path) -> None:
    changed(path, **header)
    with pytest.raises(WeightsError, match="its weights do not fit its header"):
        load_instant(path)


def test_missing_weights_are_detected(path: Path) -> None:
    changed(path, lambda tensors: tensors.pop("reader.centre"))
    with pytest.raises(WeightsError, match="its weights do not fit its header"):
        load_instant(path)


def test_the_shipped_network_is_in_the_data_folder() -> None:
    assert shipped_instant().name == "live.safetensors"
    assert shipped_instant().parent.name == "data"
    assert load_instant(shipped_instant()).sha256 == sha256_of(shipped_instant())
