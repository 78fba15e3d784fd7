"""Style swap: swapped and searched features, the decoder, its files, and both networks in OpenVINO."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from impasto.encoders import Vgg, load_encoder
from impasto.encoders.precision import choose_arithmetic
from impasto.errors import WeightsError
from impasto.networks import style_swap
from impasto.networks.compiled import Compiled, has_openvino
from impasto.networks.decoder_files import decoder_facts, load_decoder, save_decoder, shipped_decoder
from impasto.networks.style_swap import (
    SEARCH_LAYERS,
    SWAP_LAYERS,
    Decoder,
    DecoderWidths,
    blocks_of,
    grid_share,
    remove_grid,
    search_columns,
    swapped,
)
from impasto.options import Run

CHANNELS = (4, 5, 6)
FACTS = {"licence": "MIT", "encoder_sha256": "abc"}


def tiny(channels: tuple[int, int, int] = CHANNELS) -> Decoder:
    """Make a small decoder with weights from a formula."""
    network = Decoder(channels, DecoderWidths(4, 4, 8, 1))
    for index, values in enumerate(network.parameters()):
        waves = torch.sin(torch.arange(values.numel(), dtype=torch.float64) * 12.9898 + index) * 43758.5453
        spread = 2.4 / values[0].numel() ** 0.5 if values.ndim > 1 else 0.2
        values.data.copy_(((waves - waves.floor() - 0.5) * spread).reshape(values.shape))
    network.scale.copy_(torch.tensor([1.5, 0.7, 2.0]))
    network.spread.copy_(torch.tensor([0.5, 2.0, 1 / 3]))
    return network.to(memory_format=torch.channels_last)


def features_of(height: int, width: int, random: torch.Generator, batch: int = 1) -> dict[str, Tensor]:
    """Make features of a picture of a size, with one layer more than is swapped."""
    channels, strides = (*CHANNELS, 7), (1, 2, 4, 8)
    return {
        f"relu{index + 1}_1": torch.rand(batch, count, height // stride, width // stride, generator=random)
        for index, (count, stride) in enumerate(zip(channels, strides, strict=True))
    }


def swap_layers(features: dict[str, Tensor]) -> list[Tensor]:
    return [features[layer] for layer in SWAP_LAYERS]


# ---------------------------------------------------------------------------------------------------- swapping


def test_a_row_contains_the_blocks_of_its_position(random: torch.Generator) -> None:
    features = features_of(16, 24, random)
    rows = blocks_of(features)
    assert rows.shape == (4 * 6, 16 * 4 + 4 * 5 + 6)
    fine, middle, coarse = (each[0] for each in swap_layers(features))
    for row, column in ((0, 0), (1, 4), (3, 5)):
        blocks = (
            fine[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4],
            middle[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2],
            coarse[:, row, column],
        )
        assert torch.equal(rows[6 * row + column], torch.cat([block.movedim(0, -1).flatten() for block in blocks]))


def test_swapped_features_equal_the_features_of_the_matches(random: torch.Generator) -> None:
    style = features_of(16, 24, random)
    position = torch.randint(24, (3, 5), generator=random)
    found = swapped(blocks_of(style), position, CHANNELS)
    assert [tuple(each.shape) for each in found] == [(1, 4, 12, 20), (1, 5, 6, 10), (1, 6, 3, 5)]
    for side, ours, theirs in zip((4, 2, 1), found, swap_layers(style), strict=True):
        for row in range(3):
            for column in range(5):
                there_row, there_column = divmod(int(position[row, column]), 6)
                here = ours[..., side * row : side * (row + 1), side * column : side * (column + 1)]
                there = theirs[..., side * there_row : side * (there_row + 1), side * there_column : side * (there_column + 1)]
                assert torch.equal(here, there)


def test_a_picture_swapped_with_itself_keeps_its_features(random: torch.Generator) -> None:
    features = features_of(24, 16, random)
    found = swapped(blocks_of(features), torch.arange(6 * 4).reshape(6, 4), CHANNELS)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, swap_layers(features), strict=True))


def test_positions_of_several_styles_are_numbered_consecutively(random: torch.Generator) -> None:
    one, other = features_of(8, 16, random), features_of(16, 8, random)
    rows = torch.cat([blocks_of(one), blocks_of(other)])
    *_, coarse = swapped(rows, torch.tensor([[7, 8], [0, 15]]), CHANNELS)
    assert torch.equal(coarse[0, :, 0, 0], one["relu3_1"][0, :, 1, 3])
    assert torch.equal(coarse[0, :, 0, 1], other["relu3_1"][0, :, 0, 0])
    assert torch.equal(coarse[0, :, 1, 1], other["relu3_1"][0, :, 3, 1])


# ---------------------------------------------------------------------------------------------------- searching


@pytest.mark.slow
def test_a_hypercolumn_concatenates_three_layers_divided_by_their_spread(random: torch.Generator) -> None:
    features, spread = features_of(32, 48, random), torch.tensor([0.5, 2.0, 4.0])
    found = search_columns(features, spread)
    assert found.shape == (1, 5 + 6 + 7, 8, 12)
    middle, coarse, deep = found.split([5, 6, 7], 1)
    torch.testing.assert_close(middle[0, :, 3, 5], features["relu2_1"][0, :, 6:8, 10:12].mean((1, 2)) / 0.5)
    torch.testing.assert_close(coarse, features["relu3_1"] / 2)
    cells = features["relu4_1"][0]
    between = 9 / 16 * cells[:, 0, 0] + 3 / 16 * (cells[:, 0, 1] + cells[:, 1, 0]) + 1 / 16 * cells[:, 1, 1]
    torch.testing.assert_close(deep[0, :, 1, 1], between / 4)


def test_hypercolumns_keep_the_dtype_of_the_features(random: torch.Generator) -> None:
    half = {layer: each.bfloat16() for layer, each in features_of(16, 16, random).items()}
    assert search_columns(half, torch.ones(3)).dtype == torch.bfloat16


# ---------------------------------------------------------------------------------------------------- the decoder


@pytest.mark.slow
@settings(max_examples=10)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 3))
def test_a_picture_has_the_size_of_the_finest_features(rows: int, columns: int, batch: int) -> None:
    features = features_of(8 * rows, 8 * columns, torch.Generator().manual_seed(rows), batch)
    image = tiny()(*swap_layers(features))
    assert image.shape == (batch, 3, 8 * rows, 8 * columns)
    assert torch.isfinite(image).all()


def test_a_batch_is_decoded_like_single_pictures(random: torch.Generator) -> None:
    network, features = tiny(), swap_layers(features_of(24, 32, random, batch=2))
    torch.testing.assert_close(network(*features)[1:], network(*(each[1:] for each in features)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_every_layer_affects_the_result(layer: int, random: torch.Generator) -> None:
    network, features = tiny(), swap_layers(features_of(24, 32, random))
    others = [each.flip(-1) if index == layer else each for index, each in enumerate(features)]
    with torch.no_grad():
        assert float((network(*features) - network(*others)).abs().mean()) > 1e-3


def test_the_decoder_divides_features_by_their_scale(random: torch.Generator) -> None:
    network, features = tiny(), swap_layers(features_of(24, 32, random))
    image = network(*features)
    network.scale.mul_(torch.tensor([100.0, 10.0, 3.0]))
    torch.testing.assert_close(network(*(k * each for k, each in zip((100, 10, 3), features, strict=True))), image)


def test_a_decoder_with_zero_output_is_gray(random: torch.Generator) -> None:
    network = tiny()
    for values in network.out.parameters():
        values.data.zero_()
    assert bool((network(*swap_layers(features_of(16, 16, random))) == 0.5).all())


def test_every_parameter_has_a_gradient(random: torch.Generator) -> None:
    network = tiny()
    network(*swap_layers(features_of(24, 32, random))).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


# ---------------------------------------------------------------------------------------------------- files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_decoder(tmp_path / "decoder.safetensors", tiny(), FACTS)
    return tmp_path / "decoder.safetensors"


def changed(path: Path, change: Callable[[dict[str, Tensor]], object] = len, **header: str) -> None:
    """Rewrite a file with some changes."""
    with safetensors.safe_open(path, "pt") as opened:
        facts = opened.metadata()
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, facts | header)


def test_a_decoder_is_restored_from_its_file_within_half_precision(path: Path, random: torch.Generator) -> None:
    network, back, features = tiny(), load_decoder(path), swap_layers(features_of(24, 32, random))
    assert (back.channels, back.widths) == (network.channels, network.widths)
    assert (network.sha256, back.sha256) == ("", hashlib.sha256(path.read_bytes()).hexdigest())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], value, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(back(*features), network(*features), rtol=1e-2, atol=1e-2)


def test_scales_and_biases_keep_full_precision(path: Path) -> None:
    network, back = tiny(), load_decoder(path)
    for name in ("scale", "spread", "out.bias"):
        assert torch.equal(back.state_dict()[name], network.state_dict()[name])


def test_a_loaded_decoder_is_frozen(path: Path) -> None:
    network = load_decoder(path)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    assert network.quarter_in.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_file_contains_its_metadata_and_has_half_the_size(path: Path) -> None:
    assert decoder_facts(path) == FACTS
    assert path.stat().st_size < 3 * sum(value.numel() for value in tiny().parameters()) + 6000


def test_a_failed_save_leaves_no_partial_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be written: .*; choose another path"):
        save_decoder(tmp_path / "missing" / "a", tiny(), {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsError, match="cannot be written"):
        save_decoder(tmp_path / "folder", tiny(), {})
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_weights_that_are_not_finite_are_neither_written_nor_read(path: Path) -> None:
    network, before = tiny(), path.read_bytes()
    network.out.weight.data[0, 0, 0, 0] = 1e9  # more than float16 can hold
    with pytest.raises(WeightsError, match=r"out\.weight contains a value that is not finite; train it again"):
        save_decoder(path, network, {})
    assert path.read_bytes() == before
    changed(path, lambda tensors: tensors["spread"].fill_(torch.nan))
    with pytest.raises(WeightsError, match="is damaged: some weights are not finite numbers; fetch it again"):
        load_decoder(path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere' does not exist; give another file"):
        load_decoder(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff" * 100])
def test_a_file_of_another_format_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged or not a network file; fetch it again"):
        load_decoder(tmp_path / "a")


@pytest.mark.parametrize("left", [9, 0.9, 0.3])
def test_a_truncated_file_is_refused(left: float, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: -int(left)] if left > 1 else whole[: int(left * len(whole))])
    with pytest.raises(WeightsError, match="damaged"):
        load_decoder(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "a", {"impasto_instant": "1"})
    with pytest.raises(WeightsError, match="is not a decoder; give a file written by impasto train instant"):
        load_decoder(tmp_path / "a")


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    changed(path, impasto_decoder="2")
    for read in (load_decoder, decoder_facts):
        with pytest.raises(WeightsError, match="has version 2, but this impasto reads version 1; train it again"):
            read(path)


@pytest.mark.parametrize(
    "header",
    [
        {"widths": "4,4,8,2"},
        {"widths": "4,4,8"},
        {"widths": "4,4,8,1000000000"},
        {"widths": "4,4,eight,1"},
        {"channels": "4,5"},
        {"channels": "4,5,7"},
        {"channels": "-4,5,6"},
    ],
)
def test_a_header_that_does_not_fit_the_weights_is_refused(header: dict[str, str], path: Path) -> None:
    changed(path, **header)
    with pytest.raises(WeightsError, match="is damaged: its weights do not fit its header; fetch it again"):
        load_decoder(path)


@pytest.mark.parametrize("name", ["scale", "out.bias", "at_quarter.0.first.weight"])
def test_missing_weights_are_detected(name: str, path: Path) -> None:
    changed(path, lambda tensors: tensors.pop(name))
    with pytest.raises(WeightsError, match="its weights do not fit its header"):
        load_decoder(path)


def test_the_shipped_decoder_matches_the_shipped_encoder(photo: Tensor) -> None:
    encoder, decoder = load_encoder("vgg19-slim"), load_decoder(shipped_decoder())
    assert decoder_facts(shipped_decoder())["encoder_sha256"] == encoder.sha256
    with torch.no_grad():
        image = decoder(*swap_layers(encoder(photo, SWAP_LAYERS)))
    assert float((image - photo).abs().mean()) < 0.3 * float((photo - photo.mean((2, 3), keepdim=True)).abs().mean())


# ---------------------------------------------------------------------------------------------------- OpenVINO

needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def compiled(narrow: Callable[..., Vgg]) -> Compiled:
    return Compiled(narrow(), tiny(), "fp32")


@pytest.mark.slow
@needs_openvino
@pytest.mark.parametrize("size", [(64, 64), (40, 72), (136, 32)])
def test_compiled_networks_agree_with_torch_at_any_size(
    size: tuple[int, int], compiled: Compiled, narrow: Callable[..., Vgg], random: torch.Generator
) -> None:
    picture = torch.rand(1, 3, *size, generator=random)
    for layers in (frozenset((*SWAP_LAYERS, *SEARCH_LAYERS)), frozenset(SEARCH_LAYERS)):
        found, wanted = compiled.encode(picture, layers), narrow()(picture, layers)
        assert set(found) == set(wanted) == layers
        for layer, features in wanted.items():
            assert found[layer].is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(found[layer], features, rtol=1e-3, atol=1e-4)
    features = [10 * each for each in swap_layers(features_of(*size, random))]
    with torch.no_grad():
        image = tiny()(*features)
    assert float((image != image.clamp(0, 1)).float().mean()) > 0.01
    torch.testing.assert_close(compiled.decode(features), image.clamp(0, 1), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@needs_openvino
def test_compiled_networks_agree_with_torch_in_bfloat16(random: torch.Generator) -> None:
    if choose_arithmetic(Run(device="cpu"), load_encoder("vgg19-slim")).precision != "bf16":
        pytest.skip("this processor has no bf16")
    encoder, decoder = load_encoder("vgg19-slim"), load_decoder(shipped_decoder())
    picture = torch.rand(1, 3, 64, 96, generator=random)
    compiled, layers = Compiled(encoder, decoder, "bf16"), frozenset((*SWAP_LAYERS, *SEARCH_LAYERS))
    with torch.no_grad():
        features = encoder(picture, layers)
        image = decoder(*swap_layers(features)).clamp(0, 1)
    found = compiled.encode(picture, layers)
    for layer, wanted in features.items():
        assert found[layer].dtype == torch.bfloat16
        assert float((found[layer].float() - wanted).square().mean() / wanted.square().mean()) < 1e-3
    assert float((compiled.decode(swap_layers(found)) - image).abs().mean()) < 0.02


@pytest.mark.slow
@needs_openvino
def test_compiled_networks_use_as_many_threads_as_torch(narrow: Callable[..., Vgg]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        compiled = Compiled(narrow(), tiny(), "fp32")
    finally:
        torch.set_num_threads(before)
    models = [compiled._decode, *compiled._encoders.values()]
    assert [each._compiled.get_property("INFERENCE_NUM_THREADS") for each in models] == [1, 1, 1]


@pytest.mark.slow
@needs_openvino
def test_threads_get_identical_results(compiled: Compiled, random: torch.Generator) -> None:
    pictures = [torch.rand(1, 3, 64, 64 + 8 * index, generator=random) for index in range(4)]
    expected = [compiled.encode(picture, frozenset(SEARCH_LAYERS)) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(partial(compiled.encode, layers=frozenset(SEARCH_LAYERS)), pictures * 8))
    for index, features in enumerate(found):
        assert all(torch.equal(features[layer], each) for layer, each in expected[index % 4].items())


@pytest.mark.slow
@pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")
def test_an_interrupt_after_compiled_networks_are_freed_does_not_crash() -> None:
    """OpenVINO's libraries must not be unloaded while signal handlers point to them."""
    program = (
        "import gc, signal, torch\n"
        "from impasto import InstantPainter\n"
        "painter = InstantPainter(engine='openvino')\n"
        "painter.paint(torch.rand(1, 3, 64, 64), painter.encode_picture(torch.rand(1, 3, 64, 64)))\n"
        "del painter\n"
        "gc.collect()\n"
        "signal.signal(signal.SIGINT, lambda number, frame: print('handled'))\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n")


@pytest.mark.parametrize("size", [(61, 70), (300, 48)])
def test_a_pattern_that_repeats_in_each_cell_is_removed_and_the_rest_is_kept(
    size: tuple[int, int], random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture is larger than a strip, or its sides are not multiples of 4."""
    strokes = 0.3 + 0.4 * torch.rand(1, 3, *size, generator=random)
    cell = 0.2 * (torch.rand(1, 3, 4, 4, generator=random) - 0.5)
    cell -= cell.mean((2, 3), keepdim=True)
    pattern = cell.repeat(1, 1, 80, 80)[..., : size[0], : size[1]]
    picture = strokes + pattern
    whole = picture.clone()
    remove_grid(picture)
    assert float((picture - strokes).std()) < 0.3 * float(pattern.std())
    monkeypatch.setattr(style_swap, "_GRID_ROWS", 1000)  # one strip
    remove_grid(whole)
    torch.testing.assert_close(picture, whole)


def test_a_pattern_is_removed_only_where_it_is(random: torch.Generator) -> None:
    clean = 0.3 + 0.2 * torch.rand(1, 3, 256, 96, generator=random)
    pattern = 0.2 * (torch.rand(1, 3, 4, 4, generator=random) - 0.5).repeat(1, 1, 64, 24)
    pattern[..., 128:, :] = 0
    everywhere, where_present = (clean + pattern for _ in range(2))
    remove_grid(everywhere)
    remove_grid(where_present, where_present=True)
    upper, beside = slice(40, 100), slice(132, 140)  # the second is near the pattern
    for rows, share in ((upper, 0.5), (beside, 0.2)):
        left = (where_present - clean)[..., rows, :].std()
        assert float(left) < share * float(pattern[..., upper, :].std())
    assert float((where_present - clean)[..., beside, :].std()) < 0.5 * float((everywhere - clean)[..., beside, :].std())


def test_the_share_of_a_pattern_is_measured(random: torch.Generator) -> None:
    noise = torch.rand(2, 3, 64, 96, generator=random)
    pattern = torch.rand(1, 3, 4, 4, generator=random).repeat(2, 1, 16, 24)
    shares = [float(grid_share(torch.lerp(noise, pattern, each))) for each in (0.0, 0.3, 0.6, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.03
    assert shares[-1] > 0.9
    assert float(grid_share(torch.full((1, 3, 16, 16), 0.5))) == 0
    assert float(grid_share(0.1 * torch.lerp(noise, pattern, 0.3))) == pytest.approx(shares[1], rel=1e-3)


def test_a_strong_pattern_is_kept() -> None:
    picture = (0.5 + 0.3 * torch.tensor([1.0, 0.0, -1.0, 0.0]).repeat(16)).expand(1, 3, 64, 64)
    for where_present in (False, True):
        found = picture.clone()
        remove_grid(found, where_present=where_present)
        torch.testing.assert_close(found, picture)
