"""Encoders: loading by name or file, and the layers of a Vgg."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.encoders import LAYERS, Vgg, load_encoder
from impasto.encoders.vgg import BLOCKS, BLOCKS_OF_VGG16, CONVOLUTIONS, each_width, pool
from impasto.errors import OptionError, WeightsError
from impasto.options import STYLE_LAYERS, Pooling
from impasto.weights import cache, import_file, save_vgg

WIDTHS = (4, 5, 6, 7, 8)


def network(*, with_heads: bool = False, last: str | None = None, blocks: tuple[int, ...] = BLOCKS) -> Vgg:
    random = torch.Generator().manual_seed(0)
    vgg = Vgg(WIDTHS, with_heads=with_heads, last=last, blocks=blocks).requires_grad_(False)
    for key, value in vgg.state_dict().items():
        value.normal_(0, 0.2 if key.endswith("weight") else 0.05, generator=random)
    vgg.mean.fill_(0.45)
    vgg.std.fill_(0.225)
    return vgg


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_vgg(tmp_path / "network.safetensors", network(with_heads=True), {}, bits=16)
    return tmp_path / "network.safetensors"


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))


# ---------------------------------------------------------------------------------------------------- loading


def test_a_loaded_encoder_is_frozen_float32_and_channels_last(file: Path, photo: torch.Tensor) -> None:
    vgg = load_encoder(file, pooling="average", border="reflect")
    assert not vgg.training
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
    assert {parameter.dtype for parameter in vgg.parameters()} == {torch.float32}
    assert vgg.convolutions["3_1"].get_parameter("weight").is_contiguous(memory_format=torch.channels_last)
    assert (vgg.pooling, vgg.border, vgg.widths) == ("average", "reflect", each_width(WIDTHS))
    found = vgg(photo, LAYERS)
    head = vgg.head("relu4_2")
    assert head is not None
    assert head.features(found["relu4_2"]).shape == (1, 512, 12, 12)


def test_loading_does_not_change_the_global_random_state(file: Path) -> None:
    before = torch.get_rng_state()
    load_encoder(file)
    assert torch.equal(torch.get_rng_state(), before)


def test_imported_weights_are_loaded_by_name(file: Path, photo: torch.Tensor) -> None:
    import_file(file)
    expected = load_encoder(str(file))(photo, ["relu5_1"])["relu5_1"]
    assert torch.equal(load_encoder("vgg19")(photo, ["relu5_1"])["relu5_1"], expected)


def test_missing_weights_raise_an_error_with_the_fetch_command() -> None:
    with pytest.raises(WeightsError, match="impasto weights fetch vgg19"):
        load_encoder("vgg19")


@pytest.mark.parametrize("wrong", ["vgg19-slm", "vgg-19-slim"])
def test_an_unknown_name_is_refused_with_a_suggestion(wrong: str) -> None:
    with pytest.raises(OptionError, match=f"encoder '{wrong}' is neither a name nor a file; did you mean 'vgg19-slim'"):
        load_encoder(wrong)


@pytest.mark.parametrize("wrong", ["nothing.pth", "folder/nothing", Path("nothing")])
def test_a_missing_file_is_reported_as_a_file(wrong: str | Path) -> None:
    with pytest.raises(WeightsError, match=re.escape(f"{wrong}: these weights cannot be read: no such file")):
        load_encoder(wrong)


def test_the_shipped_encoder_is_the_default(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "files", lambda package: tmp_path)
    with pytest.raises(WeightsError, match="vgg19-slim is missing from this installation"):
        load_encoder()
    (tmp_path / "data").mkdir()
    file.rename(tmp_path / "data" / "vgg19-slim.safetensors")
    assert load_encoder().widths == each_width(WIDTHS)


# ---------------------------------------------------------------------------------------------------- Vgg


def test_each_block_halves_the_size(photo: torch.Tensor) -> None:
    found = network()(photo, LAYERS)
    assert set(found) == set(LAYERS)
    for layer, features in found.items():
        block = int(layer[4])
        assert features.shape == (1, WIDTHS[block - 1], 96 >> (block - 1), 96 >> (block - 1))


def test_vgg16_has_13_convolutions_and_halves_before_each_block(photo: torch.Tensor) -> None:
    vgg = network(blocks=BLOCKS_OF_VGG16)
    assert vgg.layers == tuple(layer for layer in LAYERS if layer[4:] not in ("3_4", "4_4", "5_4"))
    assert len(vgg.convolutions) == len(vgg.widths) == 13
    found = vgg(photo, vgg.layers)
    assert {layer: features.shape[-1] for layer, features in found.items() if layer.endswith("_3")} == {
        f"{kind}{block}_3": 96 >> (block - 1) for block in (3, 4, 5) for kind in ("conv", "relu")
    }
    with pytest.raises(OptionError, match="layer 'relu5_4' is not in this network"):
        vgg(photo, ["relu5_4"])


def test_vgg16_equals_vgg19_without_the_last_convolution_of_three_blocks(photo: torch.Tensor) -> None:
    large, small = network(), network(blocks=BLOCKS_OF_VGG16)
    small.load_state_dict({key: value for key, value in large.state_dict().items() if key in small.state_dict()})
    assert torch.equal(small(photo, ["relu3_3"])["relu3_3"], large(photo, ["relu3_3"])["relu3_3"])
    assert not torch.equal(small(photo, ["relu4_1"])["relu4_1"], large(photo, ["relu4_1"])["relu4_1"])


def test_relu_layers_are_conv_layers_clamped_at_0(photo: torch.Tensor) -> None:
    found = network()(photo, ["conv3_2", "relu3_2"])
    assert torch.equal(found["relu3_2"], found["conv3_2"].clamp_min(0))
    assert found["conv3_2"].min() < 0


def test_a_layer_does_not_depend_on_which_others_are_requested(photo: torch.Tensor) -> None:
    vgg = network()
    assert torch.equal(vgg(photo, ["relu3_1"])["relu3_1"], vgg(photo, LAYERS)["relu3_1"])


def test_an_unknown_layer_is_refused_with_a_suggestion(photo: torch.Tensor) -> None:
    with pytest.raises(OptionError, match=re.escape("layer 'relu9_1' is not in this network; did you mean 'relu")):
        network()(photo, ["relu9_1"])


@given(depth=st.integers(9, 16))
def test_a_network_with_fewer_layers_has_the_same_first_layers(depth: int) -> None:
    last = CONVOLUTIONS[depth - 1]
    vgg = network(last=last, with_heads=True)
    assert vgg.layers == LAYERS[: 2 * depth]
    assert set(vgg.heads) == set(vgg.layers)
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    layer = f"relu{last}"
    assert torch.equal(vgg(picture, [layer])[layer], first_layers(vgg, picture)[layer])


def first_layers(early: Vgg, picture: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the features of a full network whose first layers are those of the shorter network."""
    whole = network()
    for name, value in early.state_dict().items():
        if name.startswith("convolutions"):
            whole.state_dict()[name].copy_(value)
    return dict(whole(picture, early.layers))


@pytest.mark.parametrize(
    ("border", "layer", "even"),
    [
        ("replicate", "conv4_2", True),
        ("reflect", "conv4_2", True),
        ("zero", "conv3_1", False),
        ("mixed", "conv3_4", True),
        ("mixed", "conv4_1", False),
    ],
)
def test_a_flat_picture_has_flat_features_up_to_zero_padding(border: str, layer: str, even: bool) -> None:
    vgg = network()
    vgg.border = border  # type: ignore[assignment]
    features = vgg(torch.full((1, 3, 64, 64), 0.8), [layer])[layer]
    assert torch.allclose(features, features.mean((2, 3), keepdim=True), atol=1e-5) == even


@pytest.mark.slow
def test_a_mixed_border_uses_zero_padding_only_in_deep_blocks() -> None:
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    mixed, replicate, zero = network(), network(), network()
    mixed.border, replicate.border, zero.border = "mixed", "replicate", "zero"
    torch.testing.assert_close(mixed(picture, ["relu3_4"]), replicate(picture, ["relu3_4"]))
    inside = mixed(picture, ["conv4_1"])["conv4_1"][..., 1:-1, 1:-1]
    torch.testing.assert_close(inside, replicate(picture, ["conv4_1"])["conv4_1"][..., 1:-1, 1:-1])
    assert not torch.allclose(mixed(picture, ["conv4_1"])["conv4_1"], replicate(picture, ["conv4_1"])["conv4_1"])
    assert not torch.allclose(mixed(picture, ["relu1_1"])["relu1_1"], zero(picture, ["relu1_1"])["relu1_1"])


@pytest.mark.parametrize(("pooling", "scale"), [("max", 1.0), ("average", 2.0), ("l2", 1.56), ("plain-average", 1.0)])
def test_pooling_halves_and_rescales_a_flat_map(pooling: Pooling, scale: float) -> None:
    pooled = pool(torch.full((1, 2, 7, 6), 3.0), pooling)
    torch.testing.assert_close(pooled, torch.full((1, 2, 3, 3), 3.0 * scale))


@pytest.mark.parametrize(
    ("pooling", "expected"), [("max", 4.0), ("average", 2 * 1.75), ("l2", 0.78 * 21**0.5), ("plain-average", 1.75)]
)
def test_every_pooling_gives_the_expected_values(pooling: Pooling, expected: float) -> None:
    assert pool(torch.tensor([[[[1.0, 2.0], [0.0, 4.0]]]]), pooling).item() == pytest.approx(expected)


def test_l2_pooling_equals_that_of_style_transfer_pytorch() -> None:
    x = torch.rand(1, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pool(x, "l2"), 0.78 * torch.nn.LPPool2d(2, 2)(x))


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "factor"), [("average", 16), ("l2", 4)])
def test_rescaled_pooling_keeps_the_feature_power_close_to_max(photo: torch.Tensor, pooling: Pooling, factor: float) -> None:
    shares = power_against_max(photo, pooling)
    assert shares[0] == 1
    assert all(1 / factor < share < factor for share in shares)


@pytest.mark.slow
def test_plain_average_pooling_decreases_the_feature_power(photo: torch.Tensor) -> None:
    shares = power_against_max(photo, "plain-average")
    assert sorted(shares, reverse=True) == shares
    assert shares[-1] < 1 / 16


def power_against_max(photo: torch.Tensor, pooling: Pooling) -> list[float]:
    """Return the mean square of the shipped encoder's features at each style layer, relative to max pooling."""
    seen, usual = (load_encoder(pooling=each)(photo, STYLE_LAYERS) for each in (pooling, "max"))
    return [float(seen[layer].square().mean() / usual[layer].square().mean()) for layer in STYLE_LAYERS]
