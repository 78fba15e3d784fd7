"""Named styles: measurement, files, and lookup by name."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

import impasto.styles.named
from impasto.encoders import load_encoder
from impasto.errors import OptionError, StyleFileError
from impasto.features.statistics import Moments, moments
from impasto.images import to_webp
from impasto.options import STYLE_LAYERS
from impasto.runtime.folders import styles_folder
from impasto.styles.former_names import FORMER_NAMES
from impasto.styles.named import (
    SUFFIX,
    NamedStyle,
    add_style,
    check_new_name,
    find_style,
    known_styles,
    load_style,
    measured_style,
    remove_style,
    save_style,
    shipped_styles,
    style_facts,
    user_styles,
)

ROOT = Path(__file__).resolve().parents[2]
COLOURS = moments(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))


def measure(edge_px: int, channels: int = 60, size: float = 1.0) -> Mapping[str, Moments]:
    random = torch.Generator().manual_seed(edge_px)
    mixing = torch.randn(channels, channels, generator=random) * torch.exp(-0.1 * torch.arange(channels))
    noise = [torch.randn(channels, 256, generator=random) for _ in range(2)]
    return {
        layer: moments(size * (mixing @ each).relu().reshape(1, channels, 16, 16))
        for layer, each in zip(("relu1_1", "relu2_1"), noise, strict=True)
    }


def style_called(name: str) -> NamedStyle:
    return measured_style({"name": name, "artist": "Monet", "encoder_sha256": "abc"}, measure, COLOURS, sizes=(64, 256))


@pytest.fixture(autouse=True)
def own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of user styles, which does not exist yet."""
    folder = tmp_path_factory.mktemp("user") / "styles"
    monkeypatch.setenv("IMPASTO_STYLES", str(folder))
    return folder


@pytest.fixture
def style() -> NamedStyle:
    return style_called("haystacks")


@pytest.fixture
def path(style: NamedStyle, tmp_path: Path) -> Path:
    save_style(tmp_path / f"haystacks{SUFFIX}", style)
    return tmp_path / f"haystacks{SUFFIX}"


def test_a_measured_style_has_its_name_facts_and_sizes(style: NamedStyle) -> None:
    assert style.name == "haystacks"
    assert style.facts["artist"] == "Monet"
    assert style.facts["licence"] == ""
    assert sorted(style.moments) == [64, 256]


# ---------------------------------------------------------------------------------------------------- between sizes


def test_at_a_measured_size_a_style_returns_the_measured_moments(style: NamedStyle) -> None:
    assert torch.equal(style.at(64, ["relu1_1"])["relu1_1"].covariance, style.moments[64]["relu1_1"].covariance)


def test_beyond_the_measured_sizes_the_nearest_is_used(style: NamedStyle) -> None:
    for edge_px, nearest in ((16, 64), (5000, 256)):
        assert torch.equal(style.at(edge_px, ["relu2_1"])["relu2_1"].mean, style.moments[nearest]["relu2_1"].mean)


@pytest.mark.slow
@given(st.floats(64, 256))
def test_between_two_sizes_moments_are_interpolated_by_the_logarithm(edge_px: float) -> None:
    style = measured_style({"name": "x"}, measure, COLOURS, sizes=(64, 256))
    share = math.log(edge_px / 64) / math.log(4)
    expected = torch.lerp(style.moments[64]["relu1_1"].mean, style.moments[256]["relu1_1"].mean, share)
    torch.testing.assert_close(style.at(edge_px, ["relu1_1"])["relu1_1"].mean, expected)


def test_an_unmeasured_layer_is_refused_with_the_measured_ones(style: NamedStyle) -> None:
    sentence = (
        "style 'haystacks' was not measured at layer 'relu5_4', only at relu1_1, relu2_1; use these layers, or give a picture"
    )
    with pytest.raises(OptionError, match=sentence):
        style.at(100, ["relu1_1", "relu5_4"])


# ---------------------------------------------------------------------------------------------------- files


def test_a_style_is_restored_from_its_file_nearly_exactly(style: NamedStyle, path: Path) -> None:
    back = load_style(path)
    assert dict(back.facts) == dict(style.facts)
    assert style_facts(path) == style.facts
    assert (style.sha256, back.sha256) == ("", hashlib.sha256(path.read_bytes()).hexdigest())
    torch.testing.assert_close(back.colors.covariance, style.colors.covariance)
    for size, layers in style.moments.items():
        for layer, measured in layers.items():
            found = back.moments[size][layer]
            torch.testing.assert_close(found.mean, measured.mean, rtol=1e-3, atol=1e-4)
            assert float((found.covariance - measured.covariance).norm()) < 0.05 * float(measured.covariance.norm())
            torch.testing.assert_close(found.deviation, measured.deviation, rtol=1e-2, atol=1e-3)


def kept(tmp_path: Path, channels: int, size: float = 1.0) -> tuple[Moments, Moments]:
    """Return measured moments, and the same moments read back from a file."""
    style = measured_style({"name": "x"}, lambda edge_px: measure(edge_px, channels, size), COLOURS, sizes=(64,))
    save_style(tmp_path / "x", style)
    return style.moments[64]["relu1_1"], load_style(tmp_path / "x").moments[64]["relu1_1"]


def test_a_restored_covariance_is_positive(path: Path) -> None:
    covariance = load_style(path).moments[64]["relu1_1"].covariance[0]
    assert float(torch.linalg.eigvalsh(covariance).min()) > -1e-4


@pytest.mark.parametrize("channels", [1, 3, 33, 34, 60])
@pytest.mark.parametrize("size", [1e-2, 1.0, 1e3])
def test_the_diagonal_is_preserved_for_any_number_and_scale_of_channels(channels: int, size: float, tmp_path: Path) -> None:
    measured, found = kept(tmp_path, channels, size)
    variances, expected = (each.covariance[0].diagonal() for each in (found, measured))
    torch.testing.assert_close(variances, expected, rtol=2e-3, atol=0)


def test_a_zero_channel_stays_zero(tmp_path: Path) -> None:
    silent = Moments(torch.zeros(1, 40), torch.zeros(1, 40, 40))
    save_style(tmp_path / "x", measured_style({"name": "x"}, lambda _: {"relu1_1": silent}, COLOURS, sizes=(64,)))
    assert not load_style(tmp_path / "x").moments[64]["relu1_1"].covariance.any()


def test_a_style_with_few_channels_is_restored_within_one_percent(tmp_path: Path) -> None:
    measured, found = kept(tmp_path, channels=12)
    assert float((found.covariance - measured.covariance).norm()) < 0.01 * float(measured.covariance.norm())


@pytest.mark.slow
def test_a_file_with_all_layers_and_sizes_has_about_100_kilobytes(tmp_path: Path) -> None:
    channels = dict(zip(STYLE_LAYERS, (24, 64, 128, 256, 512), strict=True))
    white = {layer: Moments(torch.zeros(1, n), torch.eye(n)[None]) for layer, n in channels.items()}
    save_style(tmp_path / "x", measured_style({"name": "x"}, lambda _: white, COLOURS))
    assert (tmp_path / "x").stat().st_size < 112_500


def test_a_failed_save_leaves_no_partial_file(style: NamedStyle, tmp_path: Path) -> None:
    with pytest.raises(StyleFileError, match=r"cannot be written: .*; choose another path"):
        save_style(tmp_path / "missing" / "style", style)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StyleFileError, match="cannot be written"):
        save_style(tmp_path / "folder", style)
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_missing_style_file_is_reported_with_the_list_command(tmp_path: Path) -> None:
    with pytest.raises(StyleFileError, match="does not exist; see impasto styles list"):
        load_style(tmp_path / "nothing")


@pytest.mark.slow
@given(st.data())
def test_a_damaged_style_file_is_refused_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("styles")
    save_style(folder / "whole", measured_style({"name": "x"}, lambda e: measure(e, channels=3), COLOURS, sizes=(64,)))
    whole = (folder / "whole").read_bytes()
    (folder / "part").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(StyleFileError, match="create it again") as caught:
        load_style(folder / "part")
    assert "\n" not in str(caught.value)


STATISTICS = {
    "sizes": torch.tensor([64]),
    "colours.mean": COLOURS.mean,
    "colours.covariance": COLOURS.covariance,
    "relu1_1.mean": torch.zeros(1, 2),
    "relu1_1.deviation": torch.ones(1, 2),
    "relu1_1.strong": torch.zeros(1, 2, 12, dtype=torch.int8),
    "relu1_1.weak": torch.zeros(1, 2, 11, dtype=torch.uint8),
    "relu1_1.unit": torch.ones(1, 34),
}


@pytest.mark.parametrize(
    ("version", "changes", "sentence"),
    [
        (None, {}, "has version None, but this impasto reads version 3; create it again"),
        ("1", {}, "has version 1, but this impasto reads version 3; create it again"),
        ("9", {}, "has version 9, but this impasto reads version 3; create it again"),
        ("3", {"sizes": None}, "is damaged: .*sizes.*; create it again"),
        ("3", {"sizes": torch.tensor([0])}, "is damaged: .*it contains no statistics"),
        ("3", {"sizes": torch.tensor([64, 128])}, "is damaged"),
        ("3", {"relu1_1.mean": None}, "is damaged: .*it contains no statistics"),
        ("3", {"relu1_1.weak": None}, "is damaged: .*relu1_1.weak"),
        ("3", {"relu1_1.weak": torch.zeros(1, 2, 11)}, "is damaged"),
        ("3", {"relu1_1.mean": torch.zeros(1, 1)}, "is damaged: .*relu1_1 has invalid moments"),
        ("3", {"relu1_1.deviation": torch.full((1, 2), math.inf)}, "is damaged: .*relu1_1 has invalid moments"),
        ("3", {"colours.mean": None}, "is damaged: .*colours.mean"),
    ],
)
def test_a_file_of_another_version_is_refused_in_one_sentence(
    version: str | None, changes: dict[str, torch.Tensor | None], sentence: str, tmp_path: Path
) -> None:
    tensors = {name: tensor for name, tensor in (STATISTICS | changes).items() if tensor is not None}
    safetensors.torch.save_file(tensors, tmp_path / "style", {"impasto_style": version} if version else None)
    with pytest.raises(StyleFileError, match=sentence):
        load_style(tmp_path / "style")


def test_tensors_of_the_former_instant_network_are_ignored(tmp_path: Path) -> None:
    """Files of earlier versions contain a few kilobytes of them."""
    facts = {"impasto_style": "3", "name": "x", "instant_sha256": "0" * 64}
    safetensors.torch.save_file(STATISTICS | {"instant": torch.zeros(1, 8)}, tmp_path / "style", facts)
    found = load_style(tmp_path / "style")
    assert found.name == "x"
    assert "instant_sha256" not in found.facts
    assert set(found.moments[64]) == {"relu1_1"}


@pytest.mark.parametrize("version", ["2", "3"])
def test_a_file_with_only_the_required_tensors_is_read(version: str, tmp_path: Path) -> None:
    safetensors.torch.save_file(STATISTICS, tmp_path / "style", {"impasto_style": version, "name": "x"})
    found = load_style(tmp_path / "style")
    assert found.moments[64]["relu1_1"].mean.shape == (1, 2)
    with pytest.raises(StyleFileError, match="style 'x' was added by an earlier version of impasto and has no swatch"):
        found.picture()


def test_a_swatch_is_read_from_the_file_as_a_picture(style: NamedStyle, tmp_path: Path) -> None:
    image = torch.full((1, 3, 20, 30), 0.25)
    save_style(tmp_path / "style", replace(style, swatch=to_webp(image, quality=88)))
    found = load_style(tmp_path / "style")
    picture = found.picture()
    assert (picture.name, picture.sha256, picture.size) == ("haystacks", found.sha256, (20, 30))
    torch.testing.assert_close(picture.image, image, atol=2 / 255, rtol=0)


# ---------------------------------------------------------------------------------------------------- by name


def test_a_style_is_found_by_name_and_a_similar_name_is_suggested(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impasto.styles.named, "shipped_styles", lambda: {"haystacks": path})
    assert find_style("haystacks").name == "haystacks"
    sentence = "style 'haystack' is neither a picture file nor a named style; did you mean 'haystacks'?"
    with pytest.raises(OptionError, match=sentence.replace("?", r"\?")):
        find_style("haystack")


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("Wave", "; did you mean 'great-wave'?"),
        ("stary-night", "; did you mean 'starry-night'?"),
        ("xyz", "; see impasto styles list"),
        ("", "; see impasto styles list"),
    ],
)
def test_an_unknown_name_is_refused_with_similar_names(name: str, ending: str) -> None:
    with pytest.raises(OptionError, match=f"{ending.replace('?', '[?]')}$"):
        find_style(name)


@pytest.mark.parametrize(("former", "present"), FORMER_NAMES.items())
def test_a_former_style_name_loads_its_replacement(former: str, present: str) -> None:
    assert former not in shipped_styles()
    found = find_style(former)
    assert (found.name, found.notes) == (present, (f"replaces {former}, which an earlier version shipped",))


def test_a_user_style_may_have_a_former_style_name() -> None:
    add_style(style_called("monet-etretat"))
    assert find_style("monet-etretat").facts["artist"] == "Monet"


@pytest.mark.slow
def test_every_shipped_style_can_be_loaded_and_is_named_like_its_file() -> None:
    shipped = {name: load_style(path) for name, path in shipped_styles().items()}
    assert {"starry-night", "great-wave", "the-scream"} < set(shipped)
    assert [style.name for style in shipped.values()] == list(shipped)
    assert {style.facts["licence"].split(",")[0].split(":")[0] for style in shipped.values()} == {"CC0", "Public domain"}


@pytest.mark.slow
@pytest.mark.parametrize("path", shipped_styles().values(), ids=shipped_styles())
def test_a_shipped_style_is_small_and_has_a_swatch(path: Path) -> None:
    style = load_style(path)
    assert path.stat().st_size - len(style.swatch) <= 112_500
    assert len(style.swatch) <= 200_000
    assert style.picture().size == (512, 512)


def test_the_shelf_in_the_examples_lists_the_shipped_styles() -> None:
    shelf = json.loads((ROOT / "examples" / "shelf.json").read_text(encoding="utf-8"))["styles"]
    assert {work["name"] for work in shelf} == set(shipped_styles())
    for work in shelf:
        facts = style_facts(shipped_styles()[work["name"]])
        assert (facts["title"], facts["artist"], facts["licence"]) == (work["title"], work["artist"], work["free"])


def test_every_shipped_style_was_measured_with_the_shipped_encoder() -> None:
    encoder = load_encoder("vgg19-slim").sha256
    assert {style_facts(path)["encoder_sha256"] for path in shipped_styles().values()} == {encoder}


@pytest.mark.parametrize("name", [*shipped_styles()])
def test_shipped_styles_obey_the_naming_rules(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impasto.styles.named, "shipped_styles", dict)
    check_new_name(name)


# ---------------------------------------------------------------------------------------------------- one's own


def test_a_user_style_is_added_found_and_removed(style: NamedStyle, own: Path) -> None:
    assert (styles_folder(), user_styles()) == (own, {})
    assert add_style(style) == own / f"haystacks{SUFFIX}"
    assert find_style("haystacks").facts == style.facts
    assert known_styles() == shipped_styles() | user_styles()
    assert list(known_styles()) == sorted(known_styles())
    assert remove_style("haystacks") == own / f"haystacks{SUFFIX}"
    assert list(own.iterdir()) == []
    with pytest.raises(OptionError, match="neither a picture file nor a named style"):
        find_style("haystacks")


def test_user_styles_are_in_the_users_data_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMPASTO_STYLES")
    assert styles_folder().name == "styles"
    assert "impasto" in styles_folder().parts
    monkeypatch.setenv("IMPASTO_STYLES", "~/my-styles")
    assert styles_folder() == Path.home() / "my-styles"


def test_a_user_style_takes_precedence_over_a_later_shipped_style(
    style: NamedStyle, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = add_style(style)
    monkeypatch.setattr(impasto.styles.named, "shipped_styles", lambda: {"haystacks": path})
    assert known_styles() == {"haystacks": mine}
    remove_style("haystacks")
    assert known_styles() == {"haystacks": path}


def test_the_name_of_an_existing_style_is_refused(style: NamedStyle, own: Path) -> None:
    with pytest.raises(OptionError, match="'starry-night' is shipped with impasto; choose another name, such as 'my-starry"):
        add_style(style_called("starry-night"))
    assert not own.exists()
    before = add_style(style).read_bytes()
    with pytest.raises(OptionError, match=r"'haystacks' exists already; .* first: impasto styles remove haystacks"):
        add_style(style)
    assert [each.read_bytes() for each in own.iterdir()] == [before]


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("My Garden", "my-garden"),
        ("Étretat_2", "etretat-2"),
        ("my--garden", "my-garden"),
        ("-garden", "garden"),
        ("../garden", "garden"),
        ("garden\n", "garden"),
        ("花", "my-style"),
        ("", "my-style"),
    ],
)
def test_an_invalid_name_is_refused_with_a_valid_one(name: str, better: str, own: Path) -> None:
    with pytest.raises(OptionError, match=f"use lower-case words with hyphens, such as '{better}'$"):
        add_style(style_called(name))
    check_new_name(better)
    assert not own.exists()


def test_only_user_styles_can_be_removed(style: NamedStyle) -> None:
    with pytest.raises(OptionError, match="style 'starry-night' is shipped with impasto and cannot be removed"):
        remove_style("starry-night")
    with pytest.raises(OptionError, match="style 'haystack' is not one of your own styles; see impasto styles list"):
        remove_style("haystack")
    add_style(style)
    with pytest.raises(OptionError, match=r"style 'haystack' is not one of your own styles; did you mean 'haystacks'\?"):
        remove_style("haystack")


def test_a_damaged_user_style_can_be_removed(style: NamedStyle) -> None:
    add_style(style).write_bytes(b"damaged")
    with pytest.raises(StyleFileError, match="is damaged or not a style file"):
        find_style("haystacks")
    remove_style("haystacks")
    assert user_styles() == {}


def test_an_unusable_folder_is_reported_in_one_sentence(style: NamedStyle, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own.write_text("a file where the folder should be")
    for folder in (own, own / "deeper"):
        monkeypatch.setenv("IMPASTO_STYLES", str(folder))
        assert user_styles() == {}
        with pytest.raises(StyleFileError, match=r"styles cannot be saved in .*; set IMPASTO_STYLES to another folder"):
            add_style(style)


def test_a_name_too_long_for_a_file_is_reported_in_one_sentence(own: Path) -> None:
    with pytest.raises(StyleFileError, match=r"cannot be written: .*; choose another path"):
        add_style(style_called("x" * 300))
    assert list(own.iterdir()) == []
