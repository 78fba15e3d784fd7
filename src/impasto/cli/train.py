"""``impasto train``: train the networks that impasto uses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from impasto.cli import INTERRUPTED_EXIT
from impasto.cli.progress import message_console
from impasto.cli.training import (
    STEPS_BETWEEN_LINES,
    Pictures,
    add_to_curve,
    channels_last,
    check_training_files,
    read_corpora,
    resume,
    run_training,
    time_left,
    write_weights,
)
from impasto.errors import OptionError
from impasto.options import Device
from impasto.options.fields import check_range

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from impasto.encoders import Vgg
    from impasto.training.agreement import HeldOut
    from impasto.training.encoder import Distillation, DistillationStep

app = App(name="train", help="Train the networks that impasto uses.")
app.command(
    "impasto.cli.train_instant:instant",
    name="instant",
    help="Train the decoder of the instant painter, which paints any style in one pass.",
)

app.command(
    "impasto.cli.train_brush:brush",
    name="brush",
    help="Train a brush: a small network that paints any photo in one style.",
)

_EDGE_PX = 112
_FIRST_CROPS = 320
_BLOCKS = 5
_CONVOLUTIONS = 16


@dataclass(frozen=True, kw_only=True)
class Corpora(Pictures):
    """Training data."""

    teacher: Path
    """Weights of the full VGG-19, in any published format."""

    teacher_license: Annotated[str, Parameter(name=("--teacher-license", "--teacher-licence"))] = ""
    """License of the teacher's weights; saved with the trained weights."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Training settings."""

    steps: int
    """Total training steps; the learning rate decays to zero over them."""

    widths: str = "24,64,128,256,256"
    """Channels of the five blocks, or of the sixteen convolutions."""

    learning_rate: float = 8e-3
    """Peak learning rate of Adam, relative to the size of each parameter."""

    seed: int = 0
    """Random seed."""

    device: Device = "auto"
    """auto (a GPU if there is one), cpu, cuda or mps."""


@app.command
def encoder(
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    state: Path,
    corpora: Annotated[Corpora, Parameter(name="*")],
    fit: Annotated[Fit, Parameter(name="*")],
) -> int:
    """Distill a slim encoder from the full VGG-19. If the state file exists, resume the training.

    Args:
        output: Output file for the weights, .safetensors.
        state: State file for resuming, saved every 250 steps. The training curve is saved next to it.
        corpora: Training data.
        fit: Training settings.
    """
    check_range("steps", fit.steps, 1, 10_000_000)
    widths = _widths(fit.widths)
    check_training_files(output, state, corpora, corpora.teacher)
    console = message_console(quiet=False)
    distillation, held = _prepared(corpora, fit, widths, state, console)
    is_complete = run_training(
        distillation,
        fit.steps,
        state,
        console,
        watch=lambda step: _print_step(step, fit.steps, console),
        measure=lambda: _measure(distillation, widths, held, state, console),
    )
    if not is_complete:
        return INTERRUPTED_EXIT
    return write_weights(output, lambda path: _write(path, distillation, corpora, fit, held), console)


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(width) for width in text.split(","))
    except ValueError:
        widths = ()
    if len(widths) not in (_BLOCKS, _CONVOLUTIONS) or min(widths) < 1:
        raise OptionError(
            f"--widths is {text!r}; give the channels of the five blocks, such as 24,64,128,256,256, "
            "or of the sixteen convolutions"
        )
    return widths


def _prepared(
    corpora: Corpora, fit: Fit, widths: tuple[int, ...], state: Path, console: Console
) -> tuple[Distillation, HeldOut]:
    """Read the data and make the student. Initialize it in closed form, or from the state of an earlier run."""
    import numpy as np
    import torch

    from impasto.encoders import load_encoder
    from impasto.encoders.precision import choose_device
    from impasto.training.agreement import HeldOut
    from impasto.training.crops import random_picture
    from impasto.training.encoder import Distillation, initialize_from_teacher

    device = torch.device(choose_device(fit.device))
    teacher = load_encoder(corpora.teacher, border="replicate").to(device)
    corpus, kept = read_corpora(corpora, console)
    student = _slim(widths, device)
    if not state.exists():
        random = np.random.default_rng(fit.seed + 1)
        crops = torch.cat([random_picture(corpus, _EDGE_PX, random) for _ in range(_FIRST_CROPS)])
        initialize_from_teacher(student, teacher, crops.to(device))
    distillation = Distillation(
        student, teacher, corpus, total_steps=fit.steps, learning_rate=fit.learning_rate, edge_px=_EDGE_PX, seed=fit.seed
    )
    held = HeldOut.draw(kept, _EDGE_PX, fit.seed + 5).to(device)
    if state.exists():
        resume(distillation, state, "from other --widths", console)
    else:
        _measure(distillation, widths, held, state, console)
    return distillation, held


def _print_step(step: DistillationStep, total: int, console: Console) -> None:
    if step.number % STEPS_BETWEEN_LINES == 0 or step.number == 1:
        from impasto.training.agreement import MAIN_LAYERS

        errors = ", ".join(f"{layer} {step.errors[layer]:.3f}" for layer in MAIN_LAYERS)
        left = time_left(step.number, total, step.seconds)
        console.print(f"step {step.number} of {total}: {errors}; {left}")


def _slim(widths: tuple[int, ...], device: torch.device) -> Vgg:
    """Make a slim network with heads, which map to the channels of VGG-19. Its filters are in channels-last format."""
    from impasto.encoders import Vgg

    return channels_last(Vgg(widths, border="replicate", with_heads=True).to(device))


def _averaged(distillation: Distillation, widths: tuple[int, ...]) -> Vgg:
    """Make a network from the running average of the student's parameters."""
    network = _slim(widths, distillation.device)
    network.load_state_dict(distillation.averaged)
    return network.requires_grad_(False)


def _measure(distillation: Distillation, widths: tuple[int, ...], held: HeldOut, state: Path, console: Console) -> None:
    """Evaluate the averaged student, and append a line to the training curve."""
    from impasto.training.agreement import figures

    found: dict[str, Any] = {"step": distillation.number}
    found |= figures(_averaged(distillation, widths), distillation.teacher, held)
    add_to_curve(state, found, console)
    cosines = ", ".join(f"{name} {value:.3f}" for name, value in found.items() if name.startswith("gradient"))
    console.print(f"held out: {cosines}")


def _write(output: Path, distillation: Distillation, corpora: Corpora, fit: Fit, held: HeldOut) -> None:
    from impasto.training.agreement import figures
    from impasto.weights import save_vgg

    network = _averaged(distillation, _widths(fit.widths))
    facts = {
        "about": "a slim VGG-19, distilled by impasto train encoder",
        "teacher": corpora.teacher.name,
        "teacher_sha256": distillation.teacher.sha256,
        "teacher_licence": corpora.teacher_license,
        "steps": str(fit.steps),
        "seed": str(fit.seed),
        "learning_rate": str(fit.learning_rate),
        "figures": json.dumps(figures(network, distillation.teacher, held)),
    }
    save_vgg(output, network, facts, bits=8)
