import errno
import io
import os
import struct
import sys
import tempfile
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, ImageCms
from PIL.PngImagePlugin import PngInfo

from impasto import images
from impasto.errors import ImageFileError, OptionError, ResourceError, ShapeError
from impasto.images import colors, files, icc, png16, xmp
from impasto.images.colors import srgb_profile
from impasto.images.picture import levels
from impasto.images.reading import reading_plan

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
ALL_SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".avif", ".bmp", ".gif")
RECORD_SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".avif")


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = (x * 255 / max(1, width - 1), y * 255 / max(1, height - 1), (x + y) * 255 / max(1, width + height - 2))
    return np.stack(channels, axis=2).round().astype(np.uint8)


def encoded(picture: PIL.Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def pixels(picture: images.Picture) -> np.ndarray:
    return picture.image[0].permute(1, 2, 0).numpy()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def matrix_profile(to_xyz: np.ndarray, curve: bytes, name: str, space: bytes = b"RGB ") -> bytes:
    """An ICC profile of a matrix and a curve (or of a gray curve alone)."""
    fixed = lambda numbers: b"".join(struct.pack(">i", round(n * 65536)) for n in numbers)  # noqa: E731
    xyz = lambda numbers: b"XYZ \0\0\0\0" + fixed(numbers)  # noqa: E731
    text = name.encode("utf-16-be")
    description = b"mluc\0\0\0\0" + struct.pack(">II", 1, 12) + b"enUS" + struct.pack(">II", len(text), 28) + text
    tags = {b"desc": description, b"cprt": description, b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {c + b"XYZ": xyz(to_xyz[:, i]) for i, c in enumerate((b"r", b"g", b"b"))}
        tags |= {c + b"TRC": curve for c in (b"r", b"g", b"b")}
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for key, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += key + struct.pack(">II", start + len(body), len(data))
        body += data
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x04300000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed((0.9642, 1.0, 0.8249))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


P3_TO_XYZ = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + b"".join(
    struct.pack(">i", round(n * 65536)) for n in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
)
GAMMA_22 = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256))
DISPLAY_P3 = matrix_profile(P3_TO_XYZ, SRGB_CURVE, "Display P3")
# The primaries of sRGB, as CSS Color 4 has them in Display P3.
P3_RED, P3_GREEN = (0.917488, 0.200287, 0.138561), (0.458402, 0.985265, 0.298295)


# ---- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_record_is_read_without_the_pixels(name: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    images.write(tmp_path / name, images.read(pixels), record={"seed": 7}, quality=100)
    images.read_record(tmp_path / name)  # imports what reading needs, which takes memory too
    tracemalloc.start()
    try:
        assert images.read_record(tmp_path / name) == {"seed": 7}
        assert tracemalloc.get_traced_memory()[1] < (tmp_path / name).stat().st_size / 3
    finally:
        tracemalloc.stop()


def test_the_plan_of_reading_is_that_of_reading(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (300, 200, 4), np.uint8)
    images.write(tmp_path / "deep.png", images.read(values[..., :3]), bits=16)
    images.write(tmp_path / "deep.tif", images.read(values[..., :3]), bits=16)
    PIL.Image.fromarray(values).save(tmp_path / "clear.png")
    PIL.Image.fromarray(values[..., :3]).save(tmp_path / "plain.jpg")
    PIL.Image.fromarray(values[..., 0]).save(tmp_path / "gray.tif")
    for name in ("deep.png", "deep.tif", "clear.png", "plain.jpg", "gray.tif"):
        for longest_px in (0, 100, 150):
            plan = reading_plan(tmp_path / name, longest_px=longest_px)
            assert plan is not None
            assert plan.size == (300, 200)
            assert plan.read_size == images.read(tmp_path / name, longest_px=longest_px).size
            assert (plan.peak_bytes < files.BYTES_OF_A_PIXEL * 300 * 200) == (plan.read_size != plan.size)
    (tmp_path / "text.png").write_text("text")
    assert reading_plan(tmp_path / "text.png") is None


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "JPEG", "AVIF", "GIF"])
def test_every_format_decodes_to_the_same_picture(kind: str) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}, "AVIF": {"quality": 98}}.get(kind, {})
    picture = images.read(encoded(PIL.Image.fromarray(gradient()), kind, **options))
    assert picture.image.shape == (1, 3, 24, 32)
    assert picture.image.dtype == torch.float32
    assert picture.size == (24, 32)
    assert picture.alpha is None
    assert picture.notes == ()
    difference = np.abs(pixels(picture) - gradient() / 255)
    assert difference.max() < 1e-6 if kind in ("PNG", "BMP", "TIFF", "WEBP") else difference.mean() < 0.02


def test_the_format_is_detected_from_the_content_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(PIL.Image.fromarray(gradient()), "PNG"))
    picture = images.read(tmp_path / "photo.jpg")
    assert picture.name == "photo.jpg"
    assert np.allclose(pixels(picture), gradient() / 255)


def test_path_bytes_pillow_array_and_tensor_are_the_same_picture(tmp_path: Path) -> None:
    data = encoded(PIL.Image.fromarray(gradient()), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    tensor = torch.from_numpy(gradient()).permute(2, 0, 1)
    sources = [str(tmp_path / "a.png"), data, PIL.Image.open(io.BytesIO(data)), gradient(), tensor, tensor[None] / 255]
    pictures = [images.read(source) for source in sources]
    assert [picture.name for picture in pictures] == ["a.png", "bytes", "image", "array", "tensor", "tensor"]
    assert all(torch.allclose(picture.image, pictures[0].image) for picture in pictures)
    assert pictures[0].sha256 == pictures[1].sha256 != pictures[2].sha256
    assert all(len(picture.sha256) == 64 for picture in pictures)


@given(size=SIZES, mode=st.sampled_from(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I", "F"]))
def test_every_mode_and_size_is_read_in_range(size: tuple[int, int], mode: str) -> None:
    picture = PIL.Image.fromarray(gradient(*size)).convert("L" if mode in "IF" else "RGB")
    picture = (
        picture.convert("P").convert("PA")
        if mode == "PA"
        else None
        or (
            ImageCms.profileToProfile(picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
            if mode == "LAB"
            else picture.convert(mode)
        )
    )
    read = images.read(picture)
    assert read.image.shape == (1, 3, *size)
    assert 0 <= read.image.min() <= read.image.max() <= 1
    if mode in ("RGB", "RGBA", "RGBX", "YCbCr", "LAB"):
        assert np.abs(pixels(read) - gradient(*size) / 255).max() < 0.03


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_gray_pictures_have_equal_channels(mode: str) -> None:
    picture = images.read(encoded(PIL.Image.fromarray(gradient()).convert(mode), "PNG"))
    assert torch.equal(picture.image[:, 0], picture.image[:, 2])
    assert picture.image.max() > 0.7


def test_cmyk_of_a_jpeg_is_not_inverted() -> None:
    ink = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    picture = images.read(encoded(ink, "JPEG", quality=98))
    assert picture.image[0, :, 8, 8].tolist() == pytest.approx([1, 0, 0], abs=0.05)
    assert "CMYK without a color profile" in picture.notes[0]


def test_one_bit_pictures_are_black_and_white() -> None:
    array = np.eye(9, dtype=bool)
    assert np.array_equal(pixels(images.read(encoded(PIL.Image.fromarray(array), "TIFF")))[..., 0], array)


def test_a_palette_with_transparency_keeps_colors_and_alpha() -> None:
    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    for transparency in (1, bytes([255, 0])):
        picture = images.read(encoded(palette, "PNG", transparency=transparency))
        assert picture.alpha is not None
        assert picture.alpha.flatten().tolist() == [1, 0]
        assert picture.image[0, :, 0, 0].tolist() == [1, 0, 0]


def test_an_animation_is_read_as_its_first_frame_with_a_note(tmp_path: Path) -> None:
    frames = [torch.full((1, 3, 8, 8), level) for level in (0.0, 0.5, 1.0)]
    images.write_animation(tmp_path / "a.gif", frames, seconds_per_frame=0.1)
    picture = images.read(tmp_path / "a.gif")
    assert picture.notes == ("took the first of 3 frames",)
    assert picture.image.max() < 0.02


def test_pages_of_a_tiff_are_called_pages() -> None:
    page = PIL.Image.fromarray(gradient())
    assert images.read(encoded(page, "TIFF", save_all=True, append_images=[page])).notes == ("took the first of 2 pages",)


def test_pictures_of_one_pixel_and_one_row_are_read() -> None:
    for height, width in ((1, 1), (1, 5000), (5000, 1)):
        assert images.read(encoded(PIL.Image.new("RGB", (width, height)), "PNG")).size == (height, width)


def test_heic_is_read(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    heif.from_pillow(PIL.Image.fromarray(gradient(64, 96))).save(stream, quality=95)
    picture = images.read(stream.getvalue())
    assert picture.size == (64, 96)
    assert np.abs(pixels(picture) - gradient(64, 96) / 255).mean() < 0.03


def test_heic_without_its_package_raises_an_error_that_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageFileError, match=r"pip install 'impasto\[heic\]'"):
        images.read(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)


# ---- upright -----------------------------------------------------------------------------------------------------------


def oriented(orientation: int) -> bytes:
    exif = PIL.Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Artist] = "Ada"
    return exif.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_every_orientation_is_applied_as_in_pillow(orientation: int, kind: str) -> None:
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)  # PIL.Image.Transpose
    upright = PIL.Image.fromarray(gradient())
    expected = upright if turn is None else upright.transpose(PIL.Image.Transpose(turn))
    picture = images.read(encoded(upright, kind, exif=oriented(orientation)))
    assert np.allclose(pixels(picture), np.asarray(expected) / 255)
    assert ("turned upright" in picture.notes) == (orientation != 1)
    exif = PIL.Image.Exif()
    exif.load(picture.metadata.exif or b"")
    assert (exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Artist]) == (1, "Ada")


def test_alpha_is_rotated_with_the_picture() -> None:
    rgba = np.dstack([gradient(), np.full((24, 32), 255, np.uint8)])
    rgba[0, 0, 3] = 7
    picture = images.read(encoded(PIL.Image.fromarray(rgba), "PNG", exif=oriented(6)))
    assert picture.alpha is not None
    assert picture.alpha[0, 0, 0, -1] == pytest.approx(7 / 255)


def test_an_orientation_only_in_xmp_is_applied_once(tmp_path: Path) -> None:
    packet = xmp.with_record(None, {}).replace(b"<rdf:Description ", b'<rdf:Description tiff:Orientation="6" ')
    picture = images.read(encoded(PIL.Image.fromarray(gradient()), "JPEG", xmp=packet))
    assert picture.size == (32, 24)
    images.write(tmp_path / "a.jpg", picture)
    assert images.read(tmp_path / "a.jpg").size == (32, 24)


# ---- colors -----------------------------------------------------------------------------------------------------------


def flat(color: tuple[float, float, float]) -> np.ndarray:
    return np.broadcast_to(np.asarray(color, np.float32), (8, 8, 3))


@pytest.mark.parametrize(("p3", "srgb"), [(P3_RED, (1, 0, 0)), (P3_GREEN, (0, 1, 0)), ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
def test_display_p3_is_converted_to_srgb(p3: tuple[float, float, float], srgb: tuple[float, float, float]) -> None:
    eight = PIL.Image.fromarray((flat(p3) * 255).round().astype(np.uint8))
    sixteen = (flat(p3) * 65535).round().astype(np.uint16)
    for data, near in (
        (encoded(eight, "PNG", icc_profile=DISPLAY_P3), 0.02),
        (encoded(eight, "JPEG", quality=98, subsampling=0, icc_profile=DISPLAY_P3), 0.03),
        (tiff(sixteen, photometric="rgb", iccprofile=DISPLAY_P3), 0.004),
    ):
        picture = images.read(data)
        assert picture.image[0, :, 4, 4].tolist() == pytest.approx(srgb, abs=near)
        assert "converted from Display P3 to sRGB" in picture.notes


def test_colors_of_a_deep_picture_are_converted_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    converted, to_srgb = [], icc.to_srgb
    monkeypatch.setattr(colors, "_ROWS", 16)
    monkeypatch.setattr(icc, "to_srgb", lambda values, profile: converted.append(len(values)) or to_srgb(values, profile))
    values = np.random.default_rng(0).random((40, 8, 3), np.float32)
    wide = matrix_profile(P3_TO_XYZ, SRGB_CURVE, "a wide one")
    found = colors.deep_color(values, wide, [])
    assert converted == [1, 16, 16, 8]
    assert np.array_equal(found, to_srgb(values, wide))
    converted.clear()
    assert np.array_equal(colors.deep_color(values, srgb_profile(), []), values)
    assert converted == [1]


@pytest.mark.slow
@given(color=st.tuples(*[st.integers(40, 215)] * 3), curve=st.sampled_from([SRGB_CURVE, GAMMA_22]))
def test_our_profile_conversion_agrees_with_pillow(color: tuple[int, int, int], curve: bytes) -> None:
    profile = matrix_profile(P3_TO_XYZ, curve, "a wide one")
    by_hand = icc.to_srgb(np.full((1, 1, 3), color, np.float32) / 255, profile)
    picture = images.read(encoded(PIL.Image.new("RGB", (1, 1), color), "PNG", icc_profile=profile))
    assert by_hand is not None
    assert by_hand[0, 0].tolist() == pytest.approx(picture.image[0, :, 0, 0].tolist(), abs=2.5 / 255)


@pytest.mark.parametrize(
    ("curve", "linear"),
    [
        (b"curv\0\0\0\0\0\0\0\0", 0.5),
        (GAMMA_22, 0.5 ** (round(2.2 * 256) / 256)),
        (b"curv\0\0\0\0" + struct.pack(">I3H", 3, 0, 16384, 65535), 0.25),
        (b"para\0\0\0\0\0\0\0\0" + struct.pack(">i", 2 * 65536), 0.25),
        (b"para\0\0\0\0\0\1\0\0" + struct.pack(">3i", 2 * 65536, 65536, -16384), 0.0625),
        (b"para\0\0\0\0\0\2\0\0" + struct.pack(">4i", 2 * 65536, 65536, -16384, 6554), 0.1625),
        (b"para\0\0\0\0\0\4\0\0" + struct.pack(">7i", 2 * 65536, 65536, 0, 32768, 6554, 6554, 0), 0.35),
    ],
)
def test_every_kind_of_tone_curve_is_inverted(curve: bytes, linear: float) -> None:
    gray = matrix_profile(P3_TO_XYZ, curve, "gray", b"GRAY")
    found = icc.to_srgb(np.full((1, 1, 1), 0.5, np.float32), gray)
    assert found is not None
    expected = 1.055 * linear ** (1 / 2.4) - 0.055
    assert found[0, 0].tolist() == pytest.approx([expected] * 3, abs=1e-3)


def test_a_gray_profile_applies_to_gray_pictures_of_8_and_16_bits() -> None:
    linear = matrix_profile(P3_TO_XYZ, b"curv\0\0\0\0\0\0\0\0", "linear gray", b"GRAY")
    eight = images.read(encoded(PIL.Image.new("L", (4, 4), 128), "PNG", icc_profile=linear))
    sixteen = images.read(tiff(np.full((4, 4), 128 * 257, np.uint16), iccprofile=linear))
    assert eight.image[0, :, 0, 0].tolist() == pytest.approx([0.7366] * 3, abs=0.01)
    assert sixteen.image[0, :, 0, 0].tolist() == pytest.approx([0.7366] * 3, abs=0.001)


def test_an_srgb_profile_changes_nothing_and_adds_no_note() -> None:
    picture = images.read(encoded(PIL.Image.fromarray(gradient()), "PNG", icc_profile=srgb_profile()))
    assert picture.notes == ()
    assert np.allclose(pixels(picture), gradient() / 255)


@pytest.mark.parametrize("profile", [b"\0" * 20, b"not a profile at all" * 20, DISPLAY_P3[:300]])
def test_a_damaged_profile_is_ignored_with_a_note(profile: bytes) -> None:
    for data in (
        encoded(PIL.Image.fromarray(gradient()), "PNG", icc_profile=profile),
        tiff(gradient().astype(np.uint16) * 257, photometric="rgb", iccprofile=profile),
    ):
        picture = images.read(data)
        assert any("color profile" in note for note in picture.notes)
        assert np.allclose(pixels(picture), gradient() / 255)


def test_a_profile_for_another_color_mode_is_ignored_with_a_note() -> None:
    gray = matrix_profile(P3_TO_XYZ, GAMMA_22, "gray", b"GRAY")
    picture = images.read(encoded(PIL.Image.fromarray(gradient()), "PNG", icc_profile=gray))
    assert picture.notes == ("ignored a color profile for another color mode (gray)",)
    assert np.allclose(pixels(picture), gradient() / 255)


# ---- more than 8 bits --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(size=SIZES, channels=st.sampled_from([3, 4]), suffix=st.sampled_from([".png", ".tif"]), seed=st.integers(0, 999))
def test_sixteen_bit_pictures_are_restored_exactly(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], channels: int, suffix: str, seed: int
) -> None:
    path = tmp_path_factory.mktemp("deep") / f"a{suffix}"
    values = np.random.default_rng(seed).integers(1, 65536, (*size, channels), dtype=np.uint16)
    picture = images.read(values)
    images.write(path, picture, bits=16)
    again = images.read(path)
    assert "16-bit" in again.notes
    assert torch.equal(again.image, picture.image)
    assert (again.alpha is None) == (picture.alpha is None)
    assert again.alpha is None or torch.equal(again.alpha, picture.alpha)


def test_other_readers_read_our_16_bit_tiff_identically(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    images.write(tmp_path / "a.tif", images.read(values).image, bits=16)
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), values)


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"compression": "zlib"}, {"planarconfig": "separate"}])
def test_16_bit_tiffs_from_other_writers_keep_16_bits(options: dict[str, str]) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    stored = values.transpose(2, 0, 1) if "planarconfig" in options else values
    picture = images.read(tiff(stored, photometric="rgb", **options))
    assert np.array_equal((pixels(picture) * 65535).round(), values)


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_16_bit_tiffs_are_rotated_upright(planes: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    stored = values.transpose(2, 0, 1) if planes == "separate" else values
    picture = images.read(tiff(stored, photometric="rgb", planarconfig=planes, extratags=[(274, "H", 1, 6)]))
    assert np.array_equal((pixels(picture) * 65535).round(), np.rot90(values, k=-1))
    assert picture.notes == ("turned upright", "16-bit")


def test_an_unsupported_compression_is_refused_by_name() -> None:
    data = bytearray(tiff(np.zeros((4, 4, 3), np.float32), photometric="rgb"))
    entry = data.index(struct.pack("<HHI", 259, 3, 1))
    data[entry + 8] = 5
    with pytest.raises(ImageFileError, match="with LZW compression, which is not supported; save it uncompressed"):
        images.read(bytes(data))


def test_an_interlaced_16_bit_png_keeps_16_bits() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (11, 13, 3), dtype=np.uint16)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [row for y, x, down, across in passes for row in values[y::down, x::across] if row.size]
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 13, 11, 16, 2, 0, 0, 1)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    assert np.array_equal((pixels(images.read(png)) * 65535).round(), values)


def test_16_bit_gray_and_inverted_gray_are_read_correctly() -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    for data in (
        encoded(PIL.Image.fromarray(values), "PNG"),
        tiff(values),
        tiff(values, byteorder=">"),
        tiff(65535 - values, photometric="miniswhite"),
    ):
        assert np.allclose(pixels(images.read(data))[..., 1], values / 65535)


def test_a_16_bit_transparent_color_is_compared_exactly() -> None:
    values = np.array([[[1000, 2000, 3000], [1001, 2000, 3000]]], np.uint16)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)) + chunk(
        b"tRNS", struct.pack(">3H", 1000, 2000, 3000)
    )
    body = chunk(b"IDAT", zlib.compress(b"\0" + values.astype(">u2").tobytes()))
    picture = images.read(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    assert picture.alpha is not None
    assert picture.alpha.flatten().tolist() == [0, 1]


def test_16_bit_gray_with_alpha_is_read_as_8_bit_with_a_note() -> None:
    values = np.array([[[40000, 65535], [10000, 65535]]], np.uint16)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 4, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" + values.astype(">u2").tobytes()))
    picture = images.read(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    assert picture.notes == ("16-bit, read as 8-bit",)
    assert picture.image[0, 0].flatten().tolist() == pytest.approx([40000 / 65535, 10000 / 65535], abs=1 / 255)


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize(("dtype", "top"), [("float32", 1.0), ("float32", 255.0), ("uint32", 2**32 - 1), ("int32", 65535)])
def test_wide_tiffs_are_read_at_their_own_scale(color: bool, dtype: str, top: float) -> None:
    values = (np.linspace(0, 1, 12).reshape(3, 4) * top).astype(dtype)
    if color:
        values = np.dstack([values] * 3)
    picture = images.read(tiff(values, photometric="rgb" if color else "minisblack"))
    assert pixels(picture)[..., 1].flatten() == pytest.approx(np.linspace(0, 1, 12), abs=1e-4)
    assert any(f"assumed range 0 to {top:g}" in note for note in picture.notes)


def test_floats_with_premultiplied_alpha_are_divided_by_it() -> None:
    values = np.array([[[0.25, 0.1, 0.0, 0.5]]], np.float32)
    picture = images.read(tiff(values, photometric="rgb", extrasamples=["assocalpha"]))
    assert picture.image.flatten().tolist() == pytest.approx([0.5, 0.2, 0])
    assert picture.alpha is not None
    assert picture.alpha.item() == 0.5


# ---- transparency ------------------------------------------------------------------------------------------------------


@given(size=st.tuples(st.integers(2, 40), st.integers(2, 40)), seed=st.integers(0, 999))
def test_fully_transparent_pixels_do_not_affect_their_neighbors(size: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    rgba = random.integers(0, 256, (*size, 4), dtype=np.uint8)
    rgba[..., 3] *= random.random(size) < 0.3
    other = rgba.copy()
    hidden = rgba[..., 3] == 0
    other[hidden, :3] = random.integers(0, 256, (int(hidden.sum()), 3))
    a, b = images.read(rgba), images.read(other)
    assert torch.equal(a.image, b.image)
    assert np.allclose(pixels(a)[~hidden], rgba[~hidden][:, :3] / 255)
    if hidden.any() and not hidden.all():
        visible = pixels(a)[~hidden]
        assert (pixels(a)[hidden] >= visible.min(axis=0) - 1e-5).all()
        assert (pixels(a)[hidden] <= visible.max(axis=0) + 1e-5).all()


def test_transparent_pixels_take_the_nearest_visible_colors() -> None:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[:, :8] = (255, 0, 0, 255)
    rgba[:, 24:] = (0, 0, 255, 255)
    image = images.read(rgba).image
    assert image[0, 0, 16, 9] > 0.8
    assert image[0, 2, 16, 22] > 0.8
    assert image[0, 1].max() < 1e-6


def test_a_fully_transparent_picture_is_filled_with_white() -> None:
    assert images.read(np.zeros((4, 4, 4), np.uint8)).image.min() == 1


@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_alpha_is_saved_if_the_format_supports_it_and_composited_on_white_otherwise(tmp_path: Path, suffix: str) -> None:
    alpha = torch.ones(1, 1, 16, 16)
    alpha[..., :8] = 0
    images.write(tmp_path / f"a{suffix}", torch.zeros(1, 3, 16, 16), alpha=alpha)
    picture = images.read(tmp_path / f"a{suffix}")
    if suffix in (".png", ".webp", ".tif", ".avif"):
        assert picture.alpha is not None
        assert (picture.alpha - alpha).abs().max() < 0.02
    else:
        assert picture.alpha is None
        assert picture.image[..., :7].min() > 0.9 > 0.1 > picture.image[..., 10:].max()


def test_alpha_of_another_size_is_resized_to_the_picture(tmp_path: Path) -> None:
    images.write(tmp_path / "a.png", torch.zeros(1, 3, 20, 30), alpha=torch.full((1, 1, 10, 15), 0.5))
    alpha = images.read(tmp_path / "a.png").alpha
    assert alpha is not None
    assert alpha.shape == (1, 1, 20, 30)


# ---- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(size=SIZES, suffix=st.sampled_from([".png", ".bmp", ".tif"]), seed=st.integers(0, 999))
def test_lossless_formats_are_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], suffix: str, seed: int
) -> None:
    path = tmp_path_factory.mktemp("round") / f"a{suffix}"
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    images.write(path, images.read(values).image)
    assert np.array_equal(images.to_array(images.read(path).image), values)


@pytest.mark.parametrize(("suffix", "bits"), [*((suffix, 8) for suffix in RECORD_SUFFIXES), (".png", 16), (".tif", 16)])
def test_results_are_tagged_as_srgb_and_contain_their_record(tmp_path: Path, suffix: str, bits: int) -> None:
    record = {"version": "1", "losses": [0.5, 1e-9], "name": "é <&> \"quoted\" 'too' ]]> \n\u0000", "none": None}
    path = tmp_path / f"a{suffix}"
    images.write(path, torch.rand(1, 3, 20, 30), record=record, bits=bits)
    assert images.read_record(path) == record
    with PIL.Image.open(path) as opened:
        opened.load()
        assert opened.info["icc_profile"] == srgb_profile()
    assert images.read(path).metadata.xmp is None or b"impasto:record" not in images.read(path).metadata.xmp


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_record_is_read_from_a_pipe(tmp_path: Path, suffix: str) -> None:
    """As in ``impasto paint --replay <(ssh host cat painting.png)``."""
    data = images.encode(f"a{suffix}", torch.rand(1, 3, 16, 24), record={"seed": 7})
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,), daemon=True)
    writer.start()
    assert images.read_record(tmp_path / "pipe") == {"seed": 7}
    writer.join()


def test_a_picture_without_a_record_has_none(tmp_path: Path) -> None:
    for suffix in ALL_SUFFIXES:
        images.write(tmp_path / f"a{suffix}", torch.zeros(1, 3, 8, 8))
        assert images.read_record(tmp_path / f"a{suffix}") is None


def test_the_same_picture_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    for suffix in ALL_SUFFIXES:
        for name in "ab":
            images.write(tmp_path / f"{name}{suffix}", images.read(gradient()).image, record={"seed": 0})
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_new_record_replaces_the_old_one_and_keeps_other_metadata() -> None:
    packet = xmp.with_record(xmp.with_record(None, {"run": 1}).replace(b"about", b'dc:title="Mill" rdf:about'), {"run": 2})
    assert xmp.record_in(packet) == '{"run": 2}'
    assert packet.count(b"impasto:record>") == 2
    assert b'dc:title="Mill"' in packet


def test_a_record_stored_as_an_attribute_is_found() -> None:
    assert xmp.record_in(b"<rdf:Description impasto:record='{&quot;a&quot;: 1}'/>") == '{"a": 1}'


def test_a_damaged_record_is_reported(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_itxt("impasto", "{not json")
    (tmp_path / "a.png").write_bytes(encoded(PIL.Image.new("RGB", (2, 2)), "PNG", pnginfo=texts))
    with pytest.raises(ImageFileError, match=r"record in 'a\.png' is damaged"):
        images.read_record(tmp_path / "a.png")


def test_a_record_too_large_for_jpeg_is_refused_but_fits_into_png(tmp_path: Path) -> None:
    record = {"losses": ["x" * 70_000]}
    with pytest.raises(OptionError, match=r"save as \.png"):
        images.write(tmp_path / "a.jpg", torch.zeros(1, 3, 8, 8), record=record)
    images.write(tmp_path / "a.png", torch.zeros(1, 3, 8, 8), record=record)
    assert images.read_record(tmp_path / "a.png") == record
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def phone_photo() -> bytes:
    exif = PIL.Image.Exif()
    exif[ExifTags.Base.Make] = "Phone"
    exif[ExifTags.Base.Orientation] = 1
    exif[ExifTags.IFD.Exif] = {0x829A: 0.01, 0x927C: b"maker's secrets", 0x9003: "2020:01:01 00:00:00"}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 3.0, 7.5), 3: "E", 4: (5.0, 1.0, 2.0)}
    packet = xmp.with_record(None, {}).replace(
        b'rdf:about=""',
        b'rdf:about="" dc:title="Mill" exif:GPSLatitude="52,3.1N" drone-dji:GpsLongitude = "5" tiff:Orientation="1"',
    )
    packet = packet.replace(b"</rdf:RDF>", b"<exif:GPSAltitude>12/1</exif:GPSAltitude></rdf:RDF>")
    options = {"exif": exif, "xmp": packet, "dpi": (300, 300)}
    return encoded(PIL.Image.fromarray(gradient()), "JPEG", quality=95, **options)


@pytest.mark.parametrize("keep_gps", [False, True])
@pytest.mark.parametrize("suffix", RECORD_SUFFIXES)
def test_metadata_is_kept_and_the_location_only_on_request(tmp_path: Path, suffix: str, keep_gps: bool) -> None:
    photo = images.read(phone_photo())
    path = tmp_path / f"a{suffix}"
    images.write(path, photo, keep_gps=keep_gps, record={"seed": 0})
    with PIL.Image.open(path) as opened:
        opened.load()
        exif = opened.getexif()
        packet = opened.info["xmp"]
        assert exif[ExifTags.Base.Make] == "Phone"
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        assert exif.get_ifd(ExifTags.IFD.Exif)[0x9003] == "2020:01:01 00:00:00"
        assert 0x927C not in exif.get_ifd(ExifTags.IFD.Exif)
        assert bool(exif.get_ifd(ExifTags.IFD.GPSInfo)) == keep_gps
        assert b'dc:title="Mill"' in packet
        assert (b"GPS" in packet.upper()) == keep_gps
        if suffix not in (".webp", ".avif"):
            assert opened.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert images.read_record(path) == {"seed": 0}


def test_sixteen_bit_files_keep_metadata(tmp_path: Path) -> None:
    for suffix in (".png", ".tif"):
        images.write(tmp_path / f"a{suffix}", images.read(phone_photo()), bits=16)
        metadata = images.read(tmp_path / f"a{suffix}").metadata
        assert metadata.exif is not None
        assert b"Phone" in metadata.exif
        assert metadata.dpi == pytest.approx((300, 300), abs=0.1)
        assert metadata.xmp is not None


def test_xmp_that_would_still_contain_the_location_is_dropped_entirely() -> None:
    assert xmp.without_place(b"<rdf:li>GPS 52.1, 5.2</rdf:li>") is None
    assert xmp.without_place("<x/>".encode("utf-16")) is None


def test_damaged_exif_is_ignored_with_a_note() -> None:
    good = encoded(PIL.Image.fromarray(gradient()), "JPEG", exif=oriented(1))
    for exif in (b"Exif\0\0garbage that is no TIFF", b"Exif\0\0II*\0\xff\xff\xff\x7f", oriented(1)[:20]):
        data = encoded(PIL.Image.fromarray(gradient()), "JPEG", exif=exif)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = images.read(data)
        assert picture.size == images.read(good).size
        assert picture.notes
        assert len(picture.notes[0]) < 200


def test_a_write_replaces_the_file_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    path.chmod(0o640)
    images.write(path, torch.zeros(1, 3, 8, 8))
    assert images.read(path).size == (8, 8)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_a_write_through_a_symlink_keeps_the_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "a.png")
    images.write(tmp_path / "link.png", torch.zeros(1, 3, 8, 8))
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real" / "a.png").is_file()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", full)
    expected = ImageFileError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space left on device" if isinstance(error, OSError) else None):
        images.write(path, torch.zeros(1, 3, 8, 8))
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_check_writable_rejects_unwritable_paths(tmp_path: Path) -> None:
    images.check_writable(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ImageFileError, match=r"must end in one of \.jpg"):
        images.check_writable(tmp_path / "a.heic")
    with pytest.raises(ImageFileError, match="there is no folder"):
        images.check_writable(tmp_path / "missing" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageFileError, match="it is a folder"):
        images.check_writable(tmp_path / "folder.png")


def test_check_writable_rejects_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="File name too long"):
        images.check_writable(tmp_path / f"{'a' * 300}.png")
    assert list(tmp_path.iterdir()) == []


def test_check_writable_rejects_a_folder_without_write_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ImageFileError, match="Permission denied"):
        images.check_writable(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jpg", {"bits": 16}, "16 bits cannot be saved as JPEG"),
        ("a.png", {"bits": 12}, "bits is 12; use 8 or 16"),
        ("a.jpg", {"quality": 0}, "quality is 0; use 1 to 100"),
    ],
)
def test_invalid_write_options_are_refused(tmp_path: Path, name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        images.write(tmp_path / name, torch.zeros(1, 3, 8, 8), **options)


def test_a_picture_too_large_for_its_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="WEBP allows up to 16,383 per side"):
        images.write(tmp_path / "a.webp", torch.zeros(1, 3, 1, 16_384))


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="NaN"):
        images.write(tmp_path / "a.png", torch.full((1, 3, 8, 8), float("nan")))
    assert list(tmp_path.iterdir()) == []


def test_an_animation_accepts_frames_of_increasing_size(tmp_path: Path) -> None:
    frames = (torch.rand(1, 3, size, size) for size in (8, 11, 16))
    images.write_animation(tmp_path / "a.gif", frames, seconds_per_frame=0.25)
    with PIL.Image.open(tmp_path / "a.gif") as opened:
        assert (opened.size, opened.n_frames, opened.info["duration"], opened.info["loop"]) == ((16, 16), 3, 250, 0)


def test_an_animation_requires_frames_a_valid_duration_and_a_gif_name(tmp_path: Path) -> None:
    frame = torch.zeros(1, 3, 8, 8)
    with pytest.raises(OptionError, match="without frames"):
        images.write_animation(tmp_path / "a.gif", [], seconds_per_frame=0.1)
    with pytest.raises(OptionError, match="seconds_per_frame is 0"):
        images.write_animation(tmp_path / "a.gif", [frame], seconds_per_frame=0)
    with pytest.raises(OptionError, match=r"must end in \.gif"):
        images.write_animation(tmp_path / "a.png", [frame], seconds_per_frame=0.1)


# ---- sizes and arrays --------------------------------------------------------------------------------------------------


@given(size=st.tuples(st.integers(1, 9000), st.integers(1, 9000)), longest=st.integers(1, 4096))
def test_fitted_size_returns_the_requested_longer_side(size: tuple[int, int], longest: int) -> None:
    height, width = images.fitted_size(size, longest)
    assert max(height, width) == longest
    assert min(height, width) >= 1
    assert abs(height * size[1] - width * size[0]) <= max(size)  # off by one pixel at most


@given(size=SIZES, new=SIZES)
def test_resize_stays_in_range_and_preserves_flat_colors(size: tuple[int, int], new: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).round()
    resized = images.resize(image, new)
    assert resized.shape == (1, 3, *new)
    assert 0 <= resized.min() <= resized.max() <= 1
    assert torch.allclose(images.resize(torch.full_like(image, 0.3), new), torch.tensor(0.3), atol=1e-5)


def test_resize_does_not_alias_when_shrinking() -> None:
    checkers = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    shrunk = images.resize(checkers.float().expand(1, 3, 64, 64), (16, 16))
    assert (shrunk[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.05


def test_resize_and_fitted_size_refuse_invalid_sizes() -> None:
    with pytest.raises(OptionError, match="every side must be at least 1"):
        images.resize(torch.zeros(1, 3, 4, 4), (0, 4))
    with pytest.raises(ShapeError, match="cannot be resized"):
        images.resize(torch.zeros(3, 4, 4), (2, 2))
    with pytest.raises(OptionError, match="at least 1"):
        images.fitted_size((4, 4), 0)


def test_to_pil_includes_alpha() -> None:
    picture = images.to_pil(torch.ones(1, 3, 2, 3), torch.zeros(1, 1, 2, 3))
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("RGBA", (3, 2), (255, 255, 255, 0))
    assert images.to_pil(torch.ones(1, 3, 2, 3)).mode == "RGB"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.float16, bool])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_arrays_of_every_supported_type_and_shape_are_read(dtype: type, shape: tuple[int, ...]) -> None:
    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    picture = images.read(np.full(shape, full, dtype))
    assert picture.image.shape == (1, 3, 5, 7)
    assert picture.image.min() == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_tensors_of_every_supported_type_are_read(dtype: torch.dtype) -> None:
    full = 255 if dtype == torch.uint8 else 1
    assert images.read(torch.full((1, 4, 5, 7), full, dtype=dtype, requires_grad=False)).image.shape == (1, 3, 5, 7)
    assert images.read(torch.rand(3, 5, 7, requires_grad=True)).image.requires_grad is False


def test_a_picture_does_not_share_memory_with_its_array() -> None:
    array = np.zeros((4, 4, 3), np.float32)
    image = images.read(array).image
    array[:] = 1
    assert image.max() == 0


# ---- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5, 7), (5, 7, 2), (5,), (1, 5, 7, 3), (0, 5, 3), (5, 7, 5)])
def test_arrays_of_unsupported_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="in arrays the channels come last"):
        images.read(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 3, 5, 7), (5, 7), (2, 5, 7), (3, 0, 7)])
def test_tensors_of_unsupported_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="in tensors the channels come first"):
        images.read(torch.zeros(shape))
    with pytest.raises(ShapeError, match="not one picture"):
        images.to_array(torch.zeros((2, 3, 5, 7)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), 200.0), "from 200 to 200; floats must be in"),
        (np.full((4, 4), -0.5), "from -0.5"),
        (np.zeros((4, 4), np.int64), "of type int64"),
        (np.full((4, 4, 3), "x"), "of type"),
    ],
)
def test_arrays_with_unsupported_values_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        images.read(array)


def test_an_unsupported_source_type_is_refused() -> None:
    with pytest.raises(OptionError, match="cannot be read from int"):
        images.read(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"just some text", "is not a picture in a supported format"),
        (b"%PDF-1.7", "is a PDF document, which is not supported"),
        (b'<?xml version="1.0"?><svg xmlns="s"/>', "vector picture without pixels; export it as PNG"),
        (b"\x89PNG\r\n\x1a\n", "damaged or truncated"),
        (b"BM nothing like a bitmap", "damaged or truncated"),
        (b"II*\0\xff\xff\xff\xff", "damaged or truncated"),
        (b"GIF89a", "damaged or truncated"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "damaged or truncated"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avif" + b"\0" * 40, "damaged or truncated"),
        (b"\0\0\0\x1cftypheic\0\0\0\0heic" + b"\0" * 40, "damaged or truncated|pip install"),
    ],
)
def test_files_that_are_not_pictures_are_refused_in_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match=message) as caught:
        images.read(path)
    assert "photo.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="there is no file"):
        images.read(tmp_path / "missing.jpg")
    with pytest.raises(ImageFileError, match="is a folder, not a picture"):
        images.read(tmp_path)
    with pytest.raises(ImageFileError, match="cannot be read"):
        images.read("a\0b.png")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a.png").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageFileError, match="Permission denied"):
        images.read(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", "GIF"])
def test_truncated_files_are_refused_at_any_length(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = encoded(PIL.Image.fromarray(noise), kind)
    for share in (0.02, 0.1, 0.3, 0.5, 0.9):
        with pytest.raises(ImageFileError, match=r"damaged or truncated|is not a picture"):
            images.read(data[: max(1, int(len(data) * share))])


@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", "GIF"]),
    flips=st.integers(1, 30),
)
def test_files_with_random_byte_errors_are_read_or_refused_without_crashing(seed: int, kind: str, flips: int) -> None:
    random = np.random.default_rng(seed)
    data = bytearray(
        encoded(PIL.Image.fromarray(gradient()), kind, **({"exif": oriented(6)} if kind not in ("BMP", "GIF") else {}))
    )
    for position in random.integers(0, len(data), flips):
        data[position] = random.integers(0, 256)
    try:
        picture = images.read(bytes(data), max_pixels=1_000_000)
    except (ImageFileError, ResourceError):
        return
    assert torch.isfinite(picture.image).all()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF"])
def test_a_header_with_huge_dimensions_is_refused_before_decoding(kind: str) -> None:
    data = bytearray(encoded(PIL.Image.new("RGB", (1, 1)), kind))
    if kind == "PNG":
        data[8:33] = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 60_000, 60_000)
    else:
        data[6:10] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(ImageFileError, match="60000 x 60000 = 3,600 megapixels, more than the 300"):
        images.read(bytes(data))


def test_our_pixel_limit_applies_instead_of_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    data = encoded(PIL.Image.fromarray(gradient()), "PNG")
    assert images.read(data).notes == ()
    for source in (data, gradient(), torch.zeros(3, 24, 32), PIL.Image.fromarray(gradient())):
        with pytest.raises(ImageFileError, match="increase max_pixels"):
            images.read(source, max_pixels=24 * 32 - 1)


def test_floats_that_are_mostly_nan_are_refused() -> None:
    for values in (np.full((4, 4), np.nan, np.float32), np.full((4, 4, 3), np.inf, np.float32)):
        with pytest.raises(ImageFileError, match="NaN or infinite"):
            images.read(tiff(values, photometric="rgb" if values.ndim == 3 else "minisblack"))


def test_insufficient_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    data = encoded(PIL.Image.fromarray(gradient()), "PNG")
    monkeypatch.setattr(PIL.Image.Image, "convert", full)
    with pytest.raises(ResourceError, match="does not fit into memory"):
        images.read(data)


def test_a_picture_with_16_bits_is_encoded_strip_by_strip(tmp_path: Path) -> None:
    """Otherwise, a checkpoint of a large painting would take as much memory as the painting."""
    generator, taken = np.random.default_rng(0), []
    rows = generator.integers(0, 2**16, (600, 400, 3), np.uint16)

    def strips() -> Iterator[npt.NDArray[np.uint16]]:
        for top in range(0, len(rows), 100):
            taken.append(top)
            yield rows[top : top + 100]

    small = io.BytesIO()
    PIL.Image.new("RGB", (1, 1)).save(small, "PNG")
    parts, seen = [], []
    for part in png16.deepen(small.getvalue(), rows.shape[:2], strips()):
        parts.append(part)
        seen.append(len(taken))
    assert len(set(seen)) > 3
    (tmp_path / "deep.png").write_bytes(b"".join(parts))
    assert np.array_equal(levels(images.read(tmp_path / "deep.png").image, bits=16), rows)
