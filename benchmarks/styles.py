"""Measure the loss of accuracy in a style file: the error of its Gram matrices in the channels of the full VGG-19.

python benchmarks/styles.py [--paintings gauguin,monet,seurat]
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch

import evaluation
from impasto import images
from impasto.encoders import load_encoder
from impasto.features.statistics import Affine, Moments
from impasto.options import STYLE_LAYERS
from impasto.recipes.naming import name_style
from impasto.styles.named import SIZES, NamedStyle, load_style, save_style

FORMER = 48


def from_file(style: NamedStyle) -> tuple[NamedStyle, int]:
    """Save and load a style; return the loaded style and the size of the file in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "style"
        save_style(path, style)
        return load_style(path), path.stat().st_size


def moments_of_version_1(measured: Moments) -> Moments:
    """Return moments as stored in files of version 1: 48 directions in half precision, and the rest of the diagonal."""
    values, vectors = torch.linalg.eigh(measured.covariance[0].double())
    factor = vectors[:, -FORMER:] * values[-FORMER:].clamp_min(0).sqrt()
    diagonal = (measured.covariance[0].double() - factor @ factor.T).diagonal().clamp_min(0)
    factor = factor.half().float()
    return Moments(measured.mean.half().float(), (factor @ factor.T + diagonal.float().diag())[None])


def gram_error(kept: Moments, measured: Moments, head: Affine | None) -> float:
    """Return ``|G − Ĝ|² / |G|²`` of the Gram matrices in the channels of the full VGG-19."""
    G, found = ((head.moments(each) if head else each).gram for each in (measured, kept))
    return float((found - G).square().sum() / G.square().sum())


def deviation_error(kept: Moments, measured: Moments) -> float:
    """Return the largest relative error of the standard deviation of a channel."""
    return float((kept.deviation / measured.deviation - 1).abs().max())


@torch.no_grad()
def main() -> None:
    """Print a row for each size: error in version 1 → current error, averaged over the paintings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paintings", default="gauguin,monet,seurat,tuscan")
    encoder = load_encoder("vgg19-slim")
    styles = [name_style(images.read(evaluation.style(name)), {}) for name in parser.parse_args().paintings.split(",")]
    files = [from_file(style) for style in styles]
    print("| longer side | " + " | ".join(STYLE_LAYERS) + " |", "|---" * (len(STYLE_LAYERS) + 1) + "|", sep="\n")
    worst = 0.0
    for size in SIZES:
        cells = []
        for layer in STYLE_LAYERS:
            head = encoder.head(layer)
            exact = [style.moments[size][layer] for style in styles]
            kept = [file.moments[size][layer] for file, _ in files]
            before = statistics.mean(gram_error(moments_of_version_1(each), each, head) for each in exact)
            now = statistics.mean(map(gram_error, kept, exact, [head] * len(exact)))
            worst = max(worst, *map(deviation_error, kept, exact))
            cells.append(f"{before:.1e} → {now:.1e}")
        print(f"| {size} | " + " | ".join(cells) + " |")
    print(f"largest relative error of a deviation: {worst:.1e}; a file: {files[0][1] / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
