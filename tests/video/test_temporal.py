"""Clips painted by optimization: strokes of the style, little flicker, and results that resemble those of ``paint``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import skimage.data
from clip_pieces import pictures_of, times_of

from impasto import images
from impasto.errors import ImpastoError
from impasto.images import Picture
from impasto.optim.tiled import TilePlan
from impasto.options import Run
from impasto.recipes import gatys
from impasto.recipes.painting import read_style
from impasto.recipes.reporting import reports_of
from impasto.video.flat_areas import continued_into_flat_areas
from impasto.video.flow import Past, Stabilizer, motion_between, warped
from impasto.video.painting import paint_video
from impasto.video.temporal import PaintFrames, moved_results

COUNT, HEIGHT, WIDTH = 6, 90, 160


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that pans and zooms over a photo, with a disk that moves across."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    scene = cv2.resize(skimage.data.astronaut(), (400, 400), interpolation=cv2.INTER_AREA)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=12, options={"crf": "14"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(COUNT):
            zoom = 1 + 0.004 * number
            place = np.array([[zoom, 0, -70 - 2.0 * number], [0, zoom, -30 - number]], np.float32)
            frame: Any = cv2.warpAffine(scene, place, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
            cv2.circle(frame, (20 + 7 * number, 66), 14, (230, 120, 40), -1, cv2.LINE_AA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def style() -> Picture:
    found = read_style("starry-night")
    return found if isinstance(found, Picture) else found.picture()


def flicker(sources: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> float:
    """Return the warping error where nothing was hidden."""
    errors = []
    for number in range(1, len(sources)):
        motion = motion_between(sources[number - 1], sources[number], is_fine=True)
        before = warped(results[number - 1].astype(np.float32) / 255, motion.flow)
        errors.append((((before - results[number] / 255) ** 2).mean(-1))[motion.trust > 0.5].mean())
    return float(np.mean(errors)) ** 0.5


def as_picture(pixels: np.ndarray) -> Picture:
    return images.read(np.ascontiguousarray(pixels))


@pytest.mark.slow
def test_a_clip_is_painted_by_optimization_without_flicker(clip: Path, style: Picture, tmp_path: Path) -> None:
    output, single = tmp_path / "out.mp4", tmp_path / "single.mp4"
    images.write(tmp_path / "style.png", style.image)
    finished = paint_video(clip, tmp_path / "style.png", output, method="paint")
    paint_video(clip, tmp_path / "style.png", single, method="paint", stability=0.0)
    assert (finished.frames, finished.size) == (COUNT, (HEIGHT, WIDTH))
    assert times_of(output) == times_of(clip)
    sources, results, alone = map(pictures_of, (clip, output, single))
    assert flicker(sources, results) < 0.3 * flicker(sources, alone)
    for source, result, other in list(zip(sources, results, alone, strict=True))[1::2]:
        (steady,) = reports_of(as_picture(source), (style,), [as_picture(result)])
        (independent,) = reports_of(as_picture(source), (style,), [as_picture(other)])
        assert steady["style_closed"] > independent["style_closed"] - 0.15
        assert steady["style_closed"] > 0.3


@pytest.mark.slow
def test_where_a_disk_was_the_ground_is_painted_and_not_the_disk(clip: Path, style: Picture) -> None:
    painter, stabilizer = PaintFrames(style, 0.8, 1.0, Run()), Stabilizer(0.8, PaintFrames.keys)
    ground = np.ascontiguousarray(skimage.data.astronaut()[:90, 180:340])
    covered = ground.copy()
    cv2.circle(covered, (60, 45), 24, (255, 255, 255), -1, cv2.LINE_AA)
    stabilizer.blend(covered, np.ones((90, 160, 3), np.float32))
    result = stabilizer.blend(ground, painter.paint(ground, 0, stabilizer.past))
    hidden = result[35:55, 50:70].astype(int)
    assert hidden.std() > 8  # strokes
    assert hidden.mean() < 225  # nothing of the white result before


def test_a_pixel_hidden_in_the_previous_frame_is_taken_from_an_older_one() -> None:
    scene = np.ascontiguousarray(skimage.data.astronaut()[:128, 128:320])
    covered = scene.copy()
    covered[40:80, 60:110] = (20, 220, 40)
    old, recent = np.full_like(scene, 50), np.full_like(scene, 200)
    goal, trust = moved_results(scene, [Past(scene, old, 0), Past(covered, recent, 1)])
    assert trust[50:70, 70:100].mean() > 0.8
    assert abs(goal[50:70, 70:100].mean() * 255 - 50) < 20
    assert abs(goal[100:, :40].mean() * 255 - 200) < 5
    _, alone = moved_results(scene, [Past(covered, recent, 1)])
    assert alone[50:70, 70:100].mean() < 0.2


def test_every_eighth_frame_of_a_shot_is_kept_as_a_key_frame() -> None:
    frame = np.zeros((32, 32, 3), np.uint8)
    stabilizer = Stabilizer(0.0, keys=2)
    for _ in range(20):
        stabilizer.blend(frame, np.zeros((32, 32, 3), np.float32))
    assert [each.number for each in stabilizer.past] == [8, 16, 19]
    stabilizer.reset()
    assert stabilizer.past == []
    short = Stabilizer(0.0)
    for _ in range(3):
        short.blend(frame, np.zeros((32, 32, 3), np.float32))
    assert [each.number for each in short.past] == [2]


@pytest.mark.slow
def test_frames_that_are_too_small_are_refused(style: Picture) -> None:
    with pytest.raises(ImpastoError, match="at least 32"):
        PaintFrames(style, 0.8, 1.0, Run()).check((20, 64))


@pytest.mark.slow
def test_at_strength_0_the_result_is_the_clip(style: Picture) -> None:
    scene = np.ascontiguousarray(skimage.data.astronaut()[:64, 180:276])
    painter = PaintFrames(style, 0.8, 0.0, Run())
    assert np.abs(painter.paint(scene, 0, [Past(scene, scene, 0)]) * 255 - scene).max() < 1.5


@pytest.mark.slow
def test_the_same_frame_and_past_give_the_same_result(style: Picture) -> None:
    scene = np.ascontiguousarray(skimage.data.astronaut()[:64, 180:276])
    painter = PaintFrames(style, 0.8, 1.0, Run())
    first = painter.paint(scene, 0, [Past(scene, scene, 0)])
    assert np.array_equal(first, painter.paint(scene, 0, [Past(scene, scene, 0)]))


@pytest.mark.slow
def test_frames_in_tiles_are_kept_close_to_earlier_ones(style: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = np.ascontiguousarray(skimage.data.astronaut()[:64, 132:228])
    set_up = gatys.set_up

    def in_tiles(*given: Any, **named: Any) -> Any:
        context = set_up(*given, **named)
        return replace(context, tiles=TilePlan(context.encoder.layers, 0, tile_px=48))

    monkeypatch.setattr(gatys, "set_up", in_tiles)
    painter = PaintFrames(style, 1.0, 1.0, Run(device="cpu", precision="fp32"))
    first = (painter.paint(frame, 0) * 255).round().astype(np.uint8)
    second = painter.paint(frame, 0, [Past(frame, first, 0)]) * 255
    assert np.abs(second - first).mean() < 10


def test_the_predicted_time_is_that_of_first_frames_and_of_others(style: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatys, "predicted_seconds", lambda context: 3.0)
    monkeypatch.setattr(PaintFrames, "_trial", lambda self, edge_px: 0.1 + 1e-5 * edge_px**2)
    painter = PaintFrames(style, 0.8, 1.0, Run())
    assert painter.predicted_seconds((90, 160), 1) == pytest.approx(3)
    assert painter.predicted_seconds((90, 160), 11) == pytest.approx(3 + 10 * 0.244)
    assert painter.predicted_seconds((90, 160), 11, shots=4) == pytest.approx(12 + 7 * 0.244)
    assert painter.predicted_seconds((360, 640), 1) == pytest.approx(12)  # from a trial with a quarter of the pixels
    assert PaintFrames(style, 0.0, 1.0, Run()).predicted_seconds((90, 160), 11) == pytest.approx(33)


def test_a_prediction_paints_small_frames(style: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    paint, sizes = PaintFrames.paint, []

    def watched(self: PaintFrames, pixels: np.ndarray, shot: int, past: Sequence[Past] = ()) -> np.ndarray:
        sizes.append(pixels.shape[:2])
        return paint(self, pixels, shot, past)

    monkeypatch.setattr(PaintFrames, "paint", watched)
    monkeypatch.setattr("impasto.video.temporal._TRIAL_PX", (40, 48))
    assert PaintFrames(style, 0.8, 1.0, Run()).predicted_seconds((40, 4000), 1000) > 0
    assert set(sizes) == {(40, 40), (48, 48)}


@pytest.mark.parametrize(("slope", "expected"), [(0.0, -3), (0.5, 0)])
def test_flat_areas_move_with_textured_ones_unless_their_colors_show_otherwise(slope: float, expected: int) -> None:
    """The left half has texture and moves by 3 pixels. The right half is flat, or has a gradient that does not move."""
    flat = 128 + slope * (np.arange(320) - 240) * np.ones((180, 1))
    frames, texture = [], np.random.default_rng(0).integers(98, 159, (180, 166))
    for moved in (0, 3):
        frame = flat.copy()
        frame[:, :160] = texture[:, 3 - moved : 163 - moved]
        frames.append(np.ascontiguousarray(np.broadcast_to(frame[..., None], (180, 320, 3)).round().astype(np.uint8)))
    back = np.zeros((180, 320, 2), np.float32)
    back[:, :160, 0] = -3
    found = continued_into_flat_areas(*frames, back, np.ones((180, 320), np.float32))
    np.testing.assert_allclose(found[20:-20, 200:300].mean((0, 1)), (expected, 0), atol=0.3)
    assert np.array_equal(found[:, 20:140].round(1), back[:, 20:140])
