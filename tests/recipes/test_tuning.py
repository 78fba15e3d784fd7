"""Tuning: grids of settings, and the search for a target style value."""

from typing import Any

import pytest
import skimage.data
import torch

import impasto
from impasto import images
from impasto.errors import OptionError
from impasto.images import Picture
from impasto.metrics.report import Figure, Report
from impasto.options import TuneOptions
from impasto.recipes.tuning import Knobs, Trial, Tuning, grid, searched, tune_options


@pytest.fixture(scope="module")
def content() -> Picture:
    return images.read(skimage.data.astronaut()[:384:4, 32:416:4])


@pytest.fixture(scope="module")
def style() -> Picture:
    return images.read(skimage.data.coffee()[::4, ::4])


def made(knobs: Knobs, closed: float) -> Trial:
    return Trial(knobs, torch.zeros(1, 3, 32, 32), Report("made", (32, 32), (Figure("style_closed", closed),)))


@pytest.mark.slow
def test_the_search_finds_the_strength_for_the_target_style_value(content: Picture, style: Picture) -> None:
    tuning = impasto.tune(content, style, wanted_style=0.4)
    assert tuning.is_found
    assert 0 < tuning.best.knobs["strength"] < 1
    painted = impasto.instant(content, style, **tuning.best.knobs)
    (report,) = impasto.judge(content, style, painted.image)
    assert report["style_closed"] == pytest.approx(0.4, abs=0.015)


@pytest.mark.slow
def test_the_sheet_shows_every_strength_with_every_stroke(content: Picture, style: Picture) -> None:
    tuning = impasto.tune(content, style, size=64, strengths=(0.5, 1.0), strokes=(1.0,))
    assert [trial.knobs["strength"] for trial in tuning.trials] == [0.5, 1.0]
    assert tuning.trials[0].style_closed < tuning.trials[1].style_closed
    assert tuning.sheet().shape[-1] > 2 * 288
    assert "strength 0.5, stroke 1: style 0." in tuning.trials[0].caption


@pytest.mark.slow
def test_paint_trials_are_small(content: Picture, style: Picture) -> None:
    tuning = impasto.tune(content, style, recipe="paint", size=64, steps=8, strengths=(0.2, 1.0), style_scales=(1.0,))
    kept, painted = tuning.trials
    assert kept.image.shape == (1, 3, 64, 64)
    assert kept.report["content"] < painted.report["content"]
    assert tuning.best.flags == (("--strength", "1", "--style-scale", "1"))


def test_the_search_ends_within_its_tolerance() -> None:
    tried: list[float] = []

    def trial(knobs: Knobs) -> Trial:
        tried.append(knobs["strength"])
        return made(knobs, 0.9 * knobs["strength"] ** 0.5)

    trials = tuple(searched(trial, TuneOptions(wanted_style=0.6)))
    assert Tuning(TuneOptions(wanted_style=0.6), trials).is_found
    assert tried[0] == 1
    assert len(tried) <= 8


def test_the_search_reports_a_target_that_is_out_of_reach() -> None:
    trials = tuple(searched(lambda knobs: made(knobs, 0.5 * min(1, knobs["strength"])), TuneOptions(wanted_style=0.9)))
    tuning = Tuning(TuneOptions(wanted_style=0.9), trials)
    assert [trial.knobs["strength"] for trial in trials] == [1, 1.5]
    assert not tuning.is_found
    assert tuning.best.style_closed == 0.5


@pytest.mark.slow
def test_a_search_with_paint_varies_the_strength() -> None:
    options = TuneOptions(recipe="paint", wanted_style=0.7, style_scales=(0.5,))
    trials = tuple(searched(lambda knobs: made(knobs, knobs["strength"] ** 0.5), options))
    assert Tuning(options, trials).best.knobs["strength"] == pytest.approx(0.49, abs=0.02)
    assert {trial.knobs["style_scale"] for trial in trials} == {0.5}


def test_the_grid_is_listed_row_by_row() -> None:
    cells = grid(TuneOptions(strengths=(0.5, 1.0), strokes=(1.0, 2.0)))
    assert [tuple(cell.values()) for cell in cells] == [(0.5, 1), (1, 1), (0.5, 2), (1, 2)]
    cells = grid(TuneOptions(recipe="paint", strengths=(0.5, 1.0), style_scales=(1.0, 2.0)))
    assert cells[1] == {"strength": 1.0, "style_scale": 1.0}
    assert [tuple(cell.values()) for cell in cells] == [(0.5, 1), (1, 1), (0.5, 2), (1, 2)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strengths": ()}, "--strengths is empty"),
        ({"strengths": (2.0,)}, r"--strengths is 2\.0; it must be a number from 0 to 1\.5"),
        ({"style_scales": (0.0,)}, "--style-scales"),
        ({"content_weights": (1.0,)}, "'content_weights' is not an option of tune"),
        ({"wanted_style": 1.2}, r"--wanted-style is 1\.2"),
        ({"recipe": "brush"}, "--recipe 'brush' is not known"),
        ({"size": 8}, "--size is 8"),
        ({"strenght": 1.0}, "'strenght' is not an option of tune"),
    ],
)
def test_invalid_tuning_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        tune_options(**options)
