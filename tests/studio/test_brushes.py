"""Brushes in the studio: training jobs and their checkpoints, the list of brushes, painting with a brush."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("fastapi")

import studio_pieces as pieces
from impasto.errors import ImageFileError
from impasto.networks.brush_files import brush_facts, load_brush, save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.studio import brush_jobs, brushes
from impasto.studio.app import create_app
from impasto.studio.controls import KINDS
from impasto.studio.painting_state import Pace
from impasto.studio.settings import Settings
from impasto.studio.storage import new_identity
from impasto.studio.studio import Studio
from impasto.studio.wire import WireError, packed, unpacked
from studio_pieces import running_program, uploaded_photo

FIXTURES = (running_program, uploaded_photo)

API = "/api/v1"
STYLE, OTHER = "great-wave", "starry-night"
QUICK = {"network": "small", "style_size": 64, "edge": 64, "batch": 1}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    found: Studio = create_app(Settings(data=tmp_path / "data")).state.studio
    yield found
    found.database.close()


@pytest.fixture
def client(studio: Studio) -> pieces.Local:
    return pieces.client_of(studio)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one included brush."""
    monkeypatch.setattr(brushes, "SHIPPED", tmp_path)
    return tiny_brush(tmp_path / f"{STYLE}.brush")


def tiny_brush(path: Path) -> Path:
    torch.manual_seed(0)  # noqa: TID251  (initialization has no generator)
    save_brush(path, Johnson(Layout(4, blocks=1)), {"name": "tiny", "title": "The Great Wave"})
    return path


def uploaded(studio: Studio, data: bytes = b"") -> str:
    identity = new_identity("u")
    facts = {"name": "photo.jpg", "width": 96, "height": 64, "bytes": 9, "disk": 9, "sha256": "0" * 64, "notes": []}
    studio.gallery.add_upload(identity, facts)
    studio.folder.upload(identity).write_bytes(data or pieces.photo())
    return identity


# ---------------------------------------------------------------------------------------------------- requests


def test_a_training_has_a_lane_of_its_own_and_keeps_its_photos(client: pieces.Local, studio: Studio) -> None:
    photos = [uploaded(studio), uploaded(studio)]
    body = {"kind": "brush", "styles": [STYLE], "photos": photos, "options": {"minutes": 5}}
    answer = client.post(f"{API}/jobs", json=body)
    assert answer.status_code == 201, answer.text
    job = answer.json()
    row = studio.jobs.get(job["id"])
    assert row["lane"] == "training"  # a painting need not wait for an hour
    assert [each["path"] for each in studio.order(row)["photos"]] == [str(studio.folder.upload(each)) for each in photos]
    assert client.delete(f"{API}/uploads/{photos[1]}").status_code == 409
    assert client.post(f"{API}/jobs", json=job["request"]).status_code == 201  # the request in a job can be posted again


def test_a_training_is_not_sent_to_other_machines(client: pieces.Local, studio: Studio, tmp_path: Path) -> None:
    job = client.post(f"{API}/jobs", json={"kind": "brush", "styles": [STYLE]}).json()
    order, _ = packed(studio.order(studio.jobs.get(job["id"])))
    with pytest.raises(WireError, match="an order of kind 'brush'"):
        unpacked(json.dumps(order).encode(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"styles": []}, "styles", "'styles' is empty"),
        ({"styles": [STYLE, OTHER]}, "styles", "give only one if 'kind' is 'brush'"),
        ({"photos": ["u_0000000000000000"]}, "photos", "there is no upload"),
        ({"photos": ["/etc/passwd"]}, "photos", "photos"),
        ({"content": "UPLOAD"}, "content", "'content' cannot be used with kind 'brush'"),
        ({"masks": ["all"]}, "masks", "'masks' cannot be used with kind 'brush'"),
        ({"brush": STYLE}, "brush", "'brush' is only allowed if 'kind' is 'apply' or 'video'"),
        ({"options": {"minutes": 100000}}, "minutes", "from 0 to 1440"),
        ({"options": {"minutes": 0}}, "minutes", "both 0"),
        ({"options": {"network": "huge"}}, "network", "network"),
        ({"options": {"steps": 3}}, "steps", "is not an option of kind 'brush'"),
        (
            {"kind": "paint", "content": "UPLOAD", "photos": ["UPLOAD"]},
            "photos",
            "'photos' is only allowed if 'kind' is 'brush'",
        ),
        ({"kind": "apply", "content": "UPLOAD", "styles": []}, "brush", "'brush' is missing"),
        ({"kind": "apply", "content": "UPLOAD", "brush": STYLE}, "styles", "a brush has its own style"),
        ({"kind": "apply", "styles": [], "brush": STYLE}, "content", "'content' is missing"),
        ({"kind": "apply", "content": "UPLOAD", "styles": [], "brush": "no-such"}, "brush", "there is no brush"),
        ({"kind": "apply", "content": "UPLOAD", "styles": [], "brush": "r_0000000000000000"}, "brush", "there is no brush"),
        ({"kind": "apply", "content": "UPLOAD", "styles": [], "brush": "../a"}, "brush", "brush"),
        (
            {"kind": "apply", "content": "UPLOAD", "styles": [], "brush": STYLE, "options": {"strength": 2}},
            "strength",
            "0 to 1",
        ),
    ],
)
def test_invalid_brush_jobs_are_refused_with_their_field(
    client: pieces.Local, studio: Studio, shipped: Path, changes: dict[str, Any], field: str, words: str
) -> None:
    upload = uploaded(studio)
    body = json.loads(json.dumps({"kind": "brush", "styles": [STYLE]} | changes).replace("UPLOAD", upload))
    response = client.post(f"{API}/jobs", json=body)
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert error["field"] == field
    assert words in error["message"]


def kept(studio: Studio, client: pieces.Local) -> str:
    """Store a trained brush as a worker would."""
    job = studio.jobs.get(client.post(f"{API}/jobs", json={"kind": "brush", "styles": [STYLE]}).json()["id"])
    studio.jobs.take(KINDS["brush"].lane)
    tiny_brush(Path(studio.order(job)["result"] + ".brush"))
    facts = {"width": 1024, "height": 512, "bytes": 9, "disk": 9, "suffix": ".png", "seconds": 1.0}
    row = studio.result(job, {**facts, "record": {"content": {"name": "The Great Wave"}}})
    studio.jobs.finish(job["id"], row)
    return str(row["id"])


@pytest.mark.slow
def test_a_trained_brush_can_be_listed_downloaded_used_and_deleted(client: pieces.Local, studio: Studio, shipped: Path) -> None:
    result = kept(studio, client)
    items = client.get(f"{API}/brushes").json()["items"]
    assert [(each["id"], each["origin"], each["title"]) for each in items] == [
        (result, "trained", "The Great Wave"),
        (STYLE, "shipped", "The Great Wave"),
    ]
    assert items[0]["preview"] == f"{API}/results/{result}/thumb"
    assert items[1]["preview"] == f"{API}/styles/{STYLE}/preview"
    answer = client.get(f"{API}/results/{result}/brush")
    assert answer.content == studio.folder.result(result, ".brush").read_bytes()
    assert "The%20Great%20Wave.brush" in answer.headers["content-disposition"]
    body = {"kind": "apply", "content": uploaded(studio), "brush": result}
    job = client.post(f"{API}/jobs", json=body).json()
    assert studio.order(studio.jobs.get(job["id"]))["brush"] == str(studio.folder.result(result, ".brush"))
    assert client.delete(f"{API}/results/{result}").status_code == 409  # a waiting job needs it
    studio.jobs.want(job["id"], "cancelled")
    assert client.delete(f"{API}/results/{result}").status_code == 204
    assert not studio.folder.result(result, ".brush").exists()
    assert client.get(f"{API}/results/{result}/brush").status_code == 404


@pytest.mark.slow
def test_a_brush_can_be_neither_measured_nor_refined(client: pieces.Local, studio: Studio) -> None:
    result = kept(studio, client)
    for body, field in (({"kind": "report", "results": [result]}, "results"), ({"kind": "refine", "result": result}, "result")):
        error = client.post(f"{API}/jobs", json=body).json()["error"]
        assert (error["field"], error["message"]) == (field, f"result {result} is a brush; give the id of a painted picture")


# ---------------------------------------------------------------------------------------------------- a worker


class Line:
    """The worker's connection; it asks to stop after a number of messages of a kind."""

    def __init__(self, how: str = "", after: str = "progress", count: int = 3) -> None:
        self.how, self._wish, self._after, self._left = "", how, after, count
        self.said: list[tuple[str, dict[str, Any]]] = []

    def say(self, what: str, **facts: Any) -> None:
        self.said.append((what, facts))
        self._left -= what == self._after
        if self._wish and self._left <= 0:
            self.how = self._wish

    def of(self, what: str) -> list[dict[str, Any]]:
        return [facts for kind, facts in self.said if kind == what]


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress, strips and checkpoints at every step."""
    monkeypatch.setattr(Pace, "is_due", lambda self: True)


def order_for(studio: Studio, client: pieces.Local, **options: Any) -> dict[str, Any]:
    photos = [uploaded(studio), uploaded(studio), uploaded(studio, pieces.photo((32, 32)))]
    body = {"kind": "brush", "styles": [STYLE], "photos": photos, "options": QUICK | {"minutes": 60} | options}
    return studio.order(studio.jobs.get(client.post(f"{API}/jobs", json=body).json()["id"]))


def run(order: dict[str, Any], line: Line) -> Any:
    from impasto.studio import orders

    return orders.brush(order, line)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_training_shows_losses_and_a_strip_and_keeps_the_brush_so_far(
    client: pieces.Local, studio: Studio, fast: None
) -> None:
    order, line = order_for(studio, client), Line("finish")
    facts = run(order, line)
    last = line.of("progress")[-1]
    assert last["preview"]
    assert Path(order["work"] + ".jpg").is_file()
    assert {"neighbor", "style"} <= set(last["progress"]["losses"])
    assert 0 < last["progress"]["share"] < 1
    assert last["progress"]["steps"] > last["progress"]["step"] > 0
    brush = Path(order["result"] + ".brush")
    assert load_brush(brush).layout.width == 8
    assert brush_facts(brush)["photos"] == "2"
    assert (facts["width"], facts["height"]) == (512, 512)
    graph = brush.with_suffix(".onnx")  # of a small brush, for the webcam page
    assert facts["disk"] > facts["bytes"] + brush.stat().st_size + graph.stat().st_size
    assert "32 x 32" in facts["record"]["notes"][0]  # the photo that is too small was skipped
    assert facts["record"]["steps"]["done"] == last["progress"]["step"]


@pytest.mark.slow
def test_a_stopped_training_continues_from_its_checkpoint(client: pieces.Local, studio: Studio, fast: None) -> None:
    order, line = order_for(studio, client), Line("stop")
    assert run(order, line) is None
    checkpoint = line.of("checkpoint")[-1]["checkpoint"]
    assert not Path(order["result"] + ".brush").exists()
    again = Line("finish", count=1)
    facts = run(order | {"checkpoint": checkpoint}, again)
    assert facts["record"]["steps"]["done"] == checkpoint["done"] + 1
    assert facts["seconds"] > checkpoint["seconds"]


@pytest.mark.slow
def test_a_stopped_training_can_become_a_brush_without_more_steps(client: pieces.Local, studio: Studio, fast: None) -> None:
    order, line = order_for(studio, client), Line("stop")
    run(order, line)
    checkpoint = line.of("checkpoint")[-1]["checkpoint"]
    facts = run(order | {"checkpoint": checkpoint, "finish": True}, Line())
    assert facts["record"]["steps"]["done"] == checkpoint["done"]
    assert Path(order["result"] + ".brush").is_file()


@pytest.mark.slow
def test_a_full_disk_does_not_end_a_training(
    client: pieces.Local, studio: Studio, fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(brush_jobs.BrushRun, "save_checkpoint", full)
    line = Line("finish")
    assert run(order_for(studio, client), line) is not None
    assert line.of("checkpoint") == []


def test_photos_that_are_all_too_small_are_refused_by_name(client: pieces.Local, studio: Studio) -> None:
    body = {"kind": "brush", "styles": [STYLE], "photos": [uploaded(studio, pieces.photo((32, 32)))], "options": QUICK}
    order = studio.order(studio.jobs.get(client.post(f"{API}/jobs", json=body).json()["id"]))
    with pytest.raises(ImageFileError, match=r"'photo\.jpg' is 32 x 32 pixels"):
        run(order, Line())


# ---------------------------------------------------------------------------------------------------- a studio


@pytest.mark.slow
def test_a_studio_trains_is_killed_continues_and_paints_with_the_brush(tmp_path: Path) -> None:
    running = pieces.started(tmp_path / "data")
    try:
        body = {"kind": "brush", "styles": [STYLE], "options": QUICK | {"minutes": 60}}
        job = running.client.post("/jobs", json=body).json()["id"]
        running.wait_for(job, lambda found: found["progress"] and found["preview"])
        assert running.client.get(f"/jobs/{job}/preview").headers["content-type"] == "image/jpeg"
        assert running.client.post(f"/jobs/{job}/pause").status_code == 202
        before = running.wait_until(job, "paused")
        assert before["can_continue"]
        running.client.post(f"/jobs/{job}/continue", json={})
        running.wait_until(job, "running")
        running.kill()

        running = pieces.started(tmp_path / "data")
        running.wait_for(
            job, lambda found: found["state"] == "running" and found["progress"]["step"] > before["progress"]["step"]
        )
        running.client.post(f"/jobs/{job}/finish")
        done = running.wait_until(job, "done")
        assert running.client.get(f"/results/{done['result']}/brush").status_code == 200
        asked = {"kind": "apply", "content": running.upload(), "brush": done["result"], "options": {"size": 64}}
        painted = running.wait_until(running.client.post("/jobs", json=asked).json()["id"], "done")
        result = running.client.get(f"/results/{painted['result']}").json()
        assert (result["width"], result["kind"], result["styles"]) == (64, "apply", [])
        assert result["record"]["brush"]["sha256"]
    finally:
        running.kill()
