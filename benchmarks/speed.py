"""Time the engines by size, the commands from start to saved file, and with --shared, the full VGG-19 and another program.

python benchmarks/speed.py [--rounds 3] [--sizes 256 512 1024]
python benchmarks/speed.py --shared [--rounds 3]

Everything that is compared takes turns in one process. A pass is the forward and backward pass of vgg19-slim in float32 at the
same size: the unit of work of style transfer by optimization, to compare machines.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

import evaluation
import impasto
import public
from impasto.encoders import Vgg, load_encoder
from impasto.encoders.precision import Arithmetic, choose_device, prepared
from impasto.features.statistics import moments
from impasto.options import STYLE_LAYERS, Run
from impasto.recipes.presets import paint_options
from impasto.runtime.devices import seconds_now
from impasto.tensors import Features
from results import Row, begin, compared, in_turns, save

Sum = Callable[[Vgg, Features], torch.Tensor]
"""A function that reduces features to one number, for the backward pass."""


def engines(size: int) -> tuple[dict[str, Callable[[], object]], list[tuple[str, str]]]:
    """Return the calls that are timed at a size, and the pairs of calls that are compared."""
    photo, style = public.photo(size), public.style(size)
    painter, brush = impasto.InstantPainter(engine="torch"), impasto.BrushPainter("starry-night", engine="torch")
    code = painter.encode(impasto.read(style))
    calls: dict[str, Callable[[], object]] = {
        "pass": partial(a_pass, load_encoder("vgg19-slim"), Arithmetic(torch.device(choose_device("auto")), "fp32"), photo),
        "paint": lambda: impasto.paint(photo, style, size=size),
        "instant": lambda: painter.paint(photo, code),
        "brush": lambda: brush.paint(photo),
    }
    pairs = [("paint", "pass"), ("instant", "pass"), ("brush", "pass"), ("instant", "paint"), ("brush", "instant")]
    if size <= 256:
        calls["paint --recipe nnst"] = lambda: impasto.paint(photo, style, size=size, recipe="nnst")
        pairs.append(("paint", "paint --recipe nnst"))
    if size == 512:
        calls["paint --quality draft"] = lambda: impasto.paint(photo, style, size=size, quality="draft")
        calls["instant --fast"] = lambda: painter.paint(photo, code, fast=True)
        calls["instant --hq"] = lambda: impasto.instant(photo, style, size=size, hq=True)
        pairs += [("paint --quality draft", "paint"), ("instant --fast", "instant"), ("instant --hq", "paint")]
    return calls, pairs


def a_pass(encoder: Vgg, arithmetic: Arithmetic, photo: torch.Tensor) -> None:
    """Compute the features that the style losses compare, and the gradient of their sum with respect to the pixels."""
    image = photo.detach().to(arithmetic.device, copy=True).requires_grad_()
    features = arithmetic.encode(encoder.to(arithmetic.device), image, frozenset((*STYLE_LAYERS, "relu4_2")))
    features_only(encoder, features).backward()


def by_size(sizes: Sequence[int], rounds: int) -> list[Row]:
    """Time all engines at each size."""
    rows = []
    for size in sizes:
        calls, pairs = engines(size)
        for name in ("pass", "instant", "brush"):
            calls[name]()  # the first call is slower
        seconds = in_turns(calls, rounds)
        rows += [compared(seconds, what, baseline, f", {size} px") for what, baseline in pairs]
    return rows


def commands(rounds: int) -> list[Row]:
    """Time commands at 512 px, each in a new process, from start to saved file."""
    with tempfile.TemporaryDirectory() as folder:
        photo, style = public.files(Path(folder), 512)
        words = {
            "impasto paint": ["-m", "impasto", "paint", photo, style, "-o", f"{folder}/paint.png"],
            "impasto instant": ["-m", "impasto", "instant", photo, style, "-o", f"{folder}/instant.png"],
            "impasto apply": ["-m", "impasto", "apply", "starry-night", photo, "-o", f"{folder}/brush.png"],
            "import torch": ["-c", "import torch"],
        }
        run = partial(subprocess.run, check=True, capture_output=True)
        calls = {name: partial(run, [sys.executable, *each]) for name, each in words.items()}
        seconds = in_turns(calls, rounds)
    rows = [compared(seconds, name, "import torch") for name in words if name != "import torch"]
    return [replace(row, what=f"{row.what}, 512 px, from command to saved file") for row in rows]


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


def shared_rows(rounds: int) -> list[Row]:
    """Compare with the full VGG-19, and with the settings of another program."""
    rows = []
    encoders = [load_encoder("vgg19-slim"), load_encoder(full_vgg())]
    for what, summed in (("features only", features_only), ("with style statistics", style_statistics)):
        slim, full = round_trip_seconds(encoders, 4 * rounds, summed)
        rows.append(Row(f"forward and backward at 384 x 512, {what}: full VGG-19", full, "s", "slim", slim, full / slim))
    pair = evaluation.content("summit"), evaluation.style("gauguin")
    ours = statistics.median(in_turns({"ours": partial(impasto.paint, *pair)}, rounds)["ours"])
    theirs = peer_seconds()
    rows.append(Row("the settings of style-transfer-pytorch, 512 px", theirs, "s", "impasto paint", ours, theirs / ours))
    speeds = evaluation.peers()["speed"]["rows"]
    recorded = float(next(row["seconds"] for row in speeds if row["peer"].startswith("style-transfer-pytorch")))
    rows.append(Row("the original program, another day", recorded, "s", "impasto paint", ours, recorded / ours))
    return rows


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--shared", action="store_true", help="only what needs the folder of benchmark data")
    given, run = parser.parse_args(), begin()
    print(f"a product of two 2048 x 2048 matrices in bf16: {gigaflops():.0f} GFLOP/s")
    if given.shared:
        save(shared_rows(given.rounds), run, name="speed_shared")
    else:
        save([*by_size(given.sizes, given.rounds), *commands(given.rounds)], run)


if __name__ == "__main__":
    main()
