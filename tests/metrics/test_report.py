"""The figures of `impasto report`: known values, and agreement with the evaluation script of the benchmarks."""

import importlib.util
import math
import statistics
from pathlib import Path

import pytest
import scipy.stats
import skimage.data
import torch

import impasto
from impasto import images
from impasto.errors import OptionError, ShapeError
from impasto.features.statistics import Moments
from impasto.images import Picture
from impasto.metrics.report import KINDS, Figure, lab, palette, palette_distance, reference, report_on
from impasto.recipes.reporting import caption, report_sheet, reports_of
from impasto.styles.named import find_style


@pytest.fixture(scope="module")
def content() -> Picture:
    return images.read(skimage.data.astronaut()[:384:3, 32:416:3])


@pytest.fixture(scope="module")
def style() -> Picture:
    return images.read(skimage.data.coffee()[::3, ::3])


@pytest.mark.slow
def test_style_closed_is_0_for_the_photo_and_1_for_the_style(content: Picture, style: Picture) -> None:
    (photo,) = reports_of(content, (style,), [content])
    assert photo["style_closed"] == 0
    assert (photo["content"], photo["color_to_photo"], photo["clipped"], photo["seams"]) == (0, 0, 0, 0)
    assert photo["ssim"] == pytest.approx(1) == photo["ssim_coarse"]
    square = images.read(style.image[..., :128, :128])
    (painting,) = reports_of(content, (square,), [square])
    assert painting["style_closed"] == pytest.approx(1, abs=1e-4)
    assert painting["style_gram"] == pytest.approx(0, abs=1e-6)
    assert painting["color_to_style"] < 0.1


@pytest.mark.slow
def test_style_closed_is_undefined_if_the_photo_is_the_style(content: Picture) -> None:
    (report,) = reports_of(content, (content,), [content])
    assert math.isnan(report["style_closed"])
    assert report.as_dict()["style_closed"] is None


@pytest.mark.slow
def test_a_mixture_is_between_photo_and_style(content: Picture, style: Picture) -> None:
    instant = [impasto.instant(content, style, strength=strength).image for strength in (0.3, 1.0)]
    weak, strong = reports_of(content, (style,), [images.read(each) for each in instant])
    assert 0 < weak["style_closed"] < strong["style_closed"] < 1
    assert weak["content"] < strong["content"]
    assert weak["color_to_style"] > strong["color_to_style"]


@pytest.mark.slow
def test_a_named_style_gives_the_figures_of_its_picture(content: Picture) -> None:
    named = find_style("starry-night")
    result = images.read(impasto.instant(content, named).image)
    (report,) = reports_of(content, (named,), [result])
    assert report["style_closed"] > 0.5
    assert set(report.as_dict()) >= set(KINDS)


@pytest.mark.slow
def test_two_styles_are_blended_by_their_weights(content: Picture, style: Picture) -> None:
    other = images.read(style.image.flip(1))
    (one,) = reports_of(content, (style,), [content])
    (both,) = reports_of(content, (style, other), [content], (1.0, 0.0))
    assert both["style_gram"] == pytest.approx(one["style_gram"])
    with pytest.raises(OptionError, match="one weight for each style"):
        reports_of(content, (style, other), [content], (1.0,))


def test_only_figures_with_a_bound_have_a_verdict() -> None:
    assert Figure("ssim", 0.1).verdict == ""
    assert Figure("grid", 1.0).verdict == "clean"
    assert Figure("grid", 7.0).verdict == "faulty"


def test_faults_are_listed_by_title(content: Picture, style: Picture) -> None:
    stripes = content.image.clone()
    stripes[..., ::2] = (stripes[..., ::2] + 0.1).clamp(0, 1)
    (report,) = reports_of(content, (style,), [images.read(stripes)])
    assert "lattice" in report.faults
    assert "lattice" in caption(report)


def test_no_figure_has_the_name_of_a_published_metric() -> None:
    words = " ".join(f"{name} {kind.title} {kind.meaning}" for name, kind in KINDS.items()).lower()
    assert not any(metric in words for metric in ("artfid", "lpips", "fid"))


def test_a_result_of_another_aspect_ratio_is_refused(content: Picture, style: Picture) -> None:
    with pytest.raises(ShapeError, match="the photo that the result was painted from"):
        reports_of(content, (style,), [images.read(content.image[..., :60, :])])
    with pytest.raises(ShapeError, match="at least 32"):
        reports_of(content, (style,), [images.read(content.image[..., :20, :20])])
    with pytest.raises(ShapeError, match="reference for the size of the result"):
        report_on(images.read(content.image[..., :64, :64]), reference(content, (style,), content.size))
    with pytest.raises(OptionError, match="no style"):
        reports_of(content, (), [content])


@pytest.mark.slow
def test_a_large_result_is_measured_at_a_smaller_size(content: Picture, style: Picture) -> None:
    large = images.read(images.resize(content.image, (700, 700)))
    (report,) = reports_of(content, (style,), [large])
    assert report.size == (512, 512)


def test_lab_gives_the_expected_values_for_white_and_red() -> None:
    white_and_red = torch.tensor([[[[1.0, 1.0]], [[1.0, 0.0]], [[1.0, 0.0]]]])
    assert lab(white_and_red)[0, :, 0].T.flatten().tolist() == pytest.approx([100, 0, 0, 53.2, 80.1, 67.2], abs=0.1)


def test_the_palette_distance_is_that_of_gaussians() -> None:
    here = Moments(torch.zeros(1, 3), torch.diag(torch.tensor([100.0, 25.0, 4.0]))[None])
    there = Moments(torch.tensor([[3.0, 4.0, 0.0]]), torch.diag(torch.tensor([100.0, 25.0, 4.0]))[None])
    wider = Moments(torch.zeros(1, 3), torch.diag(torch.tensor([400.0, 25.0, 4.0]))[None])
    assert palette_distance(here, here) == pytest.approx(0, abs=0.1)
    assert palette_distance(here, there) == pytest.approx(5, abs=0.1)
    assert palette_distance(here, wider) == pytest.approx(10, abs=0.1)


def test_the_palette_of_a_named_style_is_close_to_that_of_its_picture(style: Picture) -> None:
    named = find_style("starry-night")
    seen = palette(named)
    assert 0 < seen.mean[0, 0] < 100
    assert palette_distance(seen, seen) < 0.1


def test_the_sheet_shows_photo_style_and_results(content: Picture, style: Picture) -> None:
    reports = reports_of(content, (style,), [content])
    assert report_sheet(content, (style,), [content], reports).shape[-1] > 3 * 360


@pytest.mark.slow  # the full network measures six pictures
def test_the_figures_correlate_with_those_of_the_full_network(shared: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("judge", shared / "judge" / "judge.py")
    assert spec is not None
    assert spec.loader is not None
    evaluation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(evaluation)
    network, ours, theirs = evaluation.load_vgg19(), [], []
    for content, style in (("bird", "monet"), ("girl", "tuscan"), ("surf", "seurat")):
        for peer in ("magenta", "microast"):
            names = f"content/{content}.jpg", f"style/{style}.jpg", f"peers/{content}__{style}__{peer}.jpg"
            pictures = [tmp_path / f"{kind}.png" for kind in ("photo", "style", "result")]
            for name, path in zip(names, pictures, strict=True):
                images.write(path, images.read(shared / "devset" / name, longest_px=256).image)
            ours.append(impasto.judge(*pictures)[0])
            theirs.append(evaluation.judge(network, *pictures))
    for name, within in {"style_closed": 0.05, "content": 0.15, "ssim": 0.01, "grid": 0.1, "frame": 0.05}.items():
        slim, full = [each[name] for each in ours], [each[name] for each in theirs]
        assert statistics.mean(abs(a - b) for a, b in zip(slim, full, strict=True)) < within, name
        assert scipy.stats.pearsonr(slim, full).statistic > 0.95, name  # ranks of six results with near ties are unreliable
