"""Painted clips: times, sound, sizes and formats are those of the clip; runs continue; results flicker less."""

import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skimage.data
import torch
from clip_pieces import pictures_of, sound_of, times_of
from conftest import add_tone
from skimage.filters import gaussian

from impasto import images
from impasto.errors import ClipError, OptionError
from impasto.images import AnimationFrame
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.options.video import VideoOptions
from impasto.recipes.brush import BrushPainter
from impasto.video import flow, libraries, painting
from impasto.video.clips import Clip, Damage, frames, open_clip
from impasto.video.flow import Stabilizer, motion_between, warped, with_contrast_of
from impasto.video.painters import BrushFrames, load_painter
from impasto.video.painting import VideoRun
from impasto.video.segments import Segment, Time, encoding_for, folder_of
from impasto.video.shots import Shot, shots

Render = Callable[..., Path]


@dataclass
class Flickering:
    """A painter whose frames have a random brightness and random grain."""

    noise: float = 0.1
    keys: int = 0
    contrast: float = 1.0

    @property
    def identity(self) -> dict[str, str]:
        return {"method": "test"}

    def check(self, size: tuple[int, int]) -> None:
        pass

    def look_at(self, shots: Iterable[Shot]) -> list[int]:
        return [shot.count for shot in shots]

    def paint(self, pixels: Any, shot: int, past: Any = ()) -> Any:
        generator = np.random.default_rng(zlib.crc32((pixels[::4, ::4] >> 5).tobytes()))  # robust to rounding
        grain = generator.normal(0, self.noise, pixels.shape[:2])[..., None] + generator.normal(0, self.noise / 2)
        return (0.2 + 0.6 * pixels / 255 + grain).clip(0, 1).astype(np.float32)


def paint(path: Path, output: Path, *, noise: float = 0.0, seconds: float = 2.0, **options: Any) -> VideoRun:
    chosen = VideoOptions(**options)
    run = VideoRun(open_clip(path, longest_px=chosen.size), Flickering(noise), output, chosen, seconds)
    for _ in run.paint():
        pass
    run.finish()
    return run


# ---------------------------------------------------------------------------------------------------- times and sound


@pytest.mark.slow
def test_frames_times_and_sound_are_those_of_the_clip(render: Render, tmp_path: Path) -> None:
    clip, output = render(), tmp_path / "out.mp4"
    paint(clip, output, seconds=0.3)
    assert len(times_of(output)) == 30
    assert times_of(output) == times_of(clip)
    assert sound_of(output) == sound_of(clip)
    assert not folder_of(output).exists()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_variable_times_are_kept(render: Render, tmp_path: Path, suffix: str) -> None:
    times = [512 * number + number**2 % 301 for number in range(30)]
    clip, output = render(f"clip{suffix}", times=times), tmp_path / f"out{suffix}"
    paint(clip, output, seconds=0.3)
    assert times_of(output) == times_of(clip)
    assert len(set(np.diff([float(each) for each in times_of(output)]).round(5))) > 5
    assert sound_of(output) == sound_of(clip)


@pytest.mark.slow
def test_a_clip_that_starts_late_keeps_its_distance_to_the_sound(render: Render, tmp_path: Path) -> None:
    clip, output = render(times=[5000 + 512 * number for number in range(30)]), tmp_path / "out.mp4"
    paint(clip, output)
    assert times_of(output) == times_of(clip)
    assert sound_of(output) == sound_of(clip)


@pytest.mark.slow
def test_webm_with_opus_is_painted_at_an_odd_size(render: Render, tmp_path: Path) -> None:
    odd = [np.full((49, 63, 3), 8 * number, np.uint8) for number in range(10)]
    clip = render("clip.webm", codec="libvpx-vp9", frames=odd, sound="libopus")
    output = tmp_path / "out.webm"
    paint(clip, output)
    assert pictures_of(output)[0].shape == (49, 63, 3)
    assert times_of(output) == times_of(clip)
    assert sound_of(output) == sound_of(clip)


def test_an_odd_size_is_padded_by_a_pixel_in_h264(render: Render, tmp_path: Path) -> None:
    odd = [np.full((49, 63, 3), 8 * number, np.uint8) for number in range(10)]
    output = tmp_path / "out.mp4"
    paint(render("clip.mkv", codec="mpeg4", frames=odd), output)
    assert pictures_of(output)[0].shape == (50, 64, 3)
    assert len(times_of(output)) == 10


# ---------------------------------------------------------------------------------------------------- pictures


def marked(size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """Return a dark picture whose top left corner is red."""
    picture = np.full((*size, 3), 30, np.uint8)
    picture[:24, :24] = (230, 30, 30)
    return picture


@pytest.mark.slow
@pytest.mark.parametrize(("rotation", "corner"), [(90, "bottom left"), (180, "bottom right"), (-90, "top right")])
def test_frames_are_turned_upright(render: Render, tmp_path: Path, rotation: int, corner: str) -> None:
    output = tmp_path / "out.mp4"
    paint(render(frames=[marked()] * 5, rotation=rotation), output)
    found = pictures_of(output)[0]
    assert found.shape == ((64, 96, 3) if rotation == 180 else (96, 64, 3))
    row, column = 4 if "top" in corner else -5, 4 if "left" in corner else -5
    assert found[row, column, 0] > found[..., 0].mean() + 50


def test_colors_survive_decoding_and_encoding(render: Render, tmp_path: Path) -> None:
    colors = np.array([[230, 30, 30], [30, 200, 60], [40, 60, 220], [200, 200, 200]], np.uint8)
    clip, output = render(frames=[colors.repeat(24, 0)[None].repeat(64, 0)] * 4), tmp_path / "out.mp4"
    paint(clip, output)
    expected = 255 * (0.2 + 0.6 * pictures_of(clip)[0][32, 12::24] / 255)
    assert np.abs(pictures_of(output)[0][32, 12::24] - expected).max() < 8


@pytest.mark.slow
def test_a_reduced_clip_has_the_given_size(render: Render, tmp_path: Path) -> None:
    paint(render(), tmp_path / "out.mp4", size=48)
    assert pictures_of(tmp_path / "out.mp4")[0].shape == (32, 48, 3)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_keep_their_frames_and_times(tmp_path: Path, suffix: str) -> None:
    pictures = [np.roll(marked((33, 41)), 2 * number, 1) for number in range(6)]
    durations = [40, 40, 90, 40, 200, 60]
    clip, output = tmp_path / f"clip{suffix}", tmp_path / f"out{suffix}"
    images.write_frames(clip, [AnimationFrame(*each) for each in zip(pictures, durations, strict=True)])
    paint(clip, output)
    found = list(images.animation_frames(output))
    assert [each.milliseconds for each in found] == durations
    assert found[0].pixels.shape == (33, 41, 3)


@pytest.mark.slow
def test_a_gif_becomes_a_video_and_a_video_a_gif(render: Render, tmp_path: Path) -> None:
    gif, video = tmp_path / "out.gif", tmp_path / "again.mp4"
    paint(render(), gif)
    found = list(images.animation_frames(gif))
    assert sum(each.milliseconds for each in found) == pytest.approx(1000, abs=10)
    assert len(found) == 30
    paint(gif, video)
    assert len(times_of(video)) == 30


def test_frames_too_short_for_gif_are_dropped_and_the_total_time_stays(tmp_path: Path) -> None:
    fast = [AnimationFrame(np.full((32, 32, 3), number, np.uint8), 8) for number in range(0, 250, 2)]
    images.write_frames(tmp_path / "fast.gif", fast)
    times = [each.milliseconds for each in images.animation_frames(tmp_path / "fast.gif")]
    assert min(times) >= 20
    assert sum(times) == 1000


# ---------------------------------------------------------------------------------------------------- interruptions


def interrupted_run(clip: Path, output: Path) -> None:
    """Paint a clip in two runs; the first one is killed after 16 frames."""
    first = VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2)
    for state in first.paint():
        if state.done == 16:
            break
    (folder_of(output) / "000002.mkv").write_bytes(b"incomplete")
    second = VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2)
    assert second.resumed == 12
    assert [state.done for state in second.paint()] == list(range(13, 31))
    second.finish()


def encoded_segment(pictures: Sequence[np.ndarray], clip: Clip, path: Path) -> None:
    with av.open(str(path), "w") as container:
        segment = Segment(container, clip, encoding_for(".mp4"))
        for number, each in enumerate(pictures):
            segment.add(each, Time(number, 1))
        container.mux(segment.stream.encode())


def test_segments_have_the_quality_of_a_clip_with_a_usual_frame_rate(render: Render, tmp_path: Path) -> None:
    """x264 lowers the quality of frames that are shown for a millisecond only."""
    gray = skimage.data.gravel()[..., None].repeat(3, 2)
    pictures = [np.ascontiguousarray(gray[top : top + 64, 100:196]) for top in range(0, 400, 50)]
    clip = open_clip(render(frames=pictures))
    encoded_segment(pictures, clip, tmp_path / "segment.mkv")
    errors = []
    for rate in (25, 1000):
        with av.open(str(tmp_path / "other.mkv"), "w") as container:
            stream: Any = container.add_stream("libx264", rate=rate, options=dict(encoding_for(".mp4").options))
            stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
            for each in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(each, format="rgb24")))
            container.mux(stream.encode())
        errors.append(encoding_error(tmp_path / "other.mkv", pictures))
    usual, fast = errors
    assert encoding_error(tmp_path / "segment.mkv", pictures) < 1.1 * usual < fast


def encoding_error(path: Path, pictures: Sequence[np.ndarray]) -> float:
    pairs = zip(pictures_of(path), pictures, strict=True)
    return float(np.mean([(one.astype(float) - two) ** 2 for one, two in pairs])) ** 0.5


def test_the_same_frames_are_always_encoded_in_the_same_way(render: Render, tmp_path: Path) -> None:
    """With x264's macroblock tree, a segment was encoded differently in one of ten processes."""
    clip, found = open_clip(render()), set()
    pictures = [each.pixels for each in frames(clip)][:6]
    for _ in range(100):
        encoded_segment(pictures, clip, tmp_path / "one.mkv")
        with av.open(str(tmp_path / "one.mkv")) as container:
            found.add(b"".join(map(bytes, container.demux(video=0))))
    assert len(found) == 1


@pytest.mark.slow
def test_an_interrupted_run_continues_after_its_last_segment(render: Render, tmp_path: Path) -> None:
    clip, output = render(), tmp_path / "out.mp4"
    interrupted_run(clip, output)
    assert times_of(output) == times_of(clip)
    assert sound_of(output) == sound_of(clip)


@pytest.mark.slow
def test_the_blending_goes_on_after_an_interruption(render: Render, tmp_path: Path) -> None:
    clip, whole, output = render(), tmp_path / "whole.webp", tmp_path / "out.webp"
    paint(clip, whole, noise=0.1, seconds=0.2)
    interrupted_run(clip, output)
    pairs = zip(pictures_of(output), pictures_of(whole), strict=True)
    assert max(np.abs(one.astype(int) - two).mean() for one, two in pairs) < 4  # without the state, frame 13 differs by more


@pytest.mark.slow
def test_segments_of_other_options_are_not_used(render: Render, tmp_path: Path) -> None:
    clip, output = render(), tmp_path / "out.mp4"
    first = VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2)
    for _ in first.paint():
        pass
    second = VideoRun(open_clip(clip), Flickering(), output, VideoOptions(stability=0.5), 0.2)
    assert second.resumed == 0
    assert second.segments.is_replaced
    third = VideoRun(
        open_clip(render("other.mp4", times=[700 * n for n in range(30)])), Flickering(), output, VideoOptions(), 0.2
    )
    assert third.resumed == 0


@pytest.mark.slow
def test_segments_of_another_encoding_are_not_used(render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of different encodings cannot be joined: the decoder gets the parameters of the first one."""
    clip, output = render(), tmp_path / "out.mp4"
    for _ in VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2).paint():
        pass
    assert VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2).resumed > 0
    encoding = encoding_for(".mp4")
    changed = replace(encoding, options={**encoding.options, "preset": "veryfast"})
    monkeypatch.setattr(painting, "encoding_for", lambda suffix: changed)
    assert VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2).resumed == 0


@pytest.mark.slow
def test_a_run_goes_on_after_a_kill_while_its_folder_was_made_or_deleted(render: Render, tmp_path: Path) -> None:
    clip, output = render(), tmp_path / "out.mkv"
    interrupted_run(clip, output)
    folder = folder_of(output)
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").unlink(missing_ok=True)
    (folder / "000000.mkv").write_bytes(b"left")
    (folder / ".impasto-0123456789ab.part").write_bytes(b"left")
    run = VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2)
    assert run.resumed == 0
    assert not (folder / ".impasto-0123456789ab.part").exists()


@pytest.mark.slow
def test_segments_of_an_older_version_are_continued(render: Render, tmp_path: Path) -> None:
    clip, output = render(), tmp_path / "out.mp4"
    state = state_after_first_segment(clip, output)
    with np.load(state) as saved:
        one = {"source": saved["sources"][-1], "result": saved["results"][-1]}
    np.savez(state, **one)
    run = VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2)
    assert run.resumed == 6
    assert [state.done for state in run.paint()] == list(range(7, 31))
    assert run.finish().frames == 30


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"PK\3\4 damaged", None])
def test_a_run_starts_anew_if_the_frames_to_go_on_with_are_damaged(
    render: Render, tmp_path: Path, content: bytes | None
) -> None:
    clip, output = render(), tmp_path / "out.mp4"
    state = state_after_first_segment(clip, output)
    state.unlink() if content is None else state.write_bytes(content)
    run = VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2)
    assert (run.resumed, run.segments.is_replaced) == (0, True)
    assert not state.exists()


def state_after_first_segment(clip: Path, output: Path) -> Path:
    """Stop a run after its first segment, and return the file with the frames to go on with."""
    for state in VideoRun(open_clip(clip), Flickering(), output, VideoOptions(), 0.2).paint():
        if state.done == 7:
            break
    return folder_of(output) / "000000.npz"


def test_a_folder_with_other_files_is_never_deleted(render: Render, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out.mp4")
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(ClipError, match="holds other files"):
        paint(render(), tmp_path / "out.mp4")
    assert (folder / "diary.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_result_that_cannot_be_joined_keeps_its_segments(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, output = render(), tmp_path / "out.mp4"

    def full(*_: object) -> None:
        raise ClipError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(painting, "join", full)
        with pytest.raises(ClipError):
            paint(clip, output)
    again = VideoRun(open_clip(clip), Flickering(), output, VideoOptions())
    assert again.resumed == 30
    assert list(again.paint()) == []
    assert again.finish().frames == 30


# ---------------------------------------------------------------------------------------------------- flicker


def flicker(clip: Path, output: Path) -> float:
    """Return the warping error: the change of the result along the movement of the clip, where nothing was hidden."""
    sources, results, errors = pictures_of(clip), [each / 255 for each in pictures_of(output)], []
    for number in range(1, len(sources)):
        motion = motion_between(sources[number - 1], sources[number])
        before = warped(results[number - 1].astype(np.float32), motion.flow)
        errors.append((((before - results[number]) ** 2).mean(-1))[motion.trust > 0.5].mean())
    return float(np.mean(errors)) ** 0.5


@pytest.mark.slow
def test_blending_along_the_movement_lowers_the_warping_error(render: Render, tmp_path: Path) -> None:
    clip, single, steady = render(), tmp_path / "single.webp", tmp_path / "steady.webp"
    paint(clip, single, noise=0.05, stability=0.0)
    paint(clip, steady, noise=0.05)
    assert flicker(clip, steady) < 0.4 * flicker(clip, single)


def test_the_flow_follows_a_panning_camera() -> None:
    portrait = skimage.data.astronaut()[:200, 100:360]
    before, now = portrait[:, :240], portrait[:, 3:243]
    motion = motion_between(before, now)
    assert np.median(motion.flow[..., 0]) == pytest.approx(3, abs=0.3)
    assert np.median(motion.flow[..., 1]) == pytest.approx(0, abs=0.3)
    assert motion.trust[20:-20, 20:-20].mean() > 0.7
    assert motion.trust[:, -1].max() < 0.5  # these pixels were outside of the frame before


def test_blending_keeps_most_of_the_contrast_of_strokes() -> None:
    random, clip, stabilizer = np.random.default_rng(0), skimage.data.astronaut()[:96, 100:228], Stabilizer(0.8)
    for _ in range(12):
        strokes = gaussian(random.random((96, 128, 3)), 1.0, channel_axis=-1).astype(np.float32)
        result = stabilizer.blend(clip, strokes) / 255
    of_result, of_strokes = ((each - gaussian(each, 3.0, channel_axis=-1)).std() for each in (result, strokes))
    assert 0.6 * of_strokes < of_result < 1.1 * of_strokes  # blending alone gives 0.4
    assert abs(result.mean() - strokes.mean()) < 0.01


def test_the_contrast_of_a_blend_can_be_higher_than_that_of_the_painted_frame() -> None:
    random = np.random.default_rng(0)
    painted, other = (random.random((96, 128, 3), np.float32) for _ in range(2))
    blend = 0.5 * painted + 0.5 * other
    same, higher = (float(with_contrast_of(painted, blend, contrast).std()) for contrast in (1.0, 1.1))
    assert same == pytest.approx(painted.std(), rel=0.05)
    assert higher == pytest.approx(1.1 * same, rel=0.02)
    assert Stabilizer(0.8, contrast=1.1).contrast == 1.1


def test_nothing_of_the_previous_shot_is_blended_after_a_cut() -> None:
    dark, light = np.full((64, 96, 3), 20, np.uint8), np.full((64, 96, 3), 220, np.uint8)
    stabilizer = Stabilizer(1.0)
    stabilizer.blend(dark, np.zeros((64, 96, 3), np.float32))
    assert stabilizer.blend(light, np.ones((64, 96, 3), np.float32)).min() > 250


def test_cuts_are_found_and_movement_is_none(render: Render) -> None:
    moving = [each.copy() for each in pictures_of(render())[:10]]
    other = [np.roll(255 - each, 3, 2) for each in moving]
    clip = open_clip(render("cut.mp4", frames=moving + other + moving))
    assert [each.count for each in shots(frames(clip))] == [10, 10, 10]
    assert all(1 <= len(each.samples) <= 4 for each in shots(frames(clip)))


def test_a_brush_paints_all_frames_of_a_shot_with_the_same_statistics(tmp_path: Path) -> None:
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)).initialize(torch.Generator().manual_seed(0)), {})
    plain = np.random.default_rng(0).integers(60, 120, (64, 96, 3)).astype(np.uint8)
    bright = plain.copy()
    bright[:, 80:] = 250
    painter = BrushFrames(BrushPainter(tmp_path / "mine.brush", engine="torch"))
    assert painter.look_at([Shot(2, [plain, bright]), Shot(1, [bright])]) == [2, 1]
    one, two = painter.paint(plain, 0), painter.paint(bright, 0)
    assert np.abs(one - two)[:, :32].max() < 1e-4
    assert np.abs(two - painter.paint(bright, 1)).max() > 0.05


@pytest.mark.slow
def test_a_clip_is_painted_with_a_brush_and_with_a_picture(render: Render, tmp_path: Path) -> None:
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)).initialize(torch.Generator().manual_seed(0)), {})
    images.write(tmp_path / "style.png", images.read(skimage.data.coffee()[::4, ::4]))
    clip = render(frames=pictures_of(render())[:3])
    for style in ("mine.brush", "style.png"):
        finished = painting.paint_video(clip, tmp_path / style, tmp_path / "out.mp4")
        assert (finished.frames, finished.size) == (3, (64, 96))
        assert times_of(tmp_path / "out.mp4") == times_of(clip)
        assert np.abs(pictures_of(tmp_path / "out.mp4")[1].astype(int) - pictures_of(clip)[1]).mean() > 5


@pytest.mark.parametrize(
    ("style", "method", "words"), [("mine.brush", "instant", "is a brush"), ("style.png", "brush", "not a brush")]
)
def test_styles_that_do_not_fit_the_method_are_refused(tmp_path: Path, style: str, method: str, words: str) -> None:
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)), {})
    images.write(tmp_path / "style.png", torch.rand(1, 3, 64, 64))
    with pytest.raises(OptionError, match=words):
        load_painter(tmp_path / style, VideoOptions(method=method))


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (b"hello, this is a text", "not a video"), (b"\0" * 5000, "not a video")]
)
def test_files_that_are_no_clips_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(ClipError, match=words):
        open_clip(tmp_path / "clip.mp4")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="there is no file"):
        open_clip(tmp_path / "missing.mp4")
    with pytest.raises(ClipError, match="folder"):
        open_clip(tmp_path)


def test_a_picture_and_a_sound_are_refused(render: Render, tmp_path: Path) -> None:
    for name in ("still.png", "still.jpg"):
        images.write(tmp_path / name, torch.rand(1, 3, 64, 64))
        with pytest.raises(ClipError, match="is a picture, not a clip"):
            open_clip(tmp_path / name)
    images.write(tmp_path / "still.webp", torch.rand(1, 3, 64, 64))
    with pytest.raises(ClipError, match="a single frame"):
        open_clip(tmp_path / "still.webp")
    with av.open(str(tmp_path / "sound.m4a"), "w") as container, av.open(str(render())) as source:
        copy = container.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.size:
                packet.stream = copy
                container.mux(packet)
    with pytest.raises(ClipError, match="no video stream"):
        open_clip(tmp_path / "sound.m4a")


@pytest.mark.parametrize(("curve", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(render: Render, curve: int, name: str) -> None:
    with pytest.raises(ClipError, match=name):
        open_clip(render(pixel_format="yuv420p10le", color_trc=curve))


def test_ten_bits_without_hdr_are_painted(render: Render, tmp_path: Path) -> None:
    clip = render(pixel_format="yuv420p10le")
    paint(clip, tmp_path / "out.mp4")
    assert times_of(tmp_path / "out.mp4") == times_of(clip)


def test_damaged_frames_are_skipped_and_counted(render: Render, tmp_path: Path) -> None:
    clip = render("clip.mkv", codec="mjpeg", pixel_format="yuvj420p")
    with av.open(str(clip)) as container:
        packets = [(each.pos, each.size) for each in container.demux(video=0) if each.size]
    data = bytearray(clip.read_bytes())
    for position, size in (packets[10], packets[20]):
        start = data.index(b"\xff\xd8", position)
        data[start : start + size - 40] = bytes(size - 40)
    clip.write_bytes(data)
    damage = Damage()
    kept = list(frames(open_clip(clip), damage))
    assert len(kept) + damage.frames == 30
    assert damage.frames == 2
    run = paint(clip, tmp_path / "out.mkv")
    assert run.damaged == 2
    assert len(times_of(tmp_path / "out.mkv")) == 28


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4"])
def test_frames_that_are_missing_in_a_file_are_counted(render: Render, codec: str) -> None:
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    times = [512 * number + 3000 * (number > 4) for number in range(30)]  # a pause is not damage
    clip = render("clip.mkv", codec=codec, pixel_format=pixel_format, times=times)
    damage = Damage()
    assert len(list(frames(open_clip(clip), damage))) == 30
    assert damage.frames == 0
    with av.open(str(clip)) as container:
        packets = [(each.pos, bytes(each)) for each in container.demux(video=0) if each.size]
    data = bytearray(clip.read_bytes())
    for position, packet in (packets[14], packets[22]):
        start = data.index(packet, position)
        data[start - 7 : start] = bytes(7)  # libav skips the block without an error
    clip.write_bytes(data)
    kept = list(frames(open_clip(clip), damage))
    assert len(kept) < 29
    assert len(kept) + damage.frames == 30


def test_frames_that_are_missing_at_the_end_are_counted_and_the_last_ones_of_a_decoder_are_not(render: Render) -> None:
    clip = render("clip.mkv", sound="")
    damage = Damage()
    assert len(list(frames(open_clip(clip), damage))) == 30
    with av.open(str(clip)) as source, av.open(str(clip.with_name("sound_first.mkv")), "w") as container:
        audio, copy = container.add_stream("aac", rate=48000), container.add_stream_from_template(source.streams.video[0])
        add_tone(container, audio)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                container.mux(packet)
    remuxed = open_clip(clip.with_name("sound_first.mkv"))  # the rate in its header is 15360
    assert remuxed.rate == 30
    assert len(list(frames(remuxed, damage))) == 30
    ends_late = clip.with_name("ends_late.mkv")
    data = bytearray(clip.read_bytes())
    place = data.rindex(b"00:00:01.0")
    data[place : place + 8] = b"00:00:09"  # the last picture is shown for eight seconds
    ends_late.write_bytes(data)
    assert len(list(frames(open_clip(ends_late), damage))) == 30
    assert damage.frames == 0
    clip = render("pictures.mkv", codec="mjpeg", pixel_format="yuvj420p")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    kept = len(list(frames(open_clip(clip), damage)))
    assert kept < 29
    assert kept + damage.frames == 30


def test_the_sound_after_an_error_in_the_file_is_kept(render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, output = render(), tmp_path / "out.mp4"
    whole, demux, read = sound_of(clip), av.container.InputContainer.demux, []

    class Faulty:
        """A file with a packet of sound that cannot be read."""

        def __init__(self, container: Any) -> None:
            self.container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self.container, name)

        def demux(self, *streams: Any) -> Any:
            for packet in demux(self.container, *streams):
                read.append(packet)
                if len(read) == 10:
                    raise av.error.InvalidDataError(1, "broken")
                yield packet

    @contextmanager
    def opened(path: Path) -> Any:
        with av.open(str(path)) as container:
            yield Faulty(container)

    monkeypatch.setattr("impasto.video.joining.opened", opened)
    monkeypatch.setattr("impasto.video.joining.check_sound", lambda *_: None)
    monkeypatch.setattr(painting, "check_sound", lambda *_: None)
    paint(clip, output)
    assert sound_of(output) == whole[:9] + whole[10:]


def test_a_truncated_clip_is_painted_up_to_its_end(render: Render, tmp_path: Path) -> None:
    clip = render("clip.mkv")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    paint(clip, tmp_path / "out.mkv")
    assert 5 < len(times_of(tmp_path / "out.mkv")) <= 30


def test_sound_that_the_format_cannot_contain_is_refused_before_painting(render: Render, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"\.webm cannot contain the sound .*aac"):
        paint(render(), tmp_path / "out.webm")


@pytest.mark.parametrize(
    ("output", "words"),
    [("out.avi", "must end in"), ("out", "must end in"), ("none/out.mp4", "no folder"), (".mp4", "must end in")],
)
def test_results_that_cannot_be_written_are_refused(render: Render, tmp_path: Path, output: str, words: str) -> None:
    with pytest.raises(ClipError, match=words):
        paint(render(), tmp_path / output)


def test_a_disk_that_is_too_small_is_reported_before_painting(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(ClipError, match=r"segments need about 50 MiB, but only 0 MiB are free in"):
        VideoRun(open_clip(render()), Flickering(), tmp_path / "out.mp4", VideoOptions())
    assert not folder_of(tmp_path / "out.mp4").exists()


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda _: None)
    with pytest.raises(OptionError, match=r"impasto\[video\]"):
        libraries.check_libraries()


def test_tiny_frames_are_blended(render: Render) -> None:
    small = [np.full((5, 7, 3), 10 * number, np.uint8) for number in range(2)]
    assert flow.motion_between(*small).flow.shape == (5, 7, 2)
