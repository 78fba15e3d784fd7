"""Pictures that are read in strips, and TIFF files that are written in tiles."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageCms
import pytest
import tifffile

from impasto import images
from impasto.errors import ImageFileError
from impasto.images import large, tiled_tiff
from impasto.images.large import LargePicture, check_libvips, open_large
from impasto.images.png16 import chunk_of
from impasto.images.tiled_tiff import TILE_PX, write_tiled

Array = npt.NDArray[Any]
needs_libvips = pytest.mark.skipif(find_spec("pyvips") is None, reason="needs impasto[big]")


def noise(height: int, width: int, channels: int = 3, dtype: type[np.unsignedinteger[Any]] = np.uint8) -> Array:
    most = int(np.iinfo(dtype).max) + 1
    return np.random.default_rng(height).integers(0, most, (height, width, channels), dtype)


def whole(picture: LargePicture) -> Array:
    """Assemble the strips of a picture."""
    found = np.zeros((*picture.size, 3), picture.depth)
    for place, values in picture.strips():
        found[place.top : place.top + place.height, place.left : place.left + place.width] = values
    return found


def as_read(path: Path, depth: str) -> Array:
    """Read a picture in the usual way, as integers."""
    return images.read(path).image[0].permute(1, 2, 0).numpy() * np.iinfo(depth).max


def in_strips(pixels: Array, rows: int) -> Iterator[Array]:
    for top in range(0, len(pixels), rows):
        yield pixels[top : top + rows]


# ---------------------------------------------------------------------------------------------------- reading


@needs_libvips
@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_are_upright_and_have_the_metadata_of_the_usual_reader(orientation: int, tmp_path: Path) -> None:
    path, exif = tmp_path / "photo.tif", PIL.Image.Exif()
    exif[0x0112], exif[0x013B] = orientation, "Ann"
    PIL.Image.fromarray(noise(300, 70)).save(path, exif=exif, dpi=(240, 240), compression="tiff_lzw")
    picture, expected = open_large(path), images.read(path)
    assert np.array_equal(whole(picture), np.rint(as_read(path, "uint8")))
    assert (picture.size, picture.metadata, picture.sha256) == (expected.size, expected.metadata, expected.sha256)
    assert tuple(picture.notes) == expected.notes


@needs_libvips
@pytest.mark.parametrize(("orientation", "widest_px"), [(1, 70), (3, 70), (6, 300)])
def test_the_widest_row_is_in_the_file_or_upright(orientation: int, widest_px: int, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    for pixels in (noise(300, 70), noise(70, 300)) if orientation == 6 else (noise(300, 70),):
        PIL.Image.fromarray(pixels).save(tmp_path / "photo.tif", exif=exif)
        assert open_large(tmp_path / "photo.tif").widest_px == widest_px


@needs_libvips
@pytest.mark.parametrize(
    ("mode", "name", "options"),
    [
        ("RGB", "a.png", {}),
        ("RGB", "a.jpg", {"quality": 95}),
        ("RGB", "a.webp", {"lossless": True}),
        ("L", "a.tif", {}),
        ("P", "a.png", {}),
        ("CMYK", "a.tif", {}),
        ("CMYK", "a.jpg", {}),
        ("RGBA", "a.png", {}),
    ],
)
def test_every_kind_is_read_as_by_the_usual_reader(mode: str, name: str, options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / name
    PIL.Image.fromarray(noise(280, 90)).convert(mode).save(path, **options)
    picture = open_large(path)
    assert np.abs(whole(picture) - as_read(path, picture.depth)).max() <= 1
    assert tuple(picture.notes) == images.read(path).notes


@needs_libvips
def test_profiles_and_16_bits_are_converted_as_by_the_usual_reader(tmp_path: Path) -> None:
    linear = bytearray(PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes())
    at = linear.index(b"para") if b"para" in linear else linear.index(b"curv")
    linear[at + 12 : at + 16] = (round(1.8 * 65536)).to_bytes(4, "big")  # another exponent: no longer sRGB
    path = tmp_path / "profile.tif"
    PIL.Image.fromarray(noise(280, 60)).save(path, icc_profile=bytes(linear))
    picture = open_large(path)
    assert np.abs(whole(picture) - as_read(path, "uint8")).max() <= 1
    assert any("converted from" in note for note in picture.notes)
    assert tuple(picture.notes) == images.read(path).notes
    deep = tmp_path / "deep.tif"
    images.write(deep, images.read(noise(280, 60, dtype=np.uint16)), bits=16)
    picture = open_large(deep)
    assert picture.depth == "uint16"
    assert np.abs(whole(picture) - as_read(deep, "uint16")).max() <= 1


@needs_libvips
def test_the_notes_are_those_of_the_usual_reader(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "deep.tif", noise(40, 30, 1, np.uint16)[..., 0])
    page = PIL.Image.fromarray(noise(40, 30))
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    page.save(tmp_path / "frames.webp", save_all=True, append_images=[PIL.Image.fromarray(noise(41, 30)[1:])])
    for name in ("deep.tif", "pages.tif", "frames.webp"):
        picture = open_large(tmp_path / name)
        whole(picture)
        assert picture.notes
        assert tuple(picture.notes) == images.read(tmp_path / name).notes


def with_chunks(png: Path, before: dict[bytes, bytes], after: dict[bytes, bytes]) -> Path:
    """Insert chunks before and after the pixels of a PNG."""
    data = png.read_bytes()
    first, last = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    parts = [b"".join(chunk_of(*each) for each in chunks.items()) for chunks in (before, after)]
    png.write_bytes(data[:first] + parts[0] + data[first:last] + parts[1] + data[last:])
    return png


@needs_libvips
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_a_png_is_opened_without_its_pixels(mode: str, tmp_path: Path) -> None:
    path, gray = tmp_path / "a.png", noise(280, 90, 1, np.uint16)[..., 0]
    picture = PIL.Image.fromarray(gray) if mode == "I;16" else PIL.Image.fromarray(noise(280, 90)).convert(mode)
    picture.save(path)
    with_chunks(path, {b"acTL": bytes(7) + b"\1" + bytes(4)}, {})
    data = bytearray(path.read_bytes())
    start = data.index(b"IDAT") + 4
    data[start : start + 200] = bytes(200)
    path.write_bytes(data)
    large = open_large(path)
    assert (large.size, large.notes) == ((280, 90), [])  # where Pillow decodes the pixels, it reports damaged EXIF
    with pytest.raises(ImageFileError, match="is damaged or truncated"):
        whole(large)


@needs_libvips
def test_chunks_anywhere_in_a_png_are_used_as_by_the_usual_reader(tmp_path: Path) -> None:
    exif, path = PIL.Image.Exif(), tmp_path / "a.png"
    exif[0x0112], exif[0x013B] = 6, "Ann"
    PIL.Image.fromarray(noise(280, 90)).save(path)
    text, display_p3 = b"a\0" + b"x" * 2**17, bytes([12, 13, 0, 1])
    with_chunks(path, {b"tEXt": text, b"cICP": display_p3}, {b"eXIf": exif.tobytes()[6:]})
    picture, expected = open_large(path), images.read(path)
    assert np.abs(whole(picture) - as_read(path, "uint16")).max() <= 1
    assert (picture.size, picture.metadata, tuple(picture.notes)) == (expected.size, expected.metadata, expected.notes)
    assert picture.notes == ["turned upright", "converted from Display P3 to sRGB"]


@needs_libvips
def test_unsupported_pictures_are_one_sentence(tmp_path: Path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(ImageFileError) as caught:
            list(open_large(tmp_path / name).strips())
        return str(caught.value)

    transparent = noise(40, 30, 4)
    PIL.Image.fromarray(transparent).save(tmp_path / "clear.png")
    PIL.Image.fromarray(noise(40, 30)).save(tmp_path / "a.bmp")
    PIL.Image.fromarray(np.ones((40, 30), np.float32)).save(tmp_path / "float.tif")
    PIL.Image.fromarray(noise(400, 300)).save(tmp_path / "cut.jpg")
    tifffile.imwrite(tmp_path / "lab.tif", noise(40, 30), photometric="cielab")
    tifffile.imwrite(tmp_path / "deep.tif", noise(40, 30, 2, np.uint16), photometric="minisblack", extrasamples=["unassalpha"])
    PIL.Image.fromarray(noise(400, 300)).save(tmp_path / "hole.tif", compression="tiff_lzw")
    data = bytearray((tmp_path / "hole.tif").read_bytes())
    data[100_000:110_000] = bytes(10_000)
    (tmp_path / "hole.tif").write_bytes(data)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:20_000])
    assert "has transparent pixels" in refused("clear.png")
    assert "is BMP, which cannot be painted from disk" in refused("a.bmp")
    assert "1 channels of type float" in refused("float.tif")
    assert "is in Lab colors, which cannot be painted from disk; save it in gray or RGB" in refused("lab.tif")
    assert "is a TIFF that cannot be painted from disk; save it in gray or RGB" in refused("deep.tif")
    assert "is damaged or truncated" in refused("cut.jpg")
    assert "is damaged or truncated" in refused("hole.tif")
    assert "there is no file" in refused("missing.tif")


@needs_libvips
def test_a_thumbnail_as_the_first_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(noise(20, 20), photometric="rgb", subfiletype=1)
        file.write(noise(90, 80), photometric="rgb")
    with pytest.raises(ImageFileError, match="is a thumbnail"):
        open_large(path)


def test_without_libvips_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(large.importlib, "import_module", missing)
    with pytest.raises(ImageFileError, match=r"^too large; pip install 'impasto\[big\]' to paint it from disk, or use"):
        check_libvips("too large")


# ---------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (TILE_PX, 2 * TILE_PX), (300, 517)])
@pytest.mark.parametrize("is_big", [False, True])
def test_a_tiled_tiff_returns_its_pixels(
    dtype: type[np.unsignedinteger[Any]], size: tuple[int, int], is_big: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_big:
        monkeypatch.setattr(tiled_tiff, "_LARGEST_CLASSIC_BYTES", 0)
    path, pixels = tmp_path / "a.tif", noise(*size, dtype=dtype)
    write_tiled(path, size, in_strips(pixels, 70))
    assert path.read_bytes()[2] == (43 if is_big else 42)
    assert np.array_equal(np.rint(as_read(path, dtype.__name__)), pixels)


def test_a_tiled_tiff_has_the_metadata_of_an_ordinary_one(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x013B] = "Ann"
    exif.get_ifd(0x8769)[0x9003] = "2001:02:03 04:05:06"
    exif.get_ifd(0x8825)[1] = "N"
    path, pixels = tmp_path / "photo.jpg", noise(80, 90)
    PIL.Image.fromarray(pixels).save(path, exif=exif, dpi=(240, 240))
    metadata, record = images.read(path).metadata, {"seed": 7}
    for keep_gps in (False, True):
        images.write(tmp_path / "a.tif", images.read(pixels), metadata=metadata, record=record, keep_gps=keep_gps)
        write_tiled(tmp_path / "b.tif", (80, 90), [pixels], metadata=metadata, record=record, keep_gps=keep_gps)
        one, other = (images.read(tmp_path / name) for name in ("a.tif", "b.tif"))
        assert one.metadata == other.metadata
        assert one.metadata.dpi == (240, 240)
        assert images.read_record(tmp_path / "b.tif") == record
        profiles = [PIL.Image.open(tmp_path / name) for name in ("a.tif", "b.tif")]
        assert profiles[0].info["icc_profile"] == profiles[1].info["icc_profile"]
        for each in profiles:
            each.close()


def test_nothing_is_written_if_the_rows_fail(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"before")

    def failing() -> Iterator[Array]:
        yield noise(300, 40)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tiled(path, (600, 40), failing())
    assert [each.name for each in tmp_path.iterdir()] == ["a.tif"]
    assert path.read_bytes() == b"before"
    with pytest.raises(ImageFileError, match=r"must end in \.tif"):
        write_tiled(tmp_path / "a.png", (1, 1), [noise(1, 1)])
    with pytest.raises(ImageFileError, match="there is no folder"):
        write_tiled(tmp_path / "no" / "a.tif", (1, 1), [noise(1, 1)])
