"""Doodle jobs of the studio: requests, suggested maps, results, bad maps, cancel."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("fastapi")

import studio_pieces as pieces
from impasto.studio.app import create_app
from impasto.studio.settings import Settings
from impasto.studio.storage import new_identity
from impasto.studio.studio import Studio
from impasto.studio.wire import packed, unpacked
from studio_pieces import running_program

FIXTURES = (running_program,)

API = "/api/v1"
STYLE, OTHER = "great-wave", "starry-night"


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def halves(
    upper: tuple[int, ...] = (0, 0, 0), lower: tuple[int, ...] = (255, 255, 255), size: tuple[int, int] = (64, 96)
) -> bytes:
    """A map of two colors."""
    pixels = np.empty((*size, 3), np.uint8)
    pixels[: size[0] // 2], pixels[size[0] // 2 :] = upper, lower
    return png(pixels)


# ---------------------------------------------------------------------------------------------------- requests


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    found: Studio = create_app(Settings(data=tmp_path / "data")).state.studio
    yield found
    found.database.close()


@pytest.fixture
def client(studio: Studio) -> pieces.Local:
    return pieces.client_of(studio)


@pytest.fixture
def upload(studio: Studio) -> str:
    return uploaded(studio)


def uploaded(studio: Studio) -> str:
    identity = new_identity("u")
    facts = {"name": "map.png", "width": 96, "height": 64, "bytes": 9, "disk": 9, "sha256": "0" * 64, "notes": []}
    studio.gallery.add_upload(identity, facts)
    studio.folder.upload(identity).write_bytes(halves())
    return identity


def test_a_doodle_needs_a_map_and_no_photo(client: pieces.Local, studio: Studio, upload: str) -> None:
    answer = client.post(f"{API}/jobs", json={"kind": "doodle", "styles": [STYLE], "map": upload, "options": {"size": 64}})
    assert answer.status_code == 201, answer.text
    job = answer.json()
    assert job["request"]["content"] is None
    assert client.post(f"{API}/jobs", json=job["request"]).status_code == 201  # the request in a job can be posted again
    order = studio.order(studio.jobs.get(job["id"]))
    assert order["content"] is None
    assert [each["name"] for each in order["maps"]] == ["map.png"]
    assert client.delete(f"{API}/uploads/{upload}").status_code == 409


def test_a_doodle_is_sent_to_other_machines_with_its_maps_and_its_photo(
    client: pieces.Local, studio: Studio, upload: str, tmp_path: Path
) -> None:
    style_map, photo = uploaded(studio), uploaded(studio)
    body = {"kind": "doodle", "styles": [STYLE], "map": upload, "style_map": style_map}
    for content in (None, photo):
        job = client.post(f"{API}/jobs", json=body | {"content": content}).json()
        order, paths = packed(studio.order(studio.jobs.get(job["id"])))
        received = unpacked(json.dumps(order).encode(), tmp_path)
        sent = [paths[int(Path(each["path"]).name.removeprefix("in-"))].name for each in received.order["maps"]]
        assert sent == [upload, style_map]
        assert (received.order["content"] is None) == (content is None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"map": None}, "map", "'map' is missing"),
        ({"map": "u_0000000000000000"}, "map", "there is no upload"),
        ({"style_map": "u_0000000000000000"}, "style_map", "there is no upload"),
        ({"content": "u_0000000000000000"}, "content", "there is no upload"),
        ({"map": "/etc/passwd"}, "map", "map"),
        ({"styles": []}, "styles", "'styles' is empty"),
        ({"styles": [STYLE, OTHER]}, "styles", "give only one if 'kind' is 'doodle'"),
        ({"masks": ["all"]}, "masks", "'masks' cannot be used with kind 'doodle'"),
        ({"protect": ["auto:sky"]}, "protect", "'protect' cannot be used with kind 'doodle'"),
        ({"options": {"size": 8}}, "size", "must be a number from 32"),
        ({"options": {"labels": 40}}, "labels", "must be a number from 2 to 16"),
        ({"options": {"steps": 3}}, "steps", "is not an option of kind 'doodle'"),
        ({"kind": "paint"}, "map", "'map' is only allowed if 'kind' is 'doodle', but 'kind' is 'paint'"),
    ],
)
def test_invalid_doodles_are_refused_with_their_field(
    client: pieces.Local, upload: str, changes: dict[str, Any], field: str, words: str
) -> None:
    response = client.post(f"{API}/jobs", json={"kind": "doodle", "styles": [STYLE], "map": upload} | changes)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["field"] == field
    assert words in error["message"]


@pytest.mark.slow
@pytest.mark.parametrize("body", [{"kind": "refine", "result": "R"}, {"kind": "report", "results": ["R"]}])
def test_a_doodle_without_a_photo_is_neither_refined_nor_measured(
    client: pieces.Local, studio: Studio, upload: str, body: dict[str, Any]
) -> None:
    asked = client.post(f"{API}/jobs", json={"kind": "doodle", "styles": [STYLE], "map": upload}).json()
    studio.jobs.take("slow")
    facts = {"width": 96, "height": 64, "bytes": 9, "disk": 9, "suffix": ".png", "seconds": 1.0}
    row = studio.result(studio.jobs.get(asked["id"]), {**facts, "record": {"content": {"name": "map.png"}}})
    studio.jobs.finish(asked["id"], row)
    assert client.get(f"{API}/results/{row['id']}").json()["upload"] == upload
    posted = {name: row["id"] if value == "R" else [row["id"]] if value == ["R"] else value for name, value in body.items()}
    answer = client.post(f"{API}/jobs", json=posted)
    assert answer.status_code == 422
    assert "without a photo" in answer.json()["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize(("style", "labels", "status"), [("no-such-style", 6, 404), (STYLE, 1, 400), (STYLE, 17, 400)])
def test_maps_of_unknown_styles_and_impossible_numbers_of_colors_are_refused(
    client: pieces.Local, style: str, labels: int, status: int
) -> None:
    answer = client.get(f"{API}/styles/{style}/map?labels={labels}")
    assert answer.status_code in (status, 422)
    assert answer.json()["error"]["message"]
    assert client.get(f"{API}/styles/no-such-style/picture").status_code == 404


# ---------------------------------------------------------------------------------------------------- with workers


def submitted(running: pieces.Program, **body: Any) -> str:
    answer = running.client.post("/jobs", json={"kind": "doodle", "styles": [STYLE]} | body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def picture(running: pieces.Program, path: str) -> np.ndarray:
    answer = running.client.get(path)
    assert answer.status_code == 200, answer.text
    return np.asarray(PIL.Image.open(io.BytesIO(answer.content)).convert("RGB"))


def distinct(pixels: np.ndarray) -> np.ndarray:
    return np.unique(pixels.reshape(-1, 3), axis=0)


@pytest.mark.slow
def test_a_suggested_map_has_few_flat_colors_and_the_size_of_its_style(running: pieces.Program) -> None:
    found = picture(running, f"/styles/{STYLE}/map")
    assert 2 <= len(distinct(found)) <= 6
    assert len(distinct(picture(running, f"/styles/{STYLE}/map?labels=3"))) <= 3
    shown = picture(running, f"/styles/{STYLE}/picture")
    assert shown.shape[1] / shown.shape[0] == pytest.approx(found.shape[1] / found.shape[0], abs=0.01)
    style = running.client.post("/styles", json={"upload": running.upload(pieces.photo((160, 120)))}).json()["id"]
    assert picture(running, f"/styles/{style}/map").shape[:2] == picture(running, f"/styles/{style}/picture").shape[:2]


@pytest.mark.slow
def test_a_map_in_the_colors_of_the_suggested_map_is_painted_where_it_says(running: pieces.Program) -> None:
    suggested, shown = picture(running, f"/styles/{STYLE}/map"), picture(running, f"/styles/{STYLE}/picture")
    shown = np.asarray(PIL.Image.fromarray(shown).resize(suggested.shape[1::-1])).astype(float)
    colors = distinct(suggested)
    means = {tuple(each): shown[(suggested == each).all(-1)].mean(0) for each in colors}
    light = sorted(means, key=lambda each: means[each].sum())
    dark, bright = light[0], light[-1]
    job = running.wait_until(
        submitted(running, map=running.upload(halves(dark, bright), "map.png"), options={"size": 96}), "done", "failed"
    )
    assert job["state"] == "done", job
    assert job["preview"]
    assert job["progress"]["step"] == job["progress"]["steps"]
    result = running.client.get(f"/results/{job['result']}").json()
    assert (result["width"], result["height"], result["kind"], result["title"]) == (96, 64, "doodle", "map.png")
    assert result["record"]["recipe"] == "doodle"
    painted = picture(running, f"/results/{job['result']}/image").astype(float)
    assert painted[:28].mean() < painted[36:].mean() - 40


@pytest.mark.slow
def test_a_doodle_with_a_photo_and_its_own_style_map_has_the_shape_of_the_photo(running: pieces.Program) -> None:
    job = running.wait_until(
        submitted(
            running,
            map=running.upload(halves(), "map.png"),
            style_map=running.upload(halves(size=(50, 50)), "style-map.png"),
            content=running.upload(pieces.photo((120, 160))),
            options={"size": 64},
        ),
        "done",
        "failed",
    )
    assert job["state"] == "done", job
    result = running.client.get(f"/results/{job['result']}").json()
    assert (result["width"], result["height"], result["upload"]) == (48, 64, job["request"]["content"])


def noise() -> bytes:
    return png(np.random.default_rng(0).integers(0, 255, (64, 64, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "style_map", "options", "field", "words"),
    [
        (noise(), halves(), {}, "labels", "have more than 16 colors"),
        (halves((0, 0, 0), (0, 200, 0)), halves(), {}, "map", "but style map"),
        (halves((9, 9, 9), (9, 9, 9)), halves((9, 9, 9), (9, 9, 9)), {}, None, "have only one color"),
        (halves(size=(8, 400)), halves(), {"size": 64}, "size", "give a larger"),
    ],
    ids=["colors", "missing", "one", "narrow"],
)
def test_a_bad_map_fails_with_one_sentence_and_its_field(
    running: pieces.Program, target: bytes, style_map: bytes, options: dict[str, Any], field: str | None, words: str
) -> None:
    asked = {
        "map": running.upload(target, "map.png"),
        "style_map": running.upload(style_map, "style-map.png"),
        "options": options,
    }
    job = running.wait_until(submitted(running, **asked), "done", "failed")
    assert job["state"] == "failed"
    assert job["error"]["field"] == field
    assert words in job["error"]["message"]
    assert "--" not in job["error"]["message"]


@pytest.mark.slow
def test_a_file_that_is_no_picture_is_no_map(running: pieces.Program) -> None:
    answer = running.client.post("/uploads", params={"name": "map.png"}, content=b"not a picture")
    assert answer.status_code == 422


@pytest.mark.slow
def test_a_running_doodle_is_cancelled_and_repeated(running: pieces.Program) -> None:
    target = running.upload(halves(size=(300, 400)), "map.png")
    job = submitted(running, map=target, style_map=target, options={"size": 640})
    assert pieces.wait_for(lambda: bool(running.client.get(f"/jobs/{job}").json()["progress"]), 120)
    assert running.client.post(f"/jobs/{job}/finish").status_code == 409
    assert running.client.post(f"/jobs/{job}/cancel").status_code == 202
    found = running.wait_until(job, "cancelled", "done")
    assert found["state"] == "cancelled"
    assert found["can_continue"] is False
    again = running.client.post(f"/jobs/{job}/retry")
    assert again.status_code == 200
    running.client.post(f"/jobs/{job}/cancel")
    running.wait_until(job, "cancelled")
