"""Pictures that are often misread: color tags, unusual ranges, truncated files, thumbnails, other formats."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data
import tifffile
import torch

import impasto
from impasto import images
from impasto.errors import ImageFileError
from impasto.images import spaces
from impasto.images.colors import srgb_profile
from impasto.options import InstantOptions, PaintOptions
from impasto.recipes.masking import MaskSources
from impasto.recipes.painting import read_pictures

ADOBE_COLORS = {(100, 200, 100): (0, 201, 92), (200, 100, 50): (227, 100, 42), (128, 128, 128): (129, 129, 129)}
"""Adobe RGB and the same in sRGB, as LittleCMS has it."""


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = (x * 255 / max(1, width - 1), y * 255 / max(1, height - 1), (x + y) * 255 / max(1, width + height - 2))
    return np.stack(channels, axis=2).round().astype(np.uint8)


def encoded(picture: PIL.Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    (picture if isinstance(picture, PIL.Image.Image) else PIL.Image.fromarray(picture)).save(stream, kind, **options)
    return stream.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def pixels(picture: images.Picture) -> np.ndarray:
    return picture.image[0].permute(1, 2, 0).numpy()


def color(picture: images.Picture) -> list[float]:
    return picture.image[0, :, 0, 0].tolist()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(array: np.ndarray, *extra: bytes, depth: int = 8, color_type: int = 2, interlaced: bool = False) -> bytes:
    """Return a PNG with whole bytes per value and the given chunks before the pixels."""
    height, width = array.shape[:2]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [array[y::down, x::across] for y, x, down, across in passes] if interlaced else [array]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part if row.size)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlaced))
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + chunk(b"IEND", b"")


def flat(values: tuple[float, float, float]) -> np.ndarray:
    return np.full((16, 16, 3), np.round(values), np.uint8)


def exif(*, color_space: int | None, index: str | None = None) -> bytes:
    made = PIL.Image.Exif()
    made[0x8769] = ({} if color_space is None else {0xA001: color_space}) | ({} if index is None else {0xA005: {1: index}})
    return made.tobytes()


# ---- tags of color -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "number", "index"),  # Pillow writes the directory of the index into a TIFF in the wrong place: see the next test
    [
        *((kind, number, "R03") for kind in ("JPEG", "WEBP", "PNG") for number in (65535, None)),
        *((kind, 2, None) for kind in ("JPEG", "WEBP", "PNG", "TIFF")),
    ],
)
def test_adobe_rgb_in_exif_is_converted(kind: str, number: int | None, index: str | None) -> None:
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    for adobe, srgb in ADOBE_COLORS.items():
        data = encoded(flat(adobe), kind, exif=exif(color_space=number, index=index), **options)
        picture = images.read(data)
        assert "converted from Adobe RGB to sRGB" in picture.notes
        assert np.abs(np.array(color(picture)) * 255 - srgb).max() < (5 if kind == "JPEG" else 1.5)


def test_adobe_rgb_given_by_the_dcf_index_in_a_tiff_is_converted() -> None:
    data = tiff(flat((100, 200, 100)), photometric="rgb", extratags=[(0x8768, "I", 1, 0)])
    at = len(data) + len(data) % 2
    index = struct.pack("<HHHI4sI", 1, 1, 2, 4, b"R03\0", 0)
    camera = struct.pack("<HHHIHHHHIII", 2, 0xA001, 3, 1, 65535, 0, 0xA005, 4, 1, at + 30, 0)
    data = (
        data.replace(struct.pack("<HHII", 0x8768, 4, 1, 0), struct.pack("<HHII", 0x8769, 4, 1, at)).ljust(at, b"\0")
        + camera
        + index
    )
    assert "converted from Adobe RGB to sRGB" in images.read(data).notes


@pytest.mark.parametrize(("number", "index"), [(1, "R98"), (1, "R03"), (65535, None), (65535, "R98"), (None, None)])
def test_srgb_or_no_color_space_in_exif_changes_no_color(number: int | None, index: str | None) -> None:
    picture = images.read(encoded(flat((100, 200, 100)), "PNG", exif=exif(color_space=number, index=index)))
    assert picture.notes == ()
    assert np.allclose(color(picture), np.array((100, 200, 100)) / 255)


def test_an_icc_profile_takes_precedence_over_exif_and_results_are_tagged_srgb(tmp_path: Path) -> None:
    adobe = exif(color_space=65535, index="R03")
    assert images.read(encoded(flat((100, 200, 100)), "JPEG", exif=adobe, icc_profile=srgb_profile())).notes == ()
    images.write(tmp_path / "a.jpg", images.read(encoded(flat((100, 200, 100)), "JPEG", exif=adobe)))
    assert images.read(tmp_path / "a.jpg").notes == ()


def test_color_conversion_does_not_change_alpha() -> None:
    rgba = np.dstack([flat((100, 200, 100)), np.full((16, 16), 77, np.uint8)])
    picture = images.read(encoded(rgba, "PNG", exif=exif(color_space=2)))
    assert picture.alpha is not None
    assert torch.allclose(picture.alpha, torch.tensor(77 / 255))


def gama(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def chrm(*values: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


SRGB_CHRM = chrm(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
ADOBE_CHRM = chrm(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("tags", "before", "after"),
    [
        ([gama(1.0)], (55, 55, 55), (128, 128, 128)),
        ([gama(1 / 1.8)], (116, 116, 116), (135, 135, 135)),
        ([ADOBE_CHRM, gama(1 / 2.19921875)], (100, 200, 100), (0, 201, 92)),
        ([chunk(b"sRGB", b"\0"), gama(1.0)], (55, 55, 55), (55, 55, 55)),
        ([gama(0.45455), SRGB_CHRM], (55, 90, 10), (55, 90, 10)),
        ([gama(0)], (55, 90, 10), (55, 90, 10)),
        ([chrm(*[0.3] * 8), gama(0.45455)], (55, 90, 10), (55, 90, 10)),
        ([chunk(b"cICP", bytes([12, 13, 0, 1]))], (234, 51, 35), (255, 0, 0)),
        ([chunk(b"cICP", bytes([12, 13, 0, 1])), chunk(b"sRGB", b"\0"), gama(1.0)], (234, 51, 35), (255, 0, 0)),
        ([chunk(b"cICP", bytes([1, 13, 0, 1])), gama(1.0)], (55, 90, 10), (55, 90, 10)),
        ([chunk(b"cICP", bytes([1, 1, 0, 1]))], (55, 90, 10), (55, 90, 10)),
        ([chunk(b"cICP", bytes([1, 13, 0, 0]))], (126, 235, 16), (128, 255, 0)),
        ([chunk(b"cICP", bytes([99, 13, 0, 1]))], (55, 90, 10), (55, 90, 10)),
        ([chunk(b"cICP", bytes([9, 8, 0, 1]))], (55, 55, 55), (128, 128, 128)),
        ([chunk(b"cICP", bytes([9, 16, 0, 1]))], (148, 148, 148), (255, 255, 255)),
        ([chunk(b"cICP", bytes([9, 18, 0, 1]))], (191, 191, 191), (255, 255, 255)),
    ],
)
def test_png_color_chunks_have_the_precedence_of_the_specification(
    tags: list[bytes], before: tuple[int, int, int], after: tuple[int, int, int], deep: bool
) -> None:
    values = flat(before).astype(">u2") * 257 if deep else flat(before)
    picture = images.read(png(values.astype(">u2") if deep else values, *tags, depth=16 if deep else 8))
    assert np.abs(np.array(color(picture)) * 255 - after).max() < 3
    assert any("converted from" in note for note in picture.notes) == (before != after)


def test_cicp_takes_precedence_over_a_profile_and_a_profile_over_gamma() -> None:
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(srgb_profile()))
    assert images.read(png(flat((55, 55, 55)), profile, gama(1.0))).notes == ()
    picture = images.read(png(flat((234, 51, 35)), chunk(b"cICP", bytes([12, 13, 0, 1])), profile))
    assert picture.notes == ("converted from Display P3 to sRGB",)


def test_the_nclx_box_of_an_avif_is_applied() -> None:
    data = encoded(flat((234, 51, 35)), "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    p3 = data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :]
    picture = images.read(p3)
    assert "converted from Display P3 to sRGB" in picture.notes
    assert np.abs(np.array(color(picture)) - (1, 0, 0)).max() < 0.03


def test_white_and_black_are_preserved_in_every_coded_space() -> None:
    ends = np.array([[[0, 0, 0], [1, 1, 1]]], np.float32)
    for primaries in (1, 4, 5, 6, 7, 9, 11, 12):
        for transfer in (1, 4, 5, 6, 8, 13, 14, 15):
            space = spaces.coded(primaries, transfer, is_full=True)
            assert space is not None
            assert np.abs(spaces.to_srgb(ends, space) - ends).max() < 2e-3


def test_primaries_of_a_tiff_without_a_profile_are_applied() -> None:
    rationals = [
        (318, "2I", 2, (3127, 10_000, 3290, 10_000)),
        (319, "2I", 6, tuple(v for n in (64, 33, 21, 71, 15, 6) for v in (n, 100))),
    ]
    picture = images.read(tiff(flat((100, 200, 100)), photometric="rgb", extratags=rationals))
    assert np.abs(np.array(color(picture)) * 255 - (0, 201, 92)).max() < 2


# ---- ranges ------------------------------------------------------------------------------------------------------------


def floats(outliers: dict[int, float], top: float = 1.0) -> np.ndarray:
    values = (gradient(100, 100) / 255 * top).astype(np.float32)
    for place, value in outliers.items():
        values.reshape(-1)[place] = value
    return values


@pytest.mark.parametrize("outlier", [1.0001, 1.02, 3.0, 300.0, 1e9])
@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_one_bright_pixel_does_not_set_the_range_of_floats(outlier: float, top: float) -> None:
    picture = images.read(tiff(floats({5000: outlier * top}, top), photometric="rgb"))
    others = np.delete(pixels(picture).reshape(-1), 5000) - np.delete(gradient(100, 100).reshape(-1) / 255, 5000)
    assert np.abs(others).max() < 1e-4
    assert any(f"assumed range 0 to {top:g}" in note for note in picture.notes)
    assert any("were clipped" in note for note in picture.notes)


@pytest.mark.parametrize("source", ["gray tiff", "float64", "float16", "pillow"])
def test_every_source_of_floats_gets_the_same_range(source: str) -> None:
    values = floats({50: 4.0})
    if source == "float16":
        picture = images.read(tiff(values.astype(np.float16), photometric="rgb"))
    elif source == "float64":
        picture = images.read(tiff(values.astype(np.float64), photometric="rgb"))
    else:
        gray = values[..., 0].copy()
        gray[0, 0] = 4.0
        picture = images.read(tiff(gray) if source == "gray tiff" else PIL.Image.fromarray(gray))
    assert 0.4 < float(picture.image.mean()) < 0.6


def test_one_bright_pixel_does_not_set_the_range_of_wide_integers() -> None:
    values = gradient(100, 100)[..., 0].astype(np.uint32)
    values[3, 3] = 2**32 - 1
    picture = images.read(tiff(values))
    assert "32-bit integers, assumed range 0 to 255" in picture.notes
    assert 0.4 < float(picture.image.mean()) < 0.6
    assert float(images.read(tiff((gradient()[..., 0] * 128.0).astype(np.int16))).image.max()) > 0.95


def test_floats_with_many_values_above_one_keep_their_highlights_distinct() -> None:
    picture = images.read(tiff((gradient(64, 64) / 255 * 1.3).astype(np.float32), photometric="rgb"))
    assert float((picture.image > 0.999).float().mean()) < 0.05
    highlights = floats(dict.fromkeys(range(0, 900, 3), 6.0))
    assert "32-bit floats, assumed range 0 to 1" in images.read(tiff(highlights, photometric="rgb")).notes


def test_a_few_invalid_values_are_replaced_with_a_note() -> None:
    picture = images.read(tiff(floats({10: np.nan, 20: np.inf, 30: -np.inf, 40: -0.5}), photometric="rgb"))
    flat_values = pixels(picture).reshape(-1)
    assert flat_values[[10, 20, 30, 40]].tolist() == [0, 1, 0, 0]
    assert "NaN or infinite values (under 0.1%) were replaced" in picture.notes
    assert any(note.startswith("values below 0") for note in picture.notes)


# ---- damaged ends and chunks -------------------------------------------------------------------------------------------


PHOTO = skimage.data.astronaut()[:256, :256]


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("lost", [2, 3, 5, 20, 100])
def test_a_jpeg_without_its_last_bytes_is_read_with_a_note(options: dict[str, object], lost: int) -> None:
    data = encoded(PHOTO, "JPEG", quality=90, **options)
    whole, cut = images.read(data), images.read(data[:-lost])
    assert float((whole.image - cut.image).abs().mean()) < 0.005
    assert lost == 2 or any(note.startswith("the file is truncated") for note in cut.notes)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_truncated_gray_and_cmyk_jpegs_are_read(mode: str) -> None:
    data = encoded(PIL.Image.fromarray(PHOTO).convert(mode), "JPEG", quality=90)
    assert images.read(data[:-20]).size == (256, 256)


@pytest.mark.parametrize(("share", "words"), [(0.8, r"about 2\d%"), (0.5, r"about [45]\d%"), (0.2, r"about [78]\d%")])
def test_a_jpeg_with_a_large_missing_part_is_refused_with_the_share(share: float, words: str) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8), "JPEG", restart_marker_rows=1)
    for lost in range(0, 60, 7):
        with pytest.raises(ImageFileError, match=words + " of the picture is missing"):
            images.read(data[: int(len(data) * share) - lost])
    data = encoded(PHOTO, "JPEG", progressive=True)
    with pytest.raises(ImageFileError, match="of its detail is missing"):
        images.read(data[: int(len(data) * min(share, 0.5))])


HUGE = b"a" * 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "note"),
    [
        (chunk(b"zTXt", b"Comment\0\0" + zlib.compress(HUGE)), "ignored a text that is too large"),
        (chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(HUGE)), "ignored a text that is too large"),
        (chunk(b"tEXt", b"Comment\0" + HUGE * 12), "ignored a text that is too large"),
        (chunk(b"iCCP", b"p\0\0" + zlib.compress(HUGE)), "ignored a color profile that is too large"),
        (chunk(b"tEXt", b"Comment\0text")[:-1] + b"?", "ignored a damaged tEXt"),
        (chunk(b"gAMA", b"\0"), "ignored a damaged gAMA"),
        (chunk(b"cHRM", b"\0"), "ignored a damaged cHRM"),
        (chunk(b"iCCP", b""), "ignored a damaged color profile"),
    ],
)
def test_large_and_damaged_png_chunks_are_ignored(extra: bytes, note: str) -> None:
    picture = images.read(png(gradient(), extra, chunk(b"tEXt", b"impasto\0{}")))
    assert picture.notes == (note,)
    assert np.allclose(pixels(picture), gradient() / 255)


def test_the_record_of_a_png_is_read_despite_an_oversized_chunk(tmp_path: Path) -> None:
    images.write(tmp_path / "a.png", torch.zeros(1, 3, 8, 8), record={"seed": 3})
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(HUGE)) + data[33:])
    assert images.read_record(tmp_path / "a.png") == {"seed": 3}


@pytest.mark.slow
def test_texts_that_are_too_large_together_are_ignored() -> None:
    texts = [chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 1_000_000)) for _ in range(80)]
    data = png(gradient())
    assert images.read(data[:33] + b"".join(texts[:40]) + data[33:-12] + b"".join(texts[40:]) + data[-12:]).notes == (
        "ignored a text that is too large",
    )


# ---- other files, thumbnails, transparency -----------------------------------------------------------------------------


def dng(*, is_flagged: bool) -> bytes:
    """Return a DNG: a thumbnail page with a subpage of sensor pixels."""
    stream = io.BytesIO()
    tags = [(50706, "B", 4, (1, 4, 0, 0))] if is_flagged else []
    with tifffile.TiffWriter(stream) as file:
        file.write(gradient(12, 16), photometric="rgb", subfiletype=1, subifds=1, extratags=tags)
        file.write(
            np.zeros((48, 64), np.uint16), photometric="cfa", extratags=[(33421, "H", 2, (2, 2)), (33422, "B", 4, (0, 1, 1, 2))]
        )
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (dng(is_flagged=True), ""),
        (dng(is_flagged=False), ""),
        (tiff(np.zeros((8, 8), np.uint16), photometric="cfa"), ""),
        (b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 40, r"\(CR2\) "),
        (b"\0\0\0\x18ftypcrx " + b"\0" * 40, r"\(CR3\) "),
        (b"FUJIFILMCCD-RAW 0201", r"\(RAF\) "),
        (b"IIRO\x08\0\0\0" + b"\0" * 40, r"\(ORF\) "),
        (b"IIU\0\x18\0\0\0" + b"\0" * 40, r"\(RW2\) "),
    ],
)
def test_raw_photos_are_refused_as_raw_photos(data: bytes, kind: str) -> None:
    with pytest.raises(ImageFileError, match=f"raw camera photo{' ' + kind.strip() if kind else ''}, .*export a JPEG or TIFF"):
        images.read(data)


@pytest.mark.parametrize(
    ("within", "options"), [(False, {}), (True, {}), (False, {"bigtiff": True}), (True, {"byteorder": ">"})]
)
def test_a_thumbnail_on_the_first_page_is_skipped(within: bool, options: dict[str, object]) -> None:
    large = gradient(48, 64).astype(np.uint16) * 257
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **options) as file:
        file.write(gradient(12, 16), photometric="rgb", subfiletype=1, subifds=1 if within else 0)
        file.write(large, photometric="rgb")
    picture = images.read(stream.getvalue())
    assert np.allclose(pixels(picture), large / 65535)
    assert "took the largest of 2 pages; the first is a thumbnail" in picture.notes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"ID3\x03" + b"\0" * 60, r"a sound file \(MP3\)"),
        (b"\xff\xfb\x90\x44" + b"\0" * 60, r"a sound file \(MP3\)"),
        (b"\xff\xf1\x50\x80" + b"\0" * 60, r"a sound file \(AAC\)"),
        (b"RIFF\x24\0\0\0WAVEfmt ", r"a sound file \(WAV\)"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 30, r"a video file \(MP4\)"),
        (b"\0\0\0\x14ftypqt  " + b"\0" * 30, r"a video file \(QuickTime\)"),
        (b"\x1aE\xdf\xa3" + b"\0" * 30, "a video file"),
        (b"PK\x03\x04" + b"\0" * 30, "a ZIP archive"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\n<!DOCTYPE html><html><svg></svg>", r"a web page \(HTML\)"),
        (encoded(gradient(), "JPEG2000"), "a JPEG 2000 picture"),
        (encoded(gradient(), "ICO"), r"an icon \(ICO\)"),
        (encoded(gradient(), "TGA"), r"a Targa picture \(TGA\)"),
        (encoded(gradient(), "PPM"), "a Netpbm picture"),
        (b"8BPS\0\1", "a Photoshop document"),
    ],
)
def test_files_of_other_formats_are_refused_with_the_format(content: bytes, words: str) -> None:
    with pytest.raises(ImageFileError, match=f"is {words}.*, which is not supported"):
        images.read(content)


def bmp(
    rows: bytes, size: tuple[int, int], *, bits: int, compression: int = 0, palette: bytes = b"", masks: bytes = b""
) -> bytes:
    """Return a BMP; a negative height means that the first row comes first."""
    header = struct.pack("<iiHHIIiiII", *size, 1, bits, compression, len(rows), 0, 0, len(palette) // 4, 0) + masks
    header = struct.pack("<I", 4 + len(header)) + header
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + palette + rows


BGRA_MASKS = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + b"\0" * 48


def test_a_bmp_with_an_empty_alpha_channel_is_opaque() -> None:
    array = gradient(3, 4)
    rows = np.dstack([array[..., ::-1], np.zeros((3, 4), np.uint8)]).tobytes()
    picture = images.read(bmp(rows, (4, -3), bits=32, compression=3, masks=BGRA_MASKS))
    assert picture.alpha is None
    assert np.allclose(pixels(picture), array / 255)
    assert picture.notes == ("its alpha channel is empty, so it is read as opaque",)
    assert images.read(bmp(rows, (4, -3), bits=32)).alpha is None


def test_a_fully_transparent_picture_has_a_note() -> None:
    for kind in ("PNG", "WEBP", "TIFF"):
        picture = images.read(encoded(np.zeros((8, 8, 4), np.uint8), kind))
        assert "the picture is fully transparent: nothing is visible" in picture.notes


# ---- large pictures for small results ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_picture_is_reduced_to_the_needed_size(kind: str, orientation: int) -> None:
    upright = PIL.Image.fromarray(skimage.data.astronaut()).resize((1601, 1203), PIL.Image.Resampling.BICUBIC)
    turn = PIL.Image.Exif()
    turn[0x0112] = orientation
    data = encoded(upright, kind, exif=turn.tobytes(), quality=95)
    small, full = images.read(data, longest_px=200), images.read(data)
    assert max(small.size) == 200
    assert small.size == images.fitted_size(full.size, 200)
    assert small.sha256 == full.sha256
    assert float((small.image - images.resize(full.image, small.size)).abs().mean()) < 0.004


def test_slightly_larger_and_transparent_pictures_keep_their_size() -> None:
    assert images.read(encoded(gradient(90, 120), "PNG"), longest_px=60).size == (90, 120)
    rgba = np.dstack([gradient(90, 120), np.full((90, 120), 9, np.uint8)])
    assert images.read(encoded(rgba, "PNG"), longest_px=32).size == (90, 120)
    assert images.read(encoded(gradient(10, 400), "PNG"), longest_px=64).size == (10, 400)
    assert images.read(gradient(480, 640), longest_px=64).size == (48, 64)
    assert images.read(gradient(480, 640)[..., :1], longest_px=64).size == (48, 64)


def test_the_memory_check_uses_the_reduced_size(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(PIL.Image.new("RGB", (2000, 1000)), "JPEG")
    monkeypatch.setattr("impasto.images.files.available_memory", lambda _: 30_000_000)
    assert images.read(data, longest_px=200).size == (100, 200)
    with pytest.raises(impasto.errors.ResourceError):
        images.read(data)


def test_painting_reads_reduced_pictures_but_full_size_ones_with_masks(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(PIL.Image.new("RGB", (800, 600)), "JPEG"))
    path = str(tmp_path / "a.jpg")
    for options in (PaintOptions(size=64), InstantOptions(size=64)):
        photo, (style,) = read_pictures(path, path, options, MaskSources())
        assert (photo.size, style.size) == ((48, 64), (96, 128))
        photo, _ = read_pictures(path, path, options, MaskSources(protect=("auto:sky",)))
        assert photo.size == (600, 800)
    photo, (style,) = read_pictures(path, path, PaintOptions(size=64, style_scale=2.0), MaskSources())
    assert style.size == (192, 256)
    assert read_pictures(path, path, InstantOptions(size=0), MaskSources())[0].size == (600, 800)


@pytest.mark.slow
def test_instant_paints_a_reduced_photo_like_the_full_photo(tmp_path: Path) -> None:
    large = PIL.Image.fromarray(skimage.data.astronaut()).resize((1000, 750), PIL.Image.Resampling.BICUBIC)
    (tmp_path / "a.jpg").write_bytes(encoded(large, "JPEG", quality=95))
    style = skimage.data.coffee()
    reduced = impasto.instant(tmp_path / "a.jpg", style, size=128, engine="torch")
    whole = impasto.instant(images.read(tmp_path / "a.jpg"), style, size=128, engine="torch")
    assert reduced.image.shape == whole.image.shape
    assert float((reduced.image - whole.image).abs().mean()) < 0.02
    assert reduced.record["content"] == whole.record["content"]


# ---- kinds of files that readers are known to misread ------------------------------------------------------------------


def test_an_adobe_cmyk_jpeg_is_inverted_once() -> None:
    data = encoded(PIL.Image.fromarray(gradient()).convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in data
    assert np.abs(pixels(images.read(data)) - gradient() / 255).max() < 0.02


@pytest.mark.parametrize(
    ("depth", "row", "key", "alpha"),
    [
        (1, bytes([0b01000000]), 1, [1, 0, 1]),
        (2, bytes([0b00011000]), 1, [1, 0, 1]),
        (4, bytes([0x01, 0x20]), 1, [1, 0, 1]),
        (8, bytes([10, 20, 30]), 20, [1, 0, 1]),
        (16, struct.pack(">3H", 999, 1000, 1001), 1000, [1, 0, 1]),
    ],
)
def test_the_transparent_gray_of_a_png_is_applied_at_every_depth(depth: int, row: bytes, key: int, alpha: list[int]) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, depth, 0, 0, 0, 0)) + chunk(b"tRNS", struct.pack(">H", key))
    body = chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    picture = images.read(b"\x89PNG\r\n\x1a\n" + header + body)
    assert picture.alpha is not None
    assert picture.alpha.flatten().tolist() == alpha


def test_a_palette_with_partial_alpha_and_fewer_alphas_than_colors_is_read() -> None:
    tags = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255])) + chunk(b"tRNS", bytes([0, 128]))
    picture = images.read(png(np.array([[0, 1, 2]], np.uint8), tags, color_type=3))
    assert picture.alpha is not None
    assert picture.alpha.flatten().tolist() == pytest.approx([0, 128 / 255, 1])
    assert picture.image[0, :, 0, 2].tolist() == [0, 0, 1]


def test_an_interlaced_png_is_read_and_refused_if_truncated() -> None:
    data = png(gradient(), interlaced=True)
    assert np.allclose(pixels(images.read(data)), gradient() / 255)
    with pytest.raises(ImageFileError, match="damaged or truncated"):
        images.read(data[:-200])


@pytest.mark.parametrize(
    "planes", [{}, {"planarconfig": "separate"}, {"tile": (16, 16)}, {"bigtiff": True}, {"byteorder": ">"}]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planar_tiled_and_big_endian_tiffs_decode_to_the_same_picture(planes: dict[str, object], dtype: type) -> None:
    array = gradient(32, 48).astype(dtype) * (257 if dtype is np.uint16 else 1)
    stored = array.transpose(2, 0, 1) if "planarconfig" in planes else array
    assert np.allclose(pixels(images.read(tiff(stored, photometric="rgb", **planes))), gradient(32, 48) / 255)


def test_white_is_zero_is_applied_to_1_8_16_and_32_bits() -> None:
    bits = np.eye(9, dtype=bool)
    assert np.array_equal(pixels(images.read(tiff(bits, photometric="miniswhite")))[..., 0], ~bits)
    gray = gradient()[..., 0]
    for stored in (255 - gray, 65535 - gray.astype(np.uint16) * 257, 1 - (gray / 255).astype(np.float32)):
        assert np.allclose(pixels(images.read(tiff(stored, photometric="miniswhite")))[..., 1], gray / 255, atol=1e-4)


def test_lab_tiffs_are_converted_or_refused_by_name() -> None:
    gray = images.read(tiff(np.full((8, 8, 3), (137, 0, 0), np.uint8), photometric="cielab"))
    assert color(gray) == pytest.approx([0.502] * 3, abs=0.01)  # L* 53.6
    with pytest.raises(ImageFileError, match="TIFF in CIELAB of an unsupported type; save it as RGB"):
        images.read(tiff(np.full((8, 8, 3), (32768, 0, 0), np.uint16), photometric="cielab"))


def test_a_gif_frame_smaller_than_the_canvas_keeps_its_position() -> None:
    palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0])
    control, place = b"\x21\xf9\x04\x01\0\0\x02\0", b"\x2c" + struct.pack("<HHHHB", 2, 1, 2, 2, 0)
    codes = sum(code << 3 * index for index, code in enumerate([4, 0, 2, 0, 0, 5])).to_bytes(3, "little")
    data = b"GIF89a" + struct.pack("<HHBBB", 8, 6, 0x81, 1, 0) + palette + control + place + b"\x02\x03" + codes + b"\0;"
    picture = images.read(data)
    assert picture.alpha is not None
    assert picture.alpha[0, 0].nonzero().tolist() == [[1, 2], [2, 2], [2, 3]]
    assert picture.image[0, :, 1, 2].tolist() == [1, 0, 0]


def exif_of(*entries: tuple[int, int, int, bytes], following: int = 0) -> bytes:
    table = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + struct.pack("<I", following)


@pytest.mark.parametrize(
    ("block", "is_rotated"),
    [
        (exif_of((274, 4, 1, struct.pack("<I", 6))), True),
        (exif_of((274, 3, 2, struct.pack("<HH", 6, 6))), True),
        (exif_of((274, 5, 1, struct.pack("<I", 8))), False),
        (exif_of((274, 3, 1, struct.pack("<I", 9))), False),
        (exif_of((274, 3, 1, struct.pack("<I", 0))), False),
        (exif_of((274, 3, 1, struct.pack("<I", 6)), (0x8769, 4, 1, struct.pack("<I", 8)), following=8), True),
        (exif_of((0x8769, 4, 1, struct.pack("<I", 8)), following=8), False),
        (exif_of((0x010E, 2, 2**31 - 1, struct.pack("<I", 26))), False),
        (exif_of()[:-6] + b"\xff\xff", False),
    ],
)
def test_invalid_exif_never_prevents_reading_a_picture(block: bytes, is_rotated: bool) -> None:
    data = encoded(gradient(), "JPEG", quality=98, subsampling=0)
    picture = images.read(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    assert picture.size == ((32, 24) if is_rotated else (24, 32))


def test_top_down_run_length_and_16_bit_bitmaps_are_read() -> None:
    array = gradient(3, 4)
    assert np.allclose(pixels(images.read(bmp(array[..., ::-1].tobytes(), (4, -3), bits=24))), array / 255)
    assert np.allclose(pixels(images.read(bmp(array[::-1, :, ::-1].tobytes(), (4, 3), bits=24))), array / 255)
    palette = bytes([0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0])
    red, green, blue = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    expected = np.array([[blue, blue, red, red], [green] * 4])
    runs = b"\x04\x01\0\0\x02\x02\x02\0\0\x01"
    assert np.array_equal(pixels(images.read(bmp(runs, (4, 2), bits=8, compression=1, palette=palette))), expected)
    halves = b"\x04\x11\0\0\x02\x22\x02\x00\0\x01"
    assert np.array_equal(pixels(images.read(bmp(halves, (4, 2), bits=4, compression=2, palette=palette))), expected)
    five = images.read(bmp(struct.pack("<4H", 0x7C00, 0x3E0, 0x1F, 0x7FFF), (4, -1), bits=16))
    assert np.array_equal(pixels(five)[0], np.array([red, green, blue, (1, 1, 1)]))


def test_a_tiff_compressed_as_jpeg_is_read() -> None:
    assert np.abs(pixels(images.read(encoded(gradient(), "TIFF", compression="jpeg"))) - gradient() / 255).mean() < 0.01


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_first_frame_of_animated_png_and_webp_is_read_with_its_alpha(kind: str) -> None:
    first, second = PIL.Image.new("RGBA", (8, 8), (255, 0, 0, 128)), PIL.Image.new("RGBA", (8, 8), (0, 255, 0, 255))
    picture = images.read(encoded(first, kind, save_all=True, append_images=[second], lossless=True))
    assert picture.notes == ("took the first of 2 frames",)
    assert picture.alpha is not None
    assert float(picture.alpha.max()) == pytest.approx(128 / 255)
    assert color(picture) == [1, 0, 0]


def test_the_photo_is_read_from_a_file_with_an_embedded_preview() -> None:
    photo = PIL.Image.fromarray(gradient(64, 96))
    data = encoded(photo, "MPO", save_all=True, append_images=[photo.resize((12, 8))], quality=95)
    assert images.read(data).size == (64, 96)
