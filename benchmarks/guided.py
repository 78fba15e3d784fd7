"""Measure doodles, analogies and textures.

python benchmarks/guided.py [--only labels|seams|seconds] [--out FOLDER]

labels    20 doodles of random maps: share of positions copied from a position with the same label, with and without map
seams     20 tileable textures: difference across opposite edges, relative to that of adjacent pixels inside
seconds   seconds from file to file at 512 px, relative to ``impasto paint`` in the same run
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
import skimage.io
import torch

import impasto
from impasto.images import read
from impasto.options.guided import DoodleOptions
from impasto.recipes.doodle import DoodleInputs, doodle_of
from impasto.recipes.guided import guided_steps, last_of
from impasto.recipes.maps import labels_of
from impasto.recipes.painting import read_style
from impasto.runtime.devices import seconds_now

_STYLES = ("starry-night", "wheat-field", "great-wave", "water-lilies", "blue-horses")
_MAPS, _PX = 4, 256


def random_map(colors: torch.Tensor, seed: int) -> torch.Tensor:
    """Draw bands and disks in random colors: (1, 3, height, width)."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:_PX, :_PX]
    order = random.permutation(len(colors))
    waves = rows + 20 * np.sin(columns / random.uniform(20, 60) + random.uniform(0, 6))
    labels = order[np.clip(waves * len(colors) / _PX, 0, len(colors) - 1).astype(int)]
    for label in random.permutation(len(colors))[:3]:
        (row, column), radius = random.uniform(30, _PX - 30, 2), random.uniform(20, 50)
        labels[np.hypot(rows - row, columns - column) < radius] = label
    return colors[torch.from_numpy(labels)].permute(2, 0, 1)[None]


def labels(out: Path | None) -> None:
    """Paint doodles of random maps."""
    shares: dict[float, list[float]] = {1.0: [], 0.0: []}
    for style in _STYLES:
        suggested = impasto.suggest_map(style, labels=5)
        colors = torch.from_numpy(labels_of([suggested]).colors).float()
        for seed in range(_MAPS):
            drawn = read(random_map(colors, seed))
            for weight, found in shares.items():
                inputs = DoodleInputs(read_style(style), drawn, suggested)
                guided = doodle_of(inputs, DoodleOptions(size=_PX, labels=5, semantic_weight=max(weight, 1e-6)), impasto.Run())
                last = last_of(guided_steps(guided, impasto.Run()))
                found.append(1 - last.losses["guide"])
                if out:
                    impasto.images.write(out / f"{style}-{seed}-{'map' if weight else 'free'}.png", last.image)
            if out:
                impasto.images.write(out / f"{style}-{seed}-drawn.png", drawn.image)
    with_map, without = (statistics.mean(found) for found in shares.values())
    print(
        f"same label: {100 * with_map:.1f} % of positions (worst {100 * min(shares[1.0]):.1f} %); "
        f"without map {100 * without:.1f} %"
    )


def seams() -> None:
    """Make tileable textures."""
    ratios = []
    for style in _STYLES:
        for seed in range(_MAPS):
            image = impasto.texture(style, size=f"{_PX}x{_PX}", tileable=True, run=impasto.Run(seed=seed)).image
            across = sum(float((image.roll(1, dim) - image).abs().narrow(dim, 0, 1).mean()) for dim in (2, 3))
            inside = sum(float((image.roll(1, dim) - image).abs().narrow(dim, 1, _PX - 1).mean()) for dim in (2, 3))
            ratios.append(across / inside)
    print(f"seam over inside: median {statistics.median(ratios):.2f}, largest {max(ratios):.2f}")


def seconds() -> None:
    """Time each command from file to file."""
    with tempfile.TemporaryDirectory() as folder:
        names = {name: str(Path(folder) / f"{name}.png") for name in ("a", "a_prime", "b", "map", "style_map", "out")}
        skimage.io.imsave(names["a"], skimage.data.astronaut(), check_contrast=False)  # type: ignore[no-untyped-call]
        skimage.io.imsave(names["a_prime"], 255 - skimage.data.astronaut(), check_contrast=False)  # type: ignore[no-untyped-call]
        skimage.io.imsave(names["b"], skimage.data.coffee(), check_contrast=False)  # type: ignore[no-untyped-call]
        drafted = impasto.suggest_map(names["b"], labels=5)
        impasto.images.write(names["style_map"], drafted.image)
        drawn = random_map(torch.from_numpy(labels_of([drafted]).colors).float(), 0)
        impasto.images.write(names["map"], drawn)
        commands = {
            "paint": ["paint", names["a"], names["b"]],
            "doodle": ["doodle", names["b"], "--style-map", names["style_map"], "--map", names["map"], "--labels", "5"],
            "analogy": ["analogy", names["a"], names["a_prime"], names["b"]],
            "analogy --engine classic": ["analogy", names["a"], names["a_prime"], names["b"], "--engine", "classic"],
            "texture": ["texture", names["b"]],
        }
        base = 0.0
        for name, words in commands.items():
            began = seconds_now()
            command = [sys.executable, "-m", "impasto", *words, "-o", names["out"], "--quiet"]
            subprocess.run(command, check=True)
            took = seconds_now() - began
            base = base or took
            print(f"{name}: {took:.1f} s, {took / base:.2f} of paint")


def main() -> None:
    """Run the selected measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("labels", "seams", "seconds"))
    parser.add_argument("--out", type=Path, help="folder for the doodles")
    arguments = parser.parse_args()
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    for name, measure in (("labels", lambda: labels(arguments.out)), ("seams", seams), ("seconds", seconds)):
        if arguments.only in (None, name):
            measure()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
