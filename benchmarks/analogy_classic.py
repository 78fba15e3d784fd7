"""Measure image analogies on known filters. Each filter is learned from one pair of pictures of 128 px and applied to others.

python benchmarks/analogy_classic.py [--example coffee] [--example-px 128] [--px 256] [--photos astronaut,chelsea,rocket]

The table shows the PSNR against the true filter, in dB, of four pictures: the unfiltered picture; each color replaced by the
filtered value of the example's most similar color (a lookup table); copying as in the paper; and the linear transfer. It also
shows the time of the linear transfer.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import skimage.data
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree

from impasto import images
from impasto.recipes.analogy_classic import AnalogySettings, classic_analogy
from impasto.tensors import Image


def square(name: str, side: int) -> Image:
    """Return the central square of a picture of scikit-image, resized."""
    pixels = getattr(skimage.data, name)()
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, axis=2)
    edge = min(pixels.shape[:2])
    top, left = ((length - edge) // 2 for length in pixels.shape[:2])
    crop = torch.from_numpy(pixels[top : top + edge, left : left + edge].copy())
    return images.resize(crop.permute(2, 0, 1)[None].float() / 255, (side, side))


def correlated(image: Image, kernel: torch.Tensor) -> Image:
    """Filter each channel; the picture is mirrored at its borders."""
    padded = F.pad(image, (kernel.shape[-1] // 2,) * 4, mode="reflect")
    return F.conv2d(padded, kernel[None, None].expand(3, 1, -1, -1), groups=3)


def blur(image: Image, sigma: float) -> Image:
    """Blur with a Gaussian."""
    edge = math.ceil(3 * sigma)
    bell = torch.exp(-(torch.arange(-edge, edge + 1).float() ** 2) / (2 * sigma**2))
    return correlated(image, torch.outer(bell, bell) / bell.sum() ** 2)


def emboss(image: Image) -> Image:
    """Emboss: gray plus the difference of the diagonal neighbors, clipped."""
    return (0.5 + correlated(image, torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, -1]]))).clamp(0, 1)


def bright_emboss(image: Image) -> Image:
    """Emboss with a kernel that also keeps the picture, as in many programs; much of the result is clipped."""
    return correlated(image, torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])).clamp(0, 1)


def color_map(image: Image) -> Image:
    """Apply curves and mix channels."""
    red, green, blue = image.unbind(1)
    return torch.stack([red**0.6, 0.2 + 0.6 * green**1.5 + 0.2 * blue, 0.9 - 0.7 * blue + 0.1 * red], dim=1).clamp(0, 1)


FILTERS: dict[str, Callable[[Image], Image]] = {
    "blur, sigma 1.5": lambda image: blur(image, 1.5),
    "blur, sigma 3": lambda image: blur(image, 3.0),
    "emboss": emboss,
    "emboss, bright": bright_emboss,
    "invert": lambda image: 1 - image,
    "color map": color_map,
    "threshold": lambda image: (image.mean(1, keepdim=True) > 0.5).float().expand(-1, 3, -1, -1).contiguous(),
}


def psnr(image: Image, true: Image) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return -10 * math.log10(max(float((image - true).square().mean()), 1e-10))


def looked_up(a: Image, a_prime: Image, b: Image) -> Image:
    """Take the filtered value of the example's pixel with the most similar color."""
    colors, values, wanted = (each[0].flatten(1).T.numpy() for each in (a, a_prime, b))
    nearest = cKDTree(colors).query(wanted)[1]
    return torch.from_numpy(values[nearest].copy()).T.reshape(b.shape)


def measured(a: Image, b: Image, true: Callable[[Image], Image]) -> list[float]:
    """Return a row: four PSNR values, and the time of the linear transfer in seconds."""
    a_prime, wanted = true(a), true(b)
    found, seconds = [b, looked_up(a, a_prime, b)], 0.0
    for transfer in ("copy", "linear"):
        began = time.perf_counter()
        *_, step = classic_analogy(a, a_prime, b, AnalogySettings(color="learn", transfer=transfer))
        found, seconds = [*found, step.image], time.perf_counter() - began
    return [*(psnr(each, wanted) for each in found), seconds]


def main() -> None:
    """Print a row for each filter, averaged over the photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--example", default="coffee")
    parser.add_argument("--example-px", type=int, default=128)
    parser.add_argument("--px", type=int, default=256)
    parser.add_argument("--photos", default="astronaut,chelsea,rocket")
    arguments = parser.parse_args()
    a = square(arguments.example, arguments.example_px)
    photos = [square(name, arguments.px) for name in arguments.photos.split(",")]
    print("| filter | unfiltered | lookup | copy | linear (worst) | seconds |", "|---" * 6 + "|", sep="\n")
    for name, true in FILTERS.items():
        rows = [measured(a, b, true) for b in photos]
        mean = [statistics.mean(column) for column in zip(*rows, strict=True)]
        worst = min(row[3] for row in rows)
        print(
            f"| {name} | {mean[0]:.1f} | {mean[1]:.1f} | {mean[2]:.1f} | {mean[3]:.1f} ({worst:.1f}) | {mean[4]:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
