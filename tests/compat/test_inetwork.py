"""INetwork compatibility: flags, defaults, results, and fixed defects."""

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch

from impasto import images, weights
from impasto.cli import main
from impasto.cli.inetwork import list_flags_last
from impasto.compat import inetwork
from impasto.compat.inetwork_flags import InetworkOptions
from impasto.encoders import Vgg
from impasto.encoders.vgg import BLOCKS_OF_VGG16
from impasto.errors import OptionError, ShapeError
from impasto.losses.picture import luminance_of
from impasto.options import Run
from impasto.weights import import_file, save_vgg

TINY = "--image_size 64 --num_iter 2 --threads 1"
EXACT = Run(device="cpu", precision="fp32")


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, laid out as INetwork's repository, with small pictures under the article's names."""
    for name, pixels in (
        ("images/inputs/content/winter-wolf.jpg", skimage.data.astronaut()[:384:4, 32:416:3]),
        ("images/inputs/style/the_scream.jpg", skimage.data.coffee()[::5, ::5]),
        ("images/inputs/style/wave.jpg", skimage.data.rocket()[::5, ::5]),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        images.write(tmp_path / name, images.read(pixels).image)
    (tmp_path / "images/output").mkdir()
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 48, 64)
    images.write(tmp_path / "right.png", (ramp > 0.5).float())
    images.write(tmp_path / "left.png", (ramp <= 0.5).float())
    images.write(tmp_path / "black.png", torch.zeros(1, 3, 48, 64))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def vgg16(tmp_path: Path, narrow: Callable[..., Vgg]) -> Path:
    """A narrow VGG-16 under the name of vgg16 in the cache."""
    save_vgg(tmp_path / "narrow.safetensors", narrow(blocks=BLOCKS_OF_VGG16), {}, bits=16)
    return import_file(tmp_path / "narrow.safetensors", "vgg16")


CONTENT, SCREAM, WAVE = (
    "images/inputs/content/winter-wolf.jpg",
    "images/inputs/style/the_scream.jpg",
    "images/inputs/style/wave.jpg",
)
PAIR = f"{CONTENT} {SCREAM}"


def run(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str, str]:
    """Run a command line."""
    code = main(shlex.split(command))
    out, err = capsys.readouterr()
    return code, out, err


def painted(capsys: pytest.CaptureFixture[str], words: str) -> str:
    """Run a command that must succeed; return its output."""
    code, _, err = run(capsys, f"inetwork {words} {TINY}")
    assert code == 0, err
    return err


def requested(styles: tuple[str, ...] = (SCREAM,), **flags: Any) -> inetwork.InetworkRequest:
    flags = {"image_size": 48, "num_iter": 2, **flags}
    return inetwork.request_for(images.read(CONTENT), [images.read(name) for name in styles], InetworkOptions(**flags), EXACT)


def last_of(request: inetwork.InetworkRequest) -> torch.Tensor:
    *_, last = inetwork.iterations(request, inetwork.set_up(request))
    return last.image


# ---------------------------------------------------------------------------------------------------- the article's commands


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        f"{PAIR} images/output/wolf",
        f'{PAIR} images/output/wolf --style_weight="1.0" --content_weight="0.05"',
        f"--style_weight=1.0 --content_weight=0.025 {PAIR} images/output/wolf",
        f'"{CONTENT}" "{SCREAM}" "images/output/wolf" --init_image "content" --pool_type "max" --rescale_image "True"',
        f"{CONTENT} {SCREAM} {WAVE} images/output/wolf --style_weight 1.0 0.5",
        f'{CONTENT} {SCREAM} {WAVE} images/output/wolf --style_weight "1.0 0.5" --model vgg16 --content_loss_type 1',
    ],
)
@pytest.mark.usefixtures("gallery", "vgg16")
def test_the_commands_of_the_article_run_unchanged(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = painted(capsys, words)
    assert [path.name for path in sorted(Path("images/output").iterdir())] == [
        "wolf_at_iteration_1.png",
        "wolf_at_iteration_2.png",
    ]
    assert re.search(r"iteration 1 of 2: loss [\d.e+]+ \(", output)
    assert re.search(r"iteration 2 of 2: loss [\d.e+]+, [\d.e+-]+ % less \(", output)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_without_weights_the_slim_network_is_used_with_one_note(capsys: pytest.CaptureFixture[str]) -> None:
    output = painted(capsys, f"{PAIR} wolf")
    assert output.count("the weights of vgg16 are not on this machine, so vgg19-slim is used") == 1
    assert "painting 85x64 pixels in 2 iterations of 20 evaluations; vgg19-slim on cpu" in output
    first, second = (images.read(f"wolf_at_iteration_{number}.png") for number in (1, 2))
    assert first.size == second.size == (64, 85)
    photo = images.resize(images.read(CONTENT).image, (64, 85))
    assert 0.02 < float((second.image - photo).abs().mean()) < 0.4


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_the_record_contains_inetworks_flags(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, f"inetwork {PAIR} wolf {TINY} --content_weight=0.05 --json --quiet")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["recipe"] == "inetwork"
    assert record["inetwork"]["content_weight"] == 0.05
    assert record["output"] == "wolf_at_iteration_2.png"
    assert record["encoder"]["name"] == "vgg16"
    assert images.read_record("wolf_at_iteration_1.png")["steps"]["done"] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_the_last_result_is_measured_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, f"inetwork {PAIR} wolf {TINY} --report --quiet")
    assert (code, err) == (0, "")
    assert "style progress" in out
    code, out, err = run(capsys, f"inetwork {PAIR} wolf {TINY} --report --quiet --json")
    assert code == 0
    assert json.loads(out)["report"]["result"] == "wolf_at_iteration_2.png"
    assert "style progress" in err


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("--style_weight=1 a b c", "a b c --style_weight 1"),
        ("--style_weight 1 0.5 a b c", "a b c --style_weight 1 0.5"),
        ("a --style_weight 1.0,2 b c --num_iter 3", "a b c --num_iter 3 --style_weight 1.0,2"),
        ("a b c --style_masks m n --num_iter 3", "a b c --num_iter 3 --style_masks m n"),
        ("--style_masks=m a b c", "a b c --style_masks m"),
        ("a b c --style_weight --num_iter 3", "a b c --num_iter 3 --style_weight"),
    ],
)
def test_flags_with_several_values_do_not_consume_pictures(given: str, read: str) -> None:
    assert list_flags_last(given.split()) == read.split()


# ---------------------------------------------------------------------------------------------------- what the flags come to


@pytest.mark.usefixtures("gallery", "vgg16")
def test_the_defaults_equal_inetworks() -> None:
    options = inetwork.settled_options(requested(image_size=400))
    assert (options.content_weight, options.style_weight, options.smoothness_weight) == (0.025, 1.0, 8.5e-5)
    assert (options.size, options.steps, options.encoder, options.content_layers) == (533, 2, "vgg16", ("relu5_2",))
    assert (options.activation_shift, options.style_normalization, options.pooling) == (-1.0, "network", "max")
    assert options.layer_weights[:3] == (2.0**-11, 2.0**-11, 2.0**-10)
    assert options.layer_weights[-3:] == (0.25, 0.5, 1.0)
    assert len(options.style_layers) == 13
    assert InetworkOptions().num_iter == 10
    assert inetwork.EVALUATIONS == 20


@pytest.mark.usefixtures("gallery", "vgg16")
def test_style_weights_are_one_per_style_or_shared_equally() -> None:
    both = (SCREAM, WAVE)
    each = inetwork.settled_options(requested(both, style_weight=(1.0, 0.5), style_scale=2.0))
    assert (each.style_weight, each.style_weights) == (3.0, (1.0, 0.5))
    shared = requested(both, style_weight=(3.0,))
    assert (inetwork.settled_options(shared).style_weight, inetwork.settled_options(shared).style_weights) == (3.0, (1.0, 1.0))
    assert any("their sum is divided" in sentence for sentence in inetwork.repairs(shared))
    nothing = inetwork.settled_options(requested(style_weight=(0.0,)))
    assert (nothing.style_weight, nothing.style_weights) == (0.0, ())


@pytest.mark.usefixtures("gallery", "vgg16")
@pytest.mark.parametrize(
    ("kind", "layer", "share"),
    [
        (0, "conv5_2", 1.0),
        (1, "conv5_2", 1 / (2 * math.sqrt(512) * math.sqrt(48 * 64))),
        (2, "conv2_2", 1 / (128 * 48 * 64)),
    ],
)
def test_content_loss_types_divide_by_channels_and_picture_pixels(kind: Any, layer: str, share: float) -> None:
    request = requested(content_loss_type=kind, content_layer=layer)
    assert request.size == (48, 64)
    assert inetwork.settled_options(request).content_weight == pytest.approx(0.025 * share)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_image_size_is_the_height_and_the_result_has_the_photos_aspect_ratio() -> None:
    assert requested(image_size=60).frame == (60, 80)
    square = requested(maintain_aspect_ratio="False")
    assert (square.size, square.frame) == ((48, 48), (48, 64))
    assert last_of(dataclasses.replace(square, flags=dataclasses.replace(square.flags, num_iter=1))).shape[-2:] == (48, 64)
    assert requested(rescale_image="True").frame == images.read(CONTENT).size == (96, 128)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "nearest"])
def test_rescaling_keeps_a_picture_in_range(method: Any, photo: torch.Tensor) -> None:
    large = inetwork.rescaled(photo, (192, 192), method)
    assert large.shape[-2:] == (192, 192)
    assert 0 <= large.min() <= large.max() <= 1
    assert torch.allclose(inetwork.rescaled(large, (96, 96), method), photo, atol=0.25)
    if method == "nearest":
        assert torch.equal(large[..., ::2, ::2], photo)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_an_iteration_has_twenty_evaluations_and_discards_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    minimize = inetwork.fmin_l_bfgs_b

    def counted(*arguments: Any, maxfun: int) -> Any:
        found = minimize(*arguments, maxfun=maxfun)
        calls.append(found[2]["funcalls"])
        return found

    monkeypatch.setattr(inetwork, "fmin_l_bfgs_b", counted)
    request = requested(num_iter=3)
    steps = list(inetwork.iterations(request, inetwork.set_up(request)))
    assert len(calls) == len(steps) == 3
    assert all(20 <= count <= 25 for count in calls)
    assert steps[0].loss > steps[1].loss > steps[2].loss
    assert [(step.number, step.total, step.size) for step in steps] == [(1, 3, (48, 64)), (2, 3, (48, 64)), (3, 3, (48, 64))]


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_an_objective_that_does_not_decrease_is_reported_and_the_picture_is_saved(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inetwork, "fmin_l_bfgs_b", lambda evaluate, start, maxfun: (start, *evaluate(start)))
    code, _, err = run(capsys, f"inetwork {PAIR} wolf {TINY} --quiet")
    assert code == 1
    assert err.startswith("impasto: the objective did not decrease: ")
    assert err.endswith("; the last result is wolf_at_iteration_2.png\n")
    (note,) = images.read_record("wolf_at_iteration_2.png")["notes"]
    assert note in err
    assert "notes" not in images.read_record("wolf_at_iteration_1.png")
    code, _, err = run(capsys, f"inetwork {PAIR} wolf {TINY} --init_image {CONTENT} --quiet")
    assert (code, err) == (0, "")  # a file may be a painting already


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_the_command_writes_pictures() -> None:
    request = requested(image_size=64, num_iter=3)
    context = inetwork.set_up(request)
    *_, last = inetwork.iterations(request, context)
    assert last.loss < 0.1 * inetwork.value_of(context, inetwork.objective_of(request, context), context.start)
    assert last.failure == ""
    assert float((last.image - images.resize(request.photo.image, request.frame)).abs().mean()) > 0.03


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_the_reported_loss_belongs_to_the_picture() -> None:
    request = requested(num_iter=1)
    context = inetwork.set_up(request)
    (step,) = inetwork.iterations(request, context)
    picture, losses = inetwork.run_iteration(context, inetwork.objective_of(request, context), context.start)
    assert step.losses == losses
    features = context.arithmetic.encode(context.encoder, picture, inetwork.objective_of(request, context).layers - {"pixels"})
    total, _ = inetwork.objective_of(request, context)({**features, "pixels": picture})
    assert float(total) == pytest.approx(step.loss, rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_pool_type_and_content_layer_are_applied() -> None:
    usual = last_of(requested(num_iter=1))
    for flags in ({"pool_type": "ave"}, {"content_layer": "conv1_1"}, {"total_variation_weight": 1.0}, {"style_scale": 0.0}):
        assert float((last_of(requested(num_iter=1, **flags)) - usual).abs().max()) > 0.01, flags


# ---------------------------------------------------------------------------------------------------- fixed


@pytest.mark.usefixtures("gallery", "vgg16")
def test_an_init_file_may_have_content_in_its_name() -> None:
    images.write("my_content.png", images.read(WAVE).image)
    request = requested(init_image="my_content.png")
    assert torch.equal(inetwork.set_up(request).start, images.resize(images.read("my_content.png").image, (48, 64)))
    assert any("--init_image is a file" in sentence for sentence in inetwork.repairs(request))


@pytest.mark.usefixtures("gallery", "vgg16")
def test_init_gray_makes_start_and_content_gray() -> None:
    context = inetwork.set_up(requested(init_image="gray"))
    assert float(context.start.std(1).max()) < 1e-6
    assert torch.equal(context.start, context.content)
    noise = inetwork.set_up(requested(init_image="noise"))
    assert float(noise.start.std(1).mean()) > 0.2
    assert float(noise.content.std(1).mean()) > 0.01


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_min_improvement_stops_after_the_second_iteration_not_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, output = run(capsys, f"inetwork {PAIR} wolf --image_size 48 --num_iter 5 --min_improvement 99")
    assert code == 0
    assert "less than --min_improvement" in output
    assert sorted(path.name for path in Path().glob("wolf*")) == ["wolf_at_iteration_1.png", "wolf_at_iteration_2.png"]
    steps = list(inetwork.iterations(request := requested(num_iter=3, min_improvement=1e-9), inetwork.set_up(request)))
    assert len(steps) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_preserve_color_keeps_the_photos_colors_without_darkening() -> None:
    kept, usual = last_of(requested(preserve_color="True")), last_of(requested())
    photo = images.resize(images.read(CONTENT).image, (48, 64))
    assert float(kept.mean()) > 0.1
    inside = (kept > 0.01).all(1, keepdim=True) & (kept < 0.99).all(1, keepdim=True)
    chroma = (kept - luminance_of(kept)) - (photo - luminance_of(photo))
    assert float(chroma.abs()[inside.expand_as(chroma)].max()) < 0.02
    light = (luminance_of(kept) - luminance_of(usual)).abs()[inside]
    assert float(light.mean()) < 0.02


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_preserve_color_keeps_a_gray_photo_gray() -> None:
    gray = luminance_of(images.read(CONTENT).image).expand(-1, 3, -1, -1)
    images.write("gray.png", gray)
    request = inetwork.request_for(
        images.read("gray.png"), [images.read(SCREAM)], InetworkOptions(image_size=48, num_iter=1, preserve_color="True"), EXACT
    )
    assert float(last_of(request).std(1).max()) < 1e-5


@pytest.mark.slow
def test_out_of_gamut_colors_are_desaturated_and_luminance_is_kept() -> None:
    photo = images.resize(images.read(skimage.data.coffee()).image, (40, 60))
    picture = images.resize(images.read(skimage.data.rocket()).image, (40, 60))
    found = inetwork.in_colors_of(photo, picture)
    torch.testing.assert_close(luminance_of(found), luminance_of(picture), atol=5e-3, rtol=0)
    none = inetwork.in_colors_of(photo, picture, torch.zeros(1, 1, 40, 60))
    torch.testing.assert_close(none, picture)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_color_mask_preserves_colors_where_it_is_white() -> None:
    usual = last_of(requested())
    masked = last_of(requested(preserve_color="True", color_mask="right.png"))
    kept = last_of(requested(preserve_color="True"))
    assert torch.allclose(masked[..., :28], usual[..., :28], atol=1e-5)
    assert torch.allclose(masked[..., 36:], kept[..., 36:], atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_conversions_of_the_color_mask_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    output = painted(capsys, f"{PAIR} wolf --preserve_color True --color_mask black.png")
    assert "black.png: the mask of 64x48 pixels was scaled to 128x96" in output
    assert "black.png: the mask is entirely black, so no colors are kept" in output
    output = painted(capsys, f"{PAIR} wolf --preserve_color True --color_mask {SCREAM}")
    assert "the_scream.jpg: the mask is colored; it was converted to grayscale" in output


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_the_color_mask_may_be_a_mask_name() -> None:
    half = last_of(requested(preserve_color="True", color_mask="gradient:left-right", num_iter=1))
    kept, usual = (last_of(requested(preserve_color=word, num_iter=1)) for word in ("True", "False"))
    assert torch.allclose(half[..., :1], kept[..., :1], atol=0.02)
    assert torch.allclose(half[..., -1:], usual[..., -1:], atol=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_each_style_is_applied_where_its_mask_is_white(capsys: pytest.CaptureFixture[str]) -> None:
    both = {"style_masks": ("left.png", "right.png"), "style_weight": (1.0, 1.0), "num_iter": 1}
    ways = [last_of(requested(styles, **both)) for styles in ((SCREAM, WAVE), (SCREAM, SCREAM), (WAVE, WAVE))]
    mixed, scream, wave = ways
    left, right = slice(0, 24), slice(40, 64)
    for side, like, other in ((left, scream, wave), (right, wave, scream)):
        near, far = (float((mixed - each)[..., side].square().mean()) for each in (like, other))
        assert near < 0.7 * far
    output = painted(capsys, f"{CONTENT} {SCREAM} {WAVE} wolf --style_masks left.png right.png")
    assert output.count("masks may have any size and gray values") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_the_photo_is_kept_outside_the_content_mask() -> None:
    masked = last_of(requested(content_mask="right.png", num_iter=1))
    photo = images.resize(images.read(CONTENT).image, (48, 64))
    assert torch.allclose(masked[..., :24], photo[..., :24], atol=1e-4)
    assert float((masked - photo)[..., 40:].abs().mean()) > 0.02


@pytest.mark.usefixtures("gallery", "vgg16")
def test_masked_styles_have_individual_weights() -> None:
    options = inetwork.settled_options(
        requested((SCREAM, WAVE), style_masks=("left.png", "right.png"), style_weight=(1.0, 3.0), style_scale=2.0)
    )
    assert (options.style_weight, options.style_weights) == (4.0, (1.0, 3.0))


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_each_relevant_repair_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    output = painted(capsys, f"{PAIR} wolf --preserve_color True --color_mask right.png --min_improvement 0.1")
    for part in (
        "last layer",
        "keeps its aspect ratio",
        "--min_improvement applies",
        "masks may have",
        "--preserve_color combines",
    ):
        assert output.count(part) == 1, part
    assert "--init_image" not in output
    assert "has no effect without" in painted(capsys, f"{PAIR} wolf --color_mask right.png")


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_a_nan_loss_ends_with_the_last_valid_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    request = requested(num_iter=3)
    context = inetwork.set_up(request)
    original, done = inetwork.run_iteration, []

    def broken(*arguments: Any) -> Any:
        picture, losses = original(*arguments)
        done.append(picture)
        return (picture, losses) if len(done) == 1 else (picture * math.nan, {"style": math.nan})

    monkeypatch.setattr(inetwork, "run_iteration", broken)
    steps = list(inetwork.iterations(request, context))
    assert [step.number for step in steps] == [1, 2]
    assert "last valid picture" in steps[1].note
    assert torch.equal(steps[1].image, steps[0].image)


# ---------------------------------------------------------------------------------------------------- refused

REFUSED = {
    "": "content, style and prefix are missing: impasto inetwork CONTENT STYLE... PREFIX",
    CONTENT: "style and prefix are missing",
    PAIR: "the prefix is missing",
    f"{PAIR} {WAVE}": "the last argument 'images/inputs/style/wave.jpg' is a picture",
    f"nothing.jpg {SCREAM} wolf": "nothing.jpg",
    f"{CONTENT} nothing.jpg wolf": "nothing.jpg",
    f"{PAIR} nowhere/wolf": "nowhere",
    f"{PAIR} wolf --image_size x": "--image_size is 'x'; it must be a whole number",
    f"{PAIR} wolf --image_size 400.5": "--image_size is '400.5'; it must be a whole number",
    f"{PAIR} wolf --image_size 8": "--image_size is 8; it must be a number from 32 to 100000",
    f"{PAIR} wolf --image_size 90000": "--image_size 90000 needs at least ",
    f"{PAIR} wolf --content_weight -1": "--content_weight is -1.0; it must be a number from 0",
    f"{PAIR} wolf --content_weight nan": "--content_weight is nan",
    f"{PAIR} wolf --content_weight much": "--content_weight is 'much'; it must be a number",
    f"{PAIR} wolf --style_weight -1": "--style_weight is -1.0",
    f"{PAIR} wolf --style_weight=": "--style_weight is empty",
    f"{PAIR} wolf --style_weight=much": "--style_weight is 'much'; it must be a number",
    f"{PAIR} wolf --style_scale inf": "--style_scale is inf",
    f"{PAIR} wolf --total_variation_weight -1e-5": "--total_variation_weight is -1e-05",
    f"{PAIR} wolf --num_iter 0": "--num_iter is 0; it must be a number from 1",
    f"{PAIR} wolf --num_iter 2.5": "--num_iter is '2.5'; it must be a whole number",
    f"{PAIR} wolf --model vgg18": "--model 'vgg18' is not known; use one of vgg16, vgg19, vgg19-slim",
    f"{PAIR} wolf --content_loss_type 3": "--content_loss_type '3' is not known; use one of 0, 1, 2",
    f"{PAIR} wolf --rescale_image maybe": "--rescale_image is 'maybe'; give True or False",
    f"{PAIR} wolf --rescale_method lanczos": "--rescale_method 'lanczos' is not known; use one of bilinear, bicubic, nearest",
    f"{PAIR} wolf --maintain_aspect_ratio 2": "--maintain_aspect_ratio is '2'; give True or False",
    f"{PAIR} wolf --content_layer conv5_4": "--content_layer 'conv5_4' is not in vgg16; did you mean 'conv5_",
    f"{PAIR} wolf --content_layer conv9_9": "--content_layer 'conv9_9' is not in vgg16",
    f"{PAIR} wolf --init_image grau": "--init_image 'grau' is neither a known init nor a picture file; did you mean 'gray'?",
    f"{PAIR} wolf --pool_type avg": "--pool_type 'avg' is not known; use one of max, ave",
    f"{PAIR} wolf --preserve_color blue": "--preserve_color is 'blue'; give True or False",
    f"{PAIR} wolf --min_improvement 101": "--min_improvement is 101.0; it must be a number from 0 to 100",
    f"{PAIR} wolf --style_masks nothing.png": "--style_masks 'nothing.png' is not a file",
    f"{PAIR} wolf --style_masks left.png right.png": "--style_masks has 2 files for 1 styles; give one for each style",
    f"{PAIR} wolf --style_masks black.png": "--style_masks",
    f"{PAIR} wolf --content_mask black.png": "--content_mask",
    f"{PAIR} wolf --content_mask auto:nonsense": "'auto:nonsense' is not known",
    f"{PAIR} wolf --content_mask nothing.png": "--content_mask 'nothing.png' is not a file",
    f"{PAIR} wolf --color_mask nothing.png": "--color_mask 'nothing.png' is not a file",
    f"{PAIR} wolf --color_mask auto:nonsense": "'auto:nonsense' is not known",
    f"{PAIR} wolf --no_such_flag 1": "--no_such_flag",
    f"{PAIR} wolf --num_iter": "--num_iter requires an argument",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", REFUSED)
@pytest.mark.usefixtures("gallery", "vgg16")
def test_invalid_arguments_are_refused_in_one_sentence(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().rglob("*"))
    code, out, err = run(capsys, f"inetwork {words}")
    assert (code, out) == (2, "")
    assert sum(line.startswith("impasto: ") for line in err.splitlines()) == 1
    assert REFUSED[words] in err.splitlines()[-1]
    assert "Invalid value" not in err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("gallery", "vgg16")
def test_a_result_does_not_overwrite_an_input(capsys: pytest.CaptureFixture[str]) -> None:
    images.write("wolf_at_iteration_1.png", images.read(SCREAM).image)
    code, _, err = run(capsys, f"inetwork {CONTENT} wolf_at_iteration_1.png wolf")
    assert code == 2
    assert "would overwrite an input" in err


@pytest.mark.slow
@pytest.mark.usefixtures("gallery", "vgg16")
def test_vgg16_uses_the_swatch_of_a_named_style(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, f"inetwork {CONTENT} starry-night wolf {TINY}")
    assert code == 0, err
    record = images.read_record("wolf_at_iteration_1.png")
    assert record is not None
    assert record["styles"][0]["name"] == "starry-night"  # type: ignore[index]


def test_a_photo_too_narrow_is_refused_with_a_sufficient_size() -> None:
    photo = images.read(torch.rand(1, 3, 200, 20))
    with pytest.raises(ShapeError, match="--image_size 320 or more"):
        inetwork.request_for(photo, [photo], InetworkOptions(image_size=100), EXACT)


def test_vgg19_is_used_if_available(tmp_path: Path, narrow: Callable[..., Vgg]) -> None:
    assert inetwork.encoder_for("vgg19") == inetwork.encoder_for("vgg16") == "vgg19-slim"
    save_vgg(tmp_path / "narrow.safetensors", narrow(), {})
    import_file(tmp_path / "narrow.safetensors", "vgg19-keras")
    assert (inetwork.encoder_for("vgg19"), inetwork.encoder_for("vgg16")) == ("vgg19", "vgg19-slim")
    assert weights.find("vgg19").name == "vgg19-keras.weights"


def test_options_are_checked_in_python() -> None:
    with pytest.raises(OptionError, match="--num_iter is 0"):
        InetworkOptions(num_iter=0)
