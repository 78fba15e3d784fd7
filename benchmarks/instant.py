"""Measure the instant network: quality on the devset beside the peers, speed, and what refinement gains.

python benchmarks/instant.py [--pairs diagonal|half|all] [--only quality|hq|speed|strength|refine|sheet] [--out FOLDER]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import impasto
import ruler
from impasto.images import contact_sheet, write
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.painting import read_content

_SIZES = ((512, 512), (1080, 1920))
_PEERS = {
    "MicroAST": "MicroAST, torch eager float32",
    "Magenta (TFLite)": "Magenta transformer, TFLite with XNNPACK, 2 threads",
}


def quality(pairs: str, out: Path, *, hq: bool = False) -> None:
    """Paint the devset at strength 1, measure it, and print medians beside the peers' on the same pairs."""
    judge = ruler.judge()
    network = judge.load_vgg19()
    rows, seconds = [], []
    for content, style in ruler.pairs(pairs):
        path = out / f"{content}__{style}{'__hq' * hq}.png"
        began = time.perf_counter()
        impasto.instant(ruler.content(content), ruler.style(style), engine="torch", hq=hq).save(path)
        seconds.append(time.perf_counter() - began)
        rows.append(judge.judge(network, ruler.content(content), ruler.style(style), path))
        print(content, style, " ".join(f"{figure} {rows[-1][figure]}" for figure in ruler.FIGURES), flush=True)
    (out / f"rows{'_hq' * hq}.json").write_text(json.dumps(rows, indent=1))
    chosen = {(row["content_file"], row["style_file"]) for row in rows}
    named = {"impasto instant" + " --hq" * hq: ruler.medians(rows)}
    for peer in _PEERS:
        named[peer] = ruler.medians(
            row for row in ruler.peers()["rows"] if row["peer"] == peer and (row["content_file"], row["style_file"]) in chosen
        )
    print(f"\nmedians of {len(rows)} pairs, {statistics.median(seconds):.2f} s each from file to file\n\n{ruler.table(named)}")


def milliseconds(call: Callable[[], object], repeat: int = 9) -> float:
    """Return the median milliseconds of a call, after two to warm up."""
    taken = []
    for _ in range(repeat + 2):
        began = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken[2:])


def speed() -> None:
    """Time a photo with the style measured already, with each engine, and one photo from command to file."""
    rows = ruler.peers()["speed"]["rows"]
    for height, width in _SIZES:
        photo = torch.rand(1, 3, height, width)
        for engine in ("torch", "openvino"):
            painter = InstantPainter(engine=engine)
            manner = painter.manner(read_content(ruler.style("gauguin")), edge_px=512)
            ours = milliseconds(lambda: painter.paint(photo, manner))  # noqa: B023  (called at once)
            print(f"{height}x{width} px, {engine}: {ours:.0f} ms", end="")
            for peer, name in _PEERS.items():
                theirs = next(row["ms"] for row in rows if row["peer"] == name and row["size"] == f"{height}x{width}")
                print(f"; {peer} {theirs} ms, ratio {theirs / ours:.1f}", end="")
            print(flush=True)
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "out.png")
        words = ["instant", str(ruler.content("summit")), str(ruler.style("gauguin")), "-o", target]
        command = [sys.executable, "-m", "impasto", *words]
        cold = milliseconds(lambda: subprocess.run(command, check=True, capture_output=True), 3) / 1000
        print(f"one photo, command to file: {cold:.1f} s")


def strength(out: Path) -> None:
    """Print what each strength does to a photo."""
    judge = ruler.judge()
    network = judge.load_vgg19()
    for content, style in (("summit", "gauguin"), ("girl", "monet"), ("bridge", "serusier")):
        photo = read_content(ruler.content(content))
        for value in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25):
            pastiche = impasto.instant(ruler.content(content), ruler.style(style), strength=value)
            error = float((pastiche.image - photo.image).square().mean())
            path = out / f"{content}__{style}__{value}.png"
            pastiche.save(path)
            row = judge.judge(network, ruler.content(content), ruler.style(style), path)
            noise = f"{10 * torch.log10(torch.tensor(1 / max(error, 1e-10))).item():.1f} dB from the photo"
            print(content, style, f"strength {value}: style_closed {row['style_closed']}, content {row['content']}, {noise}")


def refine(out: Path) -> None:
    """Compare instant with ten seconds of refinement against twenty seconds of painting from scratch."""
    judge = ruler.judge()
    network = judge.load_vgg19()
    rows: dict[str, list[dict[str, object]]] = {"instant + 10 s": [], "paint, 20 s": []}
    for content, style in ruler.pairs("diagonal"):
        pictures = (ruler.content(content), ruler.style(style))
        made = {
            "instant + 10 s": impasto.instant(*pictures, refine_seconds=10.0),
            "paint, 20 s": impasto.paint(*pictures, seconds=20.0),
        }
        for name, pastiche in made.items():
            path = out / f"{content}__{style}.png"
            pastiche.save(path)
            rows[name].append(judge.judge(network, *pictures, path))
    print(f"\nmedians of 8 pairs\n\n{ruler.table({name: ruler.medians(each) for name, each in rows.items()})}")


def sheet(pairs: str, out: Path) -> None:
    """Lay results out beside those of the peers, to look at: the painter's, the instant network's, MicroAST's, Magenta's."""
    pictures = []
    for content, style in ruler.pairs(pairs):
        of_peers = ruler.shared() / "devset" / "peers"
        ours = (ruler.content(content), ruler.style(style))
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
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", default="diagonal", choices=("diagonal", "half", "all"))
    parser.add_argument("--only", choices=("quality", "hq", "speed", "strength", "refine", "sheet"))
    parser.add_argument("--out", type=Path, default=Path(".bench/instant"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], None]] = {
        "quality": lambda: quality(arguments.pairs, arguments.out),
        "hq": lambda: quality(arguments.pairs, arguments.out, hq=True),
        "speed": speed,
        "strength": lambda: strength(arguments.out),
        "refine": lambda: refine(arguments.out),
        "sheet": lambda: sheet(arguments.pairs, arguments.out),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            print(f"== {name}")
            part()


if __name__ == "__main__":
    main()
