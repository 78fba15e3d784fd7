"""Named styles: measured, kept in a file, read back, and found by name."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

import impasto.styles
from impasto.errors import OptionError, StyleFileError
from impasto.stats import Moments, moments
from impasto.styles import SUFFIX, NamedStyle, find_style, load_style, measured_style, save_style, shipped_styles

COLOURS = moments(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))


def measure(edge_px: int, channels: int = 60, size: float = 1.0) -> Mapping[str, Moments]:
    random = torch.Generator().manual_seed(edge_px)
    mixing = torch.randn(channels, channels, generator=random) * torch.exp(-0.1 * torch.arange(channels))
    noise = [torch.randn(channels, 256, generator=random) for _ in range(2)]
    return {
        layer: moments(size * (mixing @ each).relu().reshape(1, channels, 16, 16))
        for layer, each in zip(("relu1_1", "relu2_1"), noise, strict=True)
    }


@pytest.fixture
def style() -> NamedStyle:
    return measured_style({"name": "haystacks", "artist": "Monet", "encoder_sha256": "abc"}, measure, COLOURS, sizes=(64, 256))


@pytest.fixture
def path(style: NamedStyle, tmp_path: Path) -> Path:
    save_style(tmp_path / f"haystacks{SUFFIX}", style)
    return tmp_path / f"haystacks{SUFFIX}"


def test_a_measured_style_says_what_it_is(style: NamedStyle) -> None:
    assert style.name == "haystacks"
    assert style.facts["artist"] == "Monet"
    assert style.facts["licence"] == ""
    assert sorted(style.moments) == [64, 256]


# ---------------------------------------------------------------------------------------------------- between sizes


def test_at_a_size_it_was_measured_at_a_style_is_what_was_measured(style: NamedStyle) -> None:
    assert torch.equal(style.at(64, ["relu1_1"])["relu1_1"].covariance, style.moments[64]["relu1_1"].covariance)


def test_beyond_the_sizes_it_was_measured_at_the_nearest_counts(style: NamedStyle) -> None:
    for edge_px, nearest in ((16, 64), (5000, 256)):
        assert torch.equal(style.at(edge_px, ["relu2_1"])["relu2_1"].mean, style.moments[nearest]["relu2_1"].mean)


@given(st.floats(64, 256))
def test_between_two_sizes_it_goes_over_by_the_logarithm(edge_px: float) -> None:
    style = measured_style({"name": "x"}, measure, COLOURS, sizes=(64, 256))
    share = math.log(edge_px / 64) / math.log(4)
    expected = torch.lerp(style.moments[64]["relu1_1"].mean, style.moments[256]["relu1_1"].mean, share)
    torch.testing.assert_close(style.at(edge_px, ["relu1_1"])["relu1_1"].mean, expected)


def test_a_layer_that_was_not_measured_is_refused_with_those_that_were(style: NamedStyle) -> None:
    sentence = (
        "style 'haystacks' was not measured at layer 'relu5_4' but at relu1_1, relu2_1; use those layers, or give a picture"
    )
    with pytest.raises(OptionError, match=sentence):
        style.at(100, ["relu1_1", "relu5_4"])


# ---------------------------------------------------------------------------------------------------- files


def test_a_style_comes_back_from_its_file_nearly_as_it_was(style: NamedStyle, path: Path) -> None:
    back = load_style(path)
    assert dict(back.facts) == dict(style.facts)
    assert (style.sha256, back.sha256) == ("", hashlib.sha256(path.read_bytes()).hexdigest())
    torch.testing.assert_close(back.colours.covariance, style.colours.covariance)
    for size, layers in style.moments.items():
        for layer, measured in layers.items():
            found = back.moments[size][layer]
            torch.testing.assert_close(found.mean, measured.mean, rtol=1e-3, atol=1e-4)
            assert float((found.covariance - measured.covariance).norm()) < 0.05 * float(measured.covariance.norm())
            torch.testing.assert_close(found.deviation, measured.deviation, rtol=1e-2, atol=1e-3)


def test_a_covariance_that_comes_back_is_positive(path: Path) -> None:
    covariance = load_style(path).moments[64]["relu1_1"].covariance[0]
    assert float(torch.linalg.eigvalsh(covariance).min()) > -1e-4


@pytest.mark.parametrize("size", [1e-2, 1e3])
def test_features_of_any_size_survive_the_file(size: float, tmp_path: Path) -> None:
    style = measured_style({"name": "x"}, lambda edge_px: measure(edge_px, size=size), COLOURS, sizes=(64,))
    save_style(tmp_path / "x", style)
    found, measured = (each.moments[64]["relu1_1"] for each in (load_style(tmp_path / "x"), style))
    torch.testing.assert_close(found.deviation, measured.deviation, rtol=1e-2, atol=0)


def test_a_style_is_a_few_hundred_kilobytes_not_a_picture(path: Path) -> None:
    assert path.stat().st_size < 100_000


def test_saving_leaves_nothing_half_written(style: NamedStyle, tmp_path: Path) -> None:
    with pytest.raises(StyleFileError, match=r"cannot be written: .*; choose another place"):
        save_style(tmp_path / "missing" / "style", style)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StyleFileError, match="cannot be written"):
        save_style(tmp_path / "folder", style)
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_missing_style_file_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(StyleFileError, match="is not there; see impasto styles list"):
        load_style(tmp_path / "nothing")


@given(st.data())
def test_a_damaged_style_file_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("styles")
    save_style(folder / "whole", measured_style({"name": "x"}, lambda e: measure(e, channels=3), COLOURS, sizes=(64,)))
    whole = (folder / "whole").read_bytes()
    (folder / "part").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(StyleFileError, match="make it again") as caught:
        load_style(folder / "part")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "tensors", "sentence"),
    [
        ({}, {}, "is of version None, this impasto reads version 1"),
        ({"impasto_style": "9"}, {}, "is of version 9, this impasto reads version 1"),
        ({"impasto_style": "1"}, {}, "is damaged: .*no statistics inside"),
        ({"impasto_style": "1"}, {"64.relu1_1.factor": torch.ones(2, 1)}, "is damaged: .*64.relu1_1.diagonal"),
        ({"impasto_style": "1"}, {"relu1_1.factor": torch.ones(2, 1)}, "is damaged"),
    ],
)
def test_a_file_that_is_no_style_is_one_sentence(
    metadata: dict[str, str], tensors: dict[str, torch.Tensor], sentence: str, tmp_path: Path
) -> None:
    safetensors.torch.save_file(tensors or {"other": torch.ones(1)}, tmp_path / "style", metadata)
    with pytest.raises(StyleFileError, match=sentence):
        load_style(tmp_path / "style")


# ---------------------------------------------------------------------------------------------------- by name


def test_a_style_is_found_by_name_and_a_near_name_is_suggested(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impasto.styles, "shipped_styles", lambda: {"haystacks": path})
    assert find_style("haystacks").name == "haystacks"
    sentence = "style 'haystack' is neither a picture file nor a named style; did you mean 'haystacks'?"
    with pytest.raises(OptionError, match=sentence.replace("?", r"\?")):
        find_style("haystack")


def test_every_shipped_style_can_be_loaded_and_is_called_as_its_file() -> None:
    for name, path in shipped_styles().items():
        assert load_style(path).name == name
