"""The studio's API without workers: requests, responses and errors."""

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

import studio_pieces as pieces
from impasto.errors import OptionError
from impasto.options import InstantOptions, PaintOptions, Run, ranges_of, tier_by_name
from impasto.recipes.presets import PRESETS, QUALITIES, RECIPES
from impasto.studio.app import create_app
from impasto.studio.controls import KINDS, checked_options, controls_of, in_words
from impasto.studio.settings import Limits, Settings
from impasto.studio.storage import new_identity
from impasto.studio.studio import Studio

API = "/api/v1"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    app = create_app(Settings(data=tmp_path / "data", limits=Limits(queued=3)))
    yield app
    app.state.studio.database.close()


@pytest.fixture
def studio(app: FastAPI) -> Studio:
    found: Studio = app.state.studio
    return found


@pytest.fixture
def client(app: FastAPI) -> pieces.Local:
    return pieces.Local(app)


@pytest.fixture
def upload(studio: Studio) -> str:
    identity = new_identity("u")
    facts = {"name": "photo.jpg", "width": 96, "height": 64, "bytes": 9, "disk": 9, "sha256": "0" * 64, "notes": []}
    studio.gallery.add_upload(identity, facts)
    for suffix in ("", ".jpg", ".thumb.jpg"):
        studio.folder.upload(identity, suffix).write_bytes(pieces.photo())
    return identity


def body(upload: str, **others: Any) -> dict[str, Any]:
    return {"kind": "paint", "content": upload, "styles": ["great-wave"], **others}


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "field"}
    assert error["message"]
    assert "\n" not in error["message"]
    return error  # type: ignore[no-any-return]


@pytest.mark.slow
def test_the_server_loads_neither_torch_nor_pillow() -> None:
    code = (
        "import sys, impasto.studio.server; sys.exit(any(each in sys.modules for each in ('torch', 'PIL', 'scipy', 'skimage')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_worker_loads_no_web_framework() -> None:
    code = (
        "import sys, impasto.studio.orders; sys.exit(any(each in sys.modules for each in ('fastapi', 'uvicorn', 'starlette')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_status_contains_limits_and_counts(client: pieces.Local, upload: str) -> None:
    client.post(f"{API}/jobs", json=body(upload))
    found = client.get(f"{API}/status").json()
    assert (found["ready"], found["queued"], found["running"], found["queue_limit"]) == (False, 1, 0, 3)
    assert found["disk"]["used"] == 9


# ---------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("options", [PaintOptions, InstantOptions, Run])
def test_every_option_has_a_control_with_text_default_and_range(options: type) -> None:
    controls = {each["name"]: each for each in controls_of(options)}
    assert list(controls) == list(tier_by_name(options))
    for field in dataclasses.fields(options):
        control = controls[field.name]
        assert control["help"].endswith(".")
        assert control["default"] == field.default
        assert (control["kind"] == "choice") <= (control["default"] in control["choices"] if control["choices"] else False)


@pytest.mark.parametrize("options", [PaintOptions, InstantOptions, Run])
def test_the_ranges_of_the_controls_are_those_that_are_checked(options: type) -> None:
    for name, (low, high) in ranges_of(options).items():
        kind = type(getattr(options(), name))
        for value in (low, high):
            options(**{name: kind(value)})
        for value in (low - 1, high + 1):
            if not (name == "size" and value == 0):
                with pytest.raises(ValueError, match="it must be a number from"):
                    options(**{name: kind(value)})


def test_recipes_describe_every_kind_of_job_and_every_preset(client: pieces.Local) -> None:
    found = client.get(f"{API}/recipes").json()
    assert [each["kind"] for each in found["recipes"]] == list(KINDS)
    assert set(found["presets"]) == set(PRESETS)
    assert found["presets"]["impasto"] == {}
    assert {each["recipe"] for name, each in found["presets"].items() if name != "impasto"} == {"gatys"}
    instant = next(each for each in found["recipes"] if each["kind"] == "instant")
    assert "refine" not in [field["name"] for field in instant["fields"]]


def test_methods_list_their_defaults_and_the_options_they_ignore(client: pieces.Local, upload: str) -> None:
    methods = client.get(f"{API}/recipes").json()["methods"]
    assert set(methods) == set(RECIPES)
    assert methods["neighbors"]["defaults"] == {}
    assert methods["neighbors"]["qualities"] == QUALITIES
    assert methods["gatys"]["defaults"]["optimizer"] == RECIPES["gatys"].optimizer
    for name, method in methods.items():
        assert "preset" not in method["ignored"]
        usual = {each: getattr(RECIPES[name], each) for each in method["ignored"]}
        assert checked_options("paint", {"recipe": name, **usual})
    refused = client.post(f"{API}/jobs", json=body(upload, options={"recipe": "gatys", "strength": 0.5}))
    found = problem(refused, 422)
    assert found["field"] == "strength"
    assert "strength has no effect with recipe gatys; omit it, or use recipe neighbors" in found["message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options", "field", "words"),
    [
        ("paint", {"size": 31}, "size", "size is 31; it must be a number from 32 to 100000"),
        ("paint", {"style_wieght": 1}, "style_wieght", "did you mean 'style_weight'?"),
        ("paint", {"preset": "nosuch"}, "preset", "preset 'nosuch' is not known"),
        ("paint", {"init": "/etc/passwd"}, "init", "init '/etc/passwd' is not known"),
        ("paint", {"color_mask": "/etc/passwd"}, "color_mask", "'color_mask' is not an option of kind 'paint'"),
        (
            "instant",
            {"color": "keep", "color_mask": "/etc/passwd"},
            "color_mask",
            "'color_mask' is not an option of kind 'instant'",
        ),
        ("paint", {"encoder": "/tmp/x.pth"}, "encoder", "encoder '/tmp/x.pth' is not known"),
        ("paint", {"style_weights": [1, 2]}, "style_weights", "style weights has 2 values for 1 styles"),
        ("instant", {"strength": 9}, "strength", "strength is 9; it must be a number from 0 to 1.5"),
        ("instant", {"refine": True}, "refine", "'refine' is not an option of kind 'instant'"),
        ("instant", {"color": "<script>"}, "color", "color '<script>' is not known"),
    ],
)
def test_an_invalid_option_is_refused_with_its_field(
    client: pieces.Local, upload: str, kind: str, options: dict[str, Any], field: str | None, words: str
) -> None:
    error = problem(client.post(f"{API}/jobs", json=body(upload, kind=kind, options=options)), 422)
    assert error["field"] == field
    assert words in error["message"]


@pytest.mark.parametrize(
    ("sentence", "expected", "field"),
    [
        ("--style-mask 'm.png' is entirely black", "style mask 'm.png' is entirely black", "masks"),
        (
            "fetch it with 'impasto weights import FILE --name vgg19'",
            "fetch it with 'impasto weights import FILE --name vgg19'",
            None,
        ),
        ("vgg19 is not on this machine yet; fetch it with 'impasto weights import F --name vgg19'", None, "encoder"),
        ("style layer 'relu9_1' is not in vgg19-slim", None, "style_layers"),
        ("content 'dot.png' has 1x1 pixels, too few to show a photo", None, "content"),
        ("style 'monet' was not measured at layer 'relu1_2'", None, "styles"),
        ("the masks leave no part of the photo to a style", None, None),
    ],
)
def test_an_error_message_is_assigned_to_its_field(sentence: str, expected: str | None, field: str | None) -> None:
    assert in_words(OptionError(sentence)) == (expected or sentence, field)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "cook"}, "kind"),
        ({"content": None}, "content"),
        ({"content": "u_0000000000000000"}, "content"),
        ({"content": "../../etc/passwd"}, "content"),
        ({"styles": []}, "styles"),
        ({"styles": ["no-such-style"]}, "styles"),
        ({"styles": ["../seurat"]}, "styles"),
        ({"styles": ["great-wave"] * 9}, "styles"),
        ({"priority": 11}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"run": {"threads": 4000}}, "threads"),
        ({"run": {"seed": -1}}, "seed"),
        ({"masks": ["u_0000000000000000"]}, "masks"),
        ({"result": "r_0000000000000000"}, "result"),
        ({"color": "red"}, "color"),
    ],
)
def test_an_invalid_job_is_refused_with_its_field(
    client: pieces.Local, upload: str, changes: dict[str, Any], field: str
) -> None:
    error = problem(client.post(f"{API}/jobs", json=body(upload) | changes), 422)
    assert error["field"] == field


OPTION_NAMES = [field.name for field in dataclasses.fields(PaintOptions)]
LISTS = st.lists(st.integers() | st.text(), max_size=3)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20), LISTS)


@pytest.mark.slow
@given(
    st.sampled_from(sorted(KINDS)), st.dictionaries(st.sampled_from(OPTION_NAMES) | st.text(max_size=12), VALUES, max_size=3)
)
def test_any_options_are_accepted_or_refused_with_a_message(kind: str, options: dict[str, Any]) -> None:
    with contextlib.suppress(OptionError):
        checked_options(kind, options)


# ---------------------------------------------------------------------------------------------------- jobs


@pytest.mark.slow
def test_a_queued_job_contains_its_request(client: pieces.Local, upload: str) -> None:
    response = client.post(f"{API}/jobs", json=body(upload, options={"size": 64}, run={"seed": 3}))
    assert response.status_code == 201
    job = response.json()
    assert (job["state"], job["position"], job["request"]["options"]) == ("queued", 0, {"size": 64})
    assert client.get(f"{API}/jobs/{job['id']}").json() == job
    again = client.post(f"{API}/jobs", json=job["request"])
    assert again.status_code == 201  # the request in a job can be posted again


def test_a_repeated_request_returns_the_same_job(client: pieces.Local, upload: str) -> None:
    answers = [client.post(f"{API}/jobs", json=body(upload), headers={"Idempotency-Key": "abc"}) for _ in range(2)]
    assert [each.status_code for each in answers] == [201, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_a_full_queue_answers_429_with_retry_after(client: pieces.Local, upload: str) -> None:
    for _ in range(3):
        client.post(f"{API}/jobs", json=body(upload))
    response = client.post(f"{API}/jobs", json=body(upload))
    assert problem(response, 429)["code"] == "busy"
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.slow
def test_a_waiting_job_is_paused_continued_cancelled_and_deleted(client: pieces.Local, upload: str) -> None:
    job = f"{API}/jobs/{client.post(f'{API}/jobs', json=body(upload)).json()['id']}"
    assert client.post(f"{job}/pause").json()["state"] == "paused"
    assert client.post(f"{job}/continue", json={}).json()["state"] == "queued"
    assert client.post(f"{job}/cancel").json()["state"] == "cancelled"
    assert problem(client.post(f"{job}/continue", json={}), 409)["code"] == "state"
    assert problem(client.post(f"{job}/finish"), 409)["code"] == "state"
    assert client.post(f"{job}/retry").json()["state"] == "queued"
    assert client.patch(job, json={"priority": 7}).json()["priority"] == 7
    assert client.delete(job).status_code == 204
    assert problem(client.get(job), 404)["code"] == "missing"


def test_lists_are_paginated(client: pieces.Local, upload: str) -> None:
    made = [client.post(f"{API}/jobs", json=body(upload)).json()["id"] for _ in range(3)]
    first = client.get(f"{API}/jobs", params={"limit": 2}).json()
    rest = client.get(f"{API}/jobs", params={"limit": 2, "after": first["next"]}).json()
    assert [each["id"] for each in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None
    assert client.get(f"{API}/jobs", params={"state": ["done", "failed"]}).json()["items"] == []
    assert len(client.get(f"{API}/jobs", params={"state": "queued"}).json()["items"]) == 3


def test_an_upload_that_a_job_needs_cannot_be_deleted(client: pieces.Local, upload: str) -> None:
    job = client.post(f"{API}/jobs", json=body(upload)).json()["id"]
    assert problem(client.delete(f"{API}/uploads/{upload}"), 409)["code"] == "state"
    client.post(f"{API}/jobs/{job}/cancel")
    assert client.delete(f"{API}/uploads/{upload}").status_code == 204
    assert client.get(f"{API}/uploads/{upload}/image").status_code == 404


# ---------------------------------------------------------------------------------------------------- styles


def test_the_studio_lists_the_styles_of_the_command_line(client: pieces.Local) -> None:
    from impasto.styles.named import known_styles, style_facts

    found = {each["id"]: each for each in client.get(f"{API}/styles").json()["items"]}
    known = known_styles()
    assert list(found) == list(known)
    for name, path in known.items():
        facts = style_facts(path)
        assert {fact: found[name][fact] for fact in ("title", "artist", "licence")} == {
            fact: facts[fact] for fact in ("title", "artist", "licence")
        }


@pytest.mark.slow
def test_every_shipped_style_has_a_small_preview(client: pieces.Local) -> None:
    total = 0
    for style in client.get(f"{API}/styles").json()["items"]:
        response = client.get(style["preview"])
        assert (response.status_code, response.headers["content-type"]) == (200, "image/webp")
        assert "immutable" in response.headers["cache-control"]
        total += len(response.content)
    assert total < 250_000


def test_styles_can_be_searched_and_marked_as_favorites(client: pieces.Local) -> None:
    found = client.get(f"{API}/styles", params={"q": "GOGH starry"}).json()["items"]
    assert [each["id"] for each in found] == ["starry-night"]
    for favorite in ("favorite", "favourite"):  # the second is the earlier name
        changed = client.patch(f"{API}/styles/the-scream", json={favorite: True}).json()
        assert changed["favorite"]
        assert changed["favourite"]
        assert client.get(f"{API}/styles").json()["items"][0]["id"] == "the-scream"
        assert len(client.get(f"{API}/styles", params={favorite: True}).json()["items"]) == 1
        client.patch(f"{API}/styles/the-scream", json={favorite: False})
        assert client.get(f"{API}/styles", params={favorite: True}).json()["items"] == []


def test_an_upload_can_be_added_as_a_style_and_removed(client: pieces.Local, upload: str) -> None:
    style = client.post(f"{API}/styles", json={"upload": upload, "title": "My <b>garden</b>"}).json()
    assert (style["origin"], style["title"]) == (
        "upload",
        "My <b>garden</b>",
    )  # not escaped; the page inserts it as text
    assert client.get(style["preview"]).headers["content-type"] == "image/jpeg"
    assert client.patch(f"{API}/styles/{style['id']}", json={"title": "Garden"}).json()["title"] == "Garden"
    assert client.post(f"{API}/jobs", json=body(upload, styles=[style["id"]])).status_code == 201
    assert problem(client.delete(f"{API}/uploads/{upload}"), 409)["code"] == "state"
    assert client.delete(f"{API}/styles/{style['id']}").status_code == 204
    assert problem(client.delete(f"{API}/styles/starry-night"), 409)["code"] == "state"
    assert problem(client.patch(f"{API}/styles/starry-night", json={"title": "x"}), 409)["code"] == "state"


# ---------------------------------------------------------------------------------------------------- gallery


@pytest.fixture
def kept(client: pieces.Local, studio: Studio, upload: str) -> str:
    """A result, stored as by a worker."""
    job = client.post(f"{API}/jobs", json=body(upload)).json()["id"]
    row = studio.jobs.take("slow")
    assert row is not None
    path = studio.folder.result("r" + job[1:], ".png")
    path.write_bytes(pieces.photo(kind="PNG"))
    studio.folder.result("r" + job[1:], ".thumb.jpg").write_bytes(pieces.photo())
    facts = {"width": 96, "height": 64, "bytes": 10, "disk": 20, "suffix": ".png", "seconds": 1.0}
    studio.jobs.finish(job, studio.result(row, facts | {"record": {"content": {"name": "photo.jpg"}}}))
    return "r" + job[1:]


def test_a_result_contains_its_record_and_its_request(client: pieces.Local, kept: str, upload: str) -> None:
    found = client.get(f"{API}/results/{kept}").json()
    assert found["record"] == {"content": {"name": "photo.jpg"}}
    assert (found["upload"], found["styles"], found["title"]) == (upload, ["great-wave"], "photo.jpg")
    assert client.post(f"{API}/jobs", json=found["request"]).status_code == 201  # use these settings again
    assert client.get(found["image"]).headers["content-type"] == "image/png"
    assert client.get(found["thumb"]).headers["content-type"] == "image/jpeg"


def test_a_result_can_be_marked_renamed_found_and_deleted(client: pieces.Local, kept: str) -> None:
    changed = client.patch(f"{API}/results/{kept}", json={"favourite": True, "title": "Holiday"}).json()
    assert (changed["favorite"], changed["favourite"], changed["title"]) == (True, True, "Holiday")
    for favorite in ("favorite", "favourite"):  # the second is the earlier name
        found = client.get(f"{API}/results", params={"q": "holi", favorite: True}).json()["items"]
        assert [each["id"] for each in found] == [kept]
    assert not client.patch(f"{API}/results/{kept}", json={"favorite": False}).json()["favorite"]
    assert client.get(f"{API}/results", params={"draft": True}).json()["items"] == []
    assert client.delete(f"{API}/results/{kept}").status_code == 204
    assert problem(client.get(f"{API}/results/{kept}"), 404)["code"] == "missing"
    assert client.get(f"{API}/jobs/j{kept[1:]}").json()["result"] is None
    assert problem(client.post(f"{API}/jobs/j{kept[1:]}/continue", json={}), 409)["code"] == "state"


def test_a_finished_painting_continues_as_a_new_job(client: pieces.Local, studio: Studio, kept: str) -> None:
    response = client.post(f"{API}/jobs/j{kept[1:]}/continue", json={"steps": 7})
    assert response.status_code == 201
    job = response.json()
    assert (job["state"], job["continues"]) == ("queued", f"j{kept[1:]}")
    order = studio.order(studio.jobs.get(job["id"]))
    assert order["more"]["steps"] == 7
    assert Path(order["more"]["path"]).is_file()
    assert problem(client.delete(f"{API}/results/{kept}"), 409)["code"] == "state"  # a job needs it


def test_a_result_is_refined_with_its_own_photo_and_styles(client: pieces.Local, kept: str, upload: str) -> None:
    job = client.post(f"{API}/jobs", json={"kind": "refine", "result": kept, "options": {"refine_seconds": 3}}).json()
    assert (job["request"]["content"], job["request"]["styles"]) == (upload, ["great-wave"])
    assert client.post(f"{API}/jobs", json=job["request"]).status_code == 201
    refused = client.post(f"{API}/jobs", json={"kind": "refine", "result": kept, "styles": ["starry-night"]})
    assert problem(refused, 422)["field"] == "result"


@pytest.mark.slow
@pytest.mark.parametrize("ids", ["", "x", "r_1", "r_0123456789abcdef,", "../x"])
def test_an_invalid_list_of_ids_is_refused(client: pieces.Local, ids: str) -> None:
    for route in ("zip", "sheet"):
        assert problem(client.get(f"{API}/results/{route}", params={"ids": ids}), 422)["field"] == "ids"


# ---------------------------------------------------------------------------------------------------- requests


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"{", "application/json"), (b"[]", "application/json"), (b"", "application/json"), (b"kind=paint", "text/plain")],
)
def test_a_body_that_is_not_json_is_refused(client: pieces.Local, content: bytes, kind: str) -> None:
    response = client.post(f"{API}/jobs", content=content, headers={"content-type": kind})
    assert problem(response, 400)["code"] == "request"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["/nothing", f"{API}/nothing", f"{API}/jobs/j_1", f"{API}/uploads/..%2f..%2fetc", f"{API}/styles/%00"]
)
def test_a_missing_resource_returns_404(client: pieces.Local, path: str) -> None:
    assert client.get(path).status_code in (404, 405)


def test_an_unsupported_method_returns_405(client: pieces.Local) -> None:
    assert problem(client.put(f"{API}/status"), 405)["code"] == "method"


@pytest.mark.slow
def test_the_openapi_document_describes_every_route(client: pieces.Local) -> None:
    described = client.get(f"{API}/openapi.json").json()
    assert {f"{API}/jobs", f"{API}/uploads", f"{API}/results/zip", f"{API}/events"} <= set(described["paths"])
    assert all(path.startswith(f"{API}/") for path in described["paths"])
    assert "http" not in json.dumps(described["paths"])
    assert client.get("/docs").status_code == 404
