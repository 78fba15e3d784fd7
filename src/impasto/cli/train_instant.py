"""``impasto train instant``: train the decoder of the instant painter. This painter applies any style in one pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli import INTERRUPTED_EXIT
from impasto.cli.progress import losses_in_words, message_console
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
from impasto.errors import OptionError, WeightsError
from impasto.options import Device
from impasto.options.fields import check_range

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from impasto.encoders import Vgg
    from impasto.networks.style_swap import Decoder
    from impasto.training.agreement import HeldOut
    from impasto.training.style_swap import SwapStep, SwapTraining

_STEPS_BETWEEN_SHARES = 40


@dataclass(frozen=True, kw_only=True)
class Corpora(Pictures):
    """Training data."""

    start: Path | None = None
    """Decoder to start from, instead of random weights."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Training settings."""

    steps: int
    """Total training steps; the learning rate decays to a hundredth over them."""

    batch: int = 3
    """Photos per step, each with its own style."""

    edge: int = 160
    """Side of the crops in pixels: a multiple of 8, at least 64."""

    learning_rate: float = 1e-3
    """Peak learning rate of Adam."""

    seed: int = 0
    """Random seed."""

    beside: Path | None = None
    """State file of a second run on this machine with another --seed; the two runs average their parameters during training."""

    device: Device = "auto"
    """auto (a GPU if there is one), cpu, cuda or mps."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of the terms of the objective."""

    fine_weight: float = 0.3
    """Weight of the feature loss at relu1_1."""

    middle_weight: float = 1.0
    """Weight of the feature loss at relu2_1."""

    coarse_weight: float = 1.0
    """Weight of the feature loss at relu3_1."""

    style_weight: float = 0.5
    """Weight of the loss on means and standard deviations of the style features."""

    identity_weight: float = 5.0
    """Weight of the identity loss: a picture decoded from its own features must not change."""

    gamut_weight: float = 5.0
    """Weight of the penalty on colors outside [0, 1]."""


def instant(
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    state: Path,
    corpora: Annotated[Corpora, Parameter(name="*")],
    fit: Annotated[Fit, Parameter(name="*")],
    weights: Annotated[Weights | None, Parameter(name="*")] = None,
) -> int:
    """Train the decoder of the instant painter. If the state file exists, resume the training.

    Args:
        output: Output file for the decoder, .safetensors.
        state: State file for resuming, saved every 250 steps. The training curve is saved next to it.
        corpora: Training data.
        fit: Training settings.
        weights: Weights of the terms of the objective.
    """
    weights = weights or Weights()
    _check(fit, weights)
    check_training_files(output, state, corpora, corpora.start, fit.beside, fit.beside and fit.beside.with_suffix(".shared"))
    console = message_console(quiet=False)
    training, held = _prepared(corpora, fit, weights, state, console)
    recent: list[SwapStep] = []

    def watch(step: SwapStep) -> None:
        recent.append(step)
        if fit.beside and step.number % _STEPS_BETWEEN_SHARES == 0:
            training.share(state.with_suffix(".shared"), fit.beside.with_suffix(".shared"))
        _print_step(step, fit.steps, console)

    def measure() -> None:
        _write_curve(recent, training.held_out_losses(held), state, console)
        recent.clear()

    if not run_training(training, fit.steps, state, console, watch=watch, measure=measure):
        return INTERRUPTED_EXIT
    facts = _facts(corpora, fit, weights, training)
    return write_weights(output, lambda path: _write(path, training, held, facts), console)


def _check(fit: Fit, weights: Weights) -> None:
    """Raise OptionError if a setting is not allowed."""
    check_range("steps", fit.steps, 1, 10_000_000)
    check_range("batch", fit.batch, 1, 4096)
    check_range("learning_rate", fit.learning_rate, 1e-9, 1)
    check_range("seed", fit.seed, 0, 2**63 - 1)
    check_range("edge", fit.edge, 64, 2048)
    if fit.edge % 8:
        raise OptionError(f"--edge is {fit.edge}; it must be a multiple of 8, such as {fit.edge // 8 * 8}")
    for name, weight in asdict(weights).items():
        check_range(name, weight, 0, 1e9)


def _prepared(corpora: Corpora, fit: Fit, weights: Weights, state: Path, console: Console) -> tuple[SwapTraining, HeldOut]:
    """Read the data and make the network: a new one, the one of --start, or the one in the state of an earlier run."""
    import torch

    from impasto.encoders import load_encoder
    from impasto.encoders.precision import choose_device
    from impasto.training.agreement import HeldOut
    from impasto.training.style_swap import SwapTraining, SwapWeights

    torch.manual_seed(fit.seed)  # the initial weights are drawn from the global generator
    device = torch.device(choose_device(fit.device))
    slim = _rounded(load_encoder().to(device))
    network = _network(corpora.start, slim, device)
    corpus, kept = read_corpora(corpora, console)
    training = SwapTraining(
        network,
        slim,
        corpus,
        total_steps=fit.steps,
        learning_rate=fit.learning_rate,
        edge_px=fit.edge,
        batch=fit.batch,
        seed=fit.seed,
        weights=SwapWeights(**{name.removesuffix("_weight"): weight for name, weight in asdict(weights).items()}),
    )
    if state.exists():
        resume(training, state, "from another network", console)
    return training, HeldOut.draw(kept, fit.edge, fit.seed + 5).to(device)


def _rounded(encoder: Vgg) -> Vgg:
    """Freeze a loss network. If the device is fast with bfloat16, convert the filters of the network to bfloat16."""
    from impasto.encoders.precision import Arithmetic, has_fast_bf16, prepared

    device = encoder.mean.device
    if has_fast_bf16(device):
        prepared(Arithmetic(device, "bf16"), encoder)
    return encoder.requires_grad_(False)


def _network(start: Path | None, slim: Vgg, device: torch.device) -> Decoder:
    """Make a decoder for the features of the slim encoder, or read it from a file."""
    from impasto.networks.decoder_files import decoder_facts, load_decoder
    from impasto.networks.style_swap import SWAP_LAYERS, Decoder

    if start is None:
        channels = dict(zip(slim.convolutions, slim.widths, strict=True))
        fine, middle, coarse = (channels[layer.removeprefix("relu")] for layer in SWAP_LAYERS)
        network = Decoder((fine, middle, coarse))
    else:
        network = load_decoder(start)
        if decoder_facts(start).get("encoder_sha256") != slim.sha256:
            raise WeightsError(
                f"--start '{start}' was trained for another version of vgg19-slim; train a new decoder without --start"
            )
    return channels_last(network.to(device)).train().requires_grad_(True)


def _print_step(step: SwapStep, total: int, console: Console) -> None:
    if step.number % STEPS_BETWEEN_LINES == 0 or step.number == 1:
        left = time_left(step.number, total, step.seconds)
        console.print(f"step {step.number} of {total}: {losses_in_words(step.losses)}; {left}")


def _write_curve(recent: Sequence[SwapStep], held_out: dict[str, float], state: Path, console: Console) -> None:
    """Append a line to the training curve, with the mean losses since the last line and the losses on held-out pictures."""
    line = {"step": recent[-1].number, "seconds": round(fmean(step.seconds for step in recent), 4)}
    for name in dict.fromkeys(name for step in recent for name in step.losses):  # not every step measures all losses
        line[name] = round(fmean(step.losses[name] for step in recent if name in step.losses), 6)
    add_to_curve(state, line | {"held_out": held_out}, console)
    console.print(f"held out: {losses_in_words(held_out)}")


def _facts(corpora: Corpora, fit: Fit, weights: Weights, training: SwapTraining) -> dict[str, str]:
    """Return metadata about the training of the network."""
    from impasto.weights.files import sha256_of

    return {
        "about": "decodes features of vgg19-slim; trained by impasto train instant",
        "encoder_sha256": training.encoder.sha256,
        "start_sha256": sha256_of(corpora.start) if corpora.start else "",
        **{name: str(getattr(fit, name)) for name in ("steps", "batch", "edge", "learning_rate", "seed")},
        **{name: str(weight) for name, weight in asdict(weights).items()},
    }


def _write(output: Path, training: SwapTraining, held: HeldOut, facts: dict[str, str]) -> None:
    from impasto.networks.decoder_files import save_decoder

    figures = json.dumps(training.held_out_losses(held))
    save_decoder(output, training.averaged_network(), {**facts, "figures": figures})
