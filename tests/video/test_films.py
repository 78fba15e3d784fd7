"""The making of a painting as a film; comparisons and posters of clips."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from clip_pieces import pictures_of, sound_of, times_of

from impasto import images
from impasto.cli import main
from impasto.errors import ClipError, ImageFileError
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.video import painting
from impasto.video.clips import frames, length_of, open_clip
from impasto.video.films import Extras
from impasto.video.painting import paint_video
from impasto.video.segments import folder_of

Capture = pytest.CaptureFixture[str]
Render = Callable[..., Path]


# ---------------------------------------------------------------------------------------------------- making of


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photo, a style and their painting."""
    folder = tmp_path_factory.mktemp("painted")
    images.write(folder / "photo.png", images.read(skimage.data.astronaut()[:300, 100:500:]).image)
    images.write(folder / "style.png", images.read(skimage.data.coffee()).image)
    words = [str(folder / name) for name in ("photo.png", "style.png", "result.png")]
    assert main(["paint", *words[:2], "-o", words[2], "--size", "96", "--steps", "6", "--quiet"]) == 0
    return folder


@pytest.mark.slow
def test_the_making_of_shows_the_photo_the_steps_and_the_result(painted: Path, capsys: Capture) -> None:
    assert main(["video", "--making-of", str(painted / "result.png")]) == 0
    film = painted / "result-making-of.mp4"
    out = capsys.readouterr().out
    assert str(film) in out
    assert "96x72 pixels" in out
    shown, photo, result = pictures_of(film), as_pixels(painted / "photo.png", 96), as_pixels(painted / "result.png", 96)
    assert distance(shown[0], photo) < 8
    assert distance(shown[-1], result) < 8
    assert distance(shown[0], shown[-1]) > 20
    to_result = [distance(each, result) for each in shown[len(shown) // 2 :]]
    assert to_result[0] > to_result[-1]
    assert len(shown) >= 6
    assert length_of(open_clip(film)).seconds > 3
    times = times_of(film)
    assert times == sorted(set(times))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".gif", ".webm"])
def test_the_making_of_is_written_in_every_format_and_smaller(painted: Path, suffix: str) -> None:
    film = painted / f"film{suffix}"
    words = [str(painted / name) for name in ("photo.png", "style.png")]
    assert main(["video", *words, "--making-of", str(painted / "result.png"), "-o", str(film), "--size", "48", "--quiet"]) == 0
    assert pictures_of(film)[0].shape == (36, 48, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--making-of", "photo.png"), "contains no record"),
        (("--making-of", "none.png"), "none.png"),
        (("--making-of", "instant.png"), "was made with 'instant'"),
        (("--making-of", "result.png", "--poster", "a.png"), "--poster has no effect with --making-of"),
        (("--making-of", "result.png", "--workers", "2"), "--workers has no effect with --making-of"),
        (("--making-of", "result.png", "--gpus", "0.5"), "--gpus has no effect with --making-of"),
        (("--making-of", "result.png", "--stability", "0.5"), "--stability has no effect with --making-of"),
        (("--making-of", "result.png", "--size", "8"), "--size is 8"),
        (("--making-of", "result.png", "-o", "film.png"), "must end in"),
        (("--making-of", "result.png", "-o", "result.png"), "would overwrite an input"),
        (("photo.png", "--making-of", "result.png"), "the style is missing"),
        (("--making-of", "away/result.png"), "impasto video PHOTO STYLE --making-of RESULT"),
    ],
)
def test_a_making_of_that_cannot_be_written_gets_one_sentence(
    painted: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    for name in ("photo.png", "style.png", "result.png"):
        (tmp_path / name).write_bytes((painted / name).read_bytes())
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "result.png").write_bytes((painted / "result.png").read_bytes())
    images.write(tmp_path / "instant.png", torch.rand(1, 3, 64, 64), record=made_with("instant"))
    if "away/result.png" in words:
        (tmp_path / "photo.png").unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["video", *words]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.mp4"))


def made_with(recipe: str) -> dict[str, object]:
    return {"recipe": recipe, "content": {"name": "a", "sha256": "0"}, "styles": [], "options": {}, "run": {}}


def as_pixels(path: Path, edge_px: int) -> np.ndarray:
    image = images.read(path, longest_px=edge_px).image
    small = images.resize(image, images.fitted_size((image.shape[-2], image.shape[-1]), edge_px))
    return (small[0].permute(1, 2, 0).numpy() * 255).round()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


# ---------------------------------------------------------------------------------------------------- poster, comparison


@pytest.fixture
def brush(tmp_path: Path) -> Path:
    path = tmp_path / "mine.brush"
    save_brush(path, Johnson(Layout(4, blocks=1, ends=5)).initialize(torch.Generator().manual_seed(0)), {})
    return path


@pytest.mark.slow
def test_a_comparison_shows_the_clip_beside_the_result_with_its_times_and_sound(render: Render, tmp_path: Path) -> None:
    clip, output, compare = render(), tmp_path / "out.mp4", tmp_path / "compare.mp4"
    paint_video(clip, "the-scream", output, extras=Extras(compare=compare))
    assert times_of(compare) == times_of(clip)
    assert sound_of(compare) == sound_of(clip)
    sources, results, both = map(pictures_of, (clip, output, compare))
    for number in (0, 12, 29):
        assert both[number].shape == (64, 192, 3)
        assert distance(both[number][:, :96], sources[number]) < 5
        assert distance(both[number][:, 96:], results[number]) < 4  # encoded twice
        assert distance(both[number][:, 96:], sources[number]) > 16
    assert not folder_of(output).exists()
    assert sorted(each.suffix for each in tmp_path.iterdir()) == [".mp4", ".mp4", ".mp4"]


@pytest.mark.slow
def test_a_poster_is_the_painted_frame_with_the_most_details(render: Render, brush: Path, tmp_path: Path) -> None:
    pictures = [each.pixels // 8 for each in frames(open_clip(render()))][:9]  # nearly black
    pictures[6] = pictures[6] * 8
    clip, output, poster = render("dark.mp4", frames=pictures), tmp_path / "out.mp4", tmp_path / "poster.png"
    paint_video(clip, brush, output, extras=Extras(poster=poster))
    found = as_pixels(poster, 96)
    distances = [distance(each, found) for each in pictures_of(output)]
    assert int(np.argmin(distances)) == 6
    assert distances[6] < 2


def test_odd_sides_are_not_padded_in_posters_and_only_at_the_edge_of_comparisons(
    render: Render, brush: Path, tmp_path: Path
) -> None:
    odd = [np.full((49, 63, 3), 20 * number, np.uint8) for number in range(4)]
    clip, extras = render("odd.mkv", codec="mpeg4", frames=odd), Extras(tmp_path / "poster.png", tmp_path / "both.mp4")
    paint_video(clip, brush, tmp_path / "out.mp4", extras=extras)
    assert images.read(tmp_path / "poster.png").size == (49, 63)
    assert pictures_of(tmp_path / "both.mp4")[0].shape == (50, 126, 3)


@pytest.mark.slow
def test_a_gif_gets_a_poster_and_a_comparison(render: Render, brush: Path, tmp_path: Path) -> None:
    extras = Extras(tmp_path / "poster.jpg", tmp_path / "both.gif")
    paint_video(render(), brush, tmp_path / "out.gif", extras=extras)
    assert pictures_of(tmp_path / "both.gif")[0].shape == (64, 192, 3)
    assert images.read(tmp_path / "poster.jpg").size == (64, 96)


@pytest.mark.slow
def test_a_poster_that_cannot_be_written_keeps_the_segments(
    render: Render, brush: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ImageFileError("the disk is full")

    clip, output = render(), tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(painting, "write_extras", full)
        with pytest.raises(ImageFileError):
            paint_video(clip, brush, output, extras=Extras(poster=tmp_path / "poster.png"))
    assert folder_of(output).exists()
    assert paint_video(clip, brush, output, extras=Extras(poster=tmp_path / "poster.png")).frames == 30
    assert (tmp_path / "poster.png").exists()


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        (Extras(poster=Path("poster.mp4")), "poster.mp4"),
        (Extras(poster=Path("none/poster.png")), "none"),
        (Extras(compare=Path("compare.png")), "must end in"),
        (Extras(compare=Path("compare.webm")), "cannot contain the sound"),
    ],
)
def test_extras_that_cannot_be_written_are_refused_before_painting(
    render: Render, brush: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extras: Extras, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ClipError, ImageFileError), match=words):
        paint_video(render(), brush, tmp_path / "out.mp4", extras=extras)
    assert not folder_of(tmp_path / "out.mp4").exists()


@pytest.mark.slow
def test_the_command_line_writes_and_names_the_extras(
    render: Render, brush: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    render()
    monkeypatch.chdir(tmp_path)
    words = ["video", "clip.mp4", brush.name, "-o", "out.mp4", "--poster", "poster.jpg", "--compare", "both.mkv"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("out.mp4: ")
    assert "poster.jpg: saved" in err
    assert "both.mkv: saved" in err
    assert main([*words[:-1], "out.mp4"]) == 2
    assert "--compare 'out.mp4' would overwrite --output" in capsys.readouterr().err
