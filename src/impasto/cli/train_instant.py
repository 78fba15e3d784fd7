"""``impasto train instant``: train the network that paints in any style in one pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli import INTERRUPTED_EXIT
from impasto.cli.progress import duration, losses_in_words, narrator
from impasto.cli.training import (
    STEPS_BETWEEN_LINES,
    Pictures,
    asked_to_stop,
    channels_last,
    check_writable,
    read_corpora,
    resume,
)
from impasto.errors import OptionError, WeightsError
from impasto.fields import check_range, dashed
from impasto.options import Device

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from impasto.encoders import Vgg
    from impasto.networks import InstantNetwork
    from impasto.training.agreement import HeldOut
    from impasto.training.instant import InstantStep, InstantTraining

_STEPS_BETWEEN_SAVES = 250
_STEPS_BETWEEN_SHARES = 40


@dataclass(frozen=True, kw_only=True)
class Corpora(Pictures):
    """What is learned from."""

    teacher: Path | None = None
    """The weights of the full VGG-19, in any published form, as the loss network; by default that is vgg19-slim."""

    teacher_licence: str = ""
    """The licence of the teacher's weights, to be named with what is made of them."""

    start: Path | None = None
    """An instant network to go on from with new steps, such as one that was trained without a teacher."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How it is learned."""

    steps: int
    """Training steps in all; the learning rate falls to zero over them."""

    batch: int = 4
    """Photos in a step, each in a style of its own."""

    uses: int = 1
    """How often a crop is used before another takes its place; with 4, targets cost a quarter, and steps a quarter less."""

    edge: int = 128
    """Side of the photos' crops in pixels, a multiple of 8 from 32."""

    style_edge: int = 128
    """Side of the styles' crops in pixels, a multiple of 8 from 32."""

    learning_rate: float = 1e-3
    """Adam's step at its highest."""

    seed: int = 0
    """Seed of everything random."""

    beside: Path | None = None
    """The state of another run on this machine, of another --seed: the two average their parameters as they go."""

    device: Device = "auto"
    """auto (a GPU where there is one), cpu, cuda or mps."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What each part of the objective weighs, beside the moments of the style, which weigh 1."""

    content_weight: float = 0.1
    """Weight of the photo's features."""

    gram_weight: float = 0.05
    """Weight of the Gram matrices of the style."""

    identity_weight: float = 4.0
    """Weight of a photo in its own style coming back as it was, measured in every fourth step."""

    stability_weight: float = 6.0
    """Weight of a photo that is moved and noisy giving the same picture, moved, measured in every fourth step."""

    calm_weight: float = 1.5
    """Weight of what is flat in the photo staying calm."""


def instant(
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    state: Path,
    corpora: Annotated[Corpora, Parameter(name="*")],
    fit: Annotated[Fit, Parameter(name="*")],
    weights: Annotated[Weights | None, Parameter(name="*")] = None,
) -> int:
    """Train the instant network, which paints in any style in one pass; goes on where the state says that it stood.

    Args:
        output: The network, .safetensors.
        state: What a resumed run needs, rewritten every 250 steps; the curve of its losses lies beside it.
        corpora: What is learned from.
        fit: How it is learned.
        weights: What the parts of the objective weigh.
    """
    weights = weights or Weights()
    _check(fit, weights)
    check_writable(output, state)
    console = narrator(quiet=False)
    training, held = _prepared(corpora, fit, weights, state, console)
    recent: list[InstantStep] = []
    with asked_to_stop() as stop:
        for step in training.steps():
            recent.append(step)
            if fit.beside and step.number % _STEPS_BETWEEN_SHARES == 0:
                training.share(state.with_suffix(".shared"), fit.beside.with_suffix(".shared"))
            _tell(step, fit.steps, console)
            if step.number % _STEPS_BETWEEN_SAVES == 0 or step.number == fit.steps or stop:
                training.save(state)
                _write_curve(recent, training.held_out_losses(held), state, console)
                recent.clear()
            if stop and step.number < fit.steps:
                console.print(f"interrupted at step {step.number} of {fit.steps}; the same command goes on from '{state}'")
                return INTERRUPTED_EXIT
    _write(output, training, held, _facts(corpora, fit, weights, training))
    console.print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    return 0


def _check(fit: Fit, weights: Weights) -> None:
    """Raise OptionError for what cannot be trained with."""
    check_range("steps", fit.steps, 1, 10_000_000)
    check_range("batch", fit.batch, 1, 4096)
    check_range("uses", fit.uses, 1, 1000)
    check_range("learning_rate", fit.learning_rate, 1e-9, 1)
    check_range("seed", fit.seed, 0, 2**63 - 1)
    for name in ("edge", "style_edge"):
        edge = getattr(fit, name)
        check_range(name, edge, 32, 2048)
        if edge % 8:
            raise OptionError(f"{dashed(name)} is {edge}; it must be a multiple of 8, such as {edge // 8 * 8}")
    for name, weight in asdict(weights).items():
        check_range(name, weight, 0, 1e9)


def _prepared(corpora: Corpora, fit: Fit, weights: Weights, state: Path, console: Console) -> tuple[InstantTraining, HeldOut]:
    """Read everything, and make the network: new, that of another run, or as the state of an earlier run has it."""
    import torch

    from impasto.arithmetic import choose_device
    from impasto.encoders import load_encoder
    from impasto.training.agreement import HeldOut
    from impasto.training.instant import InstantTraining, InstantWeights

    torch.manual_seed(fit.seed)  # of this program's own generator, which the first weights are drawn from
    device = torch.device(choose_device(fit.device))
    slim = _rounded(load_encoder().to(device))
    judge = _rounded(load_encoder(corpora.teacher).to(device)) if corpora.teacher else slim
    network = _network(corpora.start, slim, device)
    corpus, kept = read_corpora(corpora, console)
    training = InstantTraining(
        network,
        slim,
        judge,
        corpus,
        total_steps=fit.steps,
        learning_rate=fit.learning_rate,
        edge_px=fit.edge,
        style_edge_px=fit.style_edge,
        batch=fit.batch,
        uses=fit.uses,
        seed=fit.seed,
        weights=InstantWeights(**{name.removesuffix("_weight"): weight for name, weight in asdict(weights).items()}),
    )
    if state.exists():
        resume(training, state, "of another network", console)
    return training, HeldOut.draw(kept, fit.edge, fit.seed + 5).to(device)


def _rounded(encoder: Vgg) -> Vgg:
    """Freeze a loss network, and round its filters once where the processor multiplies bfloat16 fast."""
    from impasto.arithmetic import Arithmetic, has_fast_bf16, prepared

    device = encoder.mean.device
    if has_fast_bf16(device):
        prepared(Arithmetic(device, "bf16"), encoder)
    return encoder.requires_grad_(False)


def _network(start: Path | None, slim: Vgg, device: torch.device) -> InstantNetwork:
    """Make a network that reads the slim encoder: a new one, or that of a file."""
    from impasto.networks import InstantNetwork, instant_facts, load_instant
    from impasto.networks.instant import STYLE_LAYERS

    if start is None:
        channels = dict(zip(slim.convolutions, slim.widths, strict=True))
        network = InstantNetwork(tuple(channels[layer.removeprefix("relu")] for layer in STYLE_LAYERS))
    else:
        network = load_instant(start)
        if instant_facts(start).get("encoder_sha256") != slim.sha256:
            raise WeightsError(f"--start '{start}' reads another vgg19-slim than this impasto has; train a new network")
    return channels_last(network.to(device)).train().requires_grad_(True)


def _tell(step: InstantStep, total: int, console: Console) -> None:
    if step.number % STEPS_BETWEEN_LINES == 0 or step.number == 1:
        left = duration(step.seconds * (total - step.number))
        console.print(f"step {step.number} of {total}: {losses_in_words(step.losses)}; about {left} left")


def _write_curve(recent: Sequence[InstantStep], held_out: dict[str, float], state: Path, console: Console) -> None:
    """Add a line to the curve: means over the steps since the last line, and the losses on what was held out."""
    line = {"step": recent[-1].number, "seconds": round(fmean(step.seconds for step in recent), 4)}
    for name in dict.fromkeys(name for step in recent for name in step.losses):  # some are not measured in every step
        line[name] = round(fmean(step.losses[name] for step in recent if name in step.losses), 6)
    with state.with_suffix(".curve.jsonl").open("a", encoding="utf-8") as curve:
        curve.write(json.dumps(line | {"held_out": held_out}) + "\n")
    console.print(f"held out: {losses_in_words(held_out)}")


def _facts(corpora: Corpora, fit: Fit, weights: Weights, training: InstantTraining) -> dict[str, str]:
    """Say how the network was made."""
    from impasto.weights.files import sha256_of

    return {
        "about": "paints in any style in one pass; trained by impasto train instant",
        "teacher": corpora.teacher.name if corpora.teacher else "vgg19-slim",
        "teacher_sha256": training.judge.sha256,
        "teacher_licence": corpora.teacher_licence,
        "encoder_sha256": training.slim.sha256,
        "start_sha256": sha256_of(corpora.start) if corpora.start else "",
        **{name: str(getattr(fit, name)) for name in ("steps", "batch", "uses", "edge", "style_edge", "learning_rate", "seed")},
        **{name: str(weight) for name, weight in asdict(weights).items()},
    }


def _write(output: Path, training: InstantTraining, held: HeldOut, facts: dict[str, str]) -> None:
    from impasto.networks import save_instant

    figures = json.dumps(training.held_out_losses(held))
    save_instant(output, training.averaged_network(), {**facts, "figures": figures})
