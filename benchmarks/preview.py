"""Paint a small preview and a large picture with the same options, and measure the difference at the preview's size.

For comparison, the table also shows the effect of another initialization (the photo with a little noise), and the same
difference for the instant network.

python benchmarks/preview.py [--pairs 4] [--small 256] [--large 512] [--out FOLDER]
"""

import argparse
import statistics
from pathlib import Path

import evaluation
import impasto
from impasto.images import Picture, contact_sheet, read, resize, write
from impasto.losses.picture import luminance_of, structural_similarity
from impasto.metrics.report import lab
from impasto.tensors import Image

_PAIRS = (("summit", "gauguin"), ("girl", "monet"), ("surf", "seurat"), ("bridge", "serusier"))


def agreement(preview: Image, final: Image) -> tuple[float, float]:
    """Return the structural similarity and the mean color difference of preview and final picture, at the preview's size."""
    final = resize(final, (preview.shape[-2], preview.shape[-1]))
    similarity = float(structural_similarity(luminance_of(preview), luminance_of(final)))
    return similarity, float((lab(preview) - lab(final)).square().sum(1).sqrt().mean())


def compared(photo: Picture, style: Picture, sizes: tuple[int, int]) -> tuple[dict[str, tuple[float, float]], list[Image]]:
    """Paint one pair in every variant, and compare."""
    small, large = sizes
    paint = {size: impasto.paint(photo, style, size=size).image for size in sizes}
    noisy = impasto.paint(photo, style, size=small, init="blend", init_noise=0.2).image
    other = impasto.paint(photo, style, size=small, init="blend", init_noise=0.2, run=impasto.Run(seed=1)).image
    instant = {size: impasto.instant(photo, style, size=size).image for size in sizes}
    shrunk = resize(photo.image, (paint[small].shape[-2], paint[small].shape[-1]))
    rows = {
        f"paint, {small} against {large}": agreement(paint[small], paint[large]),
        f"paint at {small}, two seeds of noise": agreement(noisy, other),
        f"paint at {small}, started from the photo with and without noise": agreement(paint[small], noisy),
        f"instant, {small} against {large}": agreement(instant[small], instant[large]),
        f"the photo against paint at {small}": agreement(shrunk, paint[small]),
    }
    return rows, [shrunk, paint[small], paint[large], noisy, instant[small], instant[large]]


def main() -> None:
    """Compare all pairs, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=len(_PAIRS))
    parser.add_argument("--small", type=int, default=256)
    parser.add_argument("--large", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path(".bench/preview"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[tuple[float, float]]] = {}
    for content, style in _PAIRS[: arguments.pairs]:
        sizes = (arguments.small, arguments.large)
        rows, pictures = compared(read(evaluation.content(content)), read(evaluation.style(style)), sizes)
        names = ("photo", "paint small", "paint large", "paint small, noise", "instant small", "instant large")
        sheet = contact_sheet(list(zip(pictures, names, strict=True)), columns=3, cell_px=arguments.small)
        write(arguments.out / f"{content}__{style}.png", sheet)
        for name, row in rows.items():
            found.setdefault(name, []).append(row)
            print(f"{content} {style} {name}: SSIM {row[0]:.3f}, Lab ΔE {row[1]:.1f}", flush=True)
    print(f"\nmeans of {arguments.pairs} pairs\n\n| | SSIM | Lab ΔE |\n|---|---|---|")
    for name, each in found.items():
        similarity, apart = (statistics.mean(values) for values in zip(*each, strict=True))
        print(f"| {name} | {similarity:.3f} | {apart:.1f} |")


if __name__ == "__main__":
    main()
