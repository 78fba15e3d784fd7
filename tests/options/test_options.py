"""Options: help texts and validation."""

import contextlib
import dataclasses
import math
import subprocess
import sys
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto import options
from impasto.errors import OptionError
from impasto.options import InstantOptions, PaintOptions, ReportOptions, Run, TuneOptions, tier_by_name, tiers_of
from impasto.options.fields import check_range, dashed, field_texts
from impasto.options.video import VideoOptions


def texts(kind: type) -> dict[str, str]:
    return field_texts(kind)


@pytest.mark.parametrize("kind", [PaintOptions, Run, TuneOptions])
def test_every_option_has_a_help_text_of_one_line(kind: type) -> None:
    explained = texts(kind)
    assert list(explained) == [field.name for field in dataclasses.fields(kind)]
    assert all(text.endswith(".") and "\n" not in text for text in explained.values())


@pytest.mark.parametrize("kind", [PaintOptions, Run, TuneOptions])
def test_options_are_frozen_and_keyword_only(kind: type) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().seed = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        kind("impasto")


@pytest.mark.parametrize("kind", [PaintOptions, InstantOptions, ReportOptions, TuneOptions, Run])
def test_every_option_is_in_exactly_one_tier(kind: type) -> None:
    placed = [name for names in tiers_of(kind).values() for name in names]
    assert sorted(placed) == sorted(field.name for field in dataclasses.fields(kind))
    assert next(iter(tiers_of(kind))) == "Basics"


def test_a_new_option_joins_the_tier_of_its_group() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class GlazeOptions:
        title: ClassVar[str] = "Glaze"
        glaze: int = 0

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Extended(GlazeOptions, PaintOptions):
        pass

    assert list(tiers_of(Extended))[-1] == "Glaze"
    assert tier_by_name(Extended)["glaze"] == "Glaze"
    assert tier_by_name(Extended)["size"] == "Basics"


def test_options_load_without_torch() -> None:
    code = "import sys, impasto, impasto.options, impasto.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_changed_does_not_modify_the_original() -> None:
    first = PaintOptions(style_weight=3.0)
    second = first.changed(steps=7, init="noise")
    assert (second.steps, second.init, second.style_weight) == (7, "noise", 3.0)
    assert first == PaintOptions(style_weight=3.0)


def test_an_unknown_option_is_refused_with_a_suggestion() -> None:
    with pytest.raises(OptionError, match=r"'style_wieght' is not an option of paint; did you mean 'style_weight'\?"):
        PaintOptions().changed(style_wieght=3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": 31}, "--size is 31; it must be a number from 32 to 100000"),
        ({"size": 512.5}, "--size is 512.5; it must be a whole number"),
        ({"size": "512"}, "--size is '512'; it must be a whole number"),
        ({"steps": -1}, "--steps is -1; it must be a number from 1 to 1e+06"),
        ({"steps": True}, "--steps is True; it must be a whole number"),
        ({"style_weight": -1}, "--style-weight is -1; it must be a number from 0 to"),
        ({"content_weight": math.nan}, "--content-weight is nan; it must be a number from 0 to"),
        ({"content_weight": math.inf}, "--content-weight is inf; it must be"),
        ({"style_scales": (0.5,)}, "--style-scales is [0.5]; give two numbers, such as 0.5,1.5"),
        ({"style_scales": (0.5, 9)}, "--style-scales is 9; it must be a number from 0.1 to 4"),
        ({"balance": -1}, "--balance is -1; it must be a number from 0 to"),
        ({"strength": 1.6}, "--strength is 1.6; it must be a number from 0 to 1.5"),
        ({"coherence": -0.1}, "--coherence is -0.1; it must be a number from 0 to 1"),
        ({"quality": "bset"}, "--quality 'bset' is not known; did you mean 'best'?"),
        ({"recipe": "paint"}, "--recipe 'paint' is not known; use one of 'neighbors', 'gatys', 'nnst', 'strotss'"),
        ({"scale_factor": 1.0}, "--scale-factor is 1.0; it must be a number from 1.01 to 100"),
        ({"margin": 0.3}, "--margin is 0.3; it must be a number from 0 to 0.25"),
        ({"averaging": 1.0}, "--averaging is 1.0; it must be"),
        ({"betas": (0.9, 1.0)}, "--betas is 1.0; it must be"),
        ({"betas": (0.9,)}, "--betas is (0.9,); give two numbers, such as 0.9,0.99"),
        ({"style_layers": ()}, "--style-layers is empty; name at least one layer, such as relu4_2"),
        ({"content_layers": "relu4_2"}, "--content-layers is 'relu4_2'; give several values, as a tuple"),
        ({"layer_weights": (1.0, 2.0)}, "--layer-weights has 2 values for 5 style layers; give one for each layer"),
        ({"layer_weights": (1, 1, 1, 1, math.nan)}, "--layer-weights is nan; it must be"),
        ({"content_layer_weights": (1.0, 2.0)}, "--content-layer-weights has 2 values for 1 content layers; give one for each"),
        ({"content_layer_weights": (math.nan,)}, "--content-layer-weights is nan; it must be"),
        (
            {"content_layer_weights": (1.0,), "content_comparison": "self-similarity"},
            "--content-layer-weights needs --content-comparison features",
        ),
        ({"style_size": 16}, "--style-size is 16; it must be a number from 32 to 100000"),
        ({"lbfgs_history": 0}, "--lbfgs-history is 0; it must be a number from 1 to 1000"),
        ({"style_weights": (1, math.inf)}, "--style-weights is inf; it must be"),
        ({"pooling": "maxx"}, "--pooling 'maxx' is not known; did you mean 'max'?"),
        ({"optimizer": "sgd"}, "--optimizer 'sgd' is not known; use one of 'multigrid-adam', 'adam', 'lbfgs'"),
        ({"statistics": "gramm"}, "--statistics 'gramm' is not known; did you mean 'gram'?"),
    ],
)
def test_an_invalid_value_is_refused_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as caught:
        PaintOptions(**{"style_layers": options.STYLE_LAYERS, **changes})
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"device": "gpu"}, "--device 'gpu' is not known"),
        ({"precision": "fp16"}, "--precision 'fp16' is not known; did you mean"),
        ({"seed": -1}, "--seed is -1; it must be a number from 0 to"),
        ({"seed": 1.5}, "--seed is 1.5; it must be a whole number"),
        ({"threads": 5000}, "--threads is 5000; it must be"),
    ],
)
def test_an_invalid_run_is_refused_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as caught:
        Run(**changes)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("value", [None, -1, 0, 1.5, math.nan, "x", "", (), (1,), ("x", None), ["relu1_1"], {}, object()])
@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(PaintOptions)])
def test_any_value_is_accepted_or_refused_with_an_option_error(name: str, value: Any) -> None:
    with contextlib.suppress(OptionError):
        PaintOptions(**{name: value})


def test_dashed_writes_names_as_on_the_command_line() -> None:
    assert dashed("style_weight") == "--style-weight"


def test_a_list_is_converted_to_a_tuple() -> None:
    assert PaintOptions(style_weights=[1, 2]) == PaintOptions(style_weights=(1, 2))  # type: ignore[arg-type]


@given(st.floats(-10, 10))
def test_a_range_includes_its_limits(value: float) -> None:
    if -1 <= value <= 2.5:
        check_range("margin", value, -1, 2.5)
    else:
        with pytest.raises(OptionError, match=r"it must be a number from -1 to 2\.5"):
            check_range("margin", value, -1, 2.5)


@pytest.mark.parametrize("given", [{"size": 0}, {"size": 32}, {"strength": 0.0, "stability": 1.0}, {"method": "paint"}])
def test_options_of_videos_accept_their_limits(given: dict[str, Any]) -> None:
    options = VideoOptions(**given)
    assert {name: getattr(options, name) for name in given} == given


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"size": 31}, "size is 31; it must be a number from 32 to 100000"),
        ({"stability": 1.1}, "stability is 1.1; it must be a number from 0 to 1"),
        ({"strength": -0.1}, "strength is -0.1; it must be a number from 0 to 1"),
        ({"strength": math.nan}, "strength is nan"),
    ],
)
def test_options_of_videos_outside_their_range_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        VideoOptions(**given)
