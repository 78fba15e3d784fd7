"""Soft proofs: photo and style pictures limited to the gamut of a profile."""

import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.color
import skimage.data
import torch

import impasto
from impasto import images
from impasto.cli import main
from impasto.encoders import Vgg
from impasto.errors import ImageFileError, OptionError
from impasto.images import proofed
from impasto.losses.picture import luminance_of
from impasto.options import PaintOptions, Run
from impasto.recipes import gatys
from impasto.recipes.coloring import check_colors
from impasto.recipes.painting import run_recipe
from impasto.styles.named import find_style
from impasto.weights import save_vgg

EXACT = Run(device="cpu", precision="fp32")
SHIFT, SPAN = np.array((0, 128, 128)), np.array((100, 255, 255))
PHOTO = skimage.data.astronaut()[:384:4, 32:416:4]
STYLE = skimage.data.rocket()[::6, ::6]


def lut(inputs: int, outputs: int, grid: int, values: np.ndarray) -> bytes:
    """Return an 8-bit table of an ICC profile: linear curves around a grid of values, (grid ** inputs, outputs) in [0, 1]."""
    curve = bytes(range(256))
    head = b"mft1\0\0\0\0" + bytes((inputs, outputs, grid, 0))
    head += b"".join(struct.pack(">i", 65536 * (place % 4 == 0)) for place in range(9))
    return head + curve * inputs + np.rint(values.clip(0, 1) * 255).astype(np.uint8).tobytes() + curve * outputs


def as_lab(rgb: np.ndarray) -> np.ndarray:
    return (skimage.color.rgb2lab(rgb) + SHIFT) / SPAN


def printer() -> bytes:
    """Return a CMYK profile of dull inks: printed colors span half of the sRGB range around a light gray."""
    ink = np.stack(np.meshgrid(*[np.linspace(0, 1, 2)] * 4, indexing="ij"), -1).reshape(-1, 4)
    seen = as_lab(0.3 + 0.5 * (1 - ink[:, :3]) * (1 - ink[:, 3:]))
    lab = np.stack(np.meshgrid(*[np.linspace(0, 1, 17)] * 3, indexing="ij"), -1).reshape(-1, 3)
    with warnings.catch_warnings(action="ignore"):  # some Lab values are not colors
        rgb = skimage.color.lab2rgb(lab * SPAN - SHIFT)
    needed = np.concatenate([1 - (rgb - 0.3) / 0.5, np.zeros((len(rgb), 1))], 1)
    text = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"press\0" + b"\0" * 78
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"desc": text, b"wtpt": white, b"A2B0": lut(4, 3, 2, seen), b"B2A0": lut(3, 4, 17, needed)}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for key, data in tags.items():
        table += key + struct.pack(">II", start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@pytest.fixture
def press(tmp_path: Path) -> str:
    path = tmp_path / "press.icc"
    path.write_bytes(printer())
    return str(path)


def colorfulness(image: torch.Tensor) -> float:
    return float((image - luminance_of(image)).abs().mean())


@pytest.mark.slow
def test_bright_colors_become_duller_and_printable_colors_stay(press: str) -> None:
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.6, 0.6, 0.6], [0.5, 0.6, 0.55]]).T[None, :, :, None]
    found = proofed(colors, press)
    assert found.shape == colors.shape
    assert colorfulness(found[:, :, :2]) < 0.7 * colorfulness(colors[:, :, :2])
    assert colorfulness(found[:, :, 2:3]) < 0.04
    torch.testing.assert_close(found[:, :, 2:], colors[:, :, 2:], atol=0.12, rtol=0)


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "screen.icc"
    path.write_bytes(images.colors.srgb_profile())
    photo = images.read(PHOTO).image
    torch.testing.assert_close(proofed(photo, str(path)), photo, atol=2 / 255, rtol=0)


@pytest.mark.slow
def test_paint_limits_photo_and_style_to_the_printer_gamut(press: str, tmp_path: Path, narrow: Callable[..., Vgg]) -> None:
    encoder = tmp_path / "narrow.safetensors"
    save_vgg(encoder, narrow(), {}, bits=16)
    plain = PaintOptions(encoder=str(encoder), size=64, steps=2, smallest_size=64, margin=0.0)
    photo, style = images.read(PHOTO), images.read(STYLE)
    context = gatys.set_up(photo, [style], plain.changed(color_proof=press), EXACT)
    torch.testing.assert_close(context.content, images.resize(proofed(photo.image, press), (64, 64)))
    (seen,) = context.styles
    assert isinstance(seen, images.Picture)
    torch.testing.assert_close(seen.image, proofed(style.image, press))
    *_, last = run_recipe(context)
    *_, usual = run_recipe(gatys.set_up(photo, [style], plain, EXACT))
    assert colorfulness(last.image) < 0.8 * colorfulness(usual.image)


@pytest.mark.slow
def test_instant_limits_colors_to_the_printer_gamut(press: str) -> None:
    found, usual = (impasto.instant(PHOTO, STYLE, size=64, run=EXACT, color_proof=path).image for path in (press, ""))
    assert colorfulness(found) < 0.8 * colorfulness(usual)


def test_a_style_of_statistics_cannot_be_proofed(press: str) -> None:
    with pytest.raises(OptionError, match="--color-proof needs a style picture, but 'starry-night' is a named style"):
        check_colors([find_style("starry-night")], PaintOptions(color_proof=press))


def test_instant_proofs_the_swatch_of_a_named_style(press: str) -> None:
    found, usual = (impasto.instant(PHOTO, "starry-night", size=64, run=EXACT, color_proof=path).image for path in (press, ""))
    assert colorfulness(found) < 0.8 * colorfulness(usual)


@pytest.mark.slow
def test_an_invalid_profile_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.icc").write_text("no profile")
    photo = images.read(PHOTO).image
    with pytest.raises(ImageFileError, match=r"'text.icc' cannot be used for proofing; give the ICC profile of a printer"):
        proofed(photo, str(tmp_path / "text.icc"))
    images.write(tmp_path / "photo.png", photo)
    words = f"paint {tmp_path}/photo.png {tmp_path}/photo.png -o {tmp_path}/out.png --color-proof {tmp_path}/none.icc"
    assert main(words.split()) == 2
    assert "none.icc' cannot be read; check its name and folder" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
