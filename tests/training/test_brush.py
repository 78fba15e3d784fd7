"""Training of brushes, with a tiny network on a few small pictures."""

import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import skimage.data
import torch
from torch import Tensor

from impasto import images
from impasto.encoders import load_encoder
from impasto.networks.brush_files import brush_facts, load_brush
from impasto.networks.decoder_files import load_decoder, shipped_decoder
from impasto.networks.johnson import Johnson, Layout
from impasto.networks.style_swap import grid_share
from impasto.options import Run
from impasto.options.brush import BrushTrainingOptions
from impasto.recipes.brush_training import BrushRun, new_run
from impasto.training.brush import BrushStep, BrushTraining, BrushWeights, StyleTargets
from impasto.training.teacher import Teacher

EDGE = 64


def small(pixels: object) -> Tensor:
    return torch.as_tensor(pixels).permute(2, 0, 1)[:, ::3, ::3].contiguous()


PHOTOS = [small(skimage.data.astronaut()), small(skimage.data.chelsea())]


@pytest.fixture(scope="module")
def targets() -> StyleTargets:
    style = small(skimage.data.coffee())[None, :, :128, :192].float() / 255
    with torch.no_grad():
        return StyleTargets([style], load_encoder(), load_decoder(shipped_decoder()).spread)


Make = Callable[..., BrushTraining]


@pytest.fixture
def make(targets: StyleTargets) -> Make:
    """Make a training of a tiny network; arguments as of ``BrushTraining``."""

    def training(weights: BrushWeights | None = None, teacher: Teacher | None = None, **options: float) -> BrushTraining:
        network = Johnson(Layout(4, blocks=1, ends=3)).initialize(torch.Generator().manual_seed(0))
        numbers = {"total_steps": 4, "edge_px": EDGE, "batch": 1} | options
        return BrushTraining(network, load_encoder(), targets, PHOTOS, weights=weights, teacher=teacher, **numbers)  # type: ignore[arg-type]

    return training


def run(training: BrushTraining, count: int) -> list[BrushStep]:
    return list(itertools.islice(training.steps(), count))


def alike(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_every_term_has_a_finite_loss_and_a_gradient(make: Make) -> None:
    every = BrushWeights(content=1.0, smoothness=1.0, stability=1.0)
    (step,) = run(make(every), 1)
    assert set(step.losses) == {"neighbor", "style", "tone", "content", "smoothness", "stability", "gamut", "grid"}
    assert all(math.isfinite(value) for value in step.losses.values())
    for name in ("neighbor", "style", "tone", "content", "smoothness", "stability", "grid"):
        none = dict.fromkeys(step.losses, 0.0)
        training = make(BrushWeights(**(none | {name: 1.0})))
        before = {key: value.clone() for key, value in training.network.state_dict().items()}
        run(training, 1)
        assert not alike(before, training.network.state_dict()), name


@pytest.mark.slow
def test_training_lowers_the_losses(make: Make) -> None:
    steps = run(make(total_steps=40, learning_rate=5e-3), 40)
    first, last = (sum(each.losses["neighbor"] + each.losses["style"] for each in part) for part in (steps[:8], steps[-8:]))
    assert last < 0.8 * first


@pytest.mark.slow
def test_the_network_does_not_learn_a_grid_pattern_of_its_teacher(make: Make) -> None:
    pattern = 0.15 * torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def teacher(photo: Tensor) -> Tensor:
        return (
            photo
            + pattern.repeat(1, 1, photo.shape[2] // 4 + 1, photo.shape[3] // 4 + 1)[..., : photo.shape[2], : photo.shape[3]]
        ).clamp(0, 1)

    photo, shares = PHOTOS[1][None, :, :96, :144].float() / 255, []
    for weight in (0.0, BrushWeights().grid):
        training = make(BrushWeights(grid=weight), total_steps=80, learning_rate=1e-2, teacher=teacher)
        run(training, 80)
        with torch.no_grad():
            shares.append(float(grid_share(training.averaged_network()(photo))))
    assert shares[1] < 0.5 * shares[0]


@pytest.mark.slow
def test_with_a_teacher_the_network_learns_its_paintings(make: Make) -> None:
    def negative(photo: Tensor) -> Tensor:
        return 1 - photo

    training = make(BrushWeights(style=0.0), total_steps=60, learning_rate=1e-2, teacher=negative)
    steps = run(training, 60)
    assert sum(each.losses["tone"] for each in steps[-8:]) < 0.5 * sum(each.losses["tone"] for each in steps[:8])
    photo = PHOTOS[0][None].float() / 255
    with torch.no_grad():
        painted = training.averaged_network()(photo)
    assert (painted - (1 - photo)).abs().mean() < 0.7 * (painted - photo).abs().mean()


@pytest.mark.slow
def test_the_content_loss_compares_with_the_photo_and_not_with_the_teachers_painting(make: Make) -> None:
    losses = {}
    for teacher in (None, torch.zeros_like):
        training = make(BrushWeights(content=1.0), teacher=teacher)
        crop = PHOTOS[0][None, :, :EDGE, :EDGE].float() / 255
        losses[teacher] = float(training._losses(crop, teacher(crop) if teacher else None)["content"].detach())
    assert losses[None] == pytest.approx(losses[torch.zeros_like])


@pytest.mark.slow
def test_the_teacher_paints_only_in_its_part_of_the_training(make: Make) -> None:
    painted: list[Tensor] = []

    def teacher(photo: Tensor) -> Tensor:
        painted.append(photo)
        return photo

    training = make(total_steps=8, teacher=teacher, teacher_share=0.5)
    run(training, 4)
    count = len(painted)
    assert count
    run(training, 4)
    assert len(painted) == count


@pytest.mark.slow
def test_the_learning_rate_rises_and_falls(make: Make) -> None:
    rates = [each.learning_rate for each in run(make(total_steps=120, edge_px=32), 120)]
    assert rates[0] < rates[40]
    assert rates[-1] < 0.05 * max(rates)


@pytest.mark.slow
@pytest.mark.parametrize("teacher", [None, torch.negative])
def test_a_resumed_training_equals_an_unbroken_one(make: Make, tmp_path: Path, teacher: Teacher | None) -> None:
    unbroken = make(total_steps=6, teacher=teacher)
    run(unbroken, 6)
    broken = make(total_steps=6, teacher=teacher)
    run(broken, 3)
    broken.save(tmp_path / "checkpoint", curve="[]")
    again = make(total_steps=6, seed=0 if teacher else 5, teacher=teacher)
    assert again.resume(tmp_path / "checkpoint") == {"curve": "[]"}
    assert again.number == 3
    run(again, 6)
    assert alike(unbroken.averaged_network().state_dict(), again.averaged_network().state_dict())


@pytest.mark.slow
def test_a_resume_is_not_taken_for_a_divergence(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("impasto.training.brush._WARM_UP", 1)
    training = make(total_steps=6)
    run(training, 4)
    training.save(tmp_path / "checkpoint")
    again = make(total_steps=6)
    again.resume(tmp_path / "checkpoint")
    assert not any(step.has_diverged for step in run(again, 2))
    assert again.slowdown == 1.0


@pytest.mark.slow
def test_a_time_limit_ends_the_training(make: Make) -> None:
    training = make(total_steps=0, seconds=1.0)
    steps = list(training.steps())
    assert training.progress >= 1
    assert steps[-2].seconds < 1.0 <= steps[-1].seconds


@pytest.mark.slow
def test_a_diverged_training_goes_back_and_slows_down(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.training.brush._WARM_UP", 2)
    monkeypatch.setattr("impasto.training.brush._SNAPSHOT_STEPS", 1)
    training = make(total_steps=12)
    run(training, 6)
    good = {name: value.clone() for name, value in training.network.state_dict().items()}
    with torch.no_grad():
        for parameter in training.network.parameters():
            parameter.fill_(float("nan"))
    (step,) = run(training, 1)
    assert step.has_diverged
    assert training.slowdown == 0.5
    assert alike(good, training.network.state_dict())
    assert all(math.isfinite(value) for each in run(training, 2) for value in each.losses.values())


@pytest.mark.slow
def test_the_stability_term_makes_results_less_sensitive_to_noise(make: Make) -> None:
    def flicker(weight: float) -> float:
        training = make(BrushWeights(stability=weight), total_steps=60, learning_rate=5e-3)
        run(training, 60)
        network, generator = training.averaged_network(), torch.Generator().manual_seed(1)
        photo = PHOTOS[0][None].float() / 255
        noisy = photo + 0.03 * torch.randn(photo.shape, generator=generator)
        with torch.no_grad():
            return float((network(noisy) - network(photo)).abs().mean())

    assert flicker(30.0) < 0.8 * flicker(0.0)


# ---------------------------------------------------------------------------------------------------- recipe


@pytest.fixture
def prepared() -> Callable[..., BrushRun]:
    def made(**options: object) -> BrushRun:
        chosen = BrushTrainingOptions(**{"steps": 4, "edge": EDGE, "network": "small", "style_size": 96, **options})  # type: ignore[arg-type]
        return new_run(images.read(skimage.data.coffee()), PHOTOS, chosen, Run(seed=3))

    return made


@pytest.mark.slow
def test_a_brush_records_how_it_was_trained(prepared: Callable[..., BrushRun], tmp_path: Path) -> None:
    trained = prepared()
    assert len(list(trained.steps())) == 4
    trained.save(tmp_path / "coffee.brush")
    facts = brush_facts(tmp_path / "coffee.brush")
    assert {"steps", "minutes", "losses", "curve", "options", "seed", "style", "photos"} <= set(facts)
    assert facts["seed"] == "3"
    photo = PHOTOS[0][None].float() / 255
    expected = trained.training.averaged_network()(photo)
    torch.testing.assert_close(load_brush(tmp_path / "coffee.brush")(photo), expected, atol=0.02, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_teacher_is_the_instant_painter(prepared: Callable[..., BrushRun], share: float) -> None:
    trained = prepared(teacher_share=share)
    (step,) = itertools.islice(trained.steps(), 1)
    assert all(math.isfinite(value) for value in step.losses.values())
    assert (trained.training._pairs is not None) == (share > 0)
    if trained.training._pairs:
        painted = list(trained.training._pairs._painted.values())
        assert painted
        assert all(each.float().std() > 10 for each in painted)  # not blank


@pytest.mark.slow
def test_the_strip_shows_photos_above_their_paintings(prepared: Callable[..., BrushRun]) -> None:
    trained = prepared()
    strip = trained.strip()
    assert strip.shape == (1, 3, 512, 512)
    assert torch.equal(strip[..., :256, :256], trained.samples[0])
    assert not torch.equal(strip[..., 256:, :256], trained.samples[0])


@pytest.mark.slow
def test_the_seed_decides_the_initial_weights(prepared: Callable[..., BrushRun]) -> None:
    one, other = prepared(), prepared()
    assert alike(one.training.network.state_dict(), other.training.network.state_dict())


# ---------------------------------------------------------------------------------------------------- processes

PROGRAM = """
import atexit, os, pathlib, sys, torch, skimage.data
from impasto import images
from impasto.options import Run
from impasto.options.brush import BrushTrainingOptions
from impasto.recipes.brush_training import new_run
from impasto.training.distributed import is_main, rank
def write_threads():
    names = [each.read_text().strip() for each in pathlib.Path("/proc/self/task").glob("*/comm")]
    pathlib.Path(sys.argv[1], os.environ["RANK"] + ".txt").write_text(" ".join(names))
if sys.platform == "linux":
    atexit.register(write_threads)  # runs after what is registered later
pictures = (skimage.data.astronaut(), skimage.data.chelsea())
photos = [torch.as_tensor(each).permute(2, 0, 1)[:, ::3, ::3].contiguous() for each in pictures]
options = BrushTrainingOptions(steps=4, edge=64, network="small", style_size=96)
training = new_run(images.read(skimage.data.coffee()), photos, options, Run(device="cpu"))
for step in training.steps():
    if is_main() and step.number == int(sys.argv[2]):
        break
torch.save((training.training.network.state_dict(), training.training.number), f"{sys.argv[1]}/{rank()}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("stop", [4, 2])
def test_processes_of_torchrun_keep_the_same_network_and_stop_together(tmp_path: Path, stop: int) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]  # standalone: on a free port
    done = subprocess.run(
        [sys.executable, *words, str(program), str(tmp_path), str(stop)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (one, first), (other, second) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first == second == stop
    assert alike(one, other)
    if sys.platform == "linux":  # a thread of the group that is left when the interpreter ends may abort the process
        assert not any("gloo" in (tmp_path / f"{rank}.txt").read_text() for rank in (0, 1))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_a_killed_training_resumes(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import impasto.cli.train_brush as command, sys
        command._SECONDS_BETWEEN = 0.0
        from impasto.cli import main
        sys.exit(main(sys.argv[1:]))
        """)
    for number, photo in enumerate(PHOTOS):
        (tmp_path / "photos").mkdir(exist_ok=True)
        images.write(tmp_path / "photos" / f"{number}.png", photo[None].float() / 255)
    flags = ["-o", "x.brush", "--photos", "photos", "--steps", "12", "--edge", "64", "--network", "small", "--style-size", "96"]
    words = [sys.executable, "-c", program, "train", "brush", "starry-night", *flags]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 200
    while not (tmp_path / "x.brush.checkpoint").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "x.brush").exists()
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stderr
    assert brush_facts(tmp_path / "x.brush")["steps"] == "12"
    assert not (tmp_path / "x.brush.checkpoint").exists()
