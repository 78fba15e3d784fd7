"""Clips in the studio: uploads, requests, painting in a worker, a studio that is killed and goes on."""

import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import av
import PIL.Image
import pytest

pytest.importorskip("fastapi")

import studio_pieces as pieces
from impasto.errors import ClipError
from impasto.recipes import gatys
from impasto.studio import brushes, video_jobs
from impasto.studio.app import create_app
from impasto.studio.controls import KINDS
from impasto.studio.gallery import DiskFullError
from impasto.studio.painting_state import Pace
from impasto.studio.routes import results
from impasto.studio.settings import Limits, Settings
from impasto.studio.storage import new_identity
from impasto.studio.studio import Studio
from impasto.video import libraries
from impasto.video.temporal import PaintFrames
from studio_clips import SECRET, clip, hostile, tiny_brush

API = "/api/v1"
STYLE, BRUSH = "great-wave", "tiny"


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    limits = Limits(clip_bytes=2_000_000, body_bytes=2000)
    found: Studio = create_app(Settings(data=tmp_path / "data", limits=limits)).state.studio
    yield found
    found.database.close()


@pytest.fixture
def client(studio: Studio) -> pieces.Local:
    return pieces.client_of(studio)


@pytest.fixture(autouse=True)
def _shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with one included brush."""
    monkeypatch.setattr(brushes, "SHIPPED", tmp_path)
    tiny_brush(tmp_path / f"{BRUSH}.brush")


@pytest.fixture(name="asked_here")
def intake_in_this_process(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls to the quick worker run in this process, because these studios have no workers."""
    from impasto.studio import orders, worker
    from impasto.studio.child import CallError
    from impasto.studio.security import RefusedError

    async def ask(**message: Any) -> Any:
        try:
            return orders.DOES[message["do"]](message, Line())  # type: ignore[arg-type]
        except Exception as error:
            found = CallError(*worker._described(error))
            raise RefusedError(422, found.code, str(found), found.field) from error

    monkeypatch.setattr(studio, "ask", ask)


def uploaded(studio: Studio, data: bytes = b"", **facts: Any) -> str:
    """Store a clip as the route does."""
    identity = new_identity("c")
    studio.folder.upload(identity).write_bytes(data or clip())
    known = {"frames": 24, "seconds": 0.8, "rate": 30.0, "sounds": ["aac"]} | facts
    row = {"name": "holiday.mp4", "width": 64, "height": 48, "bytes": 9, "disk": 9, "sha256": "0" * 64, "notes": []}
    studio.gallery.add_upload(identity, row | {"clip": known})
    return identity


# ---------------------------------------------------------------------------------------------------- uploads


@pytest.mark.usefixtures("asked_here")
def test_a_clip_is_uploaded_shown_listed_and_deleted(client: pieces.Local, studio: Studio) -> None:
    answer = client.post(f"{API}/clips?name=holiday.mp4", content=clip(), headers={"content-type": "video/mp4"})
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["name"], shown["width"], shown["height"], shown["frames"], shown["sounds"]) == (
        "holiday.mp4",
        64,
        48,
        24,
        ["aac"],
    )
    assert shown["seconds"] == pytest.approx(0.8, abs=0.25)
    assert client.get(f"{API}/clips").json()["items"] == [shown]
    assert client.get(f"{API}/clips/{shown['id']}").json() == shown
    for name in ("image", "thumb"):
        frame = client.get(shown[name])
        assert PIL.Image.open(io.BytesIO(frame.content)).size == (64, 48), name
    assert client.get(f"{API}/uploads").json()["items"] == []  # a clip is not one of the photos
    assert client.get(f"{API}/uploads/{shown['id']}").status_code == 404
    assert studio.gallery.used() > shown["bytes"]
    assert client.delete(f"{API}/clips/{shown['id']}").status_code == 204
    assert list((studio.folder.root / "uploads").iterdir()) == []
    gone = client.get(f"{API}/clips/{shown['id']}")
    assert (gone.status_code, gone.json()["error"]["message"]) == (404, f"there is no clip {shown['id']}")


@pytest.mark.usefixtures("asked_here")
def test_an_animation_is_a_clip(client: pieces.Local) -> None:
    stream = io.BytesIO()
    frames = [PIL.Image.new("RGB", (40, 32), (number * 40, 90, 90)) for number in range(5)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=100)
    shown = client.post(f"{API}/clips?name=a.gif", content=stream.getvalue()).json()
    assert (shown["frames"], shown["seconds"], shown["sounds"]) == (5, 0.5, [])


@pytest.mark.slow
@pytest.mark.usefixtures("asked_here")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", "'../x.mp4' is not a clip"),
        ("photo", "'x.mp4' is not a clip; give an MP4"),
        ("playlist", "'x.mp4' is not a clip; give an MP4"),
        ("manifest", "'x.mp4' is not a clip; give an MP4"),
        ("list", "'x.mp4' is not a clip; give an MP4"),
        ("cut", "'x.mp4' is not a clip"),
        ("sound", "'x.mp4' has no video stream; give a clip with pictures"),
        ("hdr", "'x.mp4' is an HDR clip (PQ); convert it to SDR first"),
        ("still", "'x.mp4' has a single frame; add it as a photo on the first page"),
        ("empty", "the body is empty; send the file"),
    ],
)
def test_files_that_are_not_clips_are_refused_by_name_with_one_sentence(
    client: pieces.Local, studio: Studio, kind: str, words: str
) -> None:
    answer = client.post(f"{API}/clips?name=..%2Fx.mp4", content=hostile(kind, studio.folder.root))
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert words.replace("../", "") in error["message"]
    assert str(studio.folder.root) not in error["message"]
    assert error["code"] == "clip"
    assert list((studio.folder.root / "uploads").iterdir()) == []


def test_a_clip_that_is_too_large_is_refused(client: pieces.Local, studio: Studio) -> None:
    answer = client.post(f"{API}/clips", content=b"x" * 2_000_001)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "large")

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1_000_000

    answer = client.post(f"{API}/clips", content=parts(), headers={"content-type": "video/mp4"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "large")
    assert list((studio.folder.root / "uploads").iterdir()) == []
    assert client.get(f"{API}/status").json()["limits"]["clip_bytes"] == 2_000_000


def test_a_clip_that_does_not_fit_on_the_disk_is_refused_before_it_is_written(
    client: pieces.Local, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    answer = client.post(f"{API}/clips", content=b"x" * 1_000_000)
    assert answer.status_code == 507
    assert "the clip has 1 MB, but only 0 MB are free on the studio's disk" in answer.json()["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x"])
def test_content_types_of_forms_are_refused(client: pieces.Local, kind: str) -> None:
    assert client.post(f"{API}/clips", content=clip(), headers={"content-type": kind}).status_code == 415


@pytest.mark.slow
def test_without_the_packages_for_video_the_routes_name_the_extra(
    client: pieces.Local, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    body = {"kind": "video", "clip": uploaded(studio), "brush": BRUSH}
    for answer in (
        client.get(f"{API}/clips"),
        client.post(f"{API}/clips", content=clip()),
        client.post(f"{API}/jobs", json=body),
    ):
        assert answer.status_code == 501
        assert answer.json()["error"]["code"] == "extra"
        assert "pip install 'impasto[video]'" in answer.json()["error"]["message"]
    assert client.get(f"{API}/status").status_code == 200


# ---------------------------------------------------------------------------------------------------- requests


@pytest.mark.slow
def test_a_video_has_a_lane_of_its_own_and_keeps_its_clip(client: pieces.Local, studio: Studio) -> None:
    identity = uploaded(studio)
    body = {"kind": "video", "clip": identity, "brush": BRUSH, "sound": False, "options": {"size": 48, "stability": 0.5}}
    answer = client.post(f"{API}/jobs", json=body)
    assert answer.status_code == 201, answer.text
    job = answer.json()
    row = studio.jobs.get(job["id"])
    assert row["lane"] == "video"
    order = studio.order(row)
    assert order["clip"] == {"path": str(studio.folder.upload(identity)), "name": "holiday.mp4"}
    assert order["sound"] is False
    assert job["eta_seconds"] is None  # it depends on the clip, and is known after the first frames
    assert client.delete(f"{API}/clips/{identity}").status_code == 409
    assert client.post(f"{API}/jobs", json=job["request"]).status_code == 201  # the request in a job can be posted again


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"clip": None}, "clip", "'clip' is missing"),
        ({"clip": "c_0000000000000000"}, "clip", "there is no clip c_0000000000000000"),
        ({"clip": "/etc/passwd"}, "clip", "'clip' is '/etc/passwd'"),
        ({"clip": "u_0000000000000000"}, "clip", "'clip' is"),
        ({"content": "u_0000000000000000"}, "content", "'content' cannot be used with kind 'video'"),
        ({"brush": None}, "styles", "give the id of a style or of a brush"),
        ({"brush": None, "styles": [STYLE, "starry-night"]}, "styles", "give only one if 'kind' is 'video'"),
        ({"brush": None, "styles": ["no-such"]}, "styles", "there is no style"),
        ({"styles": [STYLE]}, "styles", "a brush has its own style"),
        ({"brush": "no-such"}, "brush", "there is no brush"),
        ({"masks": ["all"]}, "masks", "'masks' cannot be used with kind 'video'"),
        ({"sound": "yes"}, "sound", "'sound' is 'yes'"),
        ({"options": {"method": "instant"}}, "method", "needs a style"),
        ({"options": {"method": "paint"}}, "method", "method"),
        ({"options": {"stability": 2}}, "stability", "0 to 1"),
        ({"options": {"size": 7}}, "size", "from 32"),
        ({"options": {"stroke": 2}}, "stroke", "is not an option of kind 'video'"),
        ({"kind": "apply", "clip": "CLIP"}, "clip", "'clip' is only allowed if 'kind' is 'video'"),
        ({"kind": "apply", "clip": None, "sound": False}, "sound", "'sound' is only allowed if 'kind' is 'video'"),
    ],
)
def test_invalid_video_jobs_are_refused_with_their_field(
    client: pieces.Local, studio: Studio, changes: dict[str, Any], field: str, words: str
) -> None:
    body = {"kind": "video", "clip": "CLIP", "brush": BRUSH} | changes
    response = client.post(f"{API}/jobs", json=json.loads(json.dumps(body).replace("CLIP", uploaded(studio))))
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert error["field"] == field
    assert words in error["message"]


def test_a_clip_that_is_too_long_for_the_disk_is_refused_before_it_waits(client: pieces.Local, studio: Studio) -> None:
    endless = {"width": 3840, "height": 2160}
    identity = uploaded(studio, frames=10_000_000)
    studio.database.run("UPDATE uploads SET width = :width, height = :height", endless)
    body = {"kind": "video", "clip": identity, "brush": BRUSH}
    answer = client.post(f"{API}/jobs", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk")
    assert "the painted clip and its segments need about 41,472,000 MB" in answer.json()["error"]["message"]
    studio.database.run("UPDATE uploads SET clip = replace(clip, '10000000', '1000')")
    assert client.post(f"{API}/jobs", json=body | {"options": {"size": 64}}).status_code == 201


@pytest.mark.usefixtures("asked_here")
def test_the_time_of_painting_a_clip_step_by_step_is_predicted(
    client: pieces.Local, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = []
    monkeypatch.setattr(PaintFrames, "_trial", lambda self, edge_px: trials.append(edge_px) or 0.5)
    monkeypatch.setattr(gatys, "predicted_seconds", lambda context: 2.0)
    identity = uploaded(studio)
    address = f"{API}/clips/{identity}/prediction"
    assert client.get(f"{address}?style={STYLE}&size=48").json() == {"seconds": 2 + 23 * 0.5, "width": 48, "height": 36}
    whole = client.get(f"{address}?style={STYLE}&size=640").json()  # smaller clips keep their size
    assert whole == client.get(f"{address}?style={STYLE}").json()
    assert (whole["width"], whole["height"]) == (64, 48)
    assert trials
    assert client.get(f"{address}?style=no-style").status_code == 404
    assert client.get(f"{API}/clips/c_{'0' * 16}/prediction?style={STYLE}").status_code == 404
    assert client.get(f"{address}?style={STYLE}&size=-1").status_code == 422


@pytest.mark.usefixtures("asked_here")
def test_the_time_of_frames_that_are_too_small_to_paint_is_not_predicted(client: pieces.Local, studio: Studio) -> None:
    answer = client.get(f"{API}/clips/{uploaded(studio)}/prediction?style={STYLE}&size=16")
    assert answer.status_code == 422
    assert "32" in answer.json()["error"]["message"]


def test_the_inputs_of_a_new_job_are_not_deleted_to_make_room_for_it(studio: Studio) -> None:
    old, other = uploaded(studio), uploaded(studio)
    studio.database.run("UPDATE uploads SET created = 0, disk = ?", (studio.settings.limits.disk_bytes // 2,))
    studio.gallery.make_room(1000, keep=json.dumps({"clip": old}))
    assert studio.gallery.has_upload(old)
    assert not studio.gallery.has_upload(other)
    studio.database.run("UPDATE uploads SET disk = ?", (studio.settings.limits.disk_bytes,))
    with pytest.raises(DiskFullError):
        studio.gallery.make_room(1000, keep=old)


# ---------------------------------------------------------------------------------------------------- a worker


class Line:
    """The worker's connection; it asks to stop after a number of progress messages."""

    def __init__(self, stop_after: int = 0) -> None:
        self.how, self._left = "", stop_after
        self.said: list[tuple[str, dict[str, Any]]] = []

    def say(self, what: str, **facts: Any) -> None:
        self.said.append((what, facts))
        self._left -= what == "progress"
        if self._left == 0 and what == "progress":
            self.how = "stop"

    def of(self, what: str) -> list[dict[str, Any]]:
        return [facts for kind, facts in self.said if kind == what]


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress and previews at every frame, and segments of 6 frames."""
    monkeypatch.setattr(Pace, "is_due", lambda self: True)
    monkeypatch.setattr("impasto.video.painting.SECONDS_PER_SEGMENT", 0.2)


def order_for(studio: Studio, client: pieces.Local, data: bytes = b"", **changes: Any) -> dict[str, Any]:
    body = {"kind": "video", "clip": uploaded(studio, data), "brush": BRUSH} | changes
    answer = client.post(f"{API}/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return studio.order(studio.jobs.get(answer.json()["id"]))


def run(order: dict[str, Any], line: Line) -> Any:
    from impasto.studio import orders

    return orders.video(order, line)  # type: ignore[arg-type]


def size_of(path: str) -> tuple[int, int]:
    with PIL.Image.open(path) as opened:
        return opened.size


def streams_of(path: Path) -> tuple[int, int]:
    """The numbers of frames and of sound tracks."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0)), len(container.streams.audio)


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_a_clip_is_painted_with_a_brush_and_shows_its_frames_and_the_time_left(client: pieces.Local, studio: Studio) -> None:
    order, line = order_for(studio, client), Line()
    facts = run(order, line)
    told = [each["progress"] for each in line.of("progress")]
    assert [each["step"] for each in told] == list(range(1, 25))
    assert told[0]["seconds_left"] is None  # not known before two frames are painted
    assert told[-1]["seconds_left"] == 0
    assert all(each["preview"] for each in line.of("progress"))
    assert size_of(order["work"] + ".jpg") == (64, 48)
    assert [each["checkpoint"]["done"] for each in line.of("checkpoint")] == [6, 12, 18, 24]
    assert streams_of(Path(order["result"] + ".mp4")) == (24, 1)
    assert size_of(order["result"] + ".png") == (64, 48)
    assert facts["bytes"] == Path(order["result"] + ".mp4").stat().st_size < facts["disk"]
    assert SECRET.encode() in Path(order["clip"]["path"]).read_bytes()
    assert SECRET.encode() not in Path(order["result"] + ".mp4").read_bytes()
    assert facts["record"]["brush"]["name"] == "A tiny brush"
    assert facts["record"]["content"]["name"] == "holiday.mp4"
    assert not Path(order["work"] + ".video").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("method", ["auto", "paint"])
def test_a_clip_is_painted_in_a_style_smaller_and_without_its_sound(client: pieces.Local, studio: Studio, method: str) -> None:
    options = {"size": 64, "method": method}
    order = order_for(studio, client, clip(3, (96, 72)), brush=None, styles=[STYLE], sound=False, options=options)
    facts = run(order, Line())
    assert streams_of(Path(order["result"] + ".mp4")) == (3, 0)
    assert (facts["width"], facts["height"]) == (64, 48)
    assert [each["name"] for each in facts["record"]["styles"]] == [STYLE]


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_sound_that_mp4_cannot_contain_is_kept_in_matroska(client: pieces.Local, studio: Studio) -> None:
    order = order_for(studio, client, clip(4, suffix=".mkv", sound="tta"))
    run(order, Line())
    assert streams_of(Path(order["result"] + ".mkv")) == (4, 1)


@pytest.mark.slow
def test_sound_that_no_format_can_contain_is_refused_with_the_remedy(client: pieces.Local, studio: Studio) -> None:
    data = clip(4, suffix=".avi", sound="pcm_mulaw")
    with pytest.raises(
        ClipError, match=r"\.mkv cannot contain the sound of 'holiday\.mp4' \(pcm_mulaw\); paint the clip without its"
    ):
        run(order_for(studio, client, data), Line())
    assert run(order_for(studio, client, data, sound=False), Line()) is not None


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_a_stopped_video_continues_after_its_last_segment(client: pieces.Local, studio: Studio) -> None:
    order, line = order_for(studio, client), Line(stop_after=14)
    assert run(order, line) is None
    checkpoint = line.of("checkpoint")[-1]["checkpoint"]
    assert checkpoint["done"] == 12
    again = Line()
    facts = run(order | {"checkpoint": checkpoint}, again)
    assert again.of("progress")[0]["progress"]["step"] == 13
    assert streams_of(Path(order["result"] + ".mp4")) == (24, 1)
    assert facts["record"]["steps"]["done"] == 24


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_a_clip_that_is_painted_step_by_step_stops_and_continues(
    client: pieces.Local, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto.video.painting.SECONDS_PER_OPTIMIZED_SEGMENT", 0.1)  # 3 frames
    style = {"brush": None, "styles": [STYLE], "options": {"method": "paint"}}
    order, line = order_for(studio, client, clip(7, (48, 36)), **style), Line(stop_after=4)
    assert run(order, line) is None
    checkpoint = line.of("checkpoint")[-1]["checkpoint"]
    assert checkpoint["done"] == 3
    again = Line()
    facts = run(order | {"checkpoint": checkpoint}, again)
    assert [each["progress"]["step"] for each in again.of("progress")] == [4, 5, 6, 7]
    assert streams_of(Path(order["result"] + ".mp4")) == (7, 1)
    assert facts["record"]["options"]["method"] == "paint"


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_a_video_that_starts_over_paints_all_frames_again(client: pieces.Local, studio: Studio) -> None:
    order = order_for(studio, client)
    assert run(order, Line(stop_after=14)) is None
    line = Line()
    run(order, line)
    assert line.of("progress")[0]["progress"]["step"] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_a_video_whose_report_was_lost_is_not_painted_again(client: pieces.Local, studio: Studio) -> None:
    order, line = order_for(studio, client), Line()
    first = run(order, line)
    again = Line()
    second = run(order | {"checkpoint": line.of("checkpoint")[-1]["checkpoint"]}, again)
    assert again.said == []
    assert second["bytes"] == first["bytes"]


@pytest.mark.slow
def test_errors_name_the_clip_and_not_a_file_of_the_studio(
    client: pieces.Local, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_for(studio, client)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ClipError, match=r"but only 0 MiB are free; free some space or choose a smaller --size$"):
        video_jobs.painted([], order, Line())  # type: ignore[arg-type]
    studio.folder.upload(Path(order["clip"]["path"]).name).write_bytes(b"nothing")
    with pytest.raises(ClipError, match=r"^'holiday\.mp4' is not a video"):
        video_jobs.painted([], order, Line())  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- results


def kept(studio: Studio, client: pieces.Local) -> str:
    """Paint a clip as a worker would, and return the id of the result."""
    order = order_for(studio, client)
    job = studio.jobs.take(KINDS["video"].lane)
    assert job is not None
    row = studio.result(job, run(order, Line()))
    studio.jobs.finish(job["id"], row)
    return str(row["id"])


@pytest.mark.slow
def test_a_painted_clip_is_played_downloaded_and_deleted(client: pieces.Local, studio: Studio) -> None:
    identity = kept(studio, client)
    result = client.get(f"{API}/results/{identity}").json()
    assert (result["kind"], result["title"], result["upload"]) == ("video", "holiday.mp4", None)
    assert client.get(f"{API}/clips/{result['clip']}").status_code == 200
    whole = client.get(result["video"])
    assert whole.headers["content-type"] == "video/mp4"
    assert 'filename="holiday.mp4"' in whole.headers["content-disposition"]
    part = client.get(result["video"], headers={"range": "bytes=10-19"})  # players search the file
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert client.get(result["image"]).headers["content-type"] == "image/png"
    assert client.delete(f"{API}/results/{identity}").status_code == 204
    assert list((studio.folder.root / "results").iterdir()) == []
    assert client.get(result["video"]).status_code == 404


@pytest.mark.slow
@pytest.mark.usefixtures("asked_here")
def test_an_archive_contains_the_painted_clip_itself(client: pieces.Local, studio: Studio) -> None:
    identity = kept(studio, client)
    found = client.get(f"{API}/results/zip?ids={identity}")
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        assert archive.namelist() == ["holiday.mp4"]
        assert archive.read("holiday.mp4") == client.get(f"{API}/results/{identity}/video").content


@pytest.mark.slow
def test_an_archive_that_would_fill_the_disk_is_refused(
    client: pieces.Local, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = kept(studio, client)
    monkeypatch.setattr(results, "_MOST_ZIP_BYTES", 10)
    found = client.get(f"{API}/results/zip?ids={identity}")
    assert found.status_code == 413
    assert "choose fewer results" in found.json()["error"]["message"]
    assert list((studio.folder.root / "made").iterdir()) == []


@pytest.mark.slow
def test_a_painted_clip_can_be_neither_measured_nor_refined(client: pieces.Local, studio: Studio) -> None:
    identity = kept(studio, client)
    for body, field in (
        ({"kind": "report", "results": [identity]}, "results"),
        ({"kind": "refine", "result": identity}, "result"),
    ):
        error = client.post(f"{API}/jobs", json=body).json()["error"]
        assert (error["field"], error["message"]) == (field, f"result {identity} is a clip; give the id of a painted picture")


@pytest.mark.slow
def test_a_clip_stays_while_its_stopped_painting_can_continue(client: pieces.Local, studio: Studio) -> None:
    order_for(studio, client)
    job = studio.jobs.take("video")
    assert job is not None
    studio.jobs.checkpoint(job["id"], {"done": 6, "scale": 0, "here": 6, "seconds": 1.0})
    studio.jobs.want(job["id"], "cancelled")
    studio.jobs.stopped(job["id"])
    studio.database.run("UPDATE uploads SET created = 0 WHERE id LIKE 'c_%'")
    studio.gallery.clean_up()
    assert client.get(f"{API}/jobs/{job['id']}").json()["can_continue"]
    assert len(client.get(f"{API}/clips").json()["items"]) == 1
    studio.database.run("UPDATE jobs SET checkpoint = NULL")
    studio.gallery.clean_up()
    assert client.get(f"{API}/clips").json()["items"] == []


@pytest.mark.slow
def test_segments_are_deleted_with_their_job_and_after_a_day(client: pieces.Local, studio: Studio) -> None:
    jobs = [Path(order_for(studio, client)["work"]).name for _ in range(4)]
    folders = [studio.folder.work(job, ".video") for job in jobs]
    for job, folder in zip(jobs, folders, strict=True):
        (folder / ".painted.mp4.parts").mkdir(parents=True)
        studio.jobs.take("video")
        if job != jobs[3]:  # the last one has been stopped before its first checkpoint
            studio.jobs.checkpoint(job, {"done": 6, "scale": 0, "here": 6, "seconds": 1.0})
        studio.jobs.want(job, "cancelled")
        studio.jobs.stopped(job)
    assert client.delete(f"{API}/jobs/{jobs[0]}").status_code == 204
    assert not folders[0].exists()
    studio.database.run("UPDATE jobs SET finished = 0 WHERE id IN (?, ?)", (jobs[1], jobs[3]))
    before = studio.jobs.get(jobs[1])["version"]
    studio.clean_up()
    assert [each.exists() for each in folders[1:]] == [False, True, False]
    assert studio.jobs.get(jobs[1])["version"] > before  # pages learn of it
    assert not client.get(f"{API}/jobs/{jobs[1]}").json()["can_continue"]
    studio.database.run("DELETE FROM jobs")
    studio.gallery.sweep()  # a folder that a crash left behind
    assert not folders[2].exists()


# ---------------------------------------------------------------------------------------------------- a studio


@pytest.mark.slow
def test_a_studio_paints_a_clip_is_killed_and_goes_on(tmp_path: Path) -> None:
    running = pieces.started(tmp_path / "data")
    try:
        sent = running.client.post("/clips", params={"name": "long.mp4"}, content=clip(300, (320, 240)))
        assert sent.status_code == 201, sent.text
        style = running.upload()
        body = {"kind": "video", "clip": sent.json()["id"], "styles": [style], "options": {"size": 64}}
        job = running.client.post("/jobs", json=body).json()["id"]
        running.wait_for(job, lambda found: found["preview"] and found["progress"]["step"] > 70)  # after the first segment
        assert running.client.get(f"/jobs/{job}/preview").headers["content-type"] == "image/jpeg"
        assert running.client.post(f"/jobs/{job}/pause").status_code == 202
        before = running.wait_until(job, "paused")
        assert before["can_continue"]
        running.client.post(f"/jobs/{job}/continue", json={})
        running.wait_for(job, lambda found: found["state"] == "running" and found["progress"]["step"] >= 120)
        running.kill()

        running = pieces.started(tmp_path / "data")
        done = running.wait_until(job, "done", "failed")
        assert done["error"] is None
        assert done["attempts"] == 3
        path = tmp_path / "out.mp4"
        path.write_bytes(running.client.get(f"/results/{done['result']}/video").content)
        assert streams_of(path) == (300, 1)
        assert list((running.data / "work").glob("*.video")) == []
    finally:
        running.kill()
