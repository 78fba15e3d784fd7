"""Jobs of the studio with masks, reports and tuning."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data

pytest.importorskip("fastapi")

import studio_pieces as pieces
from impasto import images
from impasto.metrics.report import KINDS as FIGURES
from impasto.recipes import gatys
from impasto.studio import orders, sheets
from impasto.studio.app import create_app
from impasto.studio.controls import KINDS
from impasto.studio.painting_state import Pace
from impasto.studio.settings import Settings
from impasto.studio.storage import new_identity
from impasto.studio.studio import Studio
from impasto.studio.wire import read_line
from studio_pieces import running_program, uploaded_photo

FIXTURES = (running_program, uploaded_photo)

API = "/api/v1"
STYLE, OTHER = "great-wave", "starry-night"
SMALL = {"size": 64, "smallest_size": 64, "steps": 6}


# ---------------------------------------------------------------------------------------------------- requests


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    found: Studio = create_app(Settings(data=tmp_path / "data")).state.studio
    yield found
    found.database.close()


@pytest.fixture
def client(studio: Studio) -> pieces.Local:
    return pieces.client_of(studio)


def uploaded(studio: Studio) -> str:
    identity = new_identity("u")
    facts = {"name": "photo.jpg", "width": 96, "height": 64, "bytes": 9, "disk": 9, "sha256": "0" * 64, "notes": []}
    studio.gallery.add_upload(identity, facts)
    return identity


def kept(studio: Studio, client: pieces.Local, upload: str, kind: str = "instant", **asked: Any) -> str:
    """Store a result as a worker would."""
    body = {"kind": kind, "content": upload, "styles": [STYLE], **asked}
    job = studio.jobs.get(client.post(f"{API}/jobs", json=body).json()["id"])
    studio.jobs.take(KINDS[kind].lane)
    facts = {"width": 96, "height": 64, "bytes": 9, "disk": 9, "suffix": ".png", "seconds": 1.0}
    row = studio.result(job, {**facts, "record": {"content": {"name": "photo.jpg"}}})
    studio.jobs.finish(job["id"], row)
    return str(row["id"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["instant", "paint", "refine"])
def test_every_painting_kind_accepts_masks_and_protected_areas(client: pieces.Local, studio: Studio, kind: str) -> None:
    upload = uploaded(studio)
    asked = {"kind": kind, "content": upload, "styles": [STYLE], "masks": [upload], "protect": ["auto:skin", upload]}
    job = client.post(f"{API}/jobs", json=asked).json()
    assert (job["request"]["masks"], job["request"]["protect"]) == ([upload], ["auto:skin", upload])
    assert client.post(f"{API}/jobs", json=job["request"]).status_code == 201  # the request in a job can be posted again
    order = studio.order(studio.jobs.get(job["id"]))
    assert [each["kind"] for each in (*order["masks"], *order["protect"])] == ["picture", "word", "picture"]
    assert client.delete(f"{API}/uploads/{upload}").status_code == 409


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"masks": ["/etc/passwd"]}, "masks", "masks"),
        ({"protect": ["labels.png#ff0000"]}, "protect", "protect"),
        ({"protect": ["u_0000000000000000"]}, "protect", "there is no upload"),
        ({"masks": ["all", "not:all"]}, "masks", "'masks' has 2 entries, but 'styles' has 1"),
        ({"kind": "tune", "masks": ["all"]}, "masks", "'masks' cannot be used with kind 'tune'"),
        ({"kind": "tune", "styles": [STYLE, OTHER]}, "styles", "give only one if 'kind' is 'tune'"),
        ({"kind": "tune", "options": {"strengths": [0.1] * 10, "strokes": [1] * 9}}, "strengths", "90 trials; at most 48"),
        ({"kind": "tune", "options": {"wanted_style": 2}}, "wanted_style", "from 0 to 1"),
        ({"kind": "report"}, "results", "'results' is empty"),
        ({"kind": "report", "results": ["r_0000000000000000"]}, "results", "there is no result"),
        ({"results": ["r_0000000000000000"]}, "results", "only allowed if 'kind' is 'report', but 'kind' is 'paint'"),
    ],
)
def test_invalid_masks_results_and_trials_are_refused_with_their_field(
    client: pieces.Local, studio: Studio, changes: dict[str, Any], field: str, words: str
) -> None:
    body = {"kind": "paint", "content": uploaded(studio), "styles": [STYLE]} | changes
    response = client.post(f"{API}/jobs", json=body)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["field"] == field
    assert words in error["message"]


@pytest.mark.slow
def test_a_report_uses_photo_styles_and_weights_of_its_results(client: pieces.Local, studio: Studio) -> None:
    upload, weights = uploaded(studio), {"styles": [STYLE, OTHER], "options": {"style_weights": [1, 3]}}
    results = [kept(studio, client, upload, **weights) for _ in range(2)]
    job = client.post(f"{API}/jobs", json={"kind": "report", "results": results}).json()
    assert job["request"]["content"] == upload
    assert job["request"]["styles"] == [STYLE, OTHER]
    assert job["request"]["options"] == {"style_weights": [1, 3]}
    assert client.post(f"{API}/jobs", json=job["request"]).status_code == 201
    assert client.delete(f"{API}/results/{results[0]}").status_code == 409
    order = studio.order(studio.jobs.get(job["id"]))
    assert [Path(each["path"]).name for each in order["results"]] == [f"{each}.png" for each in results]


@pytest.mark.slow
def test_results_of_different_photos_or_styles_are_not_measured_together(client: pieces.Local, studio: Studio) -> None:
    upload = uploaded(studio)
    one, other = kept(studio, client, upload), kept(studio, client, upload, styles=[OTHER])
    elsewhere = kept(studio, client, uploaded(studio))
    sheet = kept(studio, client, upload, "report", results=[one])
    for results, words in (([one, elsewhere], "different photos"), ([one, other], "different styles"), ([sheet], "is a sheet")):
        error = client.post(f"{API}/jobs", json={"kind": "report", "results": results}).json()["error"]
        assert error["field"] == "results"
        assert words in error["message"]
    named = {"kind": "report", "results": [one, other], "styles": [STYLE]}
    assert client.post(f"{API}/jobs", json=named).status_code == 201


@pytest.mark.slow
def test_a_masked_result_is_refined_with_its_masks(client: pieces.Local, studio: Studio) -> None:
    upload = uploaded(studio)
    result = kept(studio, client, upload, masks=["gradient:left-right"], protect=["auto:sky"])
    job = client.post(f"{API}/jobs", json={"kind": "refine", "result": result}).json()
    assert (job["request"]["masks"], job["request"]["protect"]) == (["gradient:left-right"], ["auto:sky"])


class Line:
    """The connection of a worker, which asks to stop after some steps."""

    def __init__(self, most_steps: int = 10**6) -> None:
        self.how, self.most_steps, self.checkpoint, self.sizes = "", most_steps, None, list[list[int]]()

    def say(self, what: str, **facts: Any) -> None:
        if what == "checkpoint":
            self.checkpoint = facts["checkpoint"]
        if what == "progress":
            self.sizes.append(facts["progress"]["size"])
            self.how = "stop" if len(self.sizes) >= self.most_steps else ""


def refining(studio: Studio, client: pieces.Local, **asked: Any) -> dict[str, Any]:
    """Return the order of a refinement of a photo of 128 x 96 pixels, or of a result with its size."""
    upload = uploaded(studio)
    studio.folder.upload(upload).write_bytes(images.encode("photo.png", images.read(skimage.data.astronaut()[:96, 100:228])))
    result = {}
    if asked.pop("has_result", False):
        result = {"result": kept(studio, client, upload)}
        shutil.copy(studio.folder.upload(upload), studio.folder.result(result["result"], ".png"))
    body = {"kind": "refine", **({} if result else {"content": upload, "styles": [STYLE]}), **result, **asked}
    answer = client.post(f"{API}/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return studio.order(studio.jobs.get(answer.json()["id"]))


@pytest.mark.slow
@pytest.mark.parametrize("has_result", [False, True])
def test_a_refinement_that_is_continued_has_the_size_of_one_that_was_not_stopped(
    client: pieces.Local, studio: Studio, monkeypatch: pytest.MonkeyPatch, has_result: bool
) -> None:
    monkeypatch.setattr(Pace, "is_due", lambda self: True)
    order, line = refining(studio, client, has_result=has_result), Line(most_steps=2)
    assert orders.refine(order, line) is None  # type: ignore[arg-type]
    smaller = line.sizes[-1]
    assert max(smaller) < 128
    line, order["checkpoint"] = Line(), line.checkpoint
    found = orders.refine(order, line)  # type: ignore[arg-type]
    assert found is not None
    assert (found["width"], found["height"]) == (128, 96)
    assert (line.sizes[0], line.sizes[-1]) == (smaller, [128, 96])


@pytest.mark.slow
def test_a_result_is_read_after_its_refinement_was_planned(
    client: pieces.Local, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, it would count as memory that other programs use."""
    done: list[str] = []
    set_up, read = gatys.set_up, images.read
    order = refining(studio, client, has_result=True)

    def planned(*given: Any) -> Any:
        done.append("plan")
        return set_up(*given)

    def noted(source: Any, **named: Any) -> Any:
        done.append("result" if source == Path(order["more"]["path"]) else "")
        return read(source, **named)

    monkeypatch.setattr(gatys, "set_up", planned)
    monkeypatch.setattr(images, "read", noted)
    assert orders.refine(order, Line(most_steps=1)) is None  # type: ignore[arg-type]
    assert [each for each in done if each] == ["plan", "result"]


# ---------------------------------------------------------------------------------------------------- results


def done(running: pieces.Program, **body: Any) -> dict[str, Any]:
    """Submit a job, wait for it, and return its result with its record."""
    answer = running.client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    job = running.wait_until(answer.json()["id"], "done", "failed")
    assert job["error"] is None, job
    return running.client.get(f"/results/{job['result']}").json()  # type: ignore[no-any-return]


def pixels(running: pieces.Program, address: str, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    content = running.client.get(address.removeprefix(API)).content
    return np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB").resize(size), np.float32)


def half(running: pieces.Program) -> str:
    mask = PIL.Image.new("L", (160, 120), 0)
    mask.paste(255, (0, 0, 80, 120))
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    return running.upload(stream.getvalue(), "mask.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [("paint", SMALL), ("refine", {"size": 64, "refine_seconds": 1}), ("refine", {"size": 64, "hq": True})],
)
def test_uncovered_and_protected_areas_stay_the_photo(
    running: pieces.Program, upload: str, kind: str, options: dict[str, Any]
) -> None:
    body = {"kind": kind, "content": upload, "styles": [STYLE], "options": {**options, "feather": 0}}
    masked = done(running, **body, masks=[half(running)])
    protected = done(running, **body, protect=[half(running)])
    photo = pixels(running, f"{API}/uploads/{upload}/image")
    left, right = (np.abs(pixels(running, each["image"]) - photo)[:, :28].mean() for each in (masked, protected))
    assert left > 3 * right
    assert left > 5
    assert right < 3  # differences from JPEG and resizing
    assert masked["record"]["masks"]["style_masks"][0]["name"] == "mask.png"
    assert protected["record"]["masks"]["protect"][0]["name"] == "mask.png"


@pytest.mark.slow
def test_a_masked_painting_continues_with_its_mask(running: pieces.Program, upload: str) -> None:
    body = {"kind": "paint", "content": upload, "styles": [STYLE], "masks": [half(running)], "options": {**SMALL, "feather": 0}}
    first = done(running, **body)
    more = running.client.post(f"/jobs/{first['job']}/continue", json={"steps": 3}).json()
    ended = running.wait_until(more["id"], "done", "failed")
    assert ended["error"] is None
    photo = pixels(running, f"{API}/uploads/{upload}/image")
    found = np.abs(pixels(running, f"{API}/results/{ended['result']}/image") - photo)
    assert found[:, :28].mean() > 3 * found[:, 36:].mean()


@pytest.mark.slow
def test_a_black_mask_fails_with_a_message(running: pieces.Program, upload: str) -> None:
    body = {"kind": "paint", "content": upload, "styles": [STYLE], "masks": ["not:all"], "options": SMALL}
    job = running.wait_until(running.client.post("/jobs", json=body).json()["id"], "failed")
    assert job["error"]["code"] == "option"
    assert "entirely black" in job["error"]["message"]
    assert job["error"]["field"] == "masks"


@pytest.mark.slow
def test_results_are_measured_side_by_side(running: pieces.Program, upload: str, tmp_path: Path) -> None:
    body = {"kind": "instant", "content": upload, "styles": [STYLE]}
    results = [done(running, **body, options={"size": 64, "strength": strength})["id"] for strength in (0.2, 1.0)]
    found = done(running, kind="report", results=results)
    assert found["kind"] == "report"
    assert [each["name"] for each in found["record"]["figures"]] == list(FIGURES)
    weak, strong = found["record"]["reports"]
    assert weak["style_closed"] < strong["style_closed"]
    assert weak["result"].startswith("1. ")
    assert found["width"] > 2 * found["height"] > 0  # the photo and two results side by side
    path = tmp_path / "sheet.png"
    path.write_bytes(running.client.get(f"/results/{found['id']}/export").content)
    command = [sys.executable, "-m", "impasto", "paint", "--replay", str(path), "-o", str(tmp_path / "again.png")]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2  # a sheet is not a painting
    assert "Traceback" not in again.stderr


@pytest.mark.slow
def test_tune_makes_a_sheet_with_previews(running: pieces.Program, upload: str) -> None:
    options = {"size": 64, "strengths": [0.3, 1.0], "strokes": [1.0]}
    job = running.client.post("/jobs", json={"kind": "tune", "content": upload, "styles": [STYLE], "options": options}).json()
    with running.client.stream("GET", f"/jobs/{job['id']}/events") as response:
        events = [each["data"] for each in pieces.events(response)]
    assert events[-1]["state"] == "done", events[-1]
    assert events[-1]["progress"]["step"] == events[-1]["progress"]["steps"] == 2
    assert events[-1]["preview"]
    record = running.client.get(f"/results/{events[-1]['result']}").json()["record"]
    assert [each["options"] for each in record["trials"]] == [
        {"strength": 0.3, "stroke": 1.0},
        {"strength": 1.0, "stroke": 1.0},
    ]
    assert record["best"] == 1
    assert record["found"] is None


@pytest.mark.slow
def test_a_search_for_a_style_share_can_be_finished_early(running: pieces.Program, upload: str) -> None:
    body = {"kind": "tune", "content": upload, "styles": [STYLE]}
    found = done(running, **body, options={"size": 64, "wanted_style": 0.4})["record"]
    assert found["found"]
    best = found["trials"][found["best"]]
    assert abs(best["report"]["style_closed"] - 0.4) <= 0.01
    job = running.client.post("/jobs", json={**body, "options": {"recipe": "paint", "size": 64, "steps": 4}}).json()["id"]
    while not (running.client.get(f"/jobs/{job}").json()["progress"] or {}).get("step"):
        assert running.client.get(f"/jobs/{job}").json()["state"] in ("queued", "running")
    assert running.client.post(f"/jobs/{job}/finish").status_code == 202
    ended = running.wait_until(job, "done", "failed")
    record = running.client.get(f"/results/{ended['result']}").json()["record"]
    assert 1 <= len(record["trials"]) < 9


@pytest.mark.slow
def test_a_sheet_continues_with_the_missing_trials(tmp_path: Path) -> None:
    photo, style = images.read(pieces.photo((64, 48))), images.read(pieces.photo((48, 64)))
    exact = {"device": "cpu", "precision": "fp32"}  # otherwise the second picture of a size may use another engine
    order: dict[str, Any] = {"options": {"size": 64, "strengths": [0.3, 1.0], "strokes": [1.0]}, "run": exact, "finish": False}
    order |= {"work": str(tmp_path / "work"), "checkpoint": None}
    line = RecordingLine("stop")
    assert sheets.tried(photo, style, order, line) is None
    (checkpoint,) = [facts["checkpoint"] for what, facts in line.messages if what == "checkpoint"]
    assert checkpoint["done"] == 1
    again = {
        **order,
        "checkpoint": read_line(json.dumps({"say": "checkpoint", "checkpoint": checkpoint, "checkpoint_file": 1}).encode())[
            "checkpoint"
        ],
    }
    line = RecordingLine("")
    found = sheets.tried(photo, style, again, line)
    assert found is not None
    assert [facts["progress"]["step"] for what, facts in line.messages if what == "progress"] == [
        2
    ]  # the first was not repeated
    whole = sheets.tried(photo, style, order, RecordingLine(""))
    assert whole is not None
    assert found.record["trials"] == whole.record["trials"]
    assert (found.image - whole.image).abs().mean() < 1e-3  # not equal: one was painted by another engine
    early = sheets.tried(photo, style, {**again, "finish": True}, RecordingLine(""))
    assert early is not None
    assert early.record["trials"] == whole.record["trials"][:1]


class RecordingLine:
    """A connection to a parent with one stop request; records all messages."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.messages: list[tuple[str, dict[str, Any]]] = []

    def say(self, what: str, **facts: Any) -> None:
        self.messages.append((what, facts))
