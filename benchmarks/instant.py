"""Measure instant painting: figures on the devset, compared with other programs; speed; memory for a large picture; tiles.

python benchmarks/instant.py [--pairs diagonal|half|all] [--only quality|speed|large|strength|sheet] [--out FOLDER]
"""

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

import evaluation
import impasto
from impasto.images import contact_sheet, resize, write
from impasto.options import InstantOptions
from impasto.recipes import instant_painter
from impasto.recipes.instant import painted_pastiche
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.painting import read_content
from impasto.runtime.devices import seconds_now

_SIZES = ((341, 512), (512, 512), (1080, 1920))
_PEERS = {
    "MicroAST": "MicroAST, torch eager float32",
    "Magenta (TFLite)": "Magenta transformer, TFLite with XNNPACK, 2 threads",
}


def quality(pairs: str, out: Path) -> None:
    """Paint the devset at strength 1, and print median figures, with those of other programs on the same pairs."""
    judge = evaluation.judge()
    network = judge.load_vgg19()
    rows, seconds = [], []
    for content, style in evaluation.pairs(pairs):
        path = out / f"{content}__{style}.png"
        started = seconds_now()
        impasto.instant(evaluation.content(content), evaluation.style(style), engine="torch").save(path)
        seconds.append(seconds_now() - started)
        rows.append(judge.judge(network, evaluation.content(content), evaluation.style(style), path))
        print(content, style, " ".join(f"{figure} {rows[-1][figure]}" for figure in evaluation.FIGURES), flush=True)
    (out / "rows.json").write_text(json.dumps(rows, indent=1))
    chosen = {(row["content_file"], row["style_file"]) for row in rows}
    named = {"impasto instant": evaluation.medians(rows)}
    for peer in _PEERS:
        named[peer] = evaluation.medians(
            row
            for row in evaluation.peers()["rows"]
            if row["peer"] == peer and (row["content_file"], row["style_file"]) in chosen
        )
    print(f"\nmedians of {len(rows)} pairs, {statistics.median(seconds):.2f} s each from file to file\n")
    print(evaluation.table(named))


def milliseconds(call: Callable[[], object], repeat: int = 9) -> float:
    """Return the median milliseconds of a call, after two warm-up calls."""
    taken = []
    for _ in range(repeat + 2):
        started = seconds_now()
        call()
        taken.append(1000 * (seconds_now() - started))
    return statistics.median(taken[2:])


def speed() -> None:
    """Time a photo with an encoded style on each engine, and one photo from command to file."""
    rows = evaluation.peers()["speed"]["rows"]
    for height, width in _SIZES:
        photo = impasto.read(resize(read_content(evaluation.content("summit")).image, (height, width)))
        for engine, fast in itertools.product(("torch", "openvino"), (False, True)):
            painter = InstantPainter(engine=engine)
            style = read_content(evaluation.style("gauguin"))
            code = painter.encode(style)
            options = InstantOptions(fast=fast, size=0)
            ours = milliseconds(
                partial(painted_pastiche, painter, photo, [style], (), options, lambda *_, code=code, **__: code)
            )
            print(f"{height}x{width} px, {engine}{', fast' * fast}: {ours:.0f} ms", end="")
            for peer, name in _PEERS.items():
                for row in rows:
                    if row["peer"] == name and row["size"] == f"{height}x{width}":
                        print(f"; {peer} {row['ms']} ms, ratio {row['ms'] / ours:.2f}", end="")
            print(flush=True)
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "out.png")
        words = ["instant", str(evaluation.content("summit")), str(evaluation.style("gauguin")), "-o", target]
        command = [sys.executable, "-m", "impasto", *words]
        cold = milliseconds(lambda: subprocess.run(command, check=True, capture_output=True), 3) / 1000
        print(f"one photo, command to file: {cold:.1f} s")


def large(out: Path) -> None:
    """Print time and peak memory for 12,000 x 8,000 pixels; then compare tiles with the whole picture, in float32."""
    photo = out / "large.jpg"
    write(photo, resize(read_content(evaluation.content("summit")).image, (8000, 12000)))
    words = [
        "-m",
        "impasto",
        "instant",
        str(photo),
        str(evaluation.style("gauguin")),
        "-o",
        str(out / "large_painted.jpg"),
        "--size",
        "0",
    ]
    started = seconds_now()
    subprocess.run([sys.executable, *words], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"12000x8000 px: {seconds_now() - started:.0f} s, peak {peak:.2f} GiB")
    painter = InstantPainter(impasto.Run(precision="fp32"), "torch")
    style = painter.encode(read_content(evaluation.style("gauguin")))
    image = resize(read_content(evaluation.content("summit")).image, (1600, 1200))
    found = {}
    instant_painter.LARGEST_WHOLE_PX = 500_000
    for tile in (4096, 512):
        instant_painter.TILE_PX = tile
        found[tile] = image.clone()
        for _ in painter.paint_over(found[tile], style):
            pass
    difference = (found[4096] - found[512]).abs()
    share = float((difference <= 1 / 255).float().mean())
    print(f"tiles of 512 px against the whole: at most {float(difference.max()):.4f}, {share:.3%} within 1/255")


def strength(out: Path) -> None:
    """Print the effect of each strength on a photo."""
    judge = evaluation.judge()
    network = judge.load_vgg19()
    for content, style in (("summit", "gauguin"), ("girl", "monet"), ("bridge", "serusier")):
        photo = read_content(evaluation.content(content))
        for value in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25):
            pastiche = impasto.instant(evaluation.content(content), evaluation.style(style), strength=value)
            error = float((pastiche.image - photo.image).square().mean())
            path = out / f"{content}__{style}__{value}.png"
            pastiche.save(path)
            row = judge.judge(network, evaluation.content(content), evaluation.style(style), path)
            noise = f"{10 * torch.log10(torch.tensor(1 / max(error, 1e-10))).item():.1f} dB from the photo"
            print(content, style, f"strength {value}: style_closed {row['style_closed']}, content {row['content']}, {noise}")


def sheet(pairs: str, out: Path) -> None:
    """Make a sheet to compare results by eye: paint, instant, MicroAST and Magenta."""
    pictures = []
    for content, style in evaluation.pairs(pairs):
        of_peers = evaluation.shared() / "devset" / "peers"
        ours = (evaluation.content(content), evaluation.style(style))
        pictures += [
            (impasto.paint(*ours).image, f"{content} x {style}: paint"),
            (impasto.instant(*ours).image, "instant"),
            (impasto.read(of_peers / f"{content}__{style}__microast.jpg").image, "MicroAST"),
            (impasto.read(of_peers / f"{content}__{style}__magenta.jpg").image, "Magenta"),
        ]
    path = out / "sheet.jpg"
    write(path, contact_sheet(pictures, columns=4, cell_px=240))
    print(path)


def main() -> None:
    """Run the selected benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", default="diagonal", choices=("diagonal", "half", "all"))
    parser.add_argument("--only", choices=("quality", "speed", "large", "strength", "sheet"))
    parser.add_argument("--out", type=Path, default=Path(".bench/instant"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], None]] = {
        "quality": lambda: quality(arguments.pairs, arguments.out),
        "speed": speed,
        "strength": lambda: strength(arguments.out),
        "large": lambda: large(arguments.out),
        "sheet": lambda: sheet(arguments.pairs, arguments.out),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            print(f"== {name}")
            part()


if __name__ == "__main__":
    main()
