"""Time painting from command to saved file, and the slim encoder against the full VGG-19.

python benchmarks/speed.py [--repeat 3]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import evaluation
import impasto
from impasto.encoders import Vgg, load_encoder
from impasto.encoders.precision import Arithmetic, prepared
from impasto.features.statistics import moments
from impasto.options import STYLE_LAYERS, Run
from impasto.recipes.presets import paint_options
from impasto.runtime.devices import seconds_now
from impasto.tensors import Features

Sum = Callable[[Vgg, Features], torch.Tensor]
"""A function that reduces features to one number, for the backward pass."""


def command_seconds(repeat: int) -> float:
    """Return the median seconds of `impasto paint` with its defaults, from command to saved file."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeat):
            target = Path(folder) / "out.png"
            started = seconds_now()
            pictures = (evaluation.content("summit"), evaluation.style("gauguin"), "-o", target)
            command = [sys.executable, "-m", "impasto", "paint", *map(str, pictures)]
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(seconds_now() - started)
    return statistics.median(seconds)


def style_statistics(encoder: Vgg, features: Features) -> torch.Tensor:
    """Reduce features as painting does: style statistics and content."""
    loss = features["relu4_2"].float().square().mean()
    for layer in STYLE_LAYERS:
        measured, head = moments(features[layer]), encoder.head(layer)
        loss = loss + (head.moments(measured) if head else measured).gram.square().mean()
    return loss


def features_only(_: Vgg, features: Features) -> torch.Tensor:
    """Sum the features, without statistics."""
    return torch.stack([each.sum() for each in features.values()]).sum()


def round_trip_seconds(encoders: Sequence[Vgg], repeat: int, summed: Sum = style_statistics) -> list[float]:
    """Return the median seconds of one forward and backward pass at 384 x 512, in bfloat16, for each encoder.

    The encoders take turns, so that a slower machine affects all of them; the first three rounds are not counted.
    """
    arithmetic = Arithmetic(torch.device("cpu"), "bf16")
    image = torch.rand(1, 3, 384, 512).requires_grad_()
    seconds: list[list[float]] = [[] for _ in encoders]
    for encoder in encoders:
        prepared(arithmetic, encoder)
    for _ in range(repeat + 3):
        for encoder, found in zip(encoders, seconds, strict=True):
            started = seconds_now()
            summed(encoder, arithmetic.encode(encoder, image, frozenset((*STYLE_LAYERS, "relu4_2")))).backward()
            found.append(seconds_now() - started)
    return [statistics.median(found[3:]) for found in seconds]


def peer_seconds() -> float:
    """Return the time for the settings of style-transfer-pytorch at 512 px on this machine: 1000 + 4 x 500 steps.

    impasto runs them as a preset, with the full VGG-19 in float32, like the original program. Four steps are timed at each
    size. The first is not counted, and the median of the others is multiplied by the number of steps.
    """
    seconds: dict[int, list[float]] = {}
    started = seconds_now()
    content, style, run = evaluation.content("summit"), evaluation.style("gauguin"), Run(precision="fp32")
    options = paint_options("style-transfer-pytorch", encoder=str(full_vgg()), steps=4, first_steps=4)
    for step in impasto.steps(content, style, options, run=run):
        now = seconds_now()
        seconds.setdefault(step.scale, []).append(now - started)
        started = now
    each = [statistics.median(found[1:]) for _, found in sorted(seconds.items())]
    return 1000 * each[0] + 500 * sum(each[1:])


def full_vgg() -> Path:
    """Return the weights of the full VGG-19."""
    return evaluation.shared() / "teachers" / "vgg19_uint8.safetensors"


def gigaflops() -> float:
    """Return the speed of a large bfloat16 matrix product in GFLOP/s, to compare machines and days."""
    a = torch.rand(2048, 2048).bfloat16()
    seconds = []
    for _ in range(9):
        started = seconds_now()
        a @ a
        seconds.append(seconds_now() - started)
    return 2 * 2048**3 / statistics.median(seconds) / 1e9


def main() -> None:
    """Measure, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    print(f"a product of two 2048 x 2048 matrices in bf16: {gigaflops():.0f} GFLOP/s")
    encoders = [load_encoder("vgg19-slim"), load_encoder(full_vgg())]
    for what, summed in (("features only", features_only), ("with style statistics", style_statistics)):
        slim, full = round_trip_seconds(encoders, 4 * repeat, summed)
        print(f"forward and backward at 384x512, {what}: slim {slim:.3f} s, full VGG-19 {full:.3f} s, ratio {full / slim:.2f}")
    ours, theirs = command_seconds(repeat), peer_seconds()
    print(
        f"impasto paint at 512 px, command to file: {ours:.1f} s; "
        f"the settings of style-transfer-pytorch {theirs:.0f} s, ratio {theirs / ours:.0f}"
    )
    recorded = next(
        row["seconds"] for row in evaluation.peers()["speed"]["rows"] if row["peer"].startswith("style-transfer-pytorch")
    )
    print(f"the original program, another day, possibly a faster machine: {recorded} s, ratio {recorded / ours:.0f}")


if __name__ == "__main__":
    main()
